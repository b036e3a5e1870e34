"""Steps that are done again must be the steps that would have been taken, to the last bit."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import programs_of, written_to
from together import team_taken

import minnet
from minnet import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPooling2D,
    Sequential,
)
from minnet.autodiff import backpropagate
from minnet.errors import GraphError, NumberError
from minnet.kernels.prepared import kept_bytes
from minnet.kernels.products import compiles
from minnet.ops.shape import Reshape
from minnet.program import Program, Team, worked_out, writing
from minnet.tensor import Array, wrap

pytestmark = pytest.mark.skipif(not compiles(), reason="what is not compiled is not written down")

STEPS = 6
ROWS = 8


def digits(**options: Any) -> Sequential:
    layers = [
        Conv2D(5, 3, padding="same", activation="relu", input_shape=(8, 8, 1)),
        MaxPooling2D(),
        Conv2D(20, 5, padding="same", activation="relu", **options),
        AveragePooling2D(),
        Flatten(),
        Dense(12, activation="relu"),
        Dense(3, activation="softmax"),
    ]
    return compiled(Sequential(layers, seed=1))


def compiled(model: Any, optimizer: Any = "sgd", metrics: Any = ("accuracy",)) -> Any:
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=list(metrics))
    return model


def batch(rows: int = ROWS, seed: int = 0, shape: tuple[int, ...] = (8, 8, 1)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, *shape), np.float32), rng.integers(0, 3, rows)


def written(model: Any) -> list[Program]:
    """What was written down of its steps."""
    return programs_of(model.replays._steps)


def anew(model: Any) -> Any:
    """The model, such that each step is worked out."""
    model.replays.slopes = lambda *_: None
    return model


def train(
    model: Any, data: Callable[[int], tuple[Any, Any]], between: Callable[[Any, int], None]
) -> list[Any]:
    """What each step reports, and the weights in the end."""
    found: list[Any] = []
    for k in range(STEPS):
        found.append(model.train_on_batch(*data(k)))
        between(model, k)
    return [*found, *model.get_weights()]


def assert_same(
    make: Callable[[], Any],
    data: Callable[[int], tuple[Any, Any]] = lambda k: batch(seed=k),
    between: Callable[[Any, int], None] = lambda model, k: None,
) -> Any:
    """Train a model with and without what this module tests; the model with it."""
    model = make()
    ours, theirs = train(model, data, between), train(anew(make()), data, between)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    return model


# -- what is done again ----------------------------------------------------------------------------


def test_steps_are_the_same_to_the_last_bit() -> None:
    assert written(assert_same(digits))


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "shortened", "clipped"],
)
def test_with_every_optimizer(optimizer: str) -> None:
    made = {
        "momentum": minnet.SGD(0.1, momentum=0.9),
        "shortened": minnet.SGD(0.1, clipnorm=0.01),
        "clipped": minnet.SGD(0.1, clipvalue=0.001),
    }

    def make() -> Any:
        return compiled(digits(), copy.deepcopy(made.get(optimizer, optimizer)))

    assert written(assert_same(make))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_convolutions_of_any_kind(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    options: dict[str, Any] = {"padding": data.draw(st.sampled_from(["same", "valid"]))}
    if size * 2 <= 9:
        options["strides"] = data.draw(st.integers(1, 2))
    groups = data.draw(st.sampled_from([1, 2, 4]))
    channels = data.draw(st.sampled_from([4, 8, 36]))
    filters = groups * data.draw(st.integers(1, 9))
    bias = data.draw(st.booleans())
    shape = (data.draw(st.integers(9, 14)), data.draw(st.integers(9, 14)), 2)

    def make() -> Any:
        conv = Conv2D(filters, size, groups=groups, use_bias=bias, **options)
        layers = [Conv2D(channels, 3, padding="same", input_shape=shape), conv, Flatten(), Dense(3)]
        return compiled(Sequential([*layers, Activation("softmax")], seed=1))

    assert written(assert_same(make, lambda k: batch(3, k, shape)))


def test_a_dense_network_that_needs_no_kernels() -> None:
    def make() -> Any:
        hidden = Dense(7, activation="relu", input_shape=(4,))
        model = Sequential([hidden, Dense(5), Activation("relu"), Dense(2)], seed=1)
        model.compile(minnet.SGD(0.1), "mse")
        return model

    def data(k: int) -> tuple[Any, Any]:
        x, _ = batch(seed=k, shape=(4,))
        return x, x[:, :2] * 3 + 1

    assert written(assert_same(make, data))


def chain(*layers: Any, **options: Any) -> Any:
    before = [Flatten(input_shape=(8, 8, 1)), Dense(9, activation="relu")]
    ending = Dense(3, activation="softmax")
    return compiled(Sequential([*before, *layers, ending], seed=1, **options))


#: Layers whose calculations are done again as a whole, not kernel by kernel.
OTHERS: dict[str, Callable[[], Any]] = {
    "activations": lambda: chain(Dense(9, activation="tanh"), Dense(9, activation="gelu")),
    "batch normalization": lambda: chain(BatchNormalization(momentum=0.5)),
    "layer normalization": lambda: chain(minnet.LayerNormalization()),
    "a regularizer": lambda: chain(Dense(9, kernel_regularizer="l2", use_bias=False)),
    "a layer that is used twice": lambda: graph(2),
    "branches": lambda: branches(),
    "padding and global pools": lambda: compiled(
        Sequential(
            [
                minnet.ZeroPadding2D(1, input_shape=(8, 8, 1)),
                Conv2D(9, 3, activation="tanh"),
                minnet.GlobalAveragePooling2D(),
                Dense(3, activation="softmax"),
            ],
            seed=1,
        )
    ),
}


def branches() -> Any:
    minnet.seed(1)
    x = minnet.Input((8, 8, 1))
    left, right = (Conv2D(4, 3, padding="same", activation="relu")(x) for _ in range(2))
    both = minnet.Concatenate()([left, right, minnet.Add()([left, right])])
    y = Dense(3, activation="softmax")(minnet.GlobalMaxPooling2D()(both))
    return compiled(minnet.Model(x, y))


@pytest.mark.parametrize("name", OTHERS)
def test_other_layers(name: str) -> None:
    assert written(assert_same(OTHERS[name]))


def test_what_layers_remember_by_themselves_does_not_begin_anew() -> None:
    model = OTHERS["batch normalization"]()
    train(model, lambda k: batch(seed=k), lambda *_: None)
    (program,) = written(model)
    train(model, lambda k: batch(seed=k), lambda *_: None)
    assert written(model) == [program]


class Half(Dense):
    """A layer of one's own, which may do something else tomorrow."""

    def call(self, x: Any) -> Any:
        return super().call(x) * 0.5


