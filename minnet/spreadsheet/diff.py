"""Two workbooks of minnet's side by side, tensor by tensor.

Tensors are found by their names, so rows and columns may have been inserted and sheets renamed in
either; numbers are those that the files store, whether typed or calculated.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from minnet.errors import WorkbookError, mismatch
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import Area, Book, Value, open_book
from minnet.spreadsheet.verify import difference

#: A tensor by the number of its step and its name.
_Key: TypeAlias = "tuple[int, str]"


class TensorDifference(NamedTuple):
    """A tensor of two books where it differs most.

    ``difference`` is that of ``minnet.spreadsheet.verify.difference``: relative, and absolute
    (times 1000) below 0.001; infinite where a cell holds no number or the shapes differ.
    ``differing`` of its ``cells`` differ; ``before`` and ``after`` stand in ``cell`` of the
    second book.
    """

    name: str
    difference: float
    differing: int
    cells: int
    before: Value
    after: Value
    cell: str


@dataclass
class BookDiff:
    """What :func:`diff_xlsx` found: ``tensors`` of both books that differ, largest differences
    first, how many are ``equal``, and names that one book alone has."""

    tensors: list[TensorDifference] = field(default_factory=list)
    equal: int = 0
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether both books have the same tensors with the same numbers."""
        return not (self.tensors or self.only_first or self.only_second)


def diff_xlsx(
    first: str | os.PathLike[str], second: str | os.PathLike[str], tolerance: float = 0.0
) -> BookDiff:
    """Compare the numbers of two workbooks by the names of their tensors.

    Tensors whose largest difference is at most ``tolerance`` count as equal. Names of the workbook
    are step 1; those of the first sheet that has names of its own are step 2, and so on.

    Raises :class:`~minnet.errors.WorkbookError` for a file that is not a workbook, or has no names.
    """
    books = open_book(first), open_book(second)
    one, other = (_tensors(book) for book in books)
    found = BookDiff()
    for key, area in one.items():
        if key not in other:
            found.only_first.append(_title(key, area))
            continue
        result = _compare(key, (books[0], area), (books[1], other[key]), tolerance)
        if result.difference > tolerance:
            found.tensors.append(result)
        else:
            found.equal += 1
    found.only_second = [_title(key, area) for key, area in other.items() if key not in one]
    found.tensors.sort(key=lambda tensor: tensor.difference, reverse=True)
    return found


def _tensors(book: Book) -> dict[_Key, Area]:
    steps = [book.names, *(names for names in book.local_names.values() if names)]
    found = {(k, name): area for k, names in enumerate(steps, 1) for name, area in names.items()}
    if not found:
        for name in book.unreadable_names:
            book.named(name, "a tensor")  # says why it leads nowhere
        raise WorkbookError(
            mismatch(
                f"workbook {str(book.path)!r}",
                "areas with names, as minnet writes them",
                "none",
                "Is it a workbook that minnet has exported?",
            )
        )
    return found


def _title(key: _Key, area: Area) -> str:
    step, name = key
    return name if step == 1 else f"{area.sheet}: {name}"


def _compare(
    key: _Key, one: tuple[Book, Area], other: tuple[Book, Area], tolerance: float
) -> TensorDifference:
    (_, area), (_, second) = one, other
    if (area.rows, area.columns) != (second.rows, second.columns):
        shape, other_shape = (f"{a.rows} × {a.columns} cells" for a in (area, second))
        where = f"{second.sheet}!{a1(second.row, second.column)}"
        cells = area.rows * area.columns
        return TensorDifference(
            _title(key, area), math.inf, cells, cells, shape, other_shape, where
        )
    before_cells, after_cells = (book.cells(a.sheet) for book, a in (one, other))
    worst, differing = TensorDifference(_title(key, area), -1.0, 0, 0, None, None, ""), 0
    # What is named may be as large as a sheet, though the file has few cells.
    for row in range(area.rows):
        for column in range(area.columns):
            at = second.row + row, second.column + column
            held = before_cells.get((area.row + row, area.column + column)), after_cells.get(at)
            before, after = (None if cell is None else cell.value for cell in held)
            far = difference(before, after)
            differing += far > tolerance
            if far > worst.difference:
                where = f"{second.sheet}!{a1(*at)}"
                worst = worst._replace(difference=far, before=before, after=after, cell=where)
            if None in held:  # nothing larger can come
                return worst._replace(differing=differing, cells=area.rows * area.columns)
    return worst._replace(differing=differing, cells=area.rows * area.columns)
