"""Writing an .xlsx whose formula cells carry their values too.

openpyxl writes the workbook: styles, colour scales, names, charts, links. What it cannot do is put
a formula *and* its cached value into a cell, and cell by cell it would be slow. So the cells come
as bytes from here and take the place of the empty ``<sheetData/>`` that openpyxl wrote. Previews,
phones and pandas then show numbers without calculating.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

from openpyxl import Workbook
from openpyxl.cell.text import Text
from openpyxl.comments.comment_sheet import CommentRecord
from openpyxl.drawing.spreadsheet_drawing import SpreadsheetDrawing
from openpyxl.worksheet._writer import WorksheetWriter
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.writer.excel import ExcelWriter

from minnet.errors import WorkbookError
from minnet.files import replacing
from minnet.spreadsheet.names import ESCAPE, DoesNotFit, a1, column_letters

LEVEL = 4  # of compression: higher ones take longer and save little
_RUN, _SAMPLED = 4, 64  # rows of a sheet that its size is estimated from
_SIZE_OF_THE_REST = 6_000  # bytes: styles, names, relations
LONGEST_FORMULA = 8192
#: Notes are drawn shapes, and openpyxl numbers them all within one block of a thousand.
MOST_COMMENTS = 900
_NOTE_WIDTH, _NOTE_LINE = 280, 40  # pixels, and the characters that fit into them
LONGEST_TEXT = 32_767 // 2  # Excel counts UTF-16 units, of which a character takes up to two
_column = attrgetter("column")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPE = re.compile(f"(?={ESCAPE})_")
SMALLEST = 2.2250738585072014e-308  # below it float64 is denormal; spreadsheets round that to 0


def clean_text(text: str) -> str:
    """A text as a cell can hold it: without what XML cannot say, cut to Excel's limit."""
    text = _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)[:LONGEST_TEXT]
    return _ESCAPE.sub("_x005F_", text)  # the escape of "_" itself


class Cell(NamedTuple):
    """One cell: ``formula`` without ``=``, or None; text that begins with ``=`` stays text."""

    column: int
    value: float | bool | str | None
    formula: str | None = None
    style: int = 0


