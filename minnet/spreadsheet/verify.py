"""Checking that a workbook's stored values are what its formulas give."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from minnet.errors import ArgumentError, WorkbookError, mismatch, unknown_name
from minnet.spreadsheet.formula_check import is_draw
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import Book, CellError, Value, open_book
from minnet.spreadsheet.recalculate import Recalculated, hold_values, libreoffice_values

Engine = Literal["ironcalc", "libreoffice"]
Measure = Callable[[Value, Value], float]

# Below this size, differences count as absolute: what is left when numbers of ordinary size
# cancel out is rounding error, which a relative difference would blow up without bounds.
SMALL = 1e-3

#: The largest difference that may be rounding of the numbers before, enlarged by a division.
ENLARGED = 1e-5
MOST_AGAIN = 10_000  # differing cells of a sheet that are worked out once more

_TITLES = {"ironcalc": "IronCalc", "libreoffice": "LibreOffice"}


class CellDifference(NamedTuple):
    """A formula cell: the value stored in the file and the one recalculated from the formula."""

    sheet: str
    cell: str
    formula: str
    stored: Value
    recalculated: Value
    difference: float

    @property
    def where(self) -> str:
        """Sheet and cell, as in ``network!F6``."""
        return f"{self.sheet}!{self.cell}"


@dataclass
class Report:
    """What ``verify_xlsx`` found.

    ``cells`` counts the formula cells compared, ``draws`` those that draw at random, which are
    not. ``worst`` is the one with the largest difference, also found in ``largest``, ``where``,
    ``stored`` and ``recalculated``. ``failures`` are those beyond the tolerance, but for the
    ``enlarged``: these hold what their formula gives from the numbers stored in the cells that it
    reads, and differ because those do, within the tolerance. Where a gradient is 0 and rounding
    leaves 1e-17 of it, Adam divides that by a root nearly as small. ``all`` has every cell, if that
    was asked for.
    """

    path: Path
    engine: str
    tolerance: float
    cells: int
    worst: CellDifference
    draws: int = 0
    failures: list[CellDifference] = field(default_factory=list)
    enlarged: list[CellDifference] = field(default_factory=list)
    all: list[CellDifference] = field(default_factory=list)

    @property
    def largest(self) -> float:
        """The largest difference; infinite where two values cannot be compared."""
        return self.worst.difference

    @property
    def where(self) -> str:
        """The cell with the largest difference, as in ``network!F6``."""
        return self.worst.where

    @property
    def stored(self) -> Value:
        """The value stored in the cell with the largest difference."""
        return self.worst.stored

    @property
    def recalculated(self) -> Value:
        """The recalculated value of the cell with the largest difference."""
        return self.worst.recalculated

    @property
    def ok(self) -> bool:
        """Whether every formula cell holds what its formula gives."""
        return not self.failures

    def summary(self) -> str:
        """The outcome in one line."""
        text = (
            f"{self.path.name}: {self.cells:,} formula cells recalculated by "
            f"{_TITLES[self.engine]}; "
        )
        if self.draws:
            text += f"{self.draws:,} random draws held at the numbers stored; "
        if self.enlarged:
            text += f"{len(self.enlarged):,} have rounding before them enlarged; "
        if self.ok:
            return text + f"largest difference {self.largest:.2g} ({self.where})"
        return (
            text + f"{len(self.failures):,} differ by more than {self.tolerance:g}, most of all "
            f"{self.where} ={self.worst.formula[:60]}: stored {self.stored!r}, "
            f"recalculated {self.recalculated!r}"
        )


def difference(stored: Value, recalculated: Value) -> float:
    """How far two values of a cell are apart: 0 if equal, infinite if not comparable.

    For numbers it is |a - b| / max(|a|, |b|, 0.001): relative, but absolute (times 1000) for
    numbers below 0.001. With a tolerance of 1e-9, numbers so small may differ by 1e-12, which is
    what rounding can leave where numbers up to 1000 cancel out; a gradient of 1e-5 that is 1 %
    wrong is 1e-4 apart. Truth values, texts and errors are equal or not. A value that is missing
    differs from everything.
    """
    if isinstance(stored, float) and isinstance(recalculated, float):
        return abs(stored - recalculated) / max(abs(stored), abs(recalculated), SMALL)
    same = type(stored) is type(recalculated) and stored == recalculated
    return 0.0 if same and stored is not None else math.inf


def verify_xlsx(
    path: str | os.PathLike[str],
    tolerance: float = 1e-9,
    engine: Engine = "ironcalc",
    every_cell: bool = False,
) -> Report:
    """Compare every formula cell's stored value with what an independent program makes of it.

    ``difference`` is the measure. Cells that differ are worked out once more, from the numbers
    stored in the cells that they read: where that agrees, and the difference is below 1e-5, their
    formulas and values are right, and rounding in front of them has been enlarged.

    Weights that are drawn at random are held at the numbers that are stored beside them, and
    counted in the report's ``draws``. LibreOffice keeps truth values as numbers and has other names
    for some errors, so with it TRUE equals 1 and all errors are equal.
    """
    if engine not in _TITLES:
        raise unknown_name("engine", engine, _TITLES)
    if not 0 <= tolerance < math.inf:
        raise ArgumentError(mismatch("verify_xlsx", "a tolerance of at least 0", repr(tolerance)))
    book = open_book(path)
    held = [
        (title, at, content.formula, content.value)
        for title in book.sheets
        for at, content in book.cells(title).items()
        if content.formula is not None
    ]
    formulas = [cell for cell in held if not is_draw(cell[2])]
    if not formulas:
        raise WorkbookError(
            mismatch(
                f"workbook {str(book.path)!r}",
                "formulas",
                "none, so nothing to verify",
                "Check that it is a workbook that minnet exported.",
            )
        )
    recalculate = _by(engine, book.path)
    measure = difference if engine == "ironcalc" else _difference_for_libreoffice
    differences = []
    for title, (row, column), formula, stored in formulas:
        value = recalculate(title, row, column)
        far = measure(stored, value)
        differences.append(CellDifference(title, a1(row, column), formula, stored, value, far))
    far_off = [cell for cell in differences if cell.difference > tolerance]
    enlarged = _enlarged(book, far_off, engine, measure, tolerance)
    excused = {cell.where for cell in enlarged}
    return Report(
        path=book.path,
        engine=engine,
        tolerance=tolerance,
        cells=len(differences),
        draws=len(held) - len(formulas),
        worst=max(differences, key=lambda cell: cell.difference),
        failures=[cell for cell in far_off if cell.where not in excused],
        enlarged=enlarged,
        all=differences if every_cell else [],
    )


def _enlarged(
    book: Book, cells: Sequence[CellDifference], engine: Engine, measure: Measure, tolerance: float
) -> list[CellDifference]:
    """The cells that hold what their formula gives from the numbers stored where it reads."""
    by_sheet: dict[str, list[CellDifference]] = {}
    for cell in cells:
        if cell.difference <= ENLARGED:
            by_sheet.setdefault(cell.sheet, []).append(cell)
    # One cell that is wrong makes the book wrong: there is nothing to excuse.
    if sum(map(len, by_sheet.values())) < len(cells) or not by_sheet:
        return []
    if max(map(len, by_sheet.values())) > MOST_AGAIN:
        return []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "held.xlsx")
        formulas = {title: [cell.formula for cell in found] for title, found in by_sheet.items()}
        rows = hold_values(book.path, copy, formulas)
        recalculate = _by(engine, copy)
        return [
            cell
            for title, found in by_sheet.items()
            for column, cell in enumerate(found, 1)
            if measure(cell.stored, recalculate(title, rows[title], column)) <= tolerance
        ]


def _by(engine: Engine, path: Path) -> Callable[[str, int, int], Value]:
    """What this program makes of a book, cell by cell."""
    return Recalculated(path).value if engine == "ironcalc" else _by_libreoffice(path)


def _by_libreoffice(path: Path) -> Callable[[str, int, int], Value]:
    (recalculated,) = libreoffice_values([path])

    def value(title: str, row: int, column: int) -> Value:
        content = recalculated.cells(title).get((row, column))
        return None if content is None else content.value

    return value


def _difference_for_libreoffice(stored: Value, recalculated: Value) -> float:
    return difference(_plain(stored), _plain(recalculated))


def _plain(value: Value) -> Value:
    """A value as LibreOffice knows it: a truth value is a number, an error is an error."""
    if isinstance(value, bool):
        return float(value)
    return CellError("#ERROR!") if isinstance(value, CellError) else value
