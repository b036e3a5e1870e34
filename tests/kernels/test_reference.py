"""The kernels in NumPy are right: against loops over single numbers, PyTorch, and each other."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_cases import Convolution, Pool, convolutions, pools, windows

from minnet.errors import ArgumentError, ShapeError
from minnet.kernels import reference
from minnet.kernels.geometry import Window, resolve_padding
from minnet.tensor import Array


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, 1e-10, 1e-10)


def tiny_convolutions() -> st.SearchStrategy[Convolution]:
    few = st.integers(1, 2)
    small = windows(sizes=st.tuples(few, few), dilations=st.tuples(few, few))
    return convolutions(small, batch=few, groups=few, channels=few, filters=few, spare=2)


def tiny_pools(special: bool = False) -> st.SearchStrategy[Pool]:
    return pools(batch=st.integers(1, 2), channels=st.integers(1, 2), spare=2, special=special)


def taps(window: Window, i: int, j: int, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The taps inside the image when the window is at its place (i, j): number, row, column."""
    found = []
    for r, s in itertools.product(*map(range, window.size)):
        row = i * window.strides[0] + r * window.dilation[0] - window.padding[0][0]
        column = j * window.strides[1] + s * window.dilation[1] - window.padding[1][0]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            found.append((r * window.size[1] + s, row, column))
    return found


# -- convolution -----------------------------------------------------------------------------------


def convolution_by_loops(c: Convolution) -> Array:
    y = np.zeros(c.g.shape)
    inputs, outputs = c.w.shape[2], c.w.shape[3] // c.groups
    kernel = c.w.reshape(-1, *c.w.shape[2:])
    for n, i, j, f in np.ndindex(y.shape):
        y[n, i, j, f] = 0 if c.b is None else c.b[f]
        first = f // outputs * inputs
        for k, row, column in taps(c.window, i, j, c.x.shape):
            for channel in range(inputs):
                y[n, i, j, f] += c.x[n, row, column, first + channel] * kernel[k, channel, f]
    return y


@settings(max_examples=50)
@given(tiny_convolutions())
def test_convolution_is_what_loops_calculate(c: Convolution) -> None:
    found = reference.conv2d(c.x, c.w, c.b, c.window, c.groups)
    assert_close(found, convolution_by_loops(c))


@settings(max_examples=50)
@given(convolutions())
def test_convolution_gradients_are_its_adjoints(c: Convolution) -> None:
    product = np.vdot(reference.conv2d(c.x, c.w, None, c.window, c.groups), c.g)
    dx = reference.conv2d_input_gradient(c.g, c.w, c.window, c.groups, c.x.shape)
    dw = reference.conv2d_weight_gradient(c.x, c.g, c.window, c.groups)
    assert dx.shape == c.x.shape and dw.shape == c.w.shape
    assert_close(np.vdot(dx, c.x), product)
    assert_close(np.vdot(dw, c.w), product)


@settings(max_examples=50)
@given(convolutions(batch=st.integers(1, 3)))
def test_convolution_is_torchs(c: Convolution) -> None:
    torch = pytest.importorskip("torch")
    (top, bottom), (left, right) = c.window.padding
    x, w = (torch.tensor(a, requires_grad=True) for a in (c.x, c.w))
    padded = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    b = None if c.b is None else torch.tensor(c.b)
    y = torch.nn.functional.conv2d(
        padded, w.permute(3, 2, 0, 1), b, c.window.strides, 0, c.window.dilation, c.groups
    ).permute(0, 2, 3, 1)
    y.backward(torch.tensor(c.g))
    found = (
        reference.conv2d(c.x, c.w, c.b, c.window, c.groups),
        reference.conv2d_input_gradient(c.g, c.w, c.window, c.groups, c.x.shape),
        reference.conv2d_weight_gradient(c.x, c.g, c.window, c.groups),
    )
    for mine, theirs in zip(found, (y.detach(), x.grad, w.grad), strict=True):
        assert_close(mine, theirs.numpy())