class Rows:
    """The cells of one sheet. Subclasses may make rows when asked, so that millions fit."""

    def __init__(self) -> None:
        self._cells: dict[int, list[Cell]] = {}
        self.heights: dict[int, float] = {}  # in points, where not the default
        self.formulas = 0
        self.hyperlinks: list[Any] = []
        self._comments: dict[tuple[int, int], str] = {}

    def comment(self, row: int, column: int, text: str) -> None:
        """A note on a cell, which shows when one points at it; at most so many on a sheet."""
        if len(self._comments) < MOST_COMMENTS:
            self._comments[row, column] = text

    def comments(self) -> list[Any]:
        """All notes as openpyxl has them."""
        return [
            CommentRecord(
                a1(row, column), text=Text(clean_text(text)), author="minnet",
                width=_NOTE_WIDTH, height=20 + 17 * (1 + len(text) // _NOTE_LINE),
            )
            for (row, column), text in sorted(self._comments.items())
        ]  # fmt: skip

    def put(
        self,
        row: int,
        column: int,
        value: float | bool | str | None,
        formula: str | None = None,
        style: int = 0,
    ) -> None:
        self._cells.setdefault(row, []).append(Cell(column, value, formula, style))
        self.formulas += formula is not None

    def row_numbers(self) -> Iterator[int]:
        yield from sorted(self._cells)

    def row(self, number: int) -> list[Cell]:
        return self._cells.get(number, [])


def require_short(formula: str, where: str) -> None:
    """Raises :class:`~minnet.spreadsheet.names.DoesNotFit` for more than Excel takes."""
    if len(formula) > LONGEST_FORMULA:
        raise DoesNotFit(
            f"The formula of {where} would have {len(formula):,} characters, more than the "
            f"{LONGEST_FORMULA:,} that Excel takes. Export a smaller batch."
        )


def cell_xml(row: int, cell: Cell) -> str:
    column, value, formula, style = cell
    if formula is None:
        written = ""
    else:
        require_short(formula, f"cell {a1(row, column)}")
        if "<" in formula or ">" in formula or "&" in formula:
            formula = escape(formula)
        written = f"<f>{formula}</f>"
    head = f'<c r="{column_letters(column)}{row}" s="{style}"'
    if type(value) is float:
        if not math.isfinite(value):
            return f'{head} t="e">{written}<v>#NUM!</v></c>'
        if -SMALLEST < value < SMALLEST:
            value = 0.0
        return f"{head}>{written}<v>{value!r}</v></c>"
    if isinstance(value, bool):
        return f'{head} t="b">{written}<v>{int(value)}</v></c>'
    if isinstance(value, str):
        text = escape(clean_text(value))
        if written:
            return f'{head} t="str">{written}<v>{text}</v></c>'
        return f'{head} t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    if value is None:
        return f"{head}>{written}</c>" if written else f"{head}/>"
    return f"{head}>{written}<v>{value!r}</v></c>"


def _row_xml(rows: Rows, number: int, cells: list[Cell]) -> bytes:
    body = "".join([cell_xml(number, cell) for cell in sorted(cells, key=_column)])
    height = rows.heights.get(number)
    tall = f' ht="{height}" customHeight="1"' if height else ""
    return f'<row r="{number}"{tall}>{body}</row>'.encode()


def _sheet_data(rows: Rows, watch: Watch) -> Iterator[bytes]:
    yield b"<sheetData>"
    for number in rows.row_numbers():
        cells = rows.row(number)
        yield _row_xml(rows, number, cells)
        watch.wrote(sum(cell.formula is not None for cell in cells))
    yield b"</sheetData>"


class Watch:
    """Hears how the writing of a workbook goes on; this one does nothing with it."""

    def begins(self, formulas: int, size: int) -> None:
        """Before the file is written: its live formulas, and about how many bytes it will have."""

    def wrote(self, formulas: int) -> None:
        """So many formulas more are in the file."""


def estimated_size(rows: dict[str, Rows]) -> int:
    """About how many bytes the workbook will have, from a sample of every sheet's rows."""
    size = _SIZE_OF_THE_REST
    for sheet in rows.values():
        numbers = list(sheet.row_numbers())
        # Runs of rows: what a row has in common with the one above is what compresses.
        starts = range(0, len(numbers), max(_RUN, _RUN * len(numbers) // _SAMPLED))
        sample = [n for start in starts for n in numbers[start : start + _RUN]]
        if sample:
            written = b"".join(_row_xml(sheet, n, sheet.row(n)) for n in sample)
            size += len(zlib.compress(written, LEVEL)) * len(numbers) // len(sample)
    return size


class _CachedWriter(ExcelWriter):  # type: ignore[misc]
    """openpyxl's writer with the cells of our own in the worksheets that have some."""

    def __init__(self, workbook: Workbook, archive: ZipFile, rows: dict[str, Rows], watch: Watch):
        super().__init__(workbook, archive)
        self._rows, self._watch = rows, watch

    def write_worksheet(self, ws: Worksheet) -> None:
        rows = self._rows[ws.title]
        ws._drawing = SpreadsheetDrawing()
        ws._drawing.charts = ws._charts
        ws._drawing.images = ws._images
        writer = WorksheetWriter(ws)
        # The writer's constructor empties these, so they are filled in only now.
        ws._hyperlinks, ws._comments = list(rows.hyperlinks), rows.comments()
        writer.write()
        writer.close()
        with open(writer.out, "rb") as file:
            head, tail = self._split(file.read())
        with self._archive.open(ws.path[1:], "w") as out:
            out.write(head)
            for chunk in _sheet_data(rows, self._watch):
                out.write(chunk)
            out.write(tail)
        ws._rels = writer._rels
        self.manifest.append(ws)
        writer.cleanup()

    def _write_comment(self, ws: Worksheet) -> None:
        super()._write_comment(ws)
        # From the sheet's folder, as Excel writes it: IronCalc takes no absolute path here.
        ws._rels[-1].Target = f"../comments/comment{self._comments[-1]._id}.xml"

    @staticmethod
    def _split(page: bytes) -> tuple[bytes, bytes]:
        """openpyxl's page before and after its own, empty cells."""
        start = page.index(b"<sheetData")
        closing = page.find(b"</sheetData>", start)
        end = closing + len(b"</sheetData>") if closing >= 0 else page.index(b"/>", start) + 2
        return page[:start].replace(b'<dimension ref="A1:A1"/>', b"", 1), page[end:]


def save(
    workbook: Workbook,
    rows: dict[str, Rows],
    path: str | os.PathLike[str],
    watch: Watch | None = None,
) -> None:
    """Write the workbook under a temporary name and move it into place when it is whole."""
    if watch is not None:
        images = (image for sheet in workbook.worksheets for image in sheet._images)
        pictures = sum(image.ref.getbuffer().nbytes for image in images)
        formulas = sum(sheet.formulas for sheet in rows.values())
        watch.begins(formulas, estimated_size(rows) + pictures)
    with (
        replacing(path, "a workbook", WorkbookError) as temporary,
        ZipFile(temporary, "w", ZIP_DEFLATED, compresslevel=LEVEL) as archive,
    ):
        _CachedWriter(workbook, archive, rows, watch or Watch()).save()
