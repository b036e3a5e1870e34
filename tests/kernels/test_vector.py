"""Vectors mean in compiled code what they mean in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from minnet.kernels.vector import (
    at_least,
    broadcast,
    clear,
    copy,
    fma,
    lanes,
    load,
    maximum,
    next_task,
    store,
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
def _take(counter):  # type: ignore[no-untyped-def]
    return next_task(counter)


def test_tasks_are_numbered_from_0() -> None:
    counter = np.zeros(8, np.int64)
    assert [_take(counter) for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lanes(dtype: Any) -> None:
    assert lanes(np.zeros(3, dtype)) == _width(dtype)
