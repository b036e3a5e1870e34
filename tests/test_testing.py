"""gradcheck and testing: they find mistakes, say where, and do not cry wolf."""

from __future__ import annotations

import builtins
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings

from minnet import (
    Activation,
    Add,
    Dense,
    Embedding,
    Flatten,
    Input,
    Layer,
    Model,
    Sequential,
    Tensor,
    grad,
    ops,
)
from minnet import testing as t
from minnet.errors import ArgumentError, DtypeError, GraphError, MissingDependencyError, ShapeError
from minnet.gradcheck import check_gradients
from minnet.tensor import wrap

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])


class Wrong(ops.Operation):
    """x³ with a gradient that somebody got wrong."""

    def __init__(self, gradient: Any):
        self.name = "wrong_cube"  # type: ignore[misc]
        self._gradient = gradient

    def value(self, x: Any) -> Any:
        return x * x * x

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return self._gradient(g, x)


# -- gradcheck -------------------------------------------------------------------------------------


@pytest.mark.parametrize("second_order", [False, True])
def test_a_right_gradient_passes(second_order: bool) -> None:
    report = check_gradients(lambda x: ops.tanh(x) ** 3, X, second_order=second_order)
    assert report and report.ok
    assert (report.checked, report.wrong, report.order) == (6, 0, 1 + second_order)
    assert report.worst is not None and report.worst.error < 1e-8
    assert "is right in all 6 elements" in report.summary()


@pytest.mark.parametrize(
    "mistake",
    [
        lambda g, x: g * (2 * x**2),  # a wrong factor
        lambda g, x: -g * (3 * x**2),  # a wrong sign
        lambda g, x: 3 * x**2,  # the upstream gradient is forgotten
        lambda g, x: g * 0,
        lambda g, x: g * (3 * x**2) * (1 + 1e-5),  # a small error
        lambda g, x: g * (3 * x**2) + 1e-5,
        lambda g, x: g * (3 * x**2) * np.nan,
    ],
)
def test_mistakes_are_found(mistake: Any) -> None:
    report = check_gradients(Wrong(mistake), X)
    assert not report
    assert report.wrong == 6


def test_the_worst_element_is_named() -> None:
    def gradient(g: Any, x: Any) -> Any:
        right = g * (3 * x**2)
        right[1, 2] += 1
        return right

    report = check_gradients(Wrong(gradient), [Tensor(X, name="scores")])
    assert report.wrong == 1
    worst = report.worst
    assert worst is not None
    assert (worst.input, worst.index, worst.value) == ("scores", (1, 2), -0.75)
    assert worst.analytic == pytest.approx(worst.numeric + 1)
    assert worst.error == pytest.approx(1)
    assert (
        "wrong in 1 of 6 elements. Worst at scores[1, 2] = -0.75: the backward" in report.summary()
    )


def test_a_wrong_second_order_is_found() -> None:
    def constant(g: Any, x: Any) -> Any:  # right, but NumPy hides from the graph how it came about
        return wrap(g.data * 3 * x.data**2) if isinstance(g, Tensor) else g * 3 * x**2

    assert check_gradients(Wrong(constant), X).ok
    report = check_gradients(Wrong(constant), X, second_order=True)
    assert not report.ok
    assert report.summary().startswith("the gradient of the gradient is wrong in 6 of 6")


def test_errors_cannot_cancel_in_a_sum() -> None:
    """The rows of a softmax sum to 1: under a gradient of ones, zeros would look right."""

    class Softmax(ops.Operation):
        name = "wrong_softmax"

        def value(self, z: Any) -> Any:
            return ops.softmax(z)

        def gradient(self, index: int, g: Any, out: Any, z: Any) -> Any:
            return g * 0

    assert not check_gradients(Softmax(), X).ok


def test_large_and_small_numbers_pass() -> None:
    for scale in (1e-6, 1e6, 1e12):
        assert check_gradients(lambda x, s=scale: ops.sigmoid(x) * s, X).ok
        assert check_gradients(lambda x, s=scale: x + s, X).ok
    assert check_gradients(ops.tanh, X * 1e4).ok


