"""Recalculating a workbook with spreadsheet programs that know nothing of minnet.

A program may trust the values stored beside the formulas, and then comparing its numbers with the
stored ones proves nothing. So both engines are given a copy without them.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from minnet.errors import MissingDependencyError, WorkbookError, mismatch, missing
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.package import Package, read_file
from minnet.spreadsheet.reader import Area, Book, CellError, Value

_FORMULA_CELL = re.compile(
    rb"<(?P<prefix>\w+:|)c(?P<about>\s[^>]*)?>\s*"
    rb"(?P<formula><(?P=prefix)f(?:\s[^>]*)?(?:/>|>[^<]*</(?P=prefix)f>))\s*"
    rb"(?P<value><(?P=prefix)v(?:\s[^>]*)?(?:/>|>[^<]*</(?P=prefix)v>)\s*)?"
    rb"</(?P=prefix)c>"
)
_DRAW = re.compile(rb">NORMINV\(RAND\(\),0,[^<,()]*\)<")
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_CELL_TYPE = re.compile(rb"""\st\s*=\s*(?:"[^"]*"|'[^']*')""")
_END_OF_CELLS = re.compile(rb"</(?P<prefix>\w+:|)sheetData>")

_SOFFICE = ("soffice", "libreoffice", "/Applications/LibreOffice.app/Contents/MacOS/soffice")
# 0 is "always recalculate"; otherwise LibreOffice believes the stored values.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item>
</oor:items>"""


def strip_cached_values(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a workbook without the values stored beside its formulas.

    Random draws become numbers, those that are stored: all that is calculated from them can then be
    compared, though a spreadsheet would draw others.
    """
    package = Package(read_file(source), Path(source))
    book = Book(package)
    sheets = {book.part(title) for title in book.sheets}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy:
        for part in package.parts:
            data = package.read(part)
            copy.writestr(part, _stripped(package, part, data) if part in sheets else data)


def hold_values(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    again: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    """Copy a workbook with the stored values in place of its formulas, and some formulas again.

    ``again``: formulas by their sheets. They stand side by side in a row below everything, and so
    are worked out from the numbers that are stored in the cells they name. Gives those rows.
    """
    package = Package(read_file(source), Path(source))
    book = Book(package)
    rows = {title: max(row for row, _ in book.cells(title)) + 2 for title in again}
    sheets = {book.part(title): title for title in book.sheets}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as copy:
        for part in package.parts:
            data = package.read(part)
            end = _END_OF_CELLS.search(data) if part in sheets else None
            if end is not None:
                cells = _FORMULA_CELL.sub(_without_formula, data[: end.start()])
                title = sheets[part]
                row = _row_of(again.get(title, ()), rows.get(title, 0), end["prefix"])
                data = cells + row + data[end.start() :]
            copy.writestr(part, data)
    return rows


def _row_of(formulas: Sequence[str], row: int, prefix: bytes) -> bytes:
    if not formulas:
        return b""
    p = prefix.decode()
    cells = [
        f'<{p}c r="{a1(row, column)}" t="str"><{p}f>{escape(formula)}</{p}f></{p}c>'
        for column, formula in enumerate(formulas, 1)
    ]
    return f'<{p}row r="{row}">{"".join(cells)}</{p}row>'.encode()


def _without_formula(cell: re.Match[bytes]) -> bytes:
    return cell[0].replace(cell["formula"], b"")


def _stripped(package: Package, part: str, data: bytes) -> bytes:
    end = _END_OF_CELLS.search(data)
    if end is None:
        return data
    cells, rest = data[: end.start()], data[end.start() :]
    stripped, count = _FORMULA_CELL.subn(_without_value, cells)
    if count != len(_FORMULA.findall(cells)):
        raise package.refusal("formulas in plain cells", f"others in {part!r}")
    return stripped + rest


def _without_value(cell: re.Match[bytes]) -> bytes:
    if _DRAW.search(cell["formula"]) and cell["value"]:
        return _without_formula(cell)
    # As text without content, because IronCalc prints a warning for a number without one.
    about = _CELL_TYPE.sub(b"", cell["about"] or b"") + b' t="str"'
    prefix = cell["prefix"]
    return b"<%sc%s>%s</%sc>" % (prefix, about, cell["formula"], prefix)


class Recalculated:
    """A workbook worked out by IronCalc from its inputs and formulas alone, and kept alive.

    Change input cells with ``set`` or ``set_array``, call ``evaluate``, and look at the formulas'
    new values. Rows and columns count from 1.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import ironcalc
        except ImportError:
            raise missing("ironcalc", "check", "Recalculating a workbook") from None
        self.path = Path(path)
        self._error_type = ironcalc.CellType.ErrorValue
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "stripped.xlsx")
            strip_cached_values(path, copy)
            with _refusals(self.path):
                self._model: Any = ironcalc.load_from_xlsx(str(copy), "en", "UTC", "en")
                sheets = self._model.get_worksheets_properties()
        self._sheets = {sheet["name"]: index for index, sheet in enumerate(sheets)}
        self.evaluate()

    def evaluate(self) -> None:
        """Work out all formulas again."""
        with _refusals(self.path):
            self._model.evaluate()

    def value(self, sheet: str, row: int, column: int) -> Value:
        """What a cell holds; None if it is empty, a ``CellError`` if it is in error."""
        index = self._index(sheet)
        value: Value = self._model.get_cell_value(index, row, column)
        if isinstance(value, str) and (
            self._model.get_cell_type(index, row, column) == self._error_type
        ):
            return CellError(value)
        return value

    def set(self, sheet: str, row: int, column: int, number: float) -> None:
        """Put a number into an input cell; takes effect at the next ``evaluate``."""
        index = self._index(sheet)
        if self._model.get_cell_formula(index, row, column) is not None:
            raise self._wrong(sheet, row, column, "an input cell", "a formula", "Set its inputs.")
        if not math.isfinite(number):
            raise self._wrong(sheet, row, column, "a finite number", repr(float(number)))
        self._model.update_cell_with_number(index, row, column, float(number))

    def array(self, area: Area) -> np.ndarray:
        """The numbers in an area, as float64 of shape (rows, columns); TRUE is 1, FALSE is 0."""
        numbers = np.empty((area.rows, area.columns))
        for (i, j), _ in np.ndenumerate(numbers):
            row, column = area.row + i, area.column + j
            value = self.value(area.sheet, row, column)
            if value is None or isinstance(value, str):
                received = "an empty cell" if value is None else repr(value[:40])
                raise self._wrong(area.sheet, row, column, "a number", received)
            numbers[i, j] = value
        return numbers

    def set_array(self, area: Area, array: np.ndarray) -> None:
        """Put numbers into the input cells of an area, at the next ``evaluate``."""
        array = np.asarray(array)
        if array.shape != (area.rows, area.columns):
            raise WorkbookError(
                mismatch(
                    f"an area of {area.sheet!r} in {str(self.path)!r}",
                    f"an array of shape {(area.rows, area.columns)}",
                    f"shape {array.shape}",
                    "Reshape the array.",
                )
            )
        for (i, j), number in np.ndenumerate(array):
            self.set(area.sheet, area.row + i, area.column + j, number)

    def _index(self, sheet: str) -> int:
        try:
            return self._sheets[sheet]
        except KeyError:
            raise WorkbookError(
                mismatch(
                    f"workbook {str(self.path)!r}",
                    f"one of the sheets {', '.join(self._sheets)}",
                    repr(sheet),
                )
            ) from None

    def _wrong(
        self, sheet: str, row: int, column: int, expected: str, received: str, advice: str = ""
    ) -> WorkbookError:
        where = f"cell {sheet}!{a1(row, column)} of {str(self.path)!r}"
        return WorkbookError(mismatch(where, expected, received, advice))


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what IronCalc raises, panics included, into an error that names the file."""
    try:
        yield
    except BaseException as error:
        # A panic of its Rust code derives from BaseException and has no importable name.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise WorkbookError(
                mismatch(
                    f"workbook {str(path)!r}",
                    "a workbook that IronCalc can evaluate",
                    f"{type(error).__name__}: {error}",
                    "Try LibreOffice. Where a program saved it that drops the stored values, as "
                    "openpyxl does, save it in LibreOffice or Excel first, or export it anew.",
                )
            ) from error
        raise


