"""Matrix products: the plain one, row by row, and the dense layer's x·w + b, also with relu."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet import kernels
from minnet.errors import ShapeError, mismatch
from minnet.kernels.reference import matmul as by_blas
from minnet.kernels.reference import relu_gradient
from minnet.ops.base import (
    ADDITION,
    MULTIPLICATION,
    CellWriter,
    Fused,
    Operand,
    Operation,
    positions,
)
from minnet.ops.pointwise import relu, where
from minnet.ops.reduce import Sum
from minnet.ops.shape import Transpose, transpose
from minnet.program import worked_out
from minnet.tensor import Array

#: Products of fewer multiplications are NumPy's without asking: choosing would take longer.
SMALL = 1 << 18


_column_sums_of: Any = np.add.reduce


def product(a: Any, b: Any) -> Any:
    """The product of two matrices."""
    if a.shape[0] * b.size < SMALL:
        return worked_out(by_blas, a, b)
    return kernels.matmul(a, b)


class _Product(Operation):
    reads_ranges = (0, 1)

    def _dot(self, a: Operand, b: Operand) -> CellWriter:
        """Row of ``a`` times column of ``b``, for the element at a position of the product.

        The sheet must show both as ranges of one direction; the planner sees to that.
        """
        rows, columns = contraction_lines(a.shape, b.shape)
        width = columns.shape[-2]
        lead = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
        rows = np.broadcast_to(rows, lead + rows.shape[-2:]).reshape(-1, rows.shape[-1])
        columns = np.broadcast_to(columns, lead + columns.shape[-2:]).reshape(-1, columns.shape[-1])
        height = len(rows) // max(1, int(np.prod(lead)))
        if rows.shape[1] == 1:
            single_b = [b.cell(int(p[0]), MULTIPLICATION + 1) for p in columns]
            single_a = [a.cell(int(p[0]), MULTIPLICATION) for p in rows]

            def write_single(k: int) -> str:
                row, column = divmod(k, width)
                return f"{single_a[row]}*{single_b[row // height * width + column]}"

            return write_single
        row_text, column_text = a.areas(rows), b.areas(columns)

        def write(k: int) -> str:
            row, column = divmod(k, width)
            return f"SUMPRODUCT({row_text[row]},{column_text[row // height * width + column]})"

        return write


def contraction_lines(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[Array, Array]:
    """Positions of the elements that are multiplied: rows of ``a`` and columns of ``b``, last axis.

    ``(…, n, k)`` and ``(…, k, m)`` give ``(…, n, k)`` and ``(…, m, k)``.
    """
    return positions(a), positions(b).swapaxes(-1, -2)


class MatMul(_Product):
    """(…, n, k) times (…, k, m) is (…, n, m); leading axes broadcast."""

    name = "matmul"
    binding = MULTIPLICATION

    def value(self, a: Any, b: Any) -> Any:
        return product(a, b) if a.ndim == b.ndim == 2 else np.matmul(a, b)

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return matmul(g, _swap(b)) if index == 0 else matmul(_swap(a), g)

    def words(self, a: str, b: str) -> str:
        return f"{a}·{b}"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        return self._dot(operands[0], operands[1])


class DotRows(Operation):
    """Sums of products, row by row: (n, k) and (n, k) give (n, 1)."""

    name = "dot_rows"
    reads_ranges = (0, 1)
    columns = (0, 1)

    def value(self, a: Any, b: Any) -> Any:
        return np.einsum("nk,nk->n", a, b)[:, None]

    def gradient(self, index: int, g: Any, out: Any, a: Any, b: Any) -> Any:
        return g * (b if index == 0 else a)

    def words(self, a: str, b: str) -> str:
        return f"row of {a}·row of {b}"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        lines = [o.areas(positions(o.shape)) for o in operands]
        return lambda k: f"SUMPRODUCT({lines[0][k]},{lines[1][k]})"


def _check_linear(x: Any, w: Any, b: Any) -> None:
    rows, weights = x.shape, w.shape
    if len(rows) != 2 or len(weights) != 2 or rows[1:] != weights[:1] or b.shape != weights[1:]:
        raise ShapeError(
            mismatch(
                "operation 'linear'",
                "x (n, k), w (k, m) and b (m,)",
                f"x {rows}, w {weights} and b {b.shape}",
            )
        )


class Linear(_Product):
    """x·w + b: (n, k) times (k, m) plus (m,); one neuron is a column of w and a number of b."""

    name = "linear"
    replays = True
    stands = (2,)
    binding = ADDITION
    together = True

    def value(self, x: Any, w: Any, b: Any) -> Any:
        _check_linear(x, w, b)
        if x.shape[0] * w.size < SMALL:
            return worked_out(by_blas, x, w, b)
        return kernels.linear(x, w, b)

    def gradient(self, index: int, g: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
        # The shapes were checked on the way forward.
        if index == 0:
            return _matmul(g, _swap_axes(w))
        return _matmul(_swap_axes(x), g) if index == 1 else _column_sums(g)

    def gradients(self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
        return (
            product(g, w.T) if wanted[0] else None,
            product(x.T, g) if wanted[1] else None,
            worked_out(_column_sums_of, g, 0) if wanted[2] else None,
        )

    def words(self, x: str, w: str, b: str) -> str:
        return f"{x}·w + b"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        x, w, b = operands
        dot = self._dot(x, w)
        width = shape[1]
        return lambda k: f"{dot(k)}+{b.cell(k % width, MULTIPLICATION)}"


class LinearRelu(Fused):
    """relu(x·w + b); its gradient needs the result alone, not what came before relu."""

    name = "linear_relu"
    replays = True
    together = True

    def value(self, x: Any, w: Any, b: Any) -> Any:
        _check_linear(x, w, b)
        if x.shape[0] * w.size < SMALL:
            return worked_out(by_blas, x, w, b, True)
        return kernels.linear(x, w, b, relu=True)

    def gradient(self, index: int, g: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
        return linear.gradient(index, where(out > 0, g, 0), out, x, w, b)

    def gradients(self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any, w: Any, b: Any) -> Any:
        return linear.gradients(wanted, worked_out(relu_gradient, g, out), out, x, w, b)

    def steps(self, x: Any, w: Any, b: Any) -> Any:
        return relu(linear(x, w, b))


_matmul = MatMul()
linear, linear_relu, _dot_rows = Linear(), LinearRelu(), DotRows()
_swap_axes, _column_sums = Transpose(None), Sum((0,), keepdims=False)


def _swap(x: Any) -> Any:
    if x.ndim == 2:
        return _swap_axes(x)
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def matmul(a: Any, b: Any) -> Any:
    """Matrix product over the last two axes; leading axes are batches and broadcast."""
    if a.ndim < 2 or b.ndim < 2:
        raise ShapeError(
            mismatch(
                "operation 'matmul'",
                "matrices, or stacks of matrices",
                f"shapes {a.shape} and {b.shape}",
                "Give a vector an axis: v.reshape(1, -1) for a row, v.reshape(-1, 1) for a column.",
            )
        )
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            mismatch(
                "operation 'matmul'",
                f"a right-hand side with {a.shape[-1]} rows for the left-hand shape {a.shape}",
                f"shape {b.shape}",
            )
        )
    return _matmul(a, b)


def dot_rows(a: Any, b: Any) -> Any:
    """The products of two matrices of one shape, summed along each row: (n, k) to (n, 1)."""
    if a.ndim != 2 or a.shape != b.shape:
        received = f"{a.shape} and {b.shape}"
        raise ShapeError(mismatch("operation 'dot_rows'", "two matrices of one shape", received))
    return _dot_rows(a, b)
