"""Sequential: building, using, saving weights, and every call at the wrong time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minnet import losses, ops
from minnet.autodiff import backpropagate
from minnet.errors import ArgumentError, DtypeError, MinnetError, NumberError, ShapeError
from minnet.layers import Activation, Dense, Layer
from minnet.ops.pointwise import sigmoid
from minnet.optimizers import SGD
from minnet.recording import STATE
from minnet.sequential import Sequential
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 3))
Y = RNG.integers(0, 4, 20)


def classifier(**options: Any) -> Sequential:
    model = Sequential([Dense(5, "relu", input_dim=3), Dense(4, "softmax")], **options)
    model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
    return model


def regression(loss: Any = "mse", **options: Any) -> Sequential:
    model = Sequential([Dense(1, input_dim=3)], **options)
    model.compile(SGD(0.1), loss)
    return model


# -- the chain -------------------------------------------------------------------------------------


def test_names_count_per_kind_and_model() -> None:
    for _ in range(2):
        model = Sequential([Dense(2), Activation("relu"), Dense(1), Activation("tanh")])
        names = [layer.name for layer in model.layers]
        assert names == ["dense_1", "activation_1", "dense_2", "activation_2"]


def test_a_given_name_is_kept_and_skipped() -> None:
    model = Sequential([Dense(2, name="dense_1"), Dense(2)])
    assert [layer.name for layer in model.layers] == ["dense_1", "dense_2"]


def test_one_name_cannot_stand_for_two_layers() -> None:
    model = Sequential([Dense(2, name="fc")])
    with pytest.raises(ArgumentError, match=r"add: expected a new name, received a second 'fc'"):
        model.add(Dense(2, name="fc"))
    with pytest.raises(ArgumentError, match="one layer cannot be added twice"):
        model.add(model.layers[0])
    assert len(model.layers) == 1


def test_only_layers_can_be_added() -> None:
    class Forgetful(Layer):
        def __init__(self) -> None:
            pass

    for wrong in (Dense, "dense", Forgetful()):
        with pytest.raises(ArgumentError, match=r"add: expected a Layer, .*super\(\)\.__init__"):
            Sequential([wrong])  # type: ignore[list-item]


def test_layers_that_do_not_fit_are_named() -> None:
    with pytest.raises(
        ShapeError, match=r"layer 'dense_2': expected rows of shape \(4,\), received"
    ):
        Sequential([Dense(5, input_dim=3), Dense(2, input_dim=4)])


def test_layers_can_be_shared() -> None:
    model = classifier()
    features = Sequential(model.layers[:1])
    assert features.layers[0].name == "dense_1"
    model.fit(X, Y, verbose=0)
    hidden = np.maximum(X @ model.get_weights()[0] + model.get_weights()[1], 0)
    np.testing.assert_allclose(features.predict(X), hidden, rtol=1e-4, atol=1e-6)
    with pytest.raises(DtypeError, match="layer 'dense_1': expected a model of its dtype, float32"):
        Sequential(model.layers, dtype=np.float64)


def test_pop_takes_effect_on_the_very_next_step() -> None:
    model = classifier()
    model.fit(X, Y, verbose=0)
    popped = model.pop()
    assert popped.name == "dense_2"
    assert model.predict(X).shape == (20, 5)
    model.add(Dense(6, "softmax"))
    assert model.layers[-1].name == "dense_2"
    kept = model.get_weights()
    model.fit(X, np.full(20, 5), verbose=0)
    assert model.predict(X).shape == (20, 6)
    assert any((a != b).any() for a, b in zip(kept, model.get_weights(), strict=True))


def test_layers_list_may_be_popped_too() -> None:
    model = classifier()
    model.layers.pop()
    model.compile("sgd", "mse")
    model.train_on_batch(X, np.zeros((20, 5)))
    assert len(model.parameters()) == 2


def test_built_from_the_first_data() -> None:
    model = Sequential([Dense(4, "relu"), Dense(1)], seed=0)
    assert model.parameters() == []
    model.compile("sgd", "mse")
    model.fit(X, X[:, 0], verbose=0)
    assert [p.shape for p in model.parameters()] == [(3, 4), (4,), (4, 1), (1,)]
    early = Sequential([Dense(4, "relu", input_dim=3), Dense(1)], seed=0)
    late = Sequential([Dense(4, "relu"), Dense(1)], seed=0)
    late.build((3,))
    for a, b in zip(early.get_weights(), late.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_is_a_function_of_a_tensor() -> None:
    model = classifier()
    x = Tensor(X, dtype=np.float32)
    out = model(x)
    assert out.requires_grad
    np.testing.assert_array_equal(out.data, model.predict(X))


# -- weights ---------------------------------------------------------------------------------------


def test_weights_are_copies_in_order() -> None:
    model = classifier()
    weights = model.get_weights()
    assert [w.shape for w in weights] == [(3, 5), (5,), (5, 4), (4,)]
    weights[0][:] = 7
    assert (model.get_weights()[0] != 7).all()
    model.set_weights(weights)
    weights[0][:] = 8
    assert (model.get_weights()[0] == 7).all()


def test_set_weights_between_steps() -> None:
    model = classifier()
    start = model.get_weights()
    first = model.train_on_batch(X, Y)
    assert model.train_on_batch(X, Y) != first
    model.set_weights(start)
    assert model.train_on_batch(X, Y) == first


def test_set_weights_is_strict_and_all_or_nothing() -> None:
    model = classifier()
    before = model.get_weights()
    with pytest.raises(ShapeError, match=r"expected 4 arrays \(dense_1_weight, .*\), received 3"):
        model.set_weights(before[:3])
    wrong = [np.zeros_like(w) for w in before[:3]] + [np.zeros(3)]
    with pytest.raises(
        ShapeError, match=r"layer 'dense_2': expected dense_2_bias of shape \(4,\), received \(3,\)"
    ):
        model.set_weights(wrong)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_astype_copies_everything() -> None:
    model = classifier(seed=0)
    model.layers[0].trainable = False
    double = model.astype(np.float64)
    assert {p.dtype for p in double.parameters()} == {np.dtype(np.float64)}
    assert [p.name for p in double.parameters()] == [p.name for p in model.parameters()]
    assert [p.requires_grad for p in double.parameters()] == [False, False, True, True]
    np.testing.assert_allclose(double.predict(X), model.predict(X), rtol=1e-5)
    assert double.predict(X).dtype == np.float64
    assert double.evaluate(X, Y) == pytest.approx(model.evaluate(X, Y), rel=1e-6)
    before = model.get_weights()
    double.optimizer.lr = 1.0
    double.fit(X, Y, verbose=0)
    assert model.optimizer.lr == 0.01
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DtypeError, match="expected dtype float32 or float64, received float16"):
        model.astype(np.float16)


def test_astype_of_a_layer_that_keeps_its_parameters_as_attributes() -> None:
    class Scale(Layer):
        def build(self, input_shape: Any) -> Any:
            self.factor = self.add_parameter("factor", input_shape, "ones")
            return input_shape

        def call(self, x: Tensor) -> Any:
            return x * self.factor

    model = Sequential([Scale(input_shape=(3,)), Dense(2)], seed=0)
    model.compile(SGD(0.1, momentum=0.9), "mse")
    x, y = X[:, :3], X[:, :2]
    model.train_on_batch(x, y)
    double = model.astype(np.float64)
    np.testing.assert_allclose(double.predict(x), model.predict(x), rtol=1e-5)
    double.train_on_batch(x, y)
    model.train_on_batch(x, y)
    for a, b in zip(double.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_keeps_the_dtype(dtype: Any) -> None:
    model = classifier(dtype=dtype)
    model.fit(X, Y, epochs=2, verbose=0)
    assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}
    assert model.predict(X).dtype == dtype


# -- loss_of ---------------------------------------------------------------------------------------


@contextmanager
def traced(tracer: Any) -> Iterator[None]:
    STATE.tracer = tracer
    try:
        yield
    finally:
        STATE.tracer = None


class Recorder:
    """A tracer that notes scopes and operations."""

    def __init__(self) -> None:
        self.scopes: list[tuple[str, str]] = []
        self.ops: list[str] = []

    @contextmanager
    def scope(self, name: str, description: str) -> Iterator[None]:
        self.scopes.append((name, description))
        yield

    def admit(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs

    def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
        self.ops.append(op.name)
        return out

    def expand(self, op: Any, inputs: tuple[Any, ...]) -> Tensor:
        self.ops.append(op.name)
        return Tensor(op.value(*[getattr(x, "data", x) for x in inputs]))


def tensors(model: Sequential, y: Any = Y) -> tuple[Tensor, Tensor]:
    x, target = model.prepare(X, y)
    return Tensor(x), Tensor(target)


ENDINGS: list[tuple[list[Layer], str, Any, str]] = [
    ([Dense(4, "softmax")], "categorical_crossentropy", np.eye(4)[Y], "softmax_cross_entropy"),
    ([Dense(4), Activation("softmax")], "sparse_categorical_crossentropy", Y, "softmax_cross_e"),
    ([Dense(1, "sigmoid")], "binary_crossentropy", Y > 1, "sigmoid_cross_entropy"),
    ([Dense(1), Activation(sigmoid)], "binary_crossentropy", Y > 1, "sigmoid_cross_entropy"),
    ([Dense(4, "sigmoid")], "categorical_crossentropy", np.eye(4)[Y], "categorical_cross_entropy"),
    ([Dense(1, "sigmoid")], "mse", Y > 1, "mean_squared_error"),
]


@pytest.mark.parametrize(("layers", "loss", "y", "op"), ENDINGS)
@pytest.mark.parametrize("copied", [False, True])
def test_the_stable_form_is_used_where_there_is_one(
    layers: list[Layer], loss: str, y: Any, op: str, copied: bool
) -> None:
    model = Sequential(copy.deepcopy(layers))
    model.compile("sgd", loss)
    if copied:
        model = model.astype(np.float32)
    value, prediction = model.loss_of(*tensors(model, y))
    assert value.op.name.startswith(op)
    assert (prediction is None) == (op.startswith("s"))
    expected = losses.get(loss)(model(tensors(model, y)[0]), tensors(model, y)[1])
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("layers", "loss", "y", "op"), ENDINGS)
def test_metrics_get_probabilities(layers: list[Layer], loss: str, y: Any, op: str) -> None:
    model = Sequential(copy.deepcopy(layers))
    model.compile("sgd", loss, ["accuracy"])
    _, prediction = model.loss_of(*tensors(model, y))
    assert prediction is not None
    np.testing.assert_allclose(prediction.data, model.predict(X), rtol=1e-6)


def test_a_tracer_sees_layers_and_loss() -> None:
    model = classifier()
    x, y = tensors(model)
    recorder = Recorder()
    with traced(recorder):
        model.loss_of(x, y)
    assert recorder.scopes == [
        ("dense_1", "Dense 3 → 5, relu"),
        ("dense_2", "Dense 5 → 4, softmax"),
        ("loss", "categorical cross-entropy of integer labels"),
    ]
    assert recorder.ops == ["linear", "relu", "linear", "one_hot", "softmax_cross_entropy"]


def test_huge_logits_do_not_break_training() -> None:
    model = classifier()
    model.set_weights([w * 1e4 for w in model.get_weights()])
    assert np.isfinite(model.evaluate(X, Y)).all()


def test_a_frozen_base_is_not_run_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Sequential([Dense(8, "relu", input_dim=3), Dense(8, "relu"), Dense(4, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    seen: list[tuple[bool, ...]] = []
    linear = ops.OPERATIONS["linear"]
    original = linear.gradients

    def gradients(self: Any, wanted: tuple[bool, ...], *args: Any) -> Any:
        seen.append(wanted)
        return original(self, wanted, *args)

    monkeypatch.setattr(linear, "gradients", gradients)  # with its relu, it comes here as well
    model.train_on_batch(X, Y)
    everything, parameters = (True, True, True), (False, True, True)
    assert seen == [everything, everything, parameters]
    seen.clear()
    for layer in model.layers[:2]:
        layer.trainable = False
    frozen = model.get_weights()
    model.train_on_batch(X, Y)
    assert seen == [parameters]
    for i, (a, b) in enumerate(zip(frozen, model.get_weights(), strict=True)):
        assert (a != b).any() == (i >= 4)
    assert (before[0] != frozen[0]).any()
    model.layers[0].trainable = True
    model.train_on_batch(X, Y)
    assert (model.get_weights()[0] != frozen[0]).any()
    np.testing.assert_array_equal(model.get_weights()[2], frozen[2])


# -- evaluate, predict, summary --------------------------------------------------------------------


def test_evaluate_weighs_batches_by_their_rows() -> None:
    model = classifier()
    whole = model.evaluate(X, Y, batch_size=20)
    assert model.evaluate(X, Y, batch_size=7) == pytest.approx(whole, rel=1e-6)
    loss, accuracy = whole  # type: ignore[misc]
    p = model.predict(X)
    assert loss == pytest.approx(-np.log(p[np.arange(20), Y]).mean(), rel=1e-5)
    assert accuracy == pytest.approx((p.argmax(1) == Y).mean())
    assert isinstance(regression().evaluate(X, X[:, 0]), float)


def test_evaluate_may_print(capsys: pytest.CaptureFixture[str]) -> None:
    loss, accuracy = classifier().evaluate(X, Y, verbose=1)  # type: ignore[misc]
    assert capsys.readouterr().out == f"20/20 - loss: {loss:.4f} - accuracy: {accuracy:.4f}\n"


def test_accuracy_of_several_yes_or_no_outputs() -> None:
    model = Sequential([Dense(3, "sigmoid", input_dim=3, kernel_initializer="zeros")])
    model.compile("sgd", "binary_crossentropy", ["accuracy"])
    model.set_weights([np.zeros((3, 3)), [1.0, 1.0, -1.0]])
    assert model.evaluate(X, np.ones((20, 3)))[1] == pytest.approx(2 / 3)  # type: ignore[index]


def test_predict_records_nothing_and_ignores_batches() -> None:
    model = classifier()
    np.testing.assert_allclose(model.predict(X, batch_size=7), model.predict(X), rtol=1e-6)
    assert model.parameters()[0].data.flags.writeable


def test_predict_classes() -> None:
    model = classifier()
    np.testing.assert_array_equal(model.predict_classes(X), model.predict(X).argmax(1))
    binary = Sequential([Dense(1, "sigmoid", input_dim=3)])
    np.testing.assert_array_equal(binary.predict_classes(X), binary.predict(X)[:, 0] > 0.5)
    assert binary.predict_classes(X).shape == (20,)


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    model = classifier(name="small")
    model.layers[0].trainable = False
    model.summary()
    assert capsys.readouterr().out.splitlines() == [
        'Model: "small"',
        "_" * 65,
        "Layer (type)                 Output Shape              Param #",
        "=" * 65,
        "dense_1 (Dense)              (None, 5)                 20",
        "dense_2 (Dense)              (None, 4)                 24",
        "=" * 65,
        "Total params: 44",
        "Trainable params: 24",
        "Non-trainable params: 20",
        "_" * 65,
    ]


def test_summary_is_never_cut_off() -> None:
    name = "a_layer_with_a_name_that_is_far_longer_than_the_column_in_keras"
    lines: list[str] = []
    Sequential([Dense(2000, input_shape=(7, 1000), name=name)]).summary(print_fn=lines.append)
    assert lines[4] == f"{name} (Dense)  (None, 7, 2000)           2,002,000"
    assert len(lines[1]) == len(lines[3]) >= len(lines[4])


# -- data at the border ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float64, np.int32, np.uint8, np.bool_])
def test_all_numbers_are_cast(kind: Any) -> None:
    x, y = regression().prepare(np.ones((4, 3), kind), np.ones(4, kind))
    assert x.dtype == y.dtype == np.dtype(np.float32)
    assert (x.shape, y.shape) == ((4, 3), (4, 1))


def test_lists_tensors_and_vectors_are_taken() -> None:
    x, _ = regression().prepare([[1, 2, 3]], [1])
    np.testing.assert_array_equal(x, [[1, 2, 3]])
    x, _ = regression().prepare(Tensor([[1, 2, 3]]), Tensor([1]))
    np.testing.assert_array_equal(x, [[1, 2, 3]])
    one = Sequential([Dense(1)])
    assert one.predict([1.0, 2.0]).shape == (2, 1)
    assert one.predict([1.0, 2.0, 3.0]).shape == (3, 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_callers_arrays_stay_editable(shuffle: bool) -> None:
    model = regression()
    x, y = X.astype(np.float32), X[:, :1].astype(np.float32)
    model.train_on_batch(x, y)
    model.fit(x, y, shuffle=shuffle, batch_size=20, verbose=0)
    x[0] = y[0] = 1


BAD_DATA: list[tuple[Any, Any, type[MinnetError], str]] = [
    (np.zeros((0, 3)), np.zeros(0), ShapeError, r"inputs x: expected at least one row"),
    (X, np.zeros((0, 1)), ShapeError, r"targets y: expected at least one row"),
    (X, np.zeros(19), ShapeError, r"targets y: expected 20 rows, as in x, received 19"),
    (X[:, :2], np.zeros(20), ShapeError, r"layer 'dense_1': expected rows of shape \(3,\), rec"),
    (X[0], [0], ShapeError, r"received an array of shape \(3,\). One row alone is x\[None\]"),
    (5, 5, ShapeError, r"at least one row of numbers, received shape \(\)"),
    ([[1, 2], [3]], [0, 0], ShapeError, "rows of one length"),
    ([["a", "b", "c"]], [0], DtypeError, "inputs x: expected numbers, received dtype <U1"),
    (X, ["cat"] * 20, DtypeError, "targets y: expected numbers, received dtype <U3"),
    (X * 1j, np.zeros(20), DtypeError, "received dtype complex128"),
    (np.where(X[4, 2] == X, np.nan, X), np.zeros(20), NumberError, r"received nan at \[4, 2\]"),
    (np.where(X[4, 2] == X, -np.inf, X), np.zeros(20), NumberError, r"received -inf at \[4, 2\]"),
    (X * 1e300, np.zeros(20), NumberError, "inputs x.*float32 holds numbers up to"),
    (X, np.full(20, np.inf), NumberError, "targets of loss 'mean_squared_error'.*inf"),
    (X, np.zeros((20, 2)), ShapeError, r"rows of shape \(1,\), received an array of shape \(20, 2"),
]


@pytest.mark.parametrize(("x", "y", "error", "message"), BAD_DATA)
@pytest.mark.parametrize("call", ["prepare", "fit", "evaluate", "train_on_batch"])
def test_bad_data(x: Any, y: Any, error: type[MinnetError], message: str, call: str) -> None:
    with pytest.raises(error, match=message):
        getattr(regression(), call)(x, y)


def test_predict_checks_its_inputs() -> None:
    with pytest.raises(ShapeError, match="layer 'dense_1'"):
        regression().predict(X[:, :2])
    with pytest.raises(NumberError, match="nan"):
        regression().predict(X * np.nan)


# -- calls at the wrong time -----------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fit", "evaluate", "train_on_batch", "prepare"])
def test_not_compiled(call: str) -> None:
    with pytest.raises(ArgumentError, match=r"expected a compiled model.*Call model\.compile"):
        getattr(Sequential([Dense(1)]), call)(X, Y)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.fit(X, Y),
        lambda m: m.predict(X),
        lambda m: m(Tensor(X)),
        lambda m: m.loss_of(Tensor(X), Tensor(Y)),
        lambda m: m.pop(),
        lambda m: m.build((3,)),
        lambda m: m.summary(),
        lambda m: m.output_shape,
    ],
)
def test_empty(call: Callable[[Sequential], Any]) -> None:
    model = Sequential(name="mine")
    model.compile("sgd", "mse")
    with pytest.raises(ArgumentError, match=r"mine: .* at least one layer, received none"):
        call(model)


@pytest.mark.parametrize("call", [lambda m: m.summary(), lambda m: m.output_shape])
def test_not_built(call: Callable[[Sequential], Any]) -> None:
    with pytest.raises(ArgumentError, match="expected a built model.*input_shape"):
        call(Sequential([Dense(1)]))


def test_compile_needs_a_loss_and_known_names() -> None:
    model = Sequential([Dense(1)])
    with pytest.raises(ArgumentError, match="compile: expected a loss, received none"):
        model.compile("sgd")
    with pytest.raises(ArgumentError, match="unknown optimizer"):
        model.compile("sdg", "mse")


@pytest.mark.parametrize("ending", ["linear", "relu", "tanh"])
def test_cross_entropy_needs_probabilities(ending: str) -> None:
    model = Sequential([Dense(4, ending, input_dim=3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ArgumentError, match=rf"ends in '{ending}'\. Give the last layer activ"):
        model.fit(X, Y)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, "complex64"])
def test_dtype_is_float32_or_float64(dtype: Any) -> None:
    with pytest.raises(DtypeError, match="Sequential: expected dtype float32 or float64"):
        Sequential(dtype=dtype)


# -- against torch ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
@pytest.mark.parametrize("loss", ["categorical", "binary", "mse"])
def test_an_mlp_learns_what_torch_learns(dtype: str, tolerance: float, loss: str) -> None:
    torch = pytest.importorskip("torch")
    width = {"categorical": 4, "binary": 1, "mse": 2}[loss]
    ending = {"categorical": "softmax", "binary": "sigmoid", "mse": None}[loss]
    name = {"categorical": "sparse_categorical_crossentropy", "binary": "binary_crossentropy"}
    y: Any = {"categorical": Y, "binary": (Y > 1)[:, None] * 1.0, "mse": X[:, :2] ** 2}[loss]
    model = Sequential(
        [Dense(8, "tanh", input_dim=3), Dense(6, "relu"), Dense(width, ending)], dtype=dtype, seed=0
    )
    model.compile(SGD(0.1), name.get(loss, "mse"))

    kind = getattr(torch, dtype)
    theirs = [torch.tensor(w, dtype=kind, requires_grad=True) for w in model.get_weights()]
    x = torch.tensor(X, dtype=kind)
    target = torch.tensor(y) if loss == "categorical" else torch.tensor(y, dtype=kind)
    criterion = {
        "categorical": torch.nn.functional.cross_entropy,
        "binary": torch.nn.functional.binary_cross_entropy_with_logits,
        "mse": torch.nn.functional.mse_loss,
    }[loss]
    sgd = torch.optim.SGD(theirs, lr=0.1)
    for _ in range(5):
        w1, b1, w2, b2, w3, b3 = theirs
        z = torch.relu(torch.tanh(x @ w1 + b1) @ w2 + b2) @ w3 + b3
        expected = criterion(z, target)
        sgd.zero_grad()
        expected.backward()
        sgd.step()
        assert model.train_on_batch(X, y) == pytest.approx(expected.item(), rel=tolerance)
    for ours, tensor in zip(model.get_weights(), theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.detach().numpy(), rtol=0, atol=tolerance)


def test_gradients_of_loss_of_are_those_of_differences() -> None:
    model = classifier(dtype=np.float64, seed=1)
    x, y = tensors(model)
    parameters = model.trainable_parameters()
    found = backpropagate(model.loss_of(x, y)[0], parameters)
    for p, g in zip(parameters, found, strict=True):
        start, place, numbers = p.data.copy(), (0,) * p.ndim, []
        for nudge in (1e-6, -1e-6):
            moved = start.copy()
            moved[place] += nudge
            p.data = moved
            numbers.append(model.loss_of(x, y)[0].item())
        p.data = start
        assert g is not None
        assert g.data[place] == pytest.approx((numbers[0] - numbers[1]) / 2e-6, rel=1e-6, abs=1e-9)
