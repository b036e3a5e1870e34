"""Reading an .xlsx back: a workbook of ours, perhaps edited and saved by a spreadsheet program.

The file may come from anyone (see ``package``), so what it says about itself is not believed:
only cells that are really there are counted and read.
"""

from __future__ import annotations

import math
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from minnet.errors import WorkbookError, mismatch
from minnet.spreadsheet.formula import moved
from minnet.spreadsheet.names import a1, parse_a1
from minnet.spreadsheet.package import Package, read_file
from minnet.spreadsheet.sheet_xml import CellsHandler, RawCell, StringsHandler

# What these allow is read within 500 MB of memory.
MAX_CELLS = 1_300_000
MAX_CHARACTERS = 80_000_000  # of texts and formulas, those that cells share counted for each
MOVING = 8  # a shared formula counts so often, because it takes time to write it anew
MAX_SHEETS = 1_000
MAX_RAW_CELLS = 5_000_000  # of a sheet, those that only have a style included
MAX_SPREADING = 50_000_000  # cells looked at to find those of array formulas

_WORKBOOK = "xl/workbook.xml"
_BUILT_IN = "_xlnm."  # print areas, filters
_AREA = re.compile(
    r"(?:'(?P<quoted>(?:[^']|'')+)'|(?P<plain>[^'!\[\]:]+))!"
    r"(?P<first>\$?[A-Z]{1,3}\$?[0-9]+)(?::(?P<last>\$?[A-Z]{1,3}\$?[0-9]+))?"
)


class CellError(str):
    """The value of a cell in error, such as ``#NUM!``; the same text typed by hand is a str."""


Value: TypeAlias = "float | str | bool | None"


class CellContent(NamedTuple):
    """What a cell holds: its value as stored, and its formula without the ``=``.

    The value is None if none is stored, and a ``CellError`` if the cell is in error.
    """

    value: Value
    formula: str | None


class Area(NamedTuple):
    """A rectangle of cells; row and column are those of its first cell, counted from 1."""

    sheet: str
    row: int
    column: int
    rows: int
    columns: int


class DefinedName(NamedTuple):
    """A defined name as the file has it; scope is a sheet's title, or None for the workbook."""

    name: str
    scope: str | None
    text: str


