"""Pooling kernels against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels_cases import Pool, each_dtype, pools, windows

from minnet.kernels import pool, pool_gradients, pool_means, reference
from minnet.kernels.geometry import Window

two = st.just((2, 2))
#: Any window, or the common one: 2x2, often with strides 2, rarely with padding.
any_window = windows() | windows(sizes=two) | st.just(Window((2, 2), (2, 2)))
channels = st.integers(1, 37)


def assert_close(found: Any, expected: Any) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    tolerance = 1e-5 if expected.dtype == np.float32 else 1e-10
    np.testing.assert_allclose(found, expected, tolerance, tolerance)


@each_dtype
@given(case=st.booleans().flatmap(lambda s: pools(any_window, None, channels, special=s)))
def test_largest(case: Pool, dtype: Any) -> None:
    x, window = case.astype(dtype).x, case.window
    y, places = reference.max_pool_places(x, window)
    np.testing.assert_array_equal(pool.max_pool(x, window), y, strict=True)
    found = pool.max_pool_places(x, window)
    np.testing.assert_array_equal(found[0], y, strict=True)
    np.testing.assert_array_equal(found[1], places, strict=True)


@each_dtype
@given(case=pools(any_window, None, channels))
def test_gradient_of_the_largest(case: Pool, dtype: Any) -> None:
    case = case.astype(dtype)
    _, places = reference.max_pool_places(case.x, case.window)
    assert_close(
        pool_gradients.max_pool_gradient(case.g, places, case.window, case.x.shape),
        reference.max_pool_gradient(case.g, places, case.window, case.x.shape),
    )
    np.testing.assert_array_equal(
        pool_gradients.max_pool_take(case.x, places, case.window),
        reference.max_pool_take(case.x, places, case.window),
        strict=True,
    )


@each_dtype
@given(case=pools(any_window, None, channels), count_padding=st.booleans())
def test_mean_and_its_gradient(case: Pool, dtype: Any, count_padding: bool) -> None:
    case = case.astype(dtype)
    x, g, window = case.x, case.g, case.window
    assert_close(
        pool_means.average_pool(x, window, count_padding),
        reference.average_pool(x, window, count_padding),
    )
    assert_close(
        pool_gradients.average_pool_gradient(g, window, x.shape, count_padding),
        reference.average_pool_gradient(g, window, x.shape, count_padding),
    )


@pytest.mark.parametrize("window", [Window((2, 2), (2, 2)), Window((3, 3), (2, 2))])
@pytest.mark.parametrize("shape", [(5, 8, 6, 20), (1, 9, 7, 64), (2, 8, 8, 3)])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_matter(
    monkeypatch: pytest.MonkeyPatch, window: Window, shape: tuple[int, ...], workers: int
) -> None:
    for module in (pool, pool_gradients):
        monkeypatch.setattr(module, "workers_for", lambda work: workers)
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    y, places = pool.max_pool_places(x, window)
    expected = reference.max_pool_places(x, window)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(places, expected[1])
    assert_close(pool_means.average_pool(x, window), reference.average_pool(x, window))
    g = rng.standard_normal(y.shape).astype(np.float32)
    assert_close(
        pool_gradients.max_pool_gradient(g, places, window, shape),
        reference.max_pool_gradient(g, places, window, shape),
    )
    assert_close(
        pool_gradients.average_pool_gradient(g, window, shape),
        reference.average_pool_gradient(g, window, shape),
    )
    assert_close(
        pool_gradients.max_pool_take(x, places, window), reference.max_pool_take(x, places, window)
    )


def test_locked_arrays_are_read_and_results_can_be_written() -> None:
    x = np.ones((1, 4, 4, 8), np.float32)
    x.setflags(write=False)
    window = Window((2, 2), (2, 2))
    y, places = pool.max_pool_places(x, window)
    y.setflags(write=False)
    places.setflags(write=False)
    dx = pool_gradients.max_pool_gradient(y, places, window, x.shape)
    for result in (dx, pool.max_pool(x, window), pool_means.average_pool(x, window)):
        result += 1
    assert dx.sum() == 4 * 8 + dx.size
