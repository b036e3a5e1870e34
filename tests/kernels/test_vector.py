"""Vectors mean in compiled code what they mean in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from minnet.kernels import codes
from minnet.kernels.vector import (
    at_least,
    broadcast,
    clear,
    copy,
    count_up,
    fma,
    lanes,
    load,
    load_part,
    maximum,
    store,
    store_part,
    transpose,
)
from minnet.kernels.vector_ir import BYTES

DTYPES = [np.float32, np.float64]


@njit
def _arithmetic(x, out):  # type: ignore[no-untyped-def]
    n = lanes(x)
    a, b, c = load(x, 1), load(x, 1 + n), broadcast(x[0])
    store(out, 0, a + b)
    store(out, n, a - b)
    store(out, 2 * n, a * b)
    store(out, 3 * n, fma(a, b, c))
    store(out, 4 * n, maximum(a, b))
    store(out, 5 * n, at_least(a, c))


def _width(dtype: Any) -> int:
    return BYTES // np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("special", [1.0, np.nan, np.inf, -np.inf])
def test_arithmetic(dtype: Any, special: float) -> None:
    n = _width(dtype)
    x = np.random.default_rng(0).standard_normal(2 * n + 1).astype(dtype)
    x[[2, n + 2]] = special
    out = np.zeros(6 * n, dtype)
    a, b, c = x[1 : n + 1], x[n + 1 :], x[0]
    with np.errstate(invalid="ignore"):
        _arithmetic(x, out)
        expected = [a + b, a - b, a * b, a * b + c, np.maximum(a, b), np.where(a < c, c, a)]
    np.testing.assert_allclose(out.reshape(6, n), expected, rtol=4 * np.finfo(dtype).eps, atol=1e-7)


@njit
def _part(x, start, y, to, count):  # type: ignore[no-untyped-def]
    store_part(y, to, load_part(x, start, count), count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_of_a_vector_at_the_end_of_an_array(dtype: Any) -> None:
    n = _width(dtype)
    for count in range(n + 1):
        x = np.arange(1, count + 3, dtype=dtype)
        y = np.zeros(count + 4, dtype)
        _part(x, 2, y, 1, count)
        np.testing.assert_array_equal(y, [0, *x[2:], 0, 0, 0])


@njit
def _filled(x, count, y):  # type: ignore[no-untyped-def]
    store(y, 0, load_part(x, 0, count))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_rest_of_a_part_is_zeros(dtype: Any) -> None:
    n = _width(dtype)
    for count in (-3, 0, 1, n - 1, n, n + 5):
        x, y = np.ones(n + 5, dtype), np.full(n, 7, dtype)
        _filled(x, count, y)
        assert y.tolist() == [1.0] * min(max(count, 0), n) + [0.0] * (n - min(max(count, 0), n))


@njit
def _move(x, start, y, to, count):  # type: ignore[no-untyped-def]
    clear(y, 0, len(y))
    copy(x, start, y, to, count)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 7, 40])
def test_copy_and_clear(dtype: Any, count: int) -> None:
    x, y = np.arange(50, dtype=dtype), np.ones(60, dtype)
    _move(x, 3, y, 5, count)
    expected = np.zeros(60)
    expected[5 : 5 + count] = x[3 : 3 + count]
    np.testing.assert_array_equal(y, expected)


@njit
def _turn(x, step, y, to_step):  # type: ignore[no-untyped-def]
    transpose(x, 1, step, y, 2, to_step)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose(dtype: Any) -> None:
    n = _width(dtype)
    x, y = np.arange((n + 3) * n + 1, dtype=dtype), np.zeros((n + 5) * n + 2, dtype)
    _turn(x, n + 3, y, n + 5)
    square = x[1:].reshape(n, n + 3)[:, :n]
    found = y[2:].reshape(n, n + 5)
    np.testing.assert_array_equal(found[:, :n], square.T)
    assert not found[:, n:].any()


@njit
def _count(counters, index):  # type: ignore[no-untyped-def]
    return count_up(counters, index)


def test_counting_up() -> None:
    counters = np.zeros(3, np.int64)
    assert [_count(counters, 1) for _ in range(4)] == [0, 1, 2, 3]
    assert counters.tolist() == [0, 4, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes(dtype: Any) -> None:
    assert lanes(np.zeros(3, dtype)) == _width(dtype)


@njit
def _encode(x, out):  # type: ignore[no-untyped-def]
    codes.store(out, 1, load(x, 0))


@given(st.lists(st.floats(-codes.LARGEST, codes.LARGEST, width=32), min_size=16, max_size=16))
def test_codes(numbers: list[float]) -> None:
    n = _width(np.float32)
    x = np.array(numbers, np.float32)[:n]
    out = np.full(codes.SIZE * n + 2, 7, np.uint8)
    _encode(x, out)
    found = codes.decoded(out, 1 + codes.SIZE * np.arange(n))
    np.testing.assert_array_equal(found, codes.SHIFT * np.rint(x))
    assert out[0] == out[-1] == 7
    whole = np.array(
        [int.from_bytes(out[i : i + 3], "little", signed=True) for i in range(1, 3 * n, 3)]
    )
    np.testing.assert_array_equal(codes.SHIFT * whole, found)
