"""The matrix product, and the tiles it is made of, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kernels_cases import each_dtype
from numba import njit
from together import together

from minnet.kernels import gemm
from minnet.kernels.microkernel import NARROW, WIDE, multiply_rows, panel_of, product_rows
from minnet.kernels.panels import flat
from minnet.tensor import Array

EXACT = {"rtol": 1e-10, "atol": 1e-10}

Layout = str
#: Row by row, column by column, part of a larger matrix in either order, and with gaps everywhere.
LAYOUTS = ["rows", "columns", "part of rows", "part of columns", "gaps", "read-only"]


def matrix(random: np.random.Generator, rows: int, columns: int, layout: Layout) -> Array:
    if layout == "rows":
        return random.standard_normal((rows, columns))
    if layout == "columns":
        return random.standard_normal((columns, rows)).T
    if layout == "part of rows":
        return random.standard_normal((rows + 2, columns + 3))[1:-1, 2:-1]
    if layout == "part of columns":
        return random.standard_normal((columns + 3, rows + 2))[2:-1, 1:-1].T
    if layout == "gaps":
        return random.standard_normal((2 * rows, 3 * columns))[::2, ::3]
    a = random.standard_normal((rows, columns))
    a.setflags(write=False)
    return a


def whole_numbers(random: np.random.Generator, rows: int, columns: int) -> Array:
    """Small ones, whose products and sums are exact in any order."""
    return random.integers(-9, 10, (rows, columns)).astype(np.float32)


def check(a: Array, b: Array, bias: Array | None, relu: bool) -> None:
    """Against float64, within what any order of summation may give."""
    found = gemm.matmul(a, b, bias, relu)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected, size = x @ y, np.abs(x) @ np.abs(y)
    if bias is not None:
        expected, size = expected + bias, size + np.abs(bias)
    if relu:
        expected = np.maximum(expected, 0)
    assert found.dtype == a.dtype and found.shape == expected.shape
    bound = (a.shape[1] + 4) * np.finfo(a.dtype).eps / 2
    assert (np.abs(found - expected) <= bound * size).all()


sizes = st.integers(0, 40)
layouts = st.sampled_from(LAYOUTS)


@given(
    sizes, sizes, sizes, layouts, layouts, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1)
)
@example(0, 3, 5, "rows", "rows", True, False, 0)
@example(3, 0, 5, "rows", "columns", True, True, 0)
@example(40, 0, 33, "columns", "rows", True, True, 0)
@each_dtype
def test_any_product(
    dtype: Any, m: int, k: int, n: int, left: Layout, right: Layout,
    with_bias: bool, relu: bool, seed: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    a = matrix(random, m, k, left).astype(dtype, copy=False, order="K")
    b = matrix(random, k, n, right).astype(dtype, copy=False, order="K")
    bias = random.standard_normal(n).astype(dtype) if with_bias else None
    check(a, b, bias, relu)


@pytest.mark.slow  # compiles for float64
@given(sizes, sizes, sizes, st.integers(0, 2**32 - 1))
def test_float64_is_exact(m: int, k: int, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((m, k)), random.standard_normal((k, n))
    np.testing.assert_allclose(gemm.matmul(a, b), a @ b, **EXACT)


#: Each kind of product, with an inner sum longer than a block and columns beyond the last panel.
KINDS = {
    "one row": (1, 1100, 150),
    "few rows": (7, 1100, 150),
    "few rows, a large matrix": (7, 1100, 260),
    "some rows": (21, 300, 150),
    "many rows": (130, 800, 150),
    "many rows, few columns": (700, 900, 7),
    "a short inner sum": (150, 3, 700),
    "whole panels": (192, 96, 128),
}


@each_dtype
@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("m, k, n", KINDS.values(), ids=KINDS.keys())
def test_large_products(m: int, k: int, n: int, layout: Layout, dtype: Any) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((m, k)).astype(dtype), random.standard_normal((k, n))
    b = b.astype(dtype)
    bias = random.standard_normal(n).astype(dtype)
    if layout == "columns":
        check(np.asfortranarray(a), b, bias, True)
        check(a, np.asfortranarray(b), bias, True)
    check(a, b, bias, True)


@pytest.mark.parametrize("m", [2, 20, 60])
@pytest.mark.parametrize("relu", [False, True])
def test_nan_and_infinity_stay(m: int, relu: bool) -> None:
    a, b = np.ones((m, 50), np.float32), np.ones((50, 40), np.float32)
    a[1, 3], b[5, 7] = np.nan, np.inf
    found = gemm.matmul(a, b, relu=relu)
    assert np.isnan(found[1]).all() and np.isinf(found[0, 7])
    assert np.isfinite(np.delete(found, 1, 0)[:, :7]).all()


def test_the_operands_are_left_alone() -> None:
    random = np.random.default_rng(0)
    a, b = whole_numbers(random, 70, 60), whole_numbers(random, 60, 50)
    before = a.copy(), b.copy()
    first = gemm.matmul(a, b)
    kept = first.copy()
    gemm.matmul(b.T, a.T)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


def test_several_python_threads_at_once() -> None:
    random = np.random.default_rng(0)
    pairs = [(whole_numbers(random, 90, 80), whole_numbers(random, 80, 70)) for _ in range(3)]
    wrong = []

    def work(k: int) -> None:
        a, b = pairs[k]
        for _ in range(8):
            if not np.array_equal(gemm.matmul(a, b), a @ b):
                wrong.append(k)

    together(work, range(3))
    assert not wrong


# -- tiles -----------------------------------------------------------------------------------------


@njit
def _panel_product(a, a_row, a_step, rows, b, c, c_row, depth, add):  # type: ignore[no-untyped-def]
    multiply_rows(a, 0, a_row, a_step, rows, b, 0, c, 0, c_row, depth, add)


@each_dtype
@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 13, 25])
@pytest.mark.parametrize("depth", [0, 1, 3, 4, 11])
def test_multiply_rows(rows: int, depth: int, dtype: Any) -> None:
    width = panel_of(dtype)
    random = np.random.default_rng(0)
    a = random.integers(-9, 9, (rows, depth)).astype(dtype)
    b = random.integers(-9, 9, (depth, width)).astype(dtype)
    for left, strides in ((a, (depth, 1)), (np.ascontiguousarray(a.T), (1, rows))):
        c = np.ones((rows, width + 3), dtype)
        for add in (0, 1):
            _panel_product(
                flat(left), *strides, rows, flat(b), c.reshape(-1), width + 3, depth, add
            )
            np.testing.assert_array_equal(c[:, :width], (1 + add) * (a @ b))
        assert (c[:, width:] == 1).all()


@njit
def _tapped(width, rows, panels, depth, a, taps, first, count, b, c, c_row, bias, use, floor):  # type: ignore[no-untyped-def]
    size = depth * (c_row - 1) // panels
    product_rows(
        width, rows, panels, depth, a, (2, 3, 1), taps, (first, count),
        b, (0, count * size, size, (c_row - 1) // panels), c, (1, c_row, 0), bias, (0, use), floor,
    )  # fmt: skip


@each_dtype
@pytest.mark.parametrize("width", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("panels", [1, 3])
@pytest.mark.parametrize("rows", [1, 6, 9, 14])
def test_taps_panels_bias_and_floor(
    rows: int, panels: int, width: tuple[int, ...], dtype: Any
) -> None:
    depth, size = 5, panel_of(dtype, width)
    random = np.random.default_rng(0)
    a = random.integers(-9, 9, 100 + 3 * rows).astype(dtype)
    taps = np.array([50, 0, 7, 31])  # the first is left out
    b = random.integers(-9, 9, (panels, 3, depth, size)).astype(dtype)
    bias = random.integers(-9, 9, panels * size).astype(dtype)
    places = 2 + 3 * np.arange(rows)[:, None] + np.arange(depth)
    products = (a[taps[1 + t] + places] @ b[:, t] for t in range(3))
    expected = np.concatenate(list(sum(products)), axis=1)
    for use, floor in ((0, -np.inf), (1, -np.inf), (1, 0)):
        c = np.full(1 + rows * (panels * size + 1), 77, dtype)
        _tapped(
            width, rows, panels, depth, flat(a), flat(taps), 1, 3, flat(b), c, panels * size + 1,
            flat(bias), use, dtype(floor),
        )  # fmt: skip
        found = c[1:].reshape(rows, -1)
        np.testing.assert_array_equal(found[:, :-1], np.maximum(expected + use * bias, floor))
        assert c[0] == 77 and (found[:, -1] == 77).all()
