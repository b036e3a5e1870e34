"""Depthwise convolutions against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels_cases import Convolution, convolutions, each_dtype

from minnet.kernels import depthwise, depthwise_gradients, reference
from minnet.kernels.geometry import Window

ONE = st.just(1)
cases = convolutions(groups=st.integers(1, 37), channels=ONE, filters=ONE)


@each_dtype
@given(case=cases, relu=st.booleans())
def test_all_three_functions(case: Convolution, dtype: Any, relu: bool) -> None:
    case = case.astype(dtype)
    window, groups, (x, w, b, g) = case.window, case.groups, (case.x, case.w, case.b, case.g)
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype is np.float64 else {"atol": 1e-3}
    for found, expected in (
        (depthwise.forward(x, w, b, window, relu), reference.conv2d(x, w, b, window, groups, relu)),
        (
            depthwise_gradients.input_gradient(g, w, window, x.shape),
            reference.conv2d_input_gradient(g, w, window, groups, x.shape),
        ),
        (
            depthwise_gradients.weight_gradient(x, g, window),
            reference.conv2d_weight_gradient(x, g, window, groups),
        ),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.parametrize("kernel", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("side", [12, 21])
def test_images_wide_enough_for_several_places_at_once(
    kernel: int, stride: int, dilation: int, side: int
) -> None:
    normal = np.random.default_rng(0).standard_normal
    x, w = normal((3, side, side, 20), np.float32), normal((kernel, kernel, 1, 20), np.float32)
    pads = (dilation * (kernel // 2), dilation * (kernel // 2) - 1)
    window = Window((kernel, kernel), (stride,) * 2, (pads, pads), (dilation,) * 2)
    y = depthwise.forward(x, w, None, window)
    np.testing.assert_allclose(y, reference.conv2d(x, w, None, window, 20), atol=1e-4)
    g = normal(y.shape, np.float32)
    np.testing.assert_allclose(
        depthwise_gradients.input_gradient(g, w, window, x.shape),
        reference.conv2d_input_gradient(g, w, window, 20, x.shape),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        depthwise_gradients.weight_gradient(x, g, window),
        reference.conv2d_weight_gradient(x, g, window, 20),
        atol=1e-3,
    )


@pytest.mark.parametrize("side", [5, 6, 7])
def test_just_enough_places_or_one_too_few(side: int) -> None:
    normal = np.random.default_rng(0).standard_normal
    x, w = normal((2, side, side, 20), np.float32), normal((3, 3, 1, 20), np.float32)
    expected = reference.conv2d(x, w, None, Window((3, 3)), 20)
    np.testing.assert_allclose(depthwise.forward(x, w, None, Window((3, 3))), expected, atol=1e-4)


@pytest.mark.parametrize("relu", [False, True])
def test_nan_stays(relu: bool) -> None:
    x = np.full((1, 3, 3, 9), np.nan, np.float32)
    window = reference.HALVING
    w = np.ones((2, 2, 1, 9), np.float32)
    assert np.isnan(depthwise.forward(x, w, None, window, relu)).all()
