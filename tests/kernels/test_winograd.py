"""Winograd's convolution and its gradients against the reference in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels_cases import Convolution, convolutions

from minnet.errors import ShapeError
from minnet.kernels import reference, winograd, winograd_tiles, winograd_weights
from minnet.kernels.geometry import Window
from minnet.kernels.vector import LANES
from minnet.tensor import Array

#: The largest error, by the side n of a tile, in units of what the sums would be if nothing
#: cancelled out.
BOUNDS = {4: 5e-7, 6: 2e-6, 8: 2e-5}

#: Results m and taps r; each pair compiles all kernels again.
slow = pytest.mark.slow
sizes = pytest.mark.parametrize(
    ("m", "r"),
    [(4, 3), (4, 5), pytest.param(2, 3, marks=slow), pytest.param(6, 3, marks=slow)],
)
vectors = st.integers(1, 5).map(lambda count: count * LANES) | st.integers(LANES, 5 * LANES)
#: As many as take several groups of panels.
many = st.sampled_from(
    [LANES, LANES + 1, 3 * LANES, 5 * LANES - 1, 8 * LANES + 1, 9 * LANES, 12 * LANES]
)


def windows(r: int) -> st.SearchStrategy[Window]:
    sides = st.tuples(st.integers(0, r - 1), st.integers(0, r - 1))
    return st.builds(Window, st.just((r, r)), padding=st.tuples(sides, sides))


def cases(r: int) -> st.SearchStrategy[Convolution]:
    return convolutions(windows(r), groups=st.just(1), channels=vectors, filters=many)


turns = st.tuples(st.integers(1, 3), st.integers(4, 20), st.booleans())


@contextmanager
def scheduled(workers: int, chunk: int, other: bool) -> Iterator[None]:
    """So many workers take chunks of so many tiles, or work together, whatever is best."""

    def chunks(m: int, tiles: Any, *_: Any) -> tuple[int, bool]:
        return -(-tiles.tiles // chunk), other

    with (
        mock.patch.object(winograd, "workers_for", lambda _: workers),
        mock.patch.object(winograd_weights, "workers_for", lambda _: workers),
        mock.patch.object(winograd, "schedule", lambda *_: (chunk, other)),
        mock.patch.object(winograd_weights, "schedule", chunks),
    ):
        yield


def assert_close(found: Array, expected: Array, scale: Array, n: int) -> None:
    """``scale``: the expected result if all numbers were positive."""
    assert found.dtype == np.float32 and found.shape == expected.shape
    error = np.abs(found - expected).max(initial=0)
    assert error <= BOUNDS[n] * np.abs(scale).max(initial=0)


def doubles(*arrays: Array | None) -> list[Any]:
    return [None if a is None else a.astype(np.float64) for a in arrays]


def magnitudes(*arrays: Array | None) -> list[Any]:
    return [None if a is None else abs(a) for a in doubles(*arrays)]


@sizes
@given(st.data(), st.booleans(), st.booleans(), turns)
def test_forward(m: int, r: int, data: Any, relu: bool, pool: bool, turn: Any) -> None:
    case = data.draw(cases(r)).astype(np.float32)
    pool = pool and min(case.g.shape[1:3]) > 1
    u = winograd.transform_weights(case.w, m)
    with scheduled(*turn):
        padding, filters = case.window.padding, case.w.shape[3]
        y = winograd.forward(case.x, u, case.b, padding, filters, r, relu, pool)
    arrays = case.x, case.w, case.b
    expected = reference.conv2d(*doubles(*arrays), case.window, 1, relu, pool)
    scale = reference.conv2d(*magnitudes(*arrays), case.window, 1, False, pool)
    assert_close(y, expected, scale, len(u))


@sizes
@given(st.data(), turns)
def test_input_gradient(m: int, r: int, data: Any, turn: Any) -> None:
    case = data.draw(cases(r)).astype(np.float32)
    (top, bottom), (left, right) = case.window.padding
    opposite = (r - 1 - top, r - 1 - bottom), (r - 1 - left, r - 1 - right)
    u = winograd.transform_weights(case.w, m, rotated=True)
    with scheduled(*turn):
        dx = winograd.forward(case.g, u, None, opposite, case.w.shape[2], r)
    expected, scale = (
        reference.conv2d_input_gradient(*of(case.g, case.w), case.window, 1, case.x.shape)
        for of in (doubles, magnitudes)
    )
    assert_close(dx, expected, scale, len(u))


@sizes
@given(st.data(), turns)
def test_weight_gradient(m: int, r: int, data: Any, turn: Any) -> None:
    case = data.draw(cases(r)).astype(np.float32)
    with scheduled(*turn):
        dw = winograd_weights.weight_gradient(case.x, case.g, case.window.padding, r, m)
    expected, scale = (
        reference.conv2d_weight_gradient(*of(case.x, case.g), case.window, 1)
        for of in (doubles, magnitudes)
    )
    assert_close(dw, expected, scale, m + r - 1)


@given(cases(3), st.booleans(), st.data())
def test_nan_stays_visible(case: Convolution, pool: bool, data: Any) -> None:
    case = case.astype(np.float32)
    x, w, g = (np.ascontiguousarray(a) for a in (case.x, case.w, case.g))
    spoilt = data.draw(st.sampled_from([a for a in (x, w, g) if a.size]))
    spoilt.reshape(-1)[data.draw(st.integers(0, spoilt.size - 1))] = np.nan
    padding = case.window.padding
    pool = pool and min(g.shape[1:3]) > 1
    u = winograd.transform_weights(w, 4)
    y = winograd.forward(x, u, case.b, padding, w.shape[3], 3, True, pool)
    expected = reference.conv2d(x, w, case.b, case.window, 1, True, pool)
    assert np.isnan(y[np.isnan(expected)]).all()
    dw = winograd_weights.weight_gradient(x, g, padding, 3)
    expected = reference.conv2d_weight_gradient(x, g, case.window, 1)
    assert np.isnan(dw[np.isnan(expected)]).all()


@pytest.mark.parametrize(
    "shape",
    [
        (2, 28, 28, 64, 64),
        (1, 20, 33, 9 * LANES, 17 * LANES),
        (1, 14, 15, 2 * winograd.DEPTH + 19, 3 * LANES),
    ],
)
def test_sizes_that_keep_all_workers_busy(shape: tuple[int, ...]) -> None:
    n, height, width, channels, filters = shape
    normal = np.random.default_rng(0).standard_normal
    x = normal((n, height, width, channels), dtype=np.float32)
    w = normal((3, 3, channels, filters), dtype=np.float32)
    g = normal((n, height, width, filters), dtype=np.float32)
    window = Window((3, 3), padding=((1, 1), (1, 1)))
    u = winograd.transform_weights(w, 4)
    y = winograd.forward(x, u, None, window.padding, filters, 3)
    expected, scale = (reference.conv2d(*of(x, w, None), window) for of in (doubles, magnitudes))
    assert_close(y, expected, scale, 6)
    dw = winograd_weights.weight_gradient(x, g, window.padding, 3)
    expected, scale = (
        reference.conv2d_weight_gradient(*of(x, g), window, 1) for of in (doubles, magnitudes)
    )
    assert_close(dw, expected, scale, 6)


def test_images_that_are_too_small() -> None:
    u = winograd.transform_weights(np.ones((3, 3, LANES, LANES), np.float32), 4)
    padding = (0, 0), (1, 1)
    x = np.ones((1, 3, 5, LANES), np.float32)
    with pytest.raises(ShapeError, match=r"window 3x3.*received 2x5 pixels"):
        winograd.forward(x[:, :2], u, None, padding, LANES, 3)
    with pytest.raises(ShapeError, match=r"window 2x2.*received 1x5 pixels"):
        winograd.forward(x, u, None, padding, LANES, 3, pool=True)


def test_large_weights_are_stored_past_the_cache() -> None:
    w = np.random.default_rng(0).standard_normal((3, 3, 192, 160), dtype=np.float32)
    for rotated in (False, True):
        expected = winograd.transform_weights(w, 4, rotated)
        assert expected.nbytes >= winograd.UNCACHED
        with mock.patch.object(winograd, "UNCACHED", 1 << 60):
            found = winograd.transform_weights(w, 4, rotated)
        np.testing.assert_array_equal(found, expected)


def test_accepts() -> None:
    window = Window((3, 3), padding=((1, 1), (0, 2)))
    shape = (3, 3, LANES, 3 * LANES)
    assert winograd_tiles.accepts(shape, window, 1)
    assert winograd_tiles.accepts((3, 3, LANES + 1, LANES), window, 1)
    assert not winograd_tiles.accepts((3, 3, LANES, LANES - 1), window, 1)
    assert not winograd_tiles.accepts((3, 3, LANES - 1, LANES), window, 1)
    assert not winograd_tiles.accepts(shape, window, 2)
    for other in (
        Window((3, 3), padding=((3, 0), (0, 0))),
        Window((3, 3), strides=(1, 2)),
        Window((3, 3), dilation=(2, 1)),
        Window((3, 1)),
        Window((7, 7)),
    ):
        assert not winograd_tiles.accepts((*other.size, LANES, LANES), other, 1)
    five = Window((5, 5), padding=((4, 0), (2, 2)))
    assert winograd_tiles.accepts((5, 5, LANES, 512), five, 1)
    assert not winograd_tiles.accepts((5, 5, LANES, 513), five, 1)  # it would be too inexact


def test_plan() -> None:
    def size(*shape: int, ready: bool = True, r: int = 3) -> int | None:
        return winograd_tiles.plan(r, *shape, ready)

    assert size(8, 224, 224, 64, 64) == size(1, 14, 14, 512, 512) == 4
    assert size(1, 4, 4, 512, 512) == 2
    assert size(1, 4, 4, 128, 128) is None  # too small to be worth the steps
    assert size(1, 1, 1, 64, 64) is None
    assert size(0, 14, 14, 64, 64) is None
    assert size(1, 7, 7, 512, 512, ready=False) is None  # transforming takes longer
    assert size(32, 7, 7, 512, 512, ready=False) == 4
    assert size(32, 14, 14, LANES, LANES) is None  # transforming tiles takes longer
    assert size(32, 8, 8, 32, 64, ready=False, r=5) == size(1, 27, 27, 96, 256, r=5) == 4
