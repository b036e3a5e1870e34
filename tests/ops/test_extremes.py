"""Kinks, ties, huge numbers, NaN, empty arrays, and inputs that make no sense."""

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from minnet import ops
from minnet.autodiff import grad
from minnet.errors import ArgumentError, DtypeError, ShapeError
from minnet.tensor import Tensor

DTYPES = [np.float32, np.float64]


@pytest.fixture(autouse=True)
def every_warning_is_an_error() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def slopes(function: Callable[..., Any], *inputs: Tensor) -> list[Any]:
    return [g.data.tolist() for g in grad(function(*inputs).sum(), inputs)]


# -- kinks and ties, as documented in minnet.ops ---------------------------------------------------


@pytest.mark.parametrize("function", [ops.relu, ops.absolute])
def test_derivative_at_the_kink_is_zero(function: Any) -> None:
    assert slopes(function, leaf([0.0, -0.0])) == [[0.0, 0.0]]


@pytest.mark.parametrize("function", [ops.maximum, ops.minimum])
def test_of_equals_the_gradient_goes_to_the_first(function: Any) -> None:
    assert slopes(function, leaf([1.0, 2.0]), leaf([1.0, 2.0])) == [[1, 1], [0, 0]]


def test_max_sends_its_gradient_to_the_first_of_equals_only() -> None:
    x = leaf([[1, 3, 3], [3, 2, 3]])
    assert slopes(ops.max, x) == [[[0, 1, 0], [0, 0, 0]]]
    assert slopes(lambda t: ops.max(t, 0), x) == [[[0, 1, 1], [1, 0, 0]]]
    assert slopes(lambda t: ops.max(t, 1), x) == [[[0, 1, 0], [1, 0, 0]]]


def test_power_is_smooth_at_zero() -> None:
    for exponent, first, second in [(0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0)]:
        x = leaf([0.0])
        slope = grad((x**exponent).sum(), x, create_graph=True)
        assert slope.data.tolist() == [first]
        if slope.requires_grad:
            assert grad(slope.sum(), x).data.tolist() == [second]


def test_a_power_of_zero_does_not_change_with_its_exponent() -> None:
    exponents = leaf([0.0, 0.5, 3.0])
    for base in (Tensor([0.0, 0.0, 0.0], dtype=exponents.dtype), 0.0):
        slope = grad((base**exponents).sum(), exponents, create_graph=True)
        assert slope.data.tolist() == [0, 0, 0]
        assert grad(slope.sum(), exponents).data.tolist() == [0, 0, 0]
    with np.errstate(invalid="ignore"):
        assert np.isnan(slopes(ops.power, leaf([-1.0]), leaf([2.0]))[1])


@pytest.mark.parametrize("function", [ops.relu, ops.absolute, ops.tanh, ops.sigmoid, ops.softmax])
def test_nan_stays_nan(function: Any) -> None:
    out = function(Tensor([np.nan, 1.0]))
    assert np.isnan(out.data[0])


def test_nan_passes_maximum_and_max() -> None:
    x = Tensor([np.nan, 1.0])
    assert np.isnan(ops.maximum(x, 0.0).data[0])
    assert np.isnan(ops.max(x).data)


# -- huge numbers ----------------------------------------------------------------------------------