def libreoffice_available() -> bool:
    """Whether LibreOffice is installed here."""
    return _soffice() is not None


def _soffice() -> str | None:
    return next(filter(None, map(shutil.which, _SOFFICE)), None)


def libreoffice_values(
    paths: Sequence[str | os.PathLike[str]], timeout: float = 180.0
) -> list[Book]:
    """The workbooks as LibreOffice recalculates and saves them, in one call for all of them.

    Starting it takes more than a second, so give it several files at once. Its numbers have 15
    significant digits. ``timeout`` is in seconds.
    """
    program = _soffice()
    if program is None:
        raise MissingDependencyError(
            "Recalculating a workbook with LibreOffice needs the program 'soffice', which is not "
            "installed. Install the Debian package libreoffice-calc-nogui, or LibreOffice itself."
        )
    with tempfile.TemporaryDirectory() as folder:
        profile, results = Path(folder, "profile"), Path(folder, "results")
        (profile / "user").mkdir(parents=True)
        (profile / "user" / "registrymodifications.xcu").write_text(_PROFILE, encoding="utf-8")
        copies = [Path(folder, f"{number}.xlsx") for number in range(len(paths))]
        for path, copy in zip(paths, copies, strict=True):
            strip_cached_values(path, copy)
        command = [program, f"-env:UserInstallation={profile.as_uri()}", "--headless"]
        command += ["--norestore", "--convert-to", "xlsx:Calc MS Excel 2007 XML"]
        command += ["--outdir", str(results), *map(str, copies)]
        output = _run(command, timeout)
        books = []
        for path, copy in zip(paths, copies, strict=True):
            result = results / copy.name
            if not result.exists():
                raise WorkbookError(
                    mismatch(
                        f"workbook {str(path)!r}",
                        "a workbook that LibreOffice can convert",
                        f"no result; it said {output[-300:]!r}",
                        "Open it in LibreOffice to see what is wrong.",
                    )
                )
            books.append(Book(Package(read_file(result), Path(path))))
        return books


def _run(command: list[str], timeout: float) -> str:
    """The program's output. It runs in a session of its own, to be stopped with its children."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as error:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise WorkbookError(
            mismatch(
                "LibreOffice",
                f"an answer within {timeout:g} seconds",
                "none",
                "Give it fewer or smaller workbooks, or a longer timeout.",
            )
        ) from None
    return output.decode(errors="replace").strip()
