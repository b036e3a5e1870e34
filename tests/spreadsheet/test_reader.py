from __future__ import annotations

import cProfile
import functools
import io
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.workbook.defined_name import DefinedName

from minnet.errors import WorkbookError
from minnet.spreadsheet import package, reader
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import Area, Book, CellContent, CellError, open_book
from minnet.spreadsheet.recalculate import libreoffice_available

MakeBook = Callable[..., Path]
PartsOf = Callable[..., dict[str, str]]

BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1 if i > 1 else str()};" * 10}">' for i in range(1, 10))
    + "]><worksheet>&a9;</worksheet>"
)
EXTERNAL_ENTITY = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    '<worksheet><sheetData><row><c r="A1" t="str"><v>&e;</v></c></row></sheetData></worksheet>'
)
DOCUMENT_TYPE = "<!DOCTYPE worksheet><worksheet/>"


def read_everything(path: Path) -> Book:
    book = open_book(path)
    for title in book.sheets:
        book.cells(title)
    return book


# What cells can hold


def test_every_type_of_cell(make_book: MakeBook) -> None:
    strings = "<sst><si><t>one</t></si><si><r><t>t</t></r><r><t>wo</t></r><rPh><t>no</t></rPh></si>"
    rows = (
        '<row r="1"><c r="A1"><v>1.5</v></c><c r="B1" t="s"><v>1</v></c>'
        '<c r="C1" t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r>'
        "<rPh><t>no</t></rPh></is></c>"
        '<c r="D1" t="str"><f>"a"</f><v>a</v></c><c r="E1" t="b"><v>1</v></c>'
        '<c r="F1" t="e"><f>1/0</f><v>#DIV/0!</v></c><c r="G1" s="3"/><c r="H1"><f>A1&lt;2</f></c>'
        '<c r="I1" t="n"><f>A1</f><v/></c><c r="J1" t="str"><f>""</f><v></v></c></row>'
    )
    relations = (
        f'<Relationships xmlns="{"x"}"><Relationship Id="rId1" Type="t/worksheet" '
        'Target="/xl/worksheets/sheet1.xml"/><Relationship Id="rId2" Type="t/sharedStrings" '
        'Target="sharedStrings.xml"/></Relationships>'
    )
    extra = {"xl/sharedStrings.xml": strings + "</sst>", "xl/_rels/workbook.xml.rels": relations}
    cells = open_book(make_book({"s": rows}, parts=extra)).cells("s")
    assert cells == {
        (1, 1): (1.5, None),
        (1, 2): ("two", None),
        (1, 3): ("inline", None),
        (1, 4): ("a", '"a"'),
        (1, 5): (True, None),
        (1, 6): ("#DIV/0!", "1/0"),
        (1, 8): (None, "A1<2"),
        (1, 9): (None, "A1"),
        (1, 10): ("", '""'),
    }
    assert isinstance(cells[1, 1].value, float)
    assert isinstance(cells[1, 5].value, bool)


def test_an_error_is_not_a_text_that_looks_like_one(make_book: MakeBook) -> None:
    text = '<c r="B1" t="inlineStr"><is><t>#NUM!</t></is></c>'
    path = make_book({"s": f'<row><c r="A1" t="e"><v>#NUM!</v></c>{text}</row>'})
    cells = open_book(path).cells("s")
    assert isinstance(cells[1, 1].value, CellError)
    assert cells[1, 2].value == "#NUM!"
    assert not isinstance(cells[1, 2].value, CellError)


def test_cells_without_references_follow_each_other(make_book: MakeBook) -> None:
    rows = (
        '<row><c><v>1</v></c><c><v>2</v></c></row><row r="4"><c r="C4"><v>3</v></c><c><v>4</v></c>'
        "</row><row><c><v>5</v></c></row>"
    )
    cells = open_book(make_book({"s": rows})).cells("s")
    assert {at: content.value for at, content in cells.items()} == {
        (1, 1): 1,
        (1, 2): 2,
        (4, 3): 3,
        (4, 4): 4,
        (5, 1): 5,
    }


