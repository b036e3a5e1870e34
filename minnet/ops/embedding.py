"""Rows of a table, looked up by their numbers: how words and users become vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, DtypeError, ShapeError, mismatch
from minnet.ops.base import ADDITION, CellWriter, Operand, Operation, positions
from minnet.ops.shape import reshape
from minnet.tensor import Array


class TakeRows(Operation):
    """Table (rows, n) and indices (…) to (…, n): each index becomes its row of the table."""

    name = "take_rows"
    one_dtype = False
    reads_ranges = (0,)
    tables = (0,)

    def value(self, table: Any, indices: Any) -> Any:
        if table.ndim != 2:
            received = f"shape {table.shape}"
            raise ShapeError(mismatch("operation 'take_rows'", "a table (rows, n)", received))
        indices = _checked(indices, len(table))
        return table[indices]

    def gradient(self, index: int, g: Any, out: Any, table: Any, indices: Any) -> Any:
        if index == 1:
            return None
        rows, n = table.shape
        return AddRows(rows)(reshape(g, (-1, n)), reshape(indices, (-1,)))

    def words(self, table: str, indices: str) -> str:
        return f"row of {table} for each of {indices}"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        table, indices = operands
        columns = [table.area(column) for column in positions(table.shape).T]
        n = len(columns)

        def write(k: int) -> str:
            place, column = divmod(k, n)
            if table.shape[0] == 1:  # not every program takes the index of a single cell
                return columns[column]
            return f"INDEX({columns[column]},{indices.cell(place, ADDITION)}+1)"

        return write


@dataclass(frozen=True)
class AddRows(Operation):
    """The gradient of taking rows: each row (k, n) is added to its index's; repeats add up."""

    rows: int

    name = "add_rows"
    one_dtype = False
    reads_ranges = (0, 1)
    columns = (0, 1)

    def value(self, g: Any, indices: Any) -> Any:
        indices = _checked(indices, self.rows)
        total = np.zeros((self.rows, g.shape[1]), g.dtype)
        if len(indices):
            # Sorted, equal indices are neighbours, whose rows are added in one go.
            order = indices.argsort(kind="stable")
            found, starts = np.unique(indices[order], return_index=True)
            total[found] = np.add.reduceat(g[order], starts, axis=0)
        return total

    def gradient(self, index: int, g: Any, out: Any, rows: Any, indices: Any) -> Any:
        return take_rows(g, indices) if index == 0 else None

    def words(self, g: str, indices: str) -> str:
        return f"sum of {g} where {indices} is the row"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        g, indices = operands
        if not len(positions(indices.shape)):
            return lambda k: "0"
        criteria = indices.area(positions(indices.shape))
        columns = [g.area(column) for column in positions(g.shape).T]

        def write(k: int) -> str:
            row, column = divmod(k, len(columns))
            if ":" not in criteria:  # nor the sum over one cell
                return f"IF({criteria}={row},{columns[column]},0)"
            return f"SUMIF({criteria},{row},{columns[column]})"

        return write


def _checked(indices: Any, rows: int) -> Array:
    """The indices, all of them rows of the table.

    Raises :class:`~minnet.errors.DtypeError` for anything but integers and
    :class:`~minnet.errors.ArgumentError` for one that is out of range.
    """
    array = np.asarray(indices)
    if array.dtype.kind not in "iu":
        advice = "Make them integers, e.g. x.astype(int)."
        raise DtypeError(mismatch("rows of a table", "integer indices", f"{array.dtype}", advice))
    if array.size and not (array.min() >= 0 and array.max() < rows):
        wrong = array.min() if array.min() < 0 else array.max()
        raise ArgumentError(
            mismatch("rows of a table", f"indices from 0 to {rows - 1}", f"{wrong}")
        )
    return array


take_rows = TakeRows()