def test_integers_pass_through() -> None:
    rows = np.array([1, 0, 1])
    assert check_gradients(lambda x, i: x[i] ** 2, [X, rows]).checked == 6
    mask = Tensor(X > 0)
    assert check_gradients(lambda m, x: ops.where(m, x, x * x), [mask, X]).checked == 6


def test_a_linear_function_has_no_second_derivative() -> None:
    assert check_gradients(lambda x: x * 3, X, second_order=True).ok


def test_several_outputs_shapes_and_single_numbers() -> None:
    assert check_gradients(lambda x, y: x * y, [2.0, np.float64(3)]).checked == 2
    assert check_gradients(lambda x: x.sum(0), np.zeros((0, 3))).checked == 0


def test_a_kink_is_recognised() -> None:
    report = check_gradients(ops.relu, np.array([1.0, 0.0]))
    assert report.wrong == 1
    assert "a kink or a jump" in report.summary()


def test_the_edge_of_a_domain_is_recognised() -> None:
    with np.errstate(all="ignore"):
        report = check_gradients(ops.log, np.array([1e-12]))
    assert "not finite beside this input" in report.summary()


@pytest.mark.parametrize("near_zero", [1e-4, 1e-7])
def test_too_long_a_step_is_recognised(near_zero: float) -> None:
    with np.errstate(all="ignore"):
        report = check_gradients(ops.log, np.array([near_zero]))
    assert "they agree: within a step of 6e-06" in report.summary()


def test_hidden_float32_is_recognised() -> None:
    class Cube(Wrong):
        def value(self, x: Any) -> Any:
            return (x.astype(np.float32) ** 3).astype(np.float64)

    report = check_gradients(Cube(lambda g, x: g * (3 * x**2)), X)
    assert "run in float32" in report.summary()


def test_a_float32_result_is_refused() -> None:
    with pytest.raises(
        DtypeError, match="expected a float64 result for float64 inputs, received fl"
    ):
        check_gradients(lambda x: Tensor(x, dtype=np.float32), X)


def test_functions_that_cannot_be_checked() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ArgumentError, match="gives different results for the same inputs"):
        check_gradients(lambda x: x * rng.random(X.shape), X)
    with pytest.raises(GraphError, match="expected one Tensor, received ndarray"):
        check_gradients(lambda x: x.data, X)
    with pytest.raises(GraphError, match="does not depend on its inputs"):
        check_gradients(ops.sign, X)
    with pytest.raises(ArgumentError, match="expected a floating input, or a layer"):
        check_gradients(lambda x: x, np.array([1]))


# -- layers and models -----------------------------------------------------------------------------


class Scale(Layer):
    """A layer whose parameter's gradient can be broken."""

    def __init__(self, broken: bool = False):
        super().__init__()
        self.broken = broken

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("factor", input_shape, "ones")
        return input_shape

    def call(self, x: Tensor) -> Any:
        factor = self.parameters["factor"]
        return x * (factor.detach() + factor * 0 if self.broken else factor)


def test_parameters_are_checked() -> None:
    t.assert_gradients(Scale(), X, order=2)
    with pytest.raises(AssertionError, match=r"Scale: .* wrong in 3 of 9 .* Worst at factor\[\d\]"):
        t.assert_gradients(Scale(broken=True), X)