def test_prefixed_elements(make_book: MakeBook) -> None:
    sheet = (
        '<x:worksheet xmlns:x="m"><x:sheetData><x:row r="1"><x:c r="A1"><x:f>B1</x:f><x:v>3</x:v>'
        "</x:c></x:row></x:sheetData></x:worksheet>"
    )
    book = open_book(make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": sheet}))
    assert book.cells("s") == {(1, 1): CellContent(3.0, "B1")}


def test_formulas_elsewhere_in_a_sheet_are_not_cells(make_book: MakeBook) -> None:
    sheet = (
        '<worksheet xmlns:xm="x"><sheetData><row r="1"><c r="A1"><v>1</v></c></row></sheetData>'
        "<extLst><ext><xm:f>A1:A2</xm:f><f>A9</f><v>9</v></ext></extLst></worksheet>"
    )
    book = open_book(make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": sheet}))
    assert book.cells("s") == {(1, 1): CellContent(1.0, None)}


def test_shared_formulas_are_given_to_each_cell(make_book: MakeBook) -> None:
    rows = (
        '<row r="2"><c r="B2"><f t="shared" ref="B2:C3" si="0">A1*$A$1+A$1+$A1&amp;"A1"</f>'
        '<v>1</v></c><c r="C2"><f t="shared" si="0"/><v>2</v></c></row>'
        '<row r="3"><c r="C3"><f t="shared" si="0"></f><v>3</v></c></row>'
    )
    cells = open_book(make_book({"s": rows})).cells("s")
    assert cells[2, 3].formula == 'B1*$A$1+B$1+$A1&"A1"'
    assert cells[3, 3].formula == 'B2*$A$1+B$1+$A2&"A1"'


def test_all_cells_of_an_array_formula_are_formulas(make_book: MakeBook) -> None:
    rows = (
        '<row r="1"><c r="A1"><f t="array" ref="A1:B1">C1:D1*2</f><v>1</v></c>'
        '<c r="B1"><v>2</v></c><c r="C1"><v>1</v></c></row>'
    )
    cells = open_book(make_book({"s": rows})).cells("s")
    assert [cells[1, column].formula for column in (1, 2, 3)] == ["C1:D1*2", "C1:D1*2", None]


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A1"><v>nan</v></c>',
        '<c r="A1"><v>1e999</v></c>',
        '<c r="A1"><v>1_0</v></c>',
        '<c r="A1"><v>one</v></c>',
        '<c r="A1" t="s"><v>0</v></c>',
        '<c r="A1" t="b"><v>2</v></c>',
        '<c r="A1" t="odd"><v>2</v></c>',
        '<c r="A1"><f t="shared" si="7"/><v>1</v></c>',
        '<c r="A1"><v>1</v></c><c r="A1"><v>2</v></c>',
        '<c r="A0"><v>1</v></c>',
        '<c r="XFE1"><v>1</v></c>',
        '<c r="A1048577"><v>1</v></c>',
        '<c r="1A"><v>1</v></c>',
    ],
)
def test_senseless_cells_are_refused(make_book: MakeBook, cell: str) -> None:
    with pytest.raises(WorkbookError, match=r"book\.xlsx"):
        open_book(make_book({"s": f'<row r="1">{cell}</row>'})).cells("s")


@pytest.mark.parametrize("index", ["1", "-1", "9" * 5000, ""])
def test_shared_strings_out_of_range(make_book: MakeBook, index: str) -> None:
    relations = (
        '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
        '<Relationship Type="t/sharedStrings" Target="/xl/sharedStrings.xml"/></Relationships>'
    )
    strings = "<sst><si><t>only</t></si></sst>"
    parts = {"xl/sharedStrings.xml": strings, "xl/_rels/workbook.xml.rels": relations}
    path = make_book({"s": f'<row r="1"><c r="A1" t="s"><v>{index}</v></c></row>'}, parts=parts)
    with pytest.raises(WorkbookError, match="a value of type 's' in s!A1"):
        open_book(path).cells("s")


# Sheets and names


