"""The functions that everybody calls: whichever algorithm they choose, the numbers are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_cases import Convolution, convolutions, windows
from together import together

from minnet import kernels
from minnet.kernels import reference
from minnet.kernels.geometry import Window
from minnet.tensor import Array

SAME = Window((3, 3), padding=((1, 1), (1, 1)))

#: A float32 sum's error relative to the sum of its terms' sizes: 16 roundings, and for Winograd's
#: transforms as many again.
BOUND = 32 * 2.0**-24


def close(found: Array, expected: Array, size: Array) -> None:
    """``size``: what comes out when every number is replaced by its absolute value."""
    assert found.shape == expected.shape and found.dtype == np.float32
    if found.size:
        error = np.abs(found - expected).max()
        assert error <= BOUND * size.max(), f"{error:.1e} of {size.max():.1e}"


def check(case: Convolution) -> None:
    """All three functions in float32 against the reference in float64."""
    window, groups = case.window, case.groups
    single = case.astype(np.float32)
    case = single.astype(np.float64)
    x, w, g = case.x, case.w, case.g
    size = [np.abs(a) for a in (x, w, g)]
    found = kernels.conv2d(single.x, single.w, single.b, window, groups)
    bias = None if case.b is None else np.abs(case.b)
    close(
        found,
        reference.conv2d(x, w, case.b, window, groups),
        reference.conv2d(size[0], size[1], bias, window, groups),
    )
    close(
        kernels.conv2d_input_gradient(single.g, single.w, window, groups, x.shape),
        reference.conv2d_input_gradient(g, w, window, groups, x.shape),
        reference.conv2d_input_gradient(size[2], size[1], window, groups, x.shape),
    )
    close(
        kernels.conv2d_weight_gradient(single.x, single.g, window, groups),
        reference.conv2d_weight_gradient(x, g, window, groups),
        reference.conv2d_weight_gradient(size[0], size[2], window, groups),
    )


@given(convolutions())
def test_any_convolution(case: Convolution) -> None:
    check(case)


many = st.sampled_from([8, 16, 24, 32, 64])
three = windows(st.just((3, 3)), st.just((1, 1)), st.just((1, 1)))


@pytest.mark.slow  # compiles Winograd's algorithm for tiles of two sizes
@settings(max_examples=25)
@given(convolutions(three, groups=st.just(1), channels=many, filters=many, spare=12))
def test_the_shapes_of_deep_networks(case: Convolution) -> None:
    check(case)


@pytest.mark.parametrize("shape", [(1, 28, 28, 64), (2, 14, 14, 128), (8, 7, 7, 64)])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_fused_is_the_same_as_one_by_one(shape: tuple[int, ...], relu: bool, pool: bool) -> None:
    normal = np.random.default_rng(0).standard_normal
    x, w, b = (normal(s, np.float32) for s in (shape, (3, 3, shape[3], 48), (48,)))
    plain = kernels.conv2d(x, w, b, SAME)
    expected = np.maximum(plain, 0) if relu else plain
    if pool:
        expected = reference.max_pool(expected, reference.HALVING)
    found = kernels.conv2d(x, w, b, SAME, relu=relu, pool=pool)
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.abs(plain).max()))


def test_float64_stays_exact() -> None:
    normal = np.random.default_rng(0).standard_normal
    x, w = normal((2, 9, 9, 16)), normal((3, 3, 16, 32))
    y = kernels.conv2d(x, w, None, SAME)
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, reference.conv2d(x, w, None, SAME), rtol=1e-10, atol=1e-10)


def test_repeated_calls_see_new_weights() -> None:
    """Rearranged weights are kept for as long as the weights are the same, and no longer."""
    normal = np.random.default_rng(0).standard_normal
    x = normal((1, 12, 12, 32), np.float32)
    for _ in range(5):
        w = normal((3, 3, 32, 32), np.float32)
        for _ in range(4):
            found = kernels.conv2d(x, w, None, SAME)
        np.testing.assert_allclose(found, reference.conv2d(x, w, None, SAME), atol=1e-3)


def test_several_python_threads_at_once() -> None:
    normal = np.random.default_rng(0).standard_normal
    inputs = [normal((2, 28, 28, 32), np.float32) for _ in range(4)]
    w = normal((3, 3, 32, 64), np.float32)
    expected = [kernels.conv2d(x, w, None, SAME) for x in inputs]
    wrong = []

    def work(k: int) -> None:
        for _ in range(10):
            if not np.array_equal(kernels.conv2d(inputs[k], w, None, SAME), expected[k]):
                wrong.append(k)

    together(work, range(4))
    assert not wrong


@pytest.mark.parametrize(
    "shape", [(16, 12, 12, 6), pytest.param((4, 56, 56, 32), marks=pytest.mark.slow)]
)
def test_gradients_are_the_same_each_time(shape: tuple[int, ...]) -> None:
    """Which thread works off what must not show, not even in the last digit."""
    normal = np.random.default_rng(0).standard_normal
    x, g = normal(shape, np.float32), normal((*shape[:3], 32), np.float32)
    first = kernels.conv2d_weight_gradient(x, g, SAME, 1)
    for _ in range(10):
        np.testing.assert_array_equal(kernels.conv2d_weight_gradient(x, g, SAME, 1), first)