class Book:
    """A workbook being read: ``open_book`` makes it.

    ``sheets`` are the titles in order. ``names`` are the areas named for the whole workbook and
    ``local_names`` those of each sheet. A name that is no single rectangle of an existing sheet
    is in ``unreadable_names`` instead, with its text; a sheet's own as ``title!name``.
    """

    def __init__(self, package: Package) -> None:
        self.package = package
        self.path = package.path
        self.sheets: list[str] = []
        self.defined_names: list[DefinedName] = []
        self.names: dict[str, Area] = {}
        self.local_names: dict[str, dict[str, Area]] = {}
        self.unreadable_names: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._cells: dict[str, dict[tuple[int, int], CellContent]] = {}
        self._count = self._characters = 0
        self._strings: list[str] | None = None
        self._strings_part = ""
        self._read_workbook()

    def _read_workbook(self) -> None:
        targets: dict[str, str] = {}
        for _, about, _ in self.package.elements("xl/_rels/workbook.xml.rels", "Relationship"):
            # Targets are relative to the folder xl, or absolute with a leading slash.
            target = posixpath.normpath(posixpath.join("/xl", about.get("Target", ""))).lstrip("/")
            targets[about.get("Id", "")] = target
            if about.get("Type", "").endswith("/sharedStrings"):
                self._strings_part = target
        scopes: list[tuple[str, str, str]] = []
        for tag, about, text in self.package.elements(_WORKBOOK, "sheet", "definedName"):
            if tag == "sheet":
                title = about.get("name", "")
                self.sheets.append(title)
                self._parts[title] = targets.get(about.get("id", ""), "")
            else:
                scopes.append((about.get("name", ""), about.get("localSheetId", ""), text.strip()))
        if len(self.sheets) > MAX_SHEETS:
            raise self.package.refusal(f"at most {MAX_SHEETS:,} sheets", f"{len(self.sheets):,}")
        self._titles = {title.lower(): title for title in reversed(self.sheets)}
        if not self.sheets:
            raise self.package.refusal("at least one sheet", "none")
        for name, scope, text in scopes:
            if not name.startswith(_BUILT_IN):
                self._add_name(name, scope, text)

    def _add_name(self, name: str, scope: str, text: str) -> None:
        title = None
        if scope:
            try:
                title = self.sheets[int(scope)]
            except (ValueError, IndexError):
                raise self.package.refusal(
                    f"a sheet for the name {name!r}", f"sheet number {scope!r}"
                ) from None
        self.defined_names.append(DefinedName(name, title, text))
        area = self._area(text)
        if area is None:
            self.unreadable_names[name if title is None else f"{title}!{name}"] = text
        elif title is None:
            self.names[name] = area
        else:
            self.local_names.setdefault(title, {})[name] = area

    def _area(self, text: str) -> Area | None:
        match = _AREA.fullmatch(text)
        if match is None:
            return None
        first, last = parse_a1(match["first"]), parse_a1(match["last"] or match["first"])
        sheet = self._titles.get(_title(match).lower())
        if first is None or last is None or sheet is None:
            return None
        (top, bottom), (left, right) = sorted((first[0], last[0])), sorted((first[1], last[1]))
        return Area(sheet, top, left, bottom - top + 1, right - left + 1)

    def named(self, name: str, what: str) -> Area | None:
        """The area that is named so for the whole workbook; None without such a name.

        ``what`` stands there, for errors. Raises :class:`~minnet.errors.WorkbookError` for a name
        that leads nowhere: which sheet a program has renamed behind its back is not guessed.
        """
        text = self.unreadable_names.get(name)
        if text is None:
            return self.names.get(name)
        match = _AREA.fullmatch(text)
        sheet = "" if match is None else _title(match)
        if match is None or sheet.lower() in self._titles:
            expected, received = "one rectangle of the workbook's own cells", text[:80]
            advice = "If they were deleted, undo that; else export the workbook anew."
        else:
            expected = f"an area of the sheets {', '.join(map(repr, self.sheets[:9]))}"
            received = f"{text[:80]}, and there is no sheet {sheet!r} any more"
            advice = (
                "A program has renamed or deleted the sheet and left its names behind. Give the "
                f"sheet the title {sheet!r} again and save the workbook; Excel and LibreOffice "
                "rename names and formulas along with a sheet."
            )
        where = f"{what} in {str(self.path)!r}, by the name {name!r}"
        raise WorkbookError(mismatch(where, expected, received, advice))

    def part(self, title: str) -> str:
        """The part of the file that holds a sheet."""
        try:
            return self._parts[title]
        except KeyError:
            raise self.package.refusal(f"a sheet {title!r}", f"sheets {self.sheets}") from None

    def raw_cells(self, title: str) -> Iterator[RawCell]:
        """The cells of a sheet as the file has them, one after the other."""
        for number, cell in enumerate(self.package.parse(self.part(title), CellsHandler())):
            if number == MAX_RAW_CELLS:
                raise self.package.refusal(f"at most {MAX_RAW_CELLS:,} cells in {title!r}", "more")
            yield cell

    def cells(self, title: str) -> dict[tuple[int, int], CellContent]:
        """All cells of a sheet that hold something, by row and column, both counted from 1.

        A formula shared by many cells is given to each as if written there; the cells of an array
        formula all have its text.
        """
        if title not in self._cells:
            self._cells[title] = self._read_cells(title)
        return self._cells[title]

    def _read_cells(self, title: str) -> dict[tuple[int, int], CellContent]:
        cells: dict[tuple[int, int], CellContent] = {}
        shared: dict[str, tuple[tuple[int, int], str]] = {}
        arrays: list[tuple[str, str]] = []
        for raw in self.raw_cells(title):
            at = parse_a1(raw.reference)
            if at is None or at in cells:
                raise self._wrong(title, raw, "each cell once", "it twice or outside the sheet")
            formula = raw.formula
            value = self._value(title, raw)
            if formula is None and value is None:
                continue
            if raw.formula_kind == "shared":
                if formula:
                    shared[raw.group] = at, formula
                elif raw.group in shared:
                    origin, text = shared[raw.group]
                    formula = moved(text, at[0] - origin[0], at[1] - origin[1])
                    self._characters += (MOVING - 1) * len(formula)
                else:
                    raise self._wrong(title, raw, "a shared formula", "one without a beginning")
            elif raw.formula_kind:
                arrays.append((raw.span, formula or ""))
            cells[at] = CellContent(value, formula)
            self._count += 1
            if self._count > MAX_CELLS:
                raise self.package.refusal(f"at most {MAX_CELLS:,} cells", "more")
            self._note_text(formula, value)
        if len(arrays) * len(cells) > MAX_SPREADING:
            raise self.package.refusal("few array formulas", f"{len(arrays):,} in {title!r}")
        for span, formula in arrays:
            _spread(cells, span, formula)
        return cells

    def _note_text(self, *texts: Value) -> None:
        """Count what is kept of the file's texts."""
        for text in texts:
            if isinstance(text, str):
                self._characters += len(text) if text.isascii() else 4 * len(text)
        if self._characters > MAX_CHARACTERS:
            limit = f"at most {MAX_CHARACTERS:,} characters in all cells"
            raise self.package.refusal(limit, "more")

    def _value(self, title: str, raw: RawCell) -> Value:
        kind, text = raw.kind, raw.text
        if text is None:
            return None
        if kind == "n":
            if not text:
                return None
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if math.isfinite(number) and "_" not in text:
                return number
        elif kind in ("str", "inlineStr", "d"):
            return text
        elif kind == "e":
            return CellError(text)
        elif kind == "b" and text in ("0", "1", "false", "true"):
            return text in ("1", "true")
        elif kind == "s" and text.strip().isdecimal():
            strings = self._shared_strings()
            if len(text) < 9 and int(text) < len(strings):
                return strings[int(text)]
        raise self._wrong(title, raw, f"a value of type {kind!r}", repr(text[:40]))

    def _shared_strings(self) -> list[str]:
        if self._strings is None:
            strings: list[str] = []
            for string in self.package.parse(self._strings_part, StringsHandler()):
                self._note_text(string)
                strings.append(string)
                if len(strings) > MAX_CELLS:
                    raise self.package.refusal(f"at most {MAX_CELLS:,} texts", "more")
            self._strings = strings
        return self._strings

    def _wrong(self, title: str, raw: RawCell, expected: str, received: str) -> WorkbookError:
        return self.package.refusal(f"{expected} in {title}!{raw.reference[:20]}", received)

    def numbers(
        self, area: Area, what: str, formulas: bool = False, most: float = math.inf
    ) -> np.ndarray:
        """The numbers in an area, as float64 of shape (rows, columns).

        ``what`` names them in errors. Text, truth values, errors and empty cells are refused, and
        formulas too unless ``formulas`` is true: then their stored values count. So are numbers
        beyond ``most``, whatever their signs.
        """
        cells = self.cells(area.sheet)
        numbers: list[float] = []
        # The area may be as large as a sheet; an empty cell ends this at once.
        for row in range(area.row, area.row + area.rows):
            for column in range(area.column, area.column + area.columns):
                held = _number(cells.get((row, column)), formulas)
                if not isinstance(held, str) and abs(held) > most:
                    held = f"{held:g}, more than {most:.2g}"
                if isinstance(held, str):
                    raise WorkbookError(
                        mismatch(
                            f"{what} in {str(self.path)!r}, cell {area.sheet}!{a1(row, column)}",
                            "a number",
                            held,
                            "Type a number there and save the workbook again.",
                        )
                    )
                numbers.append(held)
        return np.array(numbers, dtype=np.float64).reshape(area.rows, area.columns)