def test_sheets_in_order_and_quoted_names(make_book: MakeBook) -> None:
    path = make_book(
        {"b's (2)": {"A1": 1.0}, "a": {"B2": 2.0}, "größe 2": {}},
        [
            ("one", "a!$B$2"),
            ("many", "'b''s (2)'!$A$1:$C$2"),
            ("turned", "'größe 2'!C4:$B$2"),
            ("case", "A!$A$1"),
            ("own", "a!$A$1", 1),
            ("own", "'b''s (2)'!$A$1", 0),
            ("gone", "#REF!"),
            ("two", "a!$A$1,a!$B$2"),
            ("column", "a!$A:$A"),
            ("foreign", "[1]a!$A$1"),
            ("number", "0.5"),
            ("nowhere", "c!$A$1"),
            ("off", "a!$A$1:$A$1048577"),
            ("far", "#REF!", 2),
            ("_xlnm.Print_Area", "a!$A$1", 1),
        ],
    )
    book = open_book(path)
    assert book.sheets == ["b's (2)", "a", "größe 2"]
    assert book.names == {
        "one": Area("a", 2, 2, 1, 1),
        "many": Area("b's (2)", 1, 1, 2, 3),
        "turned": Area("größe 2", 2, 2, 3, 2),
        "case": Area("a", 1, 1, 1, 1),
    }
    assert book.local_names == {
        "a": {"own": Area("a", 1, 1, 1, 1)},
        "b's (2)": {"own": Area("b's (2)", 1, 1, 1, 1)},
    }
    assert book.unreadable_names == {
        "gone": "#REF!",
        "two": "a!$A$1,a!$B$2",
        "column": "a!$A:$A",
        "foreign": "[1]a!$A$1",
        "number": "0.5",
        "nowhere": "c!$A$1",
        "off": "a!$A$1:$A$1048577",
        "größe 2!far": "#REF!",
    }


def test_an_unknown_sheet_is_named(make_book: MakeBook) -> None:
    with pytest.raises(WorkbookError, match="'other'"):
        open_book(make_book({"s": {}})).cells("other")


def test_a_book_of_openpyxl(tmp_path: Path) -> None:
    wb = openpyxl.Workbook()
    ws = wb.active
    ws.title = "it's"
    ws["B2"], ws["B3"], ws["C2"], ws["C3"] = 1, 2.5, "=B2*2", "text"
    wb.create_chartsheet("chart")
    wb.create_sheet("last")["A1"] = True
    wb.defined_names["w"] = DefinedName("w", attr_text="'it''s'!$B$2:$B$3")
    ws.defined_names["own"] = DefinedName("own", attr_text="'it''s'!$C$2")
    wb.save(tmp_path / "o.xlsx")
    book = open_book(str(tmp_path / "o.xlsx"))
    assert book.sheets == ["it's", "chart", "last"]
    assert book.cells("it's") == {
        (2, 2): (1.0, None),
        (3, 2): (2.5, None),
        (2, 3): (None, "B2*2"),
        (3, 3): ("text", None),
    }
    assert book.cells("chart") == {}
    assert book.cells("last") == {(1, 1): (True, None)}
    assert book.local_names == {"it's": {"own": Area("it's", 2, 3, 1, 1)}}
    np.testing.assert_array_equal(book.numbers(book.names["w"], "w"), [[1], [2.5]])


@functools.cache
def python_with_uno() -> str | None:
    """A Python that can drive LibreOffice, usually the system's."""
    candidates = {shutil.which("python3", path="/usr/bin"), sys.executable} - {None}
    for python in map(str, candidates):
        if not subprocess.run([python, "-c", "import uno"], capture_output=True).returncode:
            return python
    return None


