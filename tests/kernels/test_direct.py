"""Direct convolutions and their gradients against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kernels_cases import Convolution, convolutions, each_dtype, windows

from minnet.kernels import direct, direct_gradients, reference, scattered
from minnet.kernels.geometry import Window
from minnet.kernels.microkernel import panel_of

#: Sums of at most 500 products of normal numbers.
TOLERANCES: dict[Any, dict[str, float]] = {
    np.float64: {"rtol": 1e-10, "atol": 1e-10},
    np.float32: {"rtol": 1e-5, "atol": 1e-4},
}


@each_dtype
@given(case=convolutions(), relu=st.booleans())
def test_forward(case: Convolution, dtype: Any, relu: bool) -> None:
    case = case.astype(dtype)
    arguments = case.x, case.w, case.b, case.window, case.groups, relu
    found = direct.forward(*arguments)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, reference.conv2d(*arguments), **TOLERANCES[dtype])


@each_dtype
@given(case=convolutions())
def test_gradients(case: Convolution, dtype: Any) -> None:
    case = case.astype(dtype)
    x, w, g, window, groups = case.x, case.w, case.g, case.window, case.groups
    dx = direct_gradients.input_gradient(g, w, window, groups, x.shape)
    dw = direct_gradients.weight_gradient(x, g, window, groups)
    assert dx.dtype == dw.dtype == dtype
    expected = reference.conv2d_input_gradient(g, w, window, groups, x.shape)
    np.testing.assert_allclose(dx, expected, **TOLERANCES[dtype])
    expected = reference.conv2d_weight_gradient(x, g, window, groups)
    np.testing.assert_allclose(dw, expected, **TOLERANCES[dtype])


@each_dtype
@given(
    case=convolutions(
        groups=st.sampled_from([1, 2]), channels=st.integers(1, 40), filters=st.integers(1, 70)
    )
)
def test_more_filters_than_a_panel_holds(case: Convolution, dtype: Any) -> None:
    case = case.astype(dtype)
    x, w, g, window, groups = case.x, case.w, case.g, case.window, case.groups
    exact = {"rtol": 1e-4, "atol": 2e-3} if dtype is np.float32 else TOLERANCES[dtype]
    found, expected = (f(x, w, case.b, window, groups) for f in (direct.forward, reference.conv2d))
    np.testing.assert_allclose(found, expected, **exact)
    found = direct_gradients.weight_gradient(x, g, window, groups)
    expected = reference.conv2d_weight_gradient(x, g, window, groups)
    np.testing.assert_allclose(found, expected, **exact)


@each_dtype
def test_windows_of_one_pixel_where_the_last_row_is_shorter(dtype: Any) -> None:
    """They see all images as one row after the other, of so many pixels each."""
    shape, rng = (3, 11, 19, 6), np.random.default_rng(0)
    rows, last = divmod(3 * 11 * 19, direct.ROW)
    assert rows > 1 and last
    x, w = rng.standard_normal(shape), rng.standard_normal((1, 1, 3, 10))
    arguments = x.astype(dtype), w.astype(dtype), None, Window((1, 1)), 2
    found, expected = (f(*arguments) for f in (direct.forward, reference.conv2d))
    np.testing.assert_allclose(found, expected, **TOLERANCES[dtype])


@each_dtype
@given(
    case=convolutions(
        window=windows(dilations=st.tuples(st.integers(1, 3), st.just(1))),
        groups=st.just(1),
        channels=st.integers(4, 40),
    )
)
def test_gradients_that_pixels_send_back(case: Convolution, dtype: Any) -> None:
    case = case.astype(dtype)
    x, w, g, window = case.x, case.w, case.g, case.window
    assume(g.size and x.size and scattered.possible(window, 1))
    found = scattered.input_gradient(g, w, window, x.shape)
    expected = reference.conv2d_input_gradient(g, w, window, 1, x.shape)
    np.testing.assert_allclose(found, expected, **TOLERANCES[dtype])


def test_pixels_send_back_where_that_is_less_work() -> None:
    """Channels for a panel and a quarter: their five taps fill 7 panels, or five times 2."""
    dtype = np.dtype(np.float32)
    channels = panel_of(dtype) * 5 // 4
    shapes = (32, 8, 8, 50), (5, 5, channels, 50)
    assert scattered.worth_while(*shapes, Window((5, 5)), 1, (32, 12, 12, channels), dtype)
    same = Window((3, 3), padding=((1, 1), (1, 1)))
    shapes = (8, 28, 28, 64), (3, 3, 64, 64)
    assert not scattered.worth_while(*shapes, same, 1, (8, 28, 28, 64), dtype)


@pytest.mark.parametrize("relu", [False, True])
def test_nan_stays_where_it_is_seen(relu: bool) -> None:
    x = np.zeros((1, 9, 9, 3), np.float32)
    x[0, 4, 4, 1] = np.nan
    w = np.ones((3, 3, 3, 21), np.float32)
    y = direct.forward(x, w, None, Window((3, 3)), relu=relu)
    seen = np.zeros((7, 7), bool)
    seen[2:5, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0, :, :, 5]), seen)


@pytest.mark.slow
def test_weights_in_several_tasks() -> None:
    """Enough weights that panels, and rows of the kernel's gradient, are tasks of their own."""
    normal = np.random.default_rng(0).standard_normal
    x, w, g = normal((1, 5, 6, 96)), normal((3, 3, 96, 160)), normal((1, 3, 4, 160))
    window = Window((3, 3))
    exact = TOLERANCES[np.float64]
    found = direct.forward(x, w, None, window)
    np.testing.assert_allclose(found, reference.conv2d(x, w, None, window), **exact)
    found = direct_gradients.weight_gradient(x, g, window, 1)
    np.testing.assert_allclose(found, reference.conv2d_weight_gradient(x, g, window, 1), **exact)