def _title(area: re.Match[str]) -> str:
    return area["plain"] or area["quoted"].replace("''", "'")


def _number(content: CellContent | None, formulas: bool) -> float | str:
    """The number in a cell, or in words what is there instead."""
    if content is None:
        return "an empty cell"
    value, formula = content
    if formula is not None and not formulas:
        return f"the formula ={formula[:40]}"
    if value is None:
        return f"the formula ={(formula or '')[:40]} without a stored value"
    if isinstance(value, bool):
        return f"the truth value {str(value).upper()}"
    if isinstance(value, CellError):
        return f"the error {value[:40]}"
    return f"the text {value[:40]!r}" if isinstance(value, str) else value


def _spread(cells: dict[tuple[int, int], CellContent], span: str, formula: str) -> None:
    """Give an array formula to all the cells that it fills, which the file shows as plain."""
    first, _, last = span.partition(":")
    begin, end = parse_a1(first), parse_a1(last or first)
    if begin is None or end is None:
        return
    for (row, column), content in cells.items():
        if begin[0] <= row <= end[0] and begin[1] <= column <= end[1]:
            cells[row, column] = CellContent(content.value, formula)


def open_book(path: str | os.PathLike[str]) -> Book:
    """Open a workbook; each sheet's cells are read when first asked for.

    The file is read into memory, so it may change or vanish afterwards.
    """
    return Book(Package(read_file(path), Path(path)))