@given(convolutions(), st.booleans(), st.booleans())
def test_a_fused_convolution_is_its_steps(c: Convolution, relu: bool, pool: bool) -> None:
    y = reference.conv2d(c.x, c.w, c.b, c.window, c.groups)
    if relu:
        y = y.clip(0)
    if pool:
        if min(y.shape[1:3]) < 2:
            with pytest.raises(ShapeError, match="at least 2x2"):
                reference.conv2d(c.x, c.w, c.b, c.window, c.groups, relu, pool)
            return
        even = y[:, : y.shape[1] // 2 * 2, : y.shape[2] // 2 * 2]
        y = np.maximum.reduce([even[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    found = reference.conv2d(c.x, c.w, c.b, c.window, c.groups, relu, pool)
    np.testing.assert_array_equal(found, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_stay_as_they_are(dtype: type) -> None:
    window = Window((2, 2), padding=((1, 0), (0, 1)))
    shapes = (1, 4, 4, 2), (1, 4, 4, 6), (2, 2, 2, 6), (6,)
    x, g, w, b = (np.ones(shape, dtype) for shape in shapes)
    y, places = reference.max_pool_places(x, window)
    found = [
        reference.conv2d(x, w, b, window, relu=True, pool=True),
        reference.conv2d_input_gradient(g, w, window, 1, x.shape),
        reference.conv2d_weight_gradient(x, g, window, 1),
        reference.matmul(x[0, 0], x[0, 0].T, np.ones(4, dtype), relu=True),
        reference.channel_sums(x),
        *reference.relu_gradient_and_sums(x, x),
        reference.descend(x, x, 0.1),
        y,
        reference.max_pool_gradient(y, places, window, x.shape),
        reference.max_pool_take(x, places, window),
        reference.average_pool(x, window),
        reference.average_pool_gradient(y, window, x.shape),
    ]
    assert {a.dtype for a in found} == {np.dtype(dtype)}
    assert places.dtype == np.int32


# -- pooling ---------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.booleans().flatmap(tiny_pools))
def test_pooling_is_what_loops_calculate(p: Pool) -> None:
    largest, means = np.empty(p.g.shape), np.empty((2, *p.g.shape))
    places = np.zeros(p.g.shape, int)
    with np.errstate(invalid="ignore"):  # inf - inf
        for n, i, j, c in np.ndindex(p.g.shape):
            seen = taps(p.window, i, j, p.x.shape)
            values = np.array([p.x[n, row, column, c] for _, row, column in seen])
            means[:, n, i, j, c] = values.sum() / (max(len(seen), 1), math.prod(p.window.size))
            largest[n, i, j, c] = values.max(initial=-np.inf)
            if seen:
                places[n, i, j, c] = seen[values.argmax()][0]
        for mine, count_padding in zip(means, (False, True), strict=True):
            found = reference.average_pool(p.x, p.window, count_padding)
            assert_close(found, mine)
    np.testing.assert_array_equal(reference.max_pool(p.x, p.window), largest)
    both = reference.max_pool_places(p.x, p.window)
    np.testing.assert_array_equal(both[0], largest)
    np.testing.assert_array_equal(both[1], places)


@settings(max_examples=50)
@given(pools())
def test_pooling_gradients_are_adjoints(p: Pool) -> None:
    y, places = reference.max_pool_places(p.x, p.window)
    dx = reference.max_pool_gradient(p.g, places, p.window, p.x.shape)
    taken = reference.max_pool_take(p.x, places, p.window)
    assert_close(np.vdot(dx, p.x), np.vdot(p.g, taken))
    np.testing.assert_array_equal(taken, np.where(np.isneginf(y), 0, y))
    for count_padding in (False, True):
        y = reference.average_pool(p.x, p.window, count_padding)
        dx = reference.average_pool_gradient(p.g, p.window, p.x.shape, count_padding)
        assert_close(np.vdot(dx, p.x), np.vdot(p.g, y))


@settings(max_examples=50)
@given(pools(batch=st.integers(1, 3)))
def test_max_pooling_is_torchs(p: Pool) -> None:
    torch = pytest.importorskip("torch")
    (top, bottom), (left, right) = p.window.padding
    x = torch.tensor(p.x, requires_grad=True)
    padded = torch.nn.functional.pad(
        x.permute(0, 3, 1, 2), (left, right, top, bottom), value=-math.inf
    )
    y = torch.nn.functional.max_pool2d(
        padded, p.window.size, p.window.strides, 0, p.window.dilation
    ).permute(0, 2, 3, 1)
    y.backward(torch.tensor(p.g))
    mine, places = reference.max_pool_places(p.x, p.window)
    np.testing.assert_array_equal(mine, y.detach().numpy())
    dx = reference.max_pool_gradient(p.g, places, p.window, p.x.shape)
    assert_close(dx, x.grad.numpy())


# -- matrices and elements -------------------------------------------------------------------------


def test_products_and_elements() -> None:
    a, b = np.array([[1.0, -2.0], [3.0, np.nan]]), np.array([[1.0, 0.0], [2.0, 1.0]])
    np.testing.assert_array_equal(reference.matmul(a, b), [[-3, -2], [np.nan, np.nan]])
    bias = np.array([4.0, 1.0])
    found = reference.matmul(a, b, bias, relu=True)
    np.testing.assert_array_equal(found, [[1, 0], [np.nan, np.nan]])
    np.testing.assert_array_equal(reference.relu_gradient(b + 5, a), [[6, 0], [7, 0]])
    gated, sums = reference.relu_gradient_and_sums(b + 5, a)
    np.testing.assert_array_equal(gated, [[6, 0], [7, 0]])
    np.testing.assert_array_equal(sums, [13, 0])
    np.testing.assert_array_equal(reference.channel_sums(np.ones((2, 3, 4, 5))), np.full(5, 24))
    np.testing.assert_array_equal(reference.channel_sums(np.ones((0, 3))), np.zeros(3))
    np.testing.assert_array_equal(reference.descend(b, bias, 0.5), [[-1, -0.5], [0, 0.5]])


# -- geometry --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("valid", ((0, 0), (0, 0))),
        ("same", ((0, 1), (1, 2))),
        (2, ((2, 2), (2, 2))),
        (np.int64(2), ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, (2, 3)], ((1, 1), (2, 3))),
        (((1, 2), (3, 4)), ((1, 2), (3, 4))),
    ],
)
def test_padding_has_many_spellings(padding: object, expected: object) -> None:
    assert resolve_padding(padding, (3, 4), (2, 1), (1, 1), 8, 9) == expected


@given(
    st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)
)
def test_same_padding_gives_a_place_for_each_stride(
    size: int, stride: int, dilation: int, height: int, width: int
) -> None:
    numbers = (size, size), (stride, stride), (dilation, dilation)
    padding = resolve_padding("same", *numbers, height, width)
    window = Window(numbers[0], numbers[1], padding, numbers[2])
    assert window.output_size(height, width) == (-(-height // stride), -(-width // stride))
    for before, after in padding:
        assert after - before in (0, 1)


@pytest.mark.parametrize("padding", ["smae", (1, 2, 3), 1.5, ((1,), 2), None, ((1, 2), "same")])
def test_what_is_no_padding_is_named(padding: object) -> None:
    with pytest.raises(ArgumentError, match="padding: expected .*'?same"):
        resolve_padding(padding, (3, 3), (1, 1), (1, 1), 8, 8)


def test_impossible_windows_are_named() -> None:
    with pytest.raises(ArgumentError, match="padding: expected at least 0, received"):
        resolve_padding(-1, (3, 3), (1, 1), (1, 1), 8, 8)
    with pytest.raises(ArgumentError, match="size: expected at least 1, received"):
        Window((0, 3))
    with pytest.raises(ArgumentError, match="strides"):
        Window((3, 3), strides=(1, 0))
    with pytest.raises(ArgumentError, match="dilation"):
        Window((3, 3), dilation=(-1, 1))
    with pytest.raises(ShapeError, match="at least 5x3 pixels.*received 4x9.*smaller window"):
        Window((3, 3), dilation=(2, 1)).output_size(4, 9)