class Steady(Half):
    """A layer of one's own that promises to do the same each time."""

    steady = True


def test_a_layer_of_ones_own_that_promises_to_be_steady() -> None:
    assert written(assert_same(lambda: chain(Steady(9))))


def test_an_embedding() -> None:
    def make() -> Any:
        words = minnet.Embedding(20, 4, input_shape=(6,))
        return compiled(Sequential([words, Flatten(), Dense(3, activation="softmax")], seed=1))

    def data(k: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(k)
        return rng.integers(0, 20, (ROWS, 6)), rng.integers(0, 3, ROWS)

    assert written(assert_same(make, data))


def test_two_classes() -> None:
    def make() -> Any:
        model = chain()
        model.add(Dense(1, activation="sigmoid"))
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        return model

    def data(k: int) -> tuple[Any, Any]:
        x, y = batch(seed=k)
        return x, y % 2

    assert written(assert_same(make, data))


def graph(times: int) -> Any:
    """A model of the functional kind, one of whose layers is used so many times."""
    minnet.seed(1)
    x = minnet.Input((8, 8, 1))
    hidden, again = Dense(9, activation="relu"), Dense(9, activation="relu")
    y = hidden(Flatten()(x))
    for _ in range(times):
        y = again(y)
    return compiled(minnet.Model(x, Dense(3, activation="softmax")(y)))


def test_a_functional_model() -> None:
    assert written(assert_same(lambda: graph(1)))


def several_inputs_and_outputs(metrics: Any = ("accuracy",)) -> Any:
    minnet.seed(1)
    image, words = minnet.Input((8, 8, 1)), minnet.Input((3,), dtype=int)
    seen = Dense(6, activation="relu")(Flatten()(MaxPooling2D()(Conv2D(4, 3)(image))))
    read = Flatten()(Embedding(5, 2)(words))
    both = Concatenate()([seen, read])
    outputs = [Dense(3, activation="softmax", name="kind")(both), Dense(2, name="place")(both)]
    model = minnet.Model([image, words], outputs)
    losses = {"kind": "sparse_categorical_crossentropy", "place": "mse"}
    chosen = {"kind": list(metrics)} if metrics else None
    model.compile("adam", losses, metrics=chosen, loss_weights={"kind": 1.0, "place": 0.5})
    return model


def data_of_several(k: int, rows: int = ROWS) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    x, kinds = batch(rows, seed=k)
    places = rng.standard_normal((rows, 2), np.float32)
    return [x, rng.integers(0, 5, (rows, 3))], [kinds, places]


@pytest.mark.parametrize("metrics", [("accuracy",), None])
def test_several_inputs_and_outputs(metrics: Any) -> None:
    assert written(assert_same(lambda: several_inputs_and_outputs(metrics), data_of_several))


def test_several_outputs_and_a_loss_that_changes() -> None:
    def between(model: Any, k: int) -> None:
        if k == 1:
            model.loss.factors = (2.0, 0.25)
        if k == 3:
            model.loss.losses[0].something = "else"

    make = several_inputs_and_outputs
    model = assert_same(make, data_of_several, between)
    assert len(written(model)) == 3


def test_one_of_several_losses_is_not_known() -> None:
    def make() -> Any:
        model = several_inputs_and_outputs()
        model.compile("sgd", ["sparse_categorical_crossentropy", lambda y, t: (y - t).mean()])
        return model

    assert not written(assert_same(make, data_of_several))


def test_several_sizes_of_several_inputs() -> None:
    make = several_inputs_and_outputs
    assert len(written(assert_same(make, lambda k: data_of_several(k, (8, 5)[k % 2])))) == 2


def test_dropout_draws_the_same_numbers() -> None:
    def make() -> Any:
        minnet.seed(5)
        before = [Flatten(input_shape=(8, 8, 1)), Dense(50, activation="relu")]
        return compiled(Sequential([*before, Dropout(0.3), Dense(3, activation="softmax")]))

    def between(model: Any, k: int) -> None:
        if k == 3:
            minnet.seed(6)

    assert written(assert_same(make, between=between))


def test_each_size_of_batches_has_its_own() -> None:
    model = assert_same(digits, lambda k: batch((8, 5)[k % 2], k))
    assert len(written(model)) == 2


def test_fit_with_a_last_batch_that_is_smaller() -> None:
    x, y = batch(21)
    ours, theirs = digits(), anew(digits())
    for model in (ours, theirs):
        model.fit(x, y, batch_size=8, epochs=4, verbose=0)
    assert len(written(ours)) == 2
    assert ours.history.history == theirs.history.history
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_depends_on_what_the_arrays_held_before() -> None:
    """What is written to is filled with NaN: a calculation that was not written down shows."""
    ours, theirs = digits(), anew(digits())
    for k in range(STEPS):
        for program in written(ours):
            for array in written_to(program):
                array.fill(np.nan)
        assert ours.train_on_batch(*batch(seed=k)) == theirs.train_on_batch(*batch(seed=k))


# -- what changes between steps --------------------------------------------------------------------


def test_layers_that_are_frozen_and_thawed() -> None:
    def between(model: Any, k: int) -> None:
        model.layers[0].trainable = k % 4 >= 2

    assert_same(digits, between=between)


def test_new_weights() -> None:
    def between(model: Any, k: int) -> None:
        model.layers[0].trainable = False
        if k == 3:
            model.set_weights([w * 1.5 for w in model.get_weights()])

    assert_same(digits, between=between)


def test_weights_that_are_edited_in_their_place() -> None:
    def between(model: Any, k: int) -> None:
        bias = model.layers[0].parameters["bias"]
        bias.data.setflags(write=True)  # a graph that is no longer there had locked it
        bias.data[1] += 0.5

    assert written(assert_same(digits, between=between))


def test_a_layer_that_learns_at_a_rate_of_its_own() -> None:
    def between(model: Any, k: int) -> None:
        model.layers[0].lr_multiplier = 1.0 if k < 3 else 0.1

    assert written(assert_same(lambda: compiled(digits(), "adam"), between=between))


def test_too_large_a_gradient_is_named() -> None:
    """The loss is finite, and the square of a gradient is not."""

    def data(k: int) -> tuple[Any, Any]:
        x = np.full((ROWS, 4), 1.0 if k < STEPS - 1 else 1e12, np.float32)
        return x, np.zeros((ROWS, 1), np.float32)

    model = Sequential([Dense(1, input_shape=(4,), use_bias=False)], seed=1)
    model.compile("sgd", "mse")
    for k in range(STEPS - 1):
        model.train_on_batch(*data(k))
    assert written(model)
    before = model.get_weights()
    with pytest.raises(NumberError, match="too large a gradient of"):
        model.train_on_batch(*data(STEPS - 1))
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_a_setting_that_is_changed() -> None:
    def between(model: Any, k: int) -> None:
        if k == 3:
            model.layers[5].activation_name, model.layers[5].activation = "tanh", minnet.ops.tanh

    assert_same(digits, between=between)


def test_a_regularizer_that_is_added_and_changed() -> None:
    def between(model: Any, k: int) -> None:
        if k == 2:
            model.layers[5].regularizers["weight"] = minnet.regularizers.get("l2")
        if k == 4:
            model.layers[5].regularizers["weight"] = minnet.regularizers.get("l1")

    assert_same(digits, between=between)


def test_a_layer_that_is_added() -> None:
    def between(model: Any, k: int) -> None:
        if k == 3:
            model.add(Dense(3, activation="softmax"))

    assert_same(digits, between=between)


def test_a_layer_without_weights_that_is_added() -> None:
    def between(model: Any, k: int) -> None:
        if k == 3:
            model.add(Activation("softmax"))

    assert_same(digits, between=between)


def test_a_frozen_layer_that_gets_another_tensor() -> None:
    def between(model: Any, k: int) -> None:
        layer = model.layers[0]
        layer.trainable = False
        if k == 3:
            new = layer.parameters["bias"].data + 1
            layer.parameters["bias"] = minnet.Tensor(new, name=layer.parameters["bias"].name)

    assert_same(digits, between=between)


class Idle(Dense):
    """A layer with a parameter that nothing depends on."""

    steady = True

    def build(self, input_shape: Any) -> Any:
        self.add_parameter("idle", (3,), "ones")
        return super().build(input_shape)


def test_a_parameter_that_the_loss_does_not_depend_on() -> None:
    model = assert_same(lambda: chain(Idle(9)))
    assert written(model)
    np.testing.assert_array_equal(model.layers[2].parameters["idle"].data, 1)


def test_metrics_that_come_and_go() -> None:
    def between(model: Any, k: int) -> None:
        metrics = digits().metrics
        model.metrics = metrics if k % 3 else {}

    assert_same(digits, between=between)


def test_another_loss() -> None:
    def data(k: int) -> tuple[Any, Any]:
        x, y = batch(seed=k)
        return x, np.eye(3)[y]

    def make() -> Any:
        model = digits()
        model.compile("sgd", "categorical_crossentropy")
        return model

    def between(model: Any, k: int) -> None:
        if k == 3:
            model.compile("sgd", "mse")

    assert_same(make, data, between)


# -- what is not done again ------------------------------------------------------------------------


def refused() -> dict[str, Callable[[], Any]]:
    return {
        "a layer of one's own": lambda: chain(Half(9)),
        "an activation of one's own": lambda: chain(Dense(9, activation=lambda x: x * x)),
        "float64": lambda: chain(dtype=np.float64),
    }


@pytest.mark.parametrize("name", refused())
def test_refused(name: str) -> None:
    assert not written(assert_same(refused()[name]))


def test_a_subclass_of_a_model_is_not_trusted() -> None:
    class Noisy(Sequential):
        pass

    def make() -> Any:
        return compiled(Noisy(digits().layers, seed=1))

    assert not written(assert_same(make))


def test_what_needs_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minnet.program.MOST", 1 << 12)
    assert not written(assert_same(digits))


def test_weights_of_rows() -> None:
    model, other = digits(), anew(digits())
    for k in range(STEPS):
        x, y = batch(seed=k)
        weights = np.arange(ROWS) / ROWS
        assert model.train_on_batch(x, y, weights) == other.train_on_batch(x, y, weights)
    assert written(model)


def test_while_the_threads_work_for_someone_else() -> None:
    with ExitStack() as until_the_end:

        def between(model: Any, k: int) -> None:
            if k == 2 and written(model):
                until_the_end.enter_context(team_taken())

        assert written(assert_same(digits, between=between))


def test_kernels_that_a_function_calls_have_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from minnet.kernels import jit

    monkeypatch.setattr("minnet.kernels.products._forced", lambda: "numba")
    a, b = (np.ones(shape, np.float32) for shape in ((200, 300), (300, 200)))
    used: list[int] = []
    run = jit.Kernel._run
    program = Program([])
    with writing(program):
        worked_out(lambda a, b: minnet.kernels.matmul(a, b), a, b)

    def noting(self: Any, twin: Any, workers: int, *arguments: Any) -> None:
        used.append(workers)
        run(self, twin, workers, *arguments)

    monkeypatch.setattr(jit.Kernel, "_run", noting)
    with Team.lock:
        program.play()
    assert used == [jit.workers_for(200 * 300 * 200)]


# -- what others hold ------------------------------------------------------------------------------


def test_arrays_that_others_hold_stay_as_they_are() -> None:
    held: list[tuple[Array, Array]] = []

    class Keeping(minnet.SGD):
        def update(self, parameter: Any, gradient: Any, lr: Any, state: Any) -> Any:
            held.extend([(parameter, parameter.copy()), (gradient, gradient.copy())])
            return super().update(parameter, gradient, lr, state)

    model = digits()
    compiled(model, Keeping(0.1))
    train(model, lambda k: batch(seed=k), lambda *_: None)
    assert written(model)
    assert held
    for now, then in held:
        np.testing.assert_array_equal(now, then)


def test_a_copy_begins_afresh() -> None:
    model = digits()
    train(model, lambda k: batch(seed=k), lambda *_: None)
    assert written(model)
    for other in (copy.deepcopy(model), model.astype(np.float32)):
        assert not written(other)
        before = [w.copy() for w in other.get_weights()]
        train(model, lambda k: batch(seed=k), lambda *_: None)
        for now, then in zip(other.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
        train(other, lambda k: batch(seed=k), lambda *_: None)
        assert written(other)
    assert not programs_of(pickle.loads(pickle.dumps(model.replays))._steps)


def test_nothing_is_trained_where_nothing_is_recorded() -> None:
    model = digits()
    train(model, lambda k: batch(seed=k), lambda *_: None)
    assert written(model)
    with minnet.no_grad(), pytest.raises(GraphError):
        model.train_on_batch(*batch())


def test_predictions_afterwards_arrange_the_weights_once() -> None:
    model = digits()
    train(model, lambda k: batch(seed=k), lambda *_: None)
    assert written(model)
    gc.collect()
    before = kept_bytes()
    model.predict(batch()[0])
    model.predict(batch()[0])
    assert kept_bytes() > before


def test_a_loss_that_is_lost_is_reported_and_changes_nothing() -> None:
    model = digits()
    train(model, lambda k: batch(seed=k), lambda *_: None)
    before = model.get_weights()
    x, y = batch()
    with pytest.raises(NumberError, match="finite"):
        model.train_on_batch(np.full_like(x, 3e38), y)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert np.isfinite(model.train_on_batch(x, y)[0])


# -- programs themselves ---------------------------------------------------------------------------


def test_a_parameter_that_is_frozen_by_itself() -> None:
    def between(model: Any, k: int) -> None:
        model.layers[0].parameters["bias"].requires_grad = k < 3

    assert_same(digits, between=between)


def test_numbers_that_follow_from_nothing_known_refuse_a_program() -> None:
    x, w, b = (minnet.Tensor(np.ones(shape, np.float32)) for shape in ((2, 3), (3, 4), (4,)))
    for leaves, refused in (([x, w, b], False), ([x, w], True)):
        program = Program(leaves)
        with writing(program):
            minnet.ops.relu(minnet.ops.linear(x, w, b))
        assert (program.refusal is not None) == refused
        assert bool(len(program)) != refused


def test_what_gives_back_what_it_was_given_is_asked_again() -> None:
    """It may have looked at the numbers, unless it is an operation that only moves them."""

    def checked(a: Array) -> Array:
        if a.min() < 0:
            raise NumberError("below zero")
        return a

    x, program = np.ones((2, 3), np.float32), Program([])
    with writing(program):
        assert worked_out(checked, x) is x
        worked_out(Reshape((3, 2)).value, x)
    assert len(program) == 1
    x[0] = -1
    with pytest.raises(NumberError, match="below zero"):
        program.play()


def test_gradients_that_are_found_together_by_an_operation_of_ones_own() -> None:
    class Plain(type(minnet.ops.relu)):  # type: ignore[misc]
        replays = False

        def gradients(self, wanted: Any, g: Any, out: Any, x: Any) -> Any:
            return [np.where(x > 0, g, 0)]

    numbers = np.array([1, -2, 3], np.float32)
    x = wrap(numbers[...])
    x.requires_grad = True
    program = Program([x])
    with writing(program):
        (found,) = backpropagate(minnet.ops.sum(Plain()(x)), [x])
    assert program.refusal is None
    assert found is not None
    numbers[...] = [-1, 2, -3]
    program.play()
    np.testing.assert_array_equal(found.data, [0, 1, 0])