def test_layers_of_several_inputs() -> None:
    class Mix(Add):
        def build_for(self, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
            self.add_parameter("factor", shapes[0], "ones")
            return super().build_for(shapes)

        def call(self, x: Any) -> Any:
            return x[0] * self.parameters["factor"] + x[1] * x[1]

    assert check_gradients(Mix(), [X, X + 1]).checked == 2 * X.size + X.shape[1]
    t.assert_gradients(Mix(), X, X + 1)
    t.assert_gradients(Mix(), [X, X + 1])
    left, right = Input((3,)), Input((3,))
    model = Model([left, right], Dense(2, "tanh")(Mix()([left, right])))
    assert check_gradients(model, [X[:, :3], X[:, :3]]).checked == 2 * X[:, :3].size + 3 + 3 * 2 + 2


def test_layers_of_indices() -> None:
    rows = np.array([[1, 2], [0, 1]])
    embedding = Embedding(5, 3)
    assert check_gradients(embedding, rows).checked == 15
    assert check_gradients(embedding, rows)  # now that it is built
    model = Sequential([Embedding(5, 3), Flatten(), Dense(2)])
    assert check_gradients(model, rows).checked == 15 + 6 * 2 + 2


def test_a_layer_gets_its_parameters_back() -> None:
    layer = Dense(2, "tanh")
    layer(Tensor(X, dtype=np.float32))
    before = {name: p.data for name, p in layer.parameters.items()}
    t.assert_gradients(layer, X, order=2)
    assert all(layer.parameters[name].data is array for name, array in before.items())
    assert layer.dtype == np.float32
    with pytest.raises(ShapeError):
        t.assert_gradients(layer, X.T)
    assert all(layer.parameters[name].data is array for name, array in before.items())


def test_a_frozen_layer_is_checked_for_its_input_alone() -> None:
    layer = Dense(2)
    layer.trainable = False
    assert check_gradients(layer, X).checked == 6


def test_a_whole_model_can_be_checked() -> None:
    model = Sequential([Dense(4, "tanh"), Activation("sigmoid"), Dense(2, "softmax")])
    report = check_gradients(model, X)
    assert report.ok, report.summary()
    assert report.checked == 6 + 16 + 10
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_the_message_shows_the_inputs() -> None:
    with pytest.raises(AssertionError) as caught:
        t.assert_gradients(Wrong(lambda g, x: g), np.array([2.0, 0.5]))
    first, second = str(caught.value).splitlines()
    assert first.startswith(
        "Wrong: the gradient is wrong in 2 of 2 elements. Worst at input 0[0] = 2:"
    )
    assert second == "  input 0 = [2. , 0.5]  (float64, shape (2,))"
    with pytest.raises(ArgumentError, match="expected order 1 or 2, received 3"):
        t.assert_gradients(ops.exp, X, order=3)


# -- strategies ------------------------------------------------------------------------------------

few = settings(max_examples=40, deadline=None)


@few
@given(t.shapes(1, 2, min_side=0, max_side=3))
def test_shapes(shape: tuple[int, ...]) -> None:
    assert 1 <= len(shape) <= 2
    assert all(0 <= n <= 3 for n in shape)


@few
@given(t.broadcastable_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
def test_broadcastable_shapes(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    common = np.broadcast_shapes(*pair)
    assert all(1 <= len(shape) <= 3 for shape in pair)
    assert all(0 <= n <= 3 for n in common)


def test_broadcastable_shapes_reach_the_hard_cases() -> None:
    conditions: list[Callable[[Any, Any], bool]] = [
        lambda a, b: len(np.broadcast_shapes(a, b)) == 2 and a != np.broadcast_shapes(a, b) != b,
        lambda a, b: len(a) == 0 and len(b) == 2,
        lambda a, b: 0 in a and 0 not in b and len(b) > 0,
    ]
    for condition in conditions:
        found = find(t.broadcastable_shapes(min_side=0), lambda pair, c=condition: c(*pair))  # type: ignore[misc]
        assert condition(*found)


@few
@given(t.arrays((2, 3), -1, 2, away_from=(0.0, 1.0), margin=0.1, dtype=np.float32))
def test_arrays_keep_away_from_kinks(x: Any) -> None:
    assert x.shape == (2, 3) and x.dtype == np.float32
    assert x.min() >= -1 and x.max() <= 2
    assert (abs(x) >= 0.1).all() and (abs(x - 1) >= 0.1).all()


@few
@given(t.arrays(t.shapes(), distinct=True, margin=0.03))
def test_distinct_arrays_have_no_ties(x: Any) -> None:
    assert (np.diff(np.sort(x, axis=None)) >= 0.03).all()


def test_arrays_shrink_to_short_numbers() -> None:
    assert find(t.arrays(2), lambda x: True).tolist() == [1, 1]
    for condition in (lambda x: x.min() < -1.3, lambda x: 1 < x.max() < 2):
        a, b = find(t.arrays(2), condition)
        assert a == 1
        assert b in (-1.5, -2, -3, 1.5)


def test_arrays_that_cannot_be() -> None:
    with pytest.raises(
        ArgumentError, match=r"expected 3 distinct numbers from 0 to 1, received only"
    ):
        t.arrays(3, 0, 1, distinct=True, margin=1)
    with pytest.raises(ArgumentError, match="Widen low…high"):
        t.arrays(3, -0.1, 0.1, margin=0.5)
    with pytest.raises(ArgumentError, match="a margin above 0"):
        t.arrays(3, margin=0)
    assert find(t.arrays((0, 2), -0.1, 0.1, margin=0.5), lambda x: True).shape == (0, 2)


@few
@given(t.layers(1, 3, max_width=5, activations=["relu"]))
def test_layers(layers: list[Layer]) -> None:
    dense = [layer for layer in layers if isinstance(layer, Dense)]
    assert 1 <= len(dense) <= 3
    assert all(1 <= layer.units <= 5 for layer in dense)
    assert Sequential(layers)(Tensor(X, dtype=np.float32)).shape == (2, dense[-1].units)


@settings(max_examples=40, deadline=None)
@given(t.networks(dtype=np.float64))
def test_networks_keep_clear_of_kinks_and_have_right_gradients(network: t.Network) -> None:
    model, x, y = network
    h = Tensor(x)
    for layer in model.layers:
        if isinstance(layer, Dense):
            assert (abs(layer.logits(h).data) >= 1 / 16 - 1e-9).all()
        h = layer(h)

    target = Tensor(y)
    t.assert_gradients(lambda inputs: model.loss_of(inputs, target)[0], x)
    loss, _ = model.loss_of(Tensor(x), target)
    assert all(np.isfinite(g.data).all() for g in grad(loss, model.trainable_parameters()))
    assert "Network([Dense" in repr(network)


@settings(max_examples=15, deadline=None)
@given(network=t.networks(1, 1, losses=["categorical_crossentropy"], max_batch=2))
def test_networks_of_a_kind(network: t.Network) -> None:
    model, x, y = network
    assert len(model.layers) == 1
    assert model.loss is not None and model.loss.name == "categorical_crossentropy"
    assert x.dtype == y.dtype == model.dtype == np.float32
    assert len(x) == len(y) <= 2
    model.fit(x, y, epochs=1, verbose=0)


def test_hypothesis_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("hypothesis"):
            raise ImportError(name)
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r'pip install "minnet\[test\]"'):
        t.shapes()
    t.assert_gradients(ops.exp, X)  # needs none


# -- workbooks and the example ---------------------------------------------------------------------


def test_assert_recalculates(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    pytest.importorskip("ironcalc")
    right, wrong = tmp_path / "right.xlsx", tmp_path / "wrong.xlsx"
    for path, stored in ((right, 3), (wrong, 4)):
        write_workbook(openpyxl, path, stored)
    t.assert_recalculates(right)
    with pytest.raises(AssertionError, match="recalculated 3"):
        t.assert_recalculates(wrong)
    t.assert_recalculates(wrong, tolerance=0.5)


def write_workbook(openpyxl: Any, path: Path, stored: float) -> None:
    """One formula, 1+2, with the value that is stored beside it."""
    import zipfile

    plain = path.with_suffix(".plain.xlsx")
    book = openpyxl.Workbook()
    book.active["A1"] = "=1+2"
    book.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename == "xl/worksheets/sheet1.xml":
                content = content.replace(b"<v />", b"").replace(b"<v/>", b"")
                content = content.replace(b"</f>", f"</f><v>{stored}</v>".encode())
            target.writestr(item, content)


def test_the_example_finds_its_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).parents[1] / "examples" / "property_test.py"
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert "input 0 = [[-1.]]" in printed, "shrunk to one negative number"
    assert printed.rstrip().endswith("the layer passes, to second order.")
