"""The matrices of Winograd's convolution, and the code for tiles that is made from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from minnet.kernels import winograd_transforms as transforms
from minnet.kernels.vector import LANES, broadcast, load
from minnet.kernels.winograd_matrices import lengths, matrices
from minnet.tensor import Array

#: Results m and taps r.
SIZES = [(2, 3), (4, 3), (6, 3), (2, 5), (4, 5)]
sizes = st.sampled_from(SIZES)


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_matrices_convolve(m: int, r: int) -> None:
    random = np.random.default_rng(m)
    d, g = random.standard_normal((m + r - 1, m + r - 1)), random.standard_normal((r, r))
    found = matrices(m, r)
    transformed = (found.weights @ g @ found.weights.T) * (found.input @ d @ found.input.T)
    y = found.output @ transformed @ found.output.T
    windows = np.lib.stride_tricks.sliding_window_view(d, (r, r))
    np.testing.assert_allclose(y, np.einsum("ijrs,rs->ij", windows, g), atol=1e-12)


@njit
def input_tile(size, taps, source, at, inside, target, to, count):
    transforms.input_tile(size, taps, source, at, inside, target, to, count)


@njit
def weight_tile(size, taps, source, at, inside, target, to, count):
    transforms.weight_tile(size, taps, source, at, inside, target, to, count)


@njit
def gradient_tile(size, taps, source, at, inside, target, to, count):
    transforms.gradient_tile(size, taps, source, at, inside, target, to, count)


@njit
def weight_gradient_tile(size, taps, source, at, inside, target, to, count):
    transforms.weight_gradient_tile(size, taps, source, at, inside, target, to, count)


@njit
def output_tile(size, taps, block, products, at, bias, floor, y, to, inside, count):
    transforms.output_tile(
        size, taps, block, products, at, load(bias, 0), broadcast(floor), y, to, inside, count
    )


TILES = {
    "input": (input_tile, lambda found: found.input),
    "weights": (weight_tile, lambda found: found.weights),
    "gradient": (gradient_tile, lambda found: found.output.T),
    "weights' gradient": (weight_gradient_tile, lambda found: found.weights.T),
}


def spread(side: int) -> tuple[Array, tuple[int, int, int]]:
    """NaN in memory, with room for a square of vectors, and where that is: start, row, column."""
    column = LANES + 3
    row = side * column + 5
    return np.full(7 + side * row, np.nan, np.float32), (7, row, column)


def square(array: Array, at: tuple[int, int, int], side: int) -> Array:
    """A view of the vectors in memory, (row, column, lane)."""
    start, row, column = at
    shape, strides = (side, side, LANES), (row * 4, column * 4, 4)
    return np.lib.stride_tricks.as_strided(array[start:], shape, strides)


def drawn_bounds(data: Any, side: int) -> tuple[int, int, int, int] | None:
    """Any part of a square, beyond its border too; or None."""
    if data.draw(st.booleans()):
        return None
    top, left = data.draw(st.integers(-2, side)), data.draw(st.integers(-2, side))
    return top, data.draw(st.integers(top, side + 2)), left, data.draw(st.integers(left, side + 2))


def existing(side: int, inside: tuple[int, int, int, int] | None) -> Array:
    i, j = np.indices((side, side))
    if inside is None:
        return np.ones((side, side), bool)
    top, bottom, left, right = inside
    return (i >= top) & (i < bottom) & (j >= left) & (j < right)


counts = st.none() | st.integers(0, LANES)


@given(sizes, st.sampled_from(sorted(TILES)), counts, st.data(), st.integers(0, 2**32 - 1))
def test_tiles(size: Any, name: str, count: int | None, data: Any, seed: int) -> None:
    tile, matrix_of = TILES[name]
    matrix = matrix_of(matrices(*size))
    here = LANES if count is None else count
    read, written = (LANES, here) if name == "weights' gradient" else (here, LANES)
    to_side, side = matrix.shape
    inside = drawn_bounds(data, side)
    source, at = spread(side)
    exists = existing(side, inside)
    given_square = square(source, at, side)  # what does not exist is NaN, which must not be read
    numbers = np.random.default_rng(seed).standard_normal((exists.sum(), read))
    given_square[exists, :read] = numbers
    target, to = spread(to_side)
    tile(*lengths(*size), source, at, inside, target, to, count)
    there = exists[..., None] & (np.arange(LANES) < read)
    tidy = np.where(there, given_square, 0)
    expected = np.einsum("ia,jb,abl->ijl", matrix, matrix, tidy)
    expected[..., written:] = np.nan
    found = square(target, to, to_side)
    scale = np.abs(matrix).sum(axis=1).max() ** 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale)
    found[...] = np.nan
    assert np.isnan(target).all()  # nothing was written elsewhere


@given(sizes, st.sampled_from([1, 2]), st.booleans(), counts, st.data(), st.integers(0, 2**32 - 1))
def test_output_tiles(
    size: Any, side: int, relu: bool, count: int | None, data: Any, seed: int
) -> None:
    m, r = size
    n, many = m + r - 1, m // side
    random = np.random.default_rng(seed)
    source, at = spread(n)
    square(source, at, n)[...] = random.standard_normal((n, n, LANES))
    bias = random.standard_normal(LANES).astype(np.float32)
    inside = drawn_bounds(data, many)
    target, to = spread(many)
    floor = np.float32(0 if relu else -np.inf)
    output_tile(*lengths(m, r), (0,) * side, source, at, bias, floor, target, to, inside, count)
    matrix = matrices(m, r).output
    y = np.einsum("ia,jb,abl->ijl", matrix, matrix, square(source, at, n)) + bias
    y = y.reshape(many, side, many, side, LANES).max(axis=(1, 3))
    lane = np.arange(LANES) < (LANES if count is None else count)
    there = existing(many, inside)[..., None] & lane
    expected = np.where(there, np.maximum(y, floor), np.nan)
    found = square(target, to, many)
    scale = np.abs(matrix).sum(axis=1).max() ** 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale)
    found[...] = np.nan
    assert np.isnan(target).all()


@given(sizes, st.integers(0, 3), st.data())
def test_nan_survives_bias_relu_and_pooling(size: Any, lane: int, data: Any) -> None:
    m, r = size
    n = m + r - 1
    source, at = spread(n)
    products = square(source, at, n)
    products[...] = 1.0
    products[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1)), lane] = np.nan
    bias = np.zeros(LANES, np.float32)
    for side in (1, 2):
        target, to = spread(m // side)
        floor = np.float32(0)
        output_tile(*lengths(m, r), (0,) * side, source, at, bias, floor, target, to, None, None)
        found = np.isnan(square(target, to, m // side)).any(axis=(0, 1))
        assert found[lane] and found.sum() == 1
