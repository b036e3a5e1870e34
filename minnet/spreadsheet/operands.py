"""An input of a formula as text: real cells, a number, or another formula written in its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minnet.errors import WorkbookError
from minnet.ops.base import ADDITION, ATOM, CellWriter
from minnet.spreadsheet.names import DoesNotFit, column_letters
from minnet.tensor import Array

# A cell's address as one number, so that an array of cells is an array of integers and every view
# (transpose, slice, …) moves addresses as it moves numbers.
ROW = 1 << 15
MAX_AREAS = 250  # a function takes 255 arguments


def reference(address: int, dollar: str = "") -> str:
    row, column = divmod(address, ROW)
    return f"{dollar}{column_letters(column)}{dollar}{row}"


class _Ranged:
    """What has ranges of cells to offer, if any."""

    def area(self, positions: Array) -> str:
        raise WorkbookError("a range was asked of a formula that has no cells of its own")

    def areas(self, positions: Array | Sequence[Array]) -> list[str]:
        """:meth:`area` of each row of positions."""
        return [self.area(row) for row in positions]


class Cells(_Ranged):
    """Elements that stand in cells of their own. ``sheet`` is empty or ends in ``!``."""

    binding = ATOM

    def __init__(self, addresses: Array, sheet: str = "", fixed: bool = False):
        self._addresses = addresses
        self._flat: list[int] = addresses.reshape(-1).tolist()
        self._sheet = sheet
        self._dollar = "$" if fixed else ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self._addresses.shape

    def cell(self, position: int, binding: int = 0) -> str:
        return self._sheet + reference(self._flat[position], self._dollar)

    def area(self, positions: Array) -> str:
        addresses = [self._flat[p] for p in positions.tolist()]
        return ",".join([self._range(a, b) for a, b in _rectangles(addresses)])

    def areas(self, positions: Array | Sequence[Array]) -> list[str]:
        """:meth:`area` of each row of positions, quickly where all have the same form."""
        if len(set(map(len, positions))) != 1:
            return super().areas(positions)
        addresses = self._addresses.reshape(-1)[np.asarray(positions)]
        apart = addresses - addresses[:, :1]
        if (apart != apart[0]).any():
            return super().areas(positions)
        start = addresses[:, 0] - addresses[0, 0]
        ranges = [
            map(self._range, (start + first).tolist(), (start + last).tolist())
            for first, last in _rectangles(addresses[0].tolist())
        ]
        return list(map(",".join, zip(*ranges)))

    def _range(self, first: int, last: int) -> str:
        start = self._sheet + reference(first, self._dollar)
        return start if first == last else f"{start}:{reference(last, self._dollar)}"

    def broadcast(self, shape: tuple[int, ...]) -> Cells:
        if shape == self.shape:  # one cell for each: nothing to hold fast with dollar signs
            return Cells(self._addresses, self._sheet)
        return self.rearranged(np.broadcast_to(self._addresses, shape))

    def rearranged(self, addresses: Array) -> Cells:
        """The same sheet's cells at other addresses."""
        return Cells(addresses, self._sheet, bool(self._dollar))


def _rectangles(addresses: list[int]) -> list[tuple[int, int]]:
    """Ranges that hold these cells, as (first, last): one, or one for each run in a row.

    Raises :class:`~minnet.errors.WorkbookError` for more than a formula can read.
    """
    first, last = min(addresses), max(addresses)
    (top, left), (bottom, right) = divmod(first, ROW), divmod(last, ROW)
    area = (bottom - top + 1) * (right - left + 1)
    if area == len(addresses) == len(set(addresses)):
        columns = {a % ROW for a in addresses}
        if min(columns) == left and max(columns) == right:
            return [(first, last)]
    runs: list[tuple[int, int]] = []
    for a in sorted(addresses):
        if runs and a == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], a)
        else:
            runs.append((a, a))
    if len(runs) > MAX_AREAS:
        raise DoesNotFit(
            f"A formula would read {len(runs)} separate ranges, more than the {MAX_AREAS} that a "
            "function takes. Reduce over the last axis, or export a smaller batch."
        )
    return runs


class Scalar(_Ranged):
    """One number for every element: a constant written out, or the name of a cell."""

    shape: tuple[int, ...] = ()

    def __init__(self, text: str, binding: int = ATOM):
        self._text = text
        self.binding = binding

    @classmethod
    def number(cls, value: float) -> Scalar:
        return cls(number_text(value), ATOM if value >= 0 else ADDITION)

    def cell(self, position: int, binding: int = 0) -> str:
        return self._text if self.binding >= binding else f"({self._text})"

    def area(self, positions: Array) -> str:
        return self._text

    def broadcast(self, shape: tuple[int, ...]) -> Scalar:
        return self


def number_text(value: float) -> str:
    """A number as formulas write it: the shortest text that reads back as the same float64."""
    value = float(value)
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value).upper()


class Inline(_Ranged):
    """Formulas written in place of cells, for steps too small to deserve a block."""

    def __init__(self, write: CellWriter, shape: tuple[int, ...], binding: int, sources: Array):
        self._write = write
        self._sources = sources
        self._flat: list[int] = sources.reshape(-1).tolist()
        self.shape = shape
        self.binding = binding

    def cell(self, position: int, binding: int = 0) -> str:
        text = self._write(self._flat[position])
        return text if self.binding >= binding else f"({text})"

    def broadcast(self, shape: tuple[int, ...]) -> Inline:
        sources = np.broadcast_to(self._sources.reshape(self.shape), shape)
        return Inline(self._write, shape, self.binding, sources)


class Joined(_Ranged):
    """Several operands in a row, seen through a view that picks elements among all of them."""

    binding: int

    def __init__(self, parts: Sequence[Cells | Inline | Joined | Scalar], sources: Array):
        self._parts = parts
        self._starts = np.cumsum([0] + [int(np.prod(p.shape)) for p in parts]).tolist()
        self._sources = sources
        self._flat: list[int] = sources.reshape(-1).tolist()
        self.shape: tuple[int, ...] = sources.shape
        self.binding = min(p.binding for p in parts)

    def cell(self, position: int, binding: int = 0) -> str:
        source = self._flat[position]
        part = next(i for i, start in enumerate(self._starts[1:]) if source < start)
        return self._parts[part].cell(source - self._starts[part], binding)

    def area(self, positions: Array) -> str:
        raise WorkbookError("a range was asked of joined blocks that do not lie side by side")

    def broadcast(self, shape: tuple[int, ...]) -> Joined:
        return Joined(self._parts, np.broadcast_to(self._sources, shape))