@pytest.mark.skipif(
    not (libreoffice_available() and python_with_uno()), reason="LibreOffice's uno is not installed"
)
def test_a_book_edited_in_libreoffice(make_book: MakeBook, tmp_path: Path) -> None:
    cells = {"A1": "=cmd", "A2": 1.0, "B2": 2.0, "C2": ("SUMPRODUCT(A2:B2,A3:B3)", 11.0)}
    source = make_book(
        {"network": {**cells, "A3": 3.0, "B3": 4.0}},
        [("w", "network!$A$2:$B$3"), ("out", "network!$C$2", 0)],
    )
    target = tmp_path / "edited.xlsx"
    (tmp_path / "profile").mkdir()
    script = Path(__file__).with_name("edit_in_libreoffice.py")
    command = [str(python_with_uno()), script, source, target, tmp_path / "profile"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    book = open_book(target)
    assert book.sheets == ["it's mine"]
    assert book.names == {"w": Area("it's mine", 4, 2, 2, 2)}
    np.testing.assert_array_equal(book.numbers(book.names["w"], "w"), [[1, 9.25], [3, 4]])
    out = book.local_names["it's mine"]["out"]
    assert out == Area("it's mine", 4, 4, 1, 1)
    assert book.numbers(out, "out", formulas=True) == 40
    assert book.cells("it's mine")[1, 2] == ("=cmd", None)
    with pytest.raises(WorkbookError, match="the formula =SUMPRODUCT"):
        book.numbers(out, "out")


# Numbers


def test_numbers_are_float64_of_the_areas_shape(make_book: MakeBook) -> None:
    path = make_book({"s": {"B2": 1.0, "C2": 2.0, "D2": -3.5, "B3": 4.0, "C3": 5.0, "D3": 6e-300}})
    numbers = open_book(path).numbers(Area("s", 2, 2, 2, 3), "w")
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [[1, 2, -3.5], [4, 5, 6e-300]])


@pytest.mark.parametrize(
    ("cell", "received"),
    [
        (("1+1", 2.0), "the formula =1+1"),
        ("two", "the text 'two'"),
        (True, "the truth value TRUE"),
        ("#NUM!", "the error #NUM!"),
    ],
)
def test_what_is_no_number_is_named_with_its_cell(
    make_book: MakeBook, cell: Any, received: str
) -> None:
    book = open_book(make_book({"my net": {"A1": 1.0, "B1": cell}}))
    with pytest.raises(WorkbookError) as raised:
        book.numbers(Area("my net", 1, 1, 1, 2), "fc1_weight")
    message = str(raised.value)
    assert "fc1_weight" in message
    assert "my net!B1" in message
    assert f"received {received}." in message


def test_a_formulas_stored_value_counts_on_request_only(make_book: MakeBook) -> None:
    book = open_book(make_book({"s": {"A1": ("1+1", 2.0), "A2": ("1+1", None)}}))
    assert book.numbers(Area("s", 1, 1, 1, 1), "w", formulas=True) == 2
    with pytest.raises(WorkbookError, match="without a stored value"):
        book.numbers(Area("s", 2, 1, 1, 1), "w", formulas=True)


def test_an_empty_cell_ends_the_reading_of_a_huge_area_at_once(make_book: MakeBook) -> None:
    path = make_book({"s": {"A1": 1.0}}, [("w", "s!$A$1:$XFD$1048576")])
    book = open_book(path)
    with pytest.raises(WorkbookError, match=r"s!B1: expected a number, received an empty cell"):
        book.numbers(book.names["w"], "w")


