"""Small workbooks written part by part, so that tests decide about every byte."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

# What a cell of a test may be: a value, or a formula with the value stored beside it.
Cell = Any
WriteBook = Callable[..., Path]


def cell_xml(reference: str, cell: Cell) -> str:
    """A cell as minnet writes it; None as the stored value leaves it out."""
    formula, value = cell if isinstance(cell, tuple) else (None, cell)
    f = "" if formula is None else f"<f>{escape(formula)}</f>"
    if value is None:
        return f'<c r="{reference}">{f}</c>'
    if isinstance(value, bool):
        return f'<c r="{reference}" t="b">{f}<v>{int(value)}</v></c>'
    if isinstance(value, str) and value.startswith("#"):
        return f'<c r="{reference}" t="e">{f}<v>{value}</v></c>'
    if isinstance(value, str) and not f:
        return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    if isinstance(value, str):
        return f'<c r="{reference}" t="str">{f}<v>{escape(value)}</v></c>'
    return f'<c r="{reference}">{f}<v>{value!r}</v></c>'


def sheet_xml(cells: Mapping[str, Cell] | str) -> str:
    """A worksheet of cells by reference, or of ready-made rows."""
    if not isinstance(cells, str):
        rows: dict[str, str] = {}
        for reference, cell in cells.items():
            row = reference.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
            rows[row] = rows.get(row, "") + cell_xml(reference, cell)
        cells = "".join(f'<row r="{row}">{xml}</row>' for row, xml in rows.items())
    return f'<worksheet xmlns="{MAIN}"><sheetData>{cells}</sheetData></worksheet>'


def book_parts(
    sheets: Mapping[str, Mapping[str, Cell] | str],
    names: Sequence[tuple[str, str] | tuple[str, str, int]] = (),
) -> dict[str, str]:
    """The parts of a workbook; a name is (name, text) or (name, text, number of its sheet)."""
    numbers = range(1, len(sheets) + 1)
    defined = "".join(
        f"<definedName name={quoteattr(name)}"
        + (f' localSheetId="{scope[0]}"' if scope else "")
        + f">{escape(text)}</definedName>"
        for name, text, *scope in names
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{SHEET_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{SHEET_TYPE}.styles+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" '
            f'ContentType="{SHEET_TYPE}.worksheet+xml"/>'
            for number in numbers
        )
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
        + "".join(
            f'<sheet name={quoteattr(title)} sheetId="{number}" r:id="rId{number}"/>'
            for number, title in zip(numbers, sheets, strict=True)
        )
        + f"</sheets><definedNames>{defined}</definedNames></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        + "".join(
            f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" '
            f'Target="worksheets/sheet{number}.xml"/>'
            for number in numbers
        )
        + f'<Relationship Id="rId99" Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><fonts><font><name val="Calibri"/></font>'
        "</fonts><fills><fill><patternFill/></fill></fills><borders><border/></borders>"
        '<cellStyleXfs><xf/></cellStyleXfs><cellXfs><xf/><xf numFmtId="2" applyNumberFormat="1"/>'
        "</cellXfs>"
        '<cellStyles><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
    }
    for number, cells in zip(numbers, sheets.values(), strict=True):
        parts[f"xl/worksheets/sheet{number}.xml"] = sheet_xml(cells)
    return parts


@pytest.fixture(scope="session")
def write_parts() -> WriteBook:
    """Zip parts into a file: ``write_parts(path, parts)``."""

    def write(path: Path, parts: Mapping[str, str | bytes]) -> Path:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name, data in parts.items():
                target.writestr(name, data)
        return path

    return write


@pytest.fixture(scope="session")
def parts_of() -> Callable[..., dict[str, str]]:
    """The parts of a workbook: ``parts_of(sheets, names)``."""
    return book_parts


@pytest.fixture
def make_book(tmp_path_factory: pytest.TempPathFactory, write_parts: WriteBook) -> WriteBook:
    """Write a workbook of cells: ``make_book({"network": {"A1": 2.0}}, names, extra parts)``."""
    # Not in tmp_path, whose name has words of the test that a message could be mistaken to have.
    folder = tmp_path_factory.mktemp("w")

    def make(
        sheets: Mapping[str, Mapping[str, Cell] | str],
        names: Sequence[tuple[str, str]] = (),
        parts: Mapping[str, str | bytes] | None = None,
        name: str = "book.xlsx",
    ) -> Path:
        return write_parts(folder / name, {**book_parts(sheets, names), **(parts or {})})

    return make