HUGE = [[1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -1000.0], [1000.0, 1000.0, 999.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_does_not_overflow(dtype: Any) -> None:
    x = leaf([-1000.0, 0.0, 1000.0], dtype)
    assert ops.sigmoid(x).data.tolist() == [0, 0.5, 1]
    assert slopes(ops.sigmoid, x) == [[0, 0.25, 0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_does_not_overflow(dtype: Any) -> None:
    z = leaf(HUGE, dtype)
    p = ops.softmax(z)
    np.testing.assert_allclose(p.data.sum(axis=1), 1, rtol=1e-6)
    assert p.data[0].tolist() == [1, 0, 0]
    logs = ops.log_softmax(z)
    np.testing.assert_allclose(logs.data[0], [0, -2000, -1000])
    for function in (ops.softmax, ops.log_softmax):
        assert np.isfinite(slopes(lambda t, f=function: f(t) * f(t), z)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_cross_entropy_from_logits_does_not_overflow(name: str, dtype: Any) -> None:
    z, y = leaf(HUGE, dtype), Tensor(np.eye(3, dtype=dtype))
    loss = getattr(ops, name)(z, y)
    assert loss.dtype == dtype
    if name == "softmax_cross_entropy":
        expected = (0 + np.log(3) + 1 + np.log(2 + np.exp(-1))) / 3
    else:
        rows = np.maximum(HUGE, 0) - np.array(HUGE) * np.eye(3) + np.log1p(np.exp(-np.abs(HUGE)))
        expected = rows.mean()
    # A float32 near 1000 has steps of 6e-5.
    np.testing.assert_allclose(float(loss), expected, rtol=1e-6, atol=6e-5)
    assert np.isfinite(grad(loss, z).data).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["categorical_cross_entropy", "binary_cross_entropy"])
def test_cross_entropy_of_probabilities_zero_and_one_is_finite(name: str, dtype: Any) -> None:
    p, y = leaf([[0, 1], [1, 0]], dtype), Tensor(np.array([[1, 0], [1, 0]], dtype))
    loss = getattr(ops, name)(p, y)
    assert np.isfinite(loss.data) and loss.data > 1
    assert np.isfinite(grad(loss, p).data).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_steps_do_not_overflow_either(name: str) -> None:
    z = Tensor(np.array(HUGE))
    whole = getattr(ops, name)(z)
    operation: Any = ops.OPERATIONS[name]
    steps = operation(1).steps(z)
    np.testing.assert_allclose(steps.data, whole.data)


# -- empty and single ------------------------------------------------------------------------------


def test_empty_axes() -> None:
    x = leaf(np.zeros((0, 3)))
    assert ops.sum(x, 0).data.tolist() == [0, 0, 0]
    assert grad(ops.sum(x), x).shape == (0, 3)
    assert ops.softmax(x).shape == (0, 3)
    out = ops.linear(x, leaf(np.ones((3, 2))), leaf([1, 2]))
    assert out.shape == (0, 2)
    assert [g.shape for g in grad(out.sum(), list(out.inputs))] == [(0, 3), (3, 2), (2,)]
    assert grad(out.sum(), out.inputs[1]).data.tolist() == [[0, 0]] * 3


@pytest.mark.parametrize("function", [ops.max, ops.mean])
def test_reductions_of_nothing_are_refused(function: Any) -> None:
    with pytest.raises(ShapeError, match=r"expected at least one element, received shape \(0, 3\)"):
        function(leaf(np.zeros((0, 3))))
    with pytest.raises(ShapeError):
        function(leaf(np.zeros((0, 3))), 0)
    assert function(leaf(np.zeros((0, 3))), 1).shape == (0,)


@pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax])
def test_softmax_of_nothing_is_refused(function: Any) -> None:
    with pytest.raises(ShapeError, match="at least one element"):
        function(leaf(np.zeros((3, 0))))


@pytest.mark.parametrize(
    "name",
    [
        "mean_squared_error",
        "binary_cross_entropy",
        "categorical_cross_entropy",
        "sigmoid_cross_entropy",
        "softmax_cross_entropy",
    ],
)
def test_losses_refuse_no_rows_and_other_shapes(name: str) -> None:
    loss = getattr(ops, name)
    with pytest.raises(ShapeError, match="at least one row"):
        loss(leaf(np.zeros((0, 3))), leaf(np.zeros((0, 3))))
    with pytest.raises(ShapeError, match=rf"loss '{name}': expected matching shapes"):
        loss(leaf(np.zeros((2, 3))), leaf(np.zeros((2, 1))))


# -- inputs that make no sense ---------------------------------------------------------------------


@pytest.mark.parametrize("axis", [2, -3, (0, 0), (0, -2)])
@pytest.mark.parametrize("function", [ops.sum, ops.mean, ops.max])
def test_axes_out_of_range_or_twice(function: Any, axis: Any) -> None:
    with pytest.raises(ShapeError, match="expected different axes from -2 to 1, received axis="):
        function(leaf(np.zeros((2, 3))), axis)


def test_matmul_says_how_to_make_a_vector_a_matrix() -> None:
    with pytest.raises(ShapeError, match=r"v\.reshape\(1, -1\) for a row"):
        ops.matmul(leaf([1, 2]), leaf([[1], [2]]))
    with pytest.raises(ShapeError, match=r"with 3 rows for the left-hand shape \(2, 3\)"):
        leaf(np.zeros((2, 3))) @ leaf(np.zeros((2, 3)))


def test_linear_names_all_three_shapes() -> None:
    with pytest.raises(ShapeError, match=r"received x \(2, 3\), w \(3, 4\) and b \(1, 4\)"):
        ops.linear(leaf(np.zeros((2, 3))), leaf(np.zeros((3, 4))), leaf(np.zeros((1, 4))))


@pytest.mark.parametrize("shape", [(4,), (-1, -1, 6), (-2, 3), (-1, 4), ()])
def test_reshape_must_keep_the_elements(shape: Any) -> None:
    with pytest.raises(ShapeError, match="a shape of 6 elements"):
        ops.reshape(leaf(np.zeros(6)), shape)


def test_shape_operations_refuse_what_does_not_fit() -> None:
    x = leaf(np.zeros((2, 3)))
    for axes in [(0,), (0, 0), (0, 2)]:
        with pytest.raises(ShapeError):
            ops.transpose(x, axes)
    with pytest.raises(ShapeError, match=r"a shape that stretches to \(2,\)"):
        ops.broadcast_to(x, (2,))
    with pytest.raises(ShapeError, match=r"a key that fits shape \(2, 3\), received index 2"):
        x[2]
    with pytest.raises(ShapeError, match=r"shapes like \(2, 3\), received shape \(2, 4\)"):
        ops.concatenate([x, leaf(np.zeros((2, 4)))])
    with pytest.raises(ArgumentError, match="an empty list"):
        ops.concatenate([])


def test_every_order_of_three_axes() -> None:
    x, w = leaf(np.arange(6).reshape(1, 2, 3)), np.arange(6.0)
    for axes in itertools.permutations(range(3)):
        out = ops.transpose(x, axes)
        weights = w.reshape(out.shape)
        expected = weights.transpose([axes.index(i) for i in range(3)])
        np.testing.assert_array_equal(grad(out, x, weights).data, expected)


def test_concatenate_refuses_two_dtypes() -> None:
    with pytest.raises(DtypeError, match="float32 and float64"):
        ops.concatenate([leaf([1.0], np.float32), leaf([1.0], np.float64)])


def test_a_key_may_be_edited_after_its_use() -> None:
    x, key = leaf([1, 2, 3]), np.array([0, 1])
    part = x[key]
    key[0] = 2
    assert grad(part.sum(), x).data.tolist() == [1, 1, 0]