def test_a_huge_claimed_dimension_costs_nothing(make_book: MakeBook) -> None:
    def calls(dimension: str, columns: int) -> int:
        """How many functions are called to read one cell of a sheet that claims to be so large."""
        sheet = (
            f'<worksheet><dimension ref="{dimension}"/><cols><col min="1" max="{columns}"/></cols>'
            f'<sheetData><row r="1048576" spans="1:{columns}"><c r="XFD1048576"><v>7</v></c></row>'
            "</sheetData></worksheet>"
        )
        book = open_book(make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": sheet}))
        profile = cProfile.Profile()
        cells = profile.runcall(book.cells, "s")
        assert cells == {(1_048_576, 16_384): (7.0, None)}
        return sum(entry.callcount for entry in profile.getstats())

    calls("A1:B2", 2)  # the first makes the table of the columns' letters
    assert calls("A1:XFD1048576", 16_384) == calls("A1:B2", 2)


def test_too_many_cells_are_refused(make_book: MakeBook, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_book({"s": {"A1": 1.0, "B1": 2.0}, "t": {"A1": 1.0, "A2": 2.0}})
    monkeypatch.setattr(reader, "MAX_CELLS", 3)
    with pytest.raises(WorkbookError, match="at most 3 cells"):
        read_everything(path)


def test_a_cell_is_as_much_work_among_many_as_among_few(make_book: MakeBook) -> None:
    def calls(rows: int) -> int:
        """How many functions are called to read so many rows of a hundred cells."""
        cells = {
            a1(row, column): ("SUMPRODUCT($A$1:$C$3,D4:F6)+B1", row + column / 7)
            for row in range(1, rows + 1)
            for column in range(1, 101)
        }
        book = open_book(make_book({"s": cells}))
        profile = cProfile.Profile()
        assert len(profile.runcall(book.cells, "s")) == 100 * rows
        return sum(entry.callcount for entry in profile.getstats())

    few = calls(20)
    assert few < 100 * 2000
    assert calls(40) < 2.1 * few


# Hostile and damaged files


@pytest.mark.parametrize("bomb", [BILLION_LAUGHS, EXTERNAL_ENTITY, DOCUMENT_TYPE])
@pytest.mark.parametrize(
    "part", ["xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"]
)
def test_entities_and_document_types_are_refused(make_book: MakeBook, part: str, bomb: str) -> None:
    path = make_book({"s": {}}, parts={part: bomb})
    with pytest.raises(WorkbookError, match=r"book\.xlsx.*document type"):
        read_everything(path)


@pytest.mark.parametrize(
    "xml", ["", "<worksheet>", "<worksheet><sheetData><row r='x'/></sheetData></worksheet>", "\0"]
)
def test_malformed_sheets_are_refused(make_book: MakeBook, xml: str) -> None:
    path = make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": xml})
    with pytest.raises(WorkbookError, match="well-formed XML"):
        read_everything(path)


def test_a_zip_bomb_is_refused_unread(make_book: MakeBook) -> None:
    bomb = b"<worksheet>" + b" " * 20_000_000 + b"</worksheet>"
    path = make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": bomb})
    with pytest.raises(WorkbookError, match="200 to 1"):
        open_book(path)


def directory_with(data: bytes, part: bytes, offset: int, field: bytes) -> bytes:
    """The zip with a field of one entry of its directory overwritten."""
    at = data.index(b"PK\x01\x02")
    while data[at + 46 :][: len(part)] != part:
        at = data.index(b"PK\x01\x02", at + 1)
    return data[: at + offset] + field + data[at + offset + len(field) :]


@pytest.mark.parametrize(
    ("offset", "field", "expected"),
    [
        (24, struct.pack("<I", 300 * 2**20), "bytes in a part"),
        (8, struct.pack("<H", 1), "without a password"),
        (10, struct.pack("<H", 12), "stored or deflated"),
        (16, struct.pack("<I", 1234), "sound zip"),
    ],
)
def test_a_directory_that_lies(
    make_book: MakeBook, offset: int, field: bytes, expected: str
) -> None:
    path = make_book({"s": {"A1": 1.0}})
    path.write_bytes(directory_with(path.read_bytes(), b"xl/worksheets/", offset, field))
    with pytest.raises(WorkbookError, match=expected):
        read_everything(path)


def test_limits_of_entries_of_the_total_and_of_what_is_unzipped(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_book({"s": {"A1": "long" * 2000}})
    book = open_book(path)
    monkeypatch.setattr(package, "MAX_PART", 20)
    with pytest.raises(WorkbookError, match=r"at most 20 bytes in .*received more"):
        book.cells("s")
    monkeypatch.setattr(package, "MAX_PART", 10_000)
    monkeypatch.setattr(package, "MAX_TOTAL", 5000)
    with pytest.raises(WorkbookError, match="5,000 bytes unzipped"):
        open_book(path)
    monkeypatch.setattr(package, "MAX_FILE", 100)
    with pytest.raises(WorkbookError, match="at most 100 bytes, received"):
        open_book(path)
    monkeypatch.undo()
    monkeypatch.setattr(package, "MAX_ENTRIES", 3)
    with pytest.raises(WorkbookError, match="at most 3 parts"):
        open_book(path)


@pytest.mark.parametrize("part", ["[Content_Types].xml", "xl/workbook.xml"])
def test_a_zip_that_is_no_workbook(tmp_path: Path, parts_of: PartsOf, part: str) -> None:
    parts = parts_of({"s": {}})
    del parts[part]
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name, data in parts.items():
            target.writestr(name, data)
    with pytest.raises(WorkbookError) as raised:
        open_book(path)
    assert part in str(raised.value)


@pytest.mark.parametrize(
    ("data", "received"),
    [(b"", "no zip"), (b"text", "no zip"), (b"\xd0\xcf\x11\xe0" + bytes(600), "password")],
)
def test_files_that_are_no_zip(tmp_path: Path, data: bytes, received: str) -> None:
    path = tmp_path / "plain.xlsx"
    path.write_bytes(data)
    with pytest.raises(WorkbookError, match=rf"plain\.xlsx.*{received}"):
        open_book(path)


def test_a_part_twice_is_refused(make_book: MakeBook) -> None:
    path = make_book({"s": {}})
    with zipfile.ZipFile(path, "a") as target, pytest.warns(UserWarning, match="Duplicate"):
        target.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(WorkbookError, match="twice"):
        open_book(path)


def test_a_part_missing_for_a_sheet(make_book: MakeBook) -> None:
    relations = '<Relationships><Relationship Id="rId1" Target="../../../etc/x"/></Relationships>'
    path = make_book({"s": {}}, parts={"xl/_rels/workbook.xml.rels": relations})
    with pytest.raises(WorkbookError, match="a workbook without it"):
        read_everything(path)


def test_a_workbook_without_sheets(make_book: MakeBook) -> None:
    with pytest.raises(WorkbookError, match="at least one sheet"):
        open_book(make_book({}))


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match=r"nowhere\.xlsx.*No such file"):
        open_book(tmp_path / "nowhere.xlsx")
    with pytest.raises(WorkbookError, match="directory or device"):
        open_book(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission(make_book: MakeBook) -> None:
    path = make_book({"s": {}})
    path.chmod(0)
    with pytest.raises(WorkbookError, match="Permission denied"):
        open_book(path)


# Fuzzing: a damaged book gives a result or a WorkbookError, nothing else

VALID: Mapping[str, Any] = {
    "net": {"A1": 1.0, "B1": ("A1*2", 2.0), "C1": "text", "D1": True, "A2": ("LN(0)", "#NUM!")},
    "it's": {"A1": ("SUM(net!A1:B1)", 3.0)},
}
NAMES = [("w", "net!$A$1:$B$1"), ("own", "'it''s'!$A$1", 1)]


def read_if_possible(path: Path) -> None:
    for read in (read_everything, lint_xlsx):
        try:
            read(path)
        except WorkbookError as error:
            assert str(path) in str(error)


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(data=st.data())
def test_damaged_bytes(
    tmp_path_factory: pytest.TempPathFactory, parts_of: PartsOf, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, part in parts_of(VALID, NAMES).items():
            target.writestr(name, part)
    damaged = bytearray(buffer.getvalue())
    # Mostly in the directory at the end, where zipfile is most easily confused.
    first = data.draw(st.sampled_from([0, len(damaged) - 700]))
    for _ in range(data.draw(st.integers(0, 8))):
        damaged[data.draw(st.integers(first, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    path = tmp_path_factory.getbasetemp() / "damaged.xlsx"
    path.write_bytes(damaged[:length])
    read_if_possible(path)


@settings(max_examples=6 * settings.default.max_examples, deadline=None)
@given(data=st.data())
def test_damaged_xml(
    tmp_path_factory: pytest.TempPathFactory,
    parts_of: PartsOf,
    write_parts: MakeBook,
    data: st.DataObject,
) -> None:
    parts: dict[str, str | bytes] = dict(parts_of(VALID, NAMES))
    name = data.draw(st.sampled_from([part for part in parts if "Content" not in part]))
    damaged = bytearray(str(parts[name]).encode())
    # Digits and letters keep the XML well-formed more often, and so get further.
    byte = st.one_of(st.sampled_from(b"0123456789AZs'!<>&\"/="), st.integers(0, 255))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(byte)
    parts[name] = bytes(damaged)
    read_if_possible(write_parts(tmp_path_factory.getbasetemp() / "damaged.xlsx", parts))
