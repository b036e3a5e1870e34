from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from minnet.errors import MissingDependencyError, WorkbookError
from minnet.spreadsheet import recalculate
from minnet.spreadsheet.reader import Area, CellError, open_book
from minnet.spreadsheet.recalculate import (
    Recalculated,
    libreoffice_available,
    libreoffice_values,
    strip_cached_values,
)

MakeBook = Callable[..., Path]

# Formulas with wrong values beside them: only a real recalculation gives the right ones.
FORMULAS = {
    "A1": 2.0,
    "B1": 3.0,
    "A2": ("A1*B1", 99.0),
    "B2": ("A2+1", 99.0),
    "C2": ("A1>1", False),
    "D2": ('IF(A1>1,"yes","no")', "no"),
    "E2": ("1/(A1-2)", 99.0),
    "F2": ("A1/4", "#NUM!"),
    "G2": ("NORMSDIST(0)", True),
}
RIGHT = {(2, 1): 6.0, (2, 2): 7.0, (2, 4): "yes", (2, 5): "#DIV/0!", (2, 6): 0.5, (2, 7): 0.5}


def test_stripping_removes_the_values_of_formulas_only(make_book: MakeBook, tmp_path: Path) -> None:
    source = make_book({"s": FORMULAS, "it's": {"A1": ("s!A1", 2.0)}}, [("w", "s!$A$1")])
    strip_cached_values(source, tmp_path / "stripped.xlsx")
    before, after = open_book(source), open_book(tmp_path / "stripped.xlsx")
    assert after.names == before.names
    for title in ("s", "it's"):
        assert after.cells(title).keys() == before.cells(title).keys()
        for at, (value, formula) in before.cells(title).items():
            assert after.cells(title)[at] == (None if formula else value, formula)
    assert [cell.text for cell in after.raw_cells("it's")] == [None]


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A1" s="0"><f>1+1</f><v>9</v></c>',
        "<c r='A1' t='e' s='0'><f>1+1</f>\n <v>#N/A</v> </c>",
        '<c r="A1" t="str"><f aca="false">1+1</f><v xml:space="preserve"> </v></c>',
        '<c r="A1"><f>1+1</f><v/></c>',
        '<c r="A1"><f t="shared" ref="A1:A2" si="0">1+1</f><v>9</v></c>',
    ],
)
def test_stripping_however_the_cell_is_written(
    make_book: MakeBook, tmp_path: Path, cell: str
) -> None:
    source = make_book({"s": f'<row r="1">{cell}<c r="B1"><v>5</v></c></row>'})
    strip_cached_values(source, tmp_path / "stripped.xlsx")
    cells = open_book(tmp_path / "stripped.xlsx").cells("s")
    assert cells == {(1, 1): (None, "1+1"), (1, 2): (5.0, None)}


def test_stripping_prefixed_elements(make_book: MakeBook, tmp_path: Path) -> None:
    sheet = (
        '<x:worksheet xmlns:x="m" xmlns:xm="n"><x:sheetData><x:row r="1"><x:c r="A1"><x:f>1</x:f>'
        "<x:v>3</x:v></x:c></x:row></x:sheetData><x:extLst><xm:f>A1</xm:f></x:extLst></x:worksheet>"
    )
    source = make_book({"s": {}}, parts={"xl/worksheets/sheet1.xml": sheet})
    strip_cached_values(source, tmp_path / "stripped.xlsx")
    assert open_book(tmp_path / "stripped.xlsx").cells("s") == {(1, 1): (None, "1")}


@pytest.mark.parametrize(
    "cell",
    [
        '<c r="A1"><f><![CDATA[1+1]]></f><v>9</v></c>',
        '<c r="A1"><f>1+1</f><!-- hidden --><v>9</v></c>',
        '<c r="A1"><v>9</v><f>1+1</f></c>',
    ],
)
def test_what_cannot_be_stripped_is_refused(make_book: MakeBook, tmp_path: Path, cell: str) -> None:
    source = make_book({"s": f'<row r="1">{cell}</row>'})
    with pytest.raises(WorkbookError, match="formulas in plain cells"):
        strip_cached_values(source, tmp_path / "stripped.xlsx")


# IronCalc


def test_ironcalc_ignores_stored_values(
    make_book: MakeBook, capfd: pytest.CaptureFixture[str]
) -> None:
    book = Recalculated(make_book({"first": {}, "s": FORMULAS}))
    for (row, column), value in RIGHT.items():
        assert book.value("s", row, column) == value
    assert book.value("s", 2, 3) is True
    assert isinstance(book.value("s", 2, 5), CellError)
    assert not isinstance(book.value("s", 2, 4), CellError)
    assert book.value("s", 9, 9) is None
    assert capfd.readouterr() == ("", "")


def test_changed_inputs_take_effect_at_evaluate(make_book: MakeBook) -> None:
    book = Recalculated(make_book({"s": FORMULAS}))
    book.set("s", 1, 1, 0.1 + 0.2)
    assert book.value("s", 2, 1) == 6
    book.evaluate()
    assert book.value("s", 2, 1) == (0.1 + 0.2) * 3


def test_arrays(make_book: MakeBook) -> None:
    book = Recalculated(make_book({"it's": FORMULAS}))
    np.testing.assert_array_equal(book.array(Area("it's", 2, 1, 1, 3)), [[6, 7, 1]])
    book.set_array(Area("it's", 1, 1, 1, 2), np.array([[5, 7]], np.float32))
    book.evaluate()
    np.testing.assert_array_equal(book.array(Area("it's", 1, 1, 2, 2)), [[5, 7], [35, 36]])


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (Area("s", 2, 4, 1, 1), "s!D2 .*received 'yes'"),
        (Area("s", 2, 5, 1, 1), "s!E2 .*received '#DIV/0!'"),
        (Area("s", 1, 2, 1, 2), "s!C1 .*received an empty cell"),
        (Area("t", 1, 1, 1, 1), "sheets s, received 't'"),
    ],
)
def test_arrays_of_numbers_only(make_book: MakeBook, area: Area, message: str) -> None:
    with pytest.raises(WorkbookError, match=message):
        Recalculated(make_book({"s": FORMULAS})).array(area)


def test_what_cannot_be_set(make_book: MakeBook) -> None:
    book = Recalculated(make_book({"s": FORMULAS}))
    with pytest.raises(WorkbookError, match=r"s!A2 .*received a formula"):
        book.set("s", 2, 1, 1.0)
    with pytest.raises(WorkbookError, match=r"s!A1 .*received nan"):
        book.set("s", 1, 1, float("nan"))
    with pytest.raises(WorkbookError, match=r"shape \(1, 2\), received shape \(2,\)"):
        book.set_array(Area("s", 1, 1, 1, 2), np.zeros(2))


def test_a_book_of_openpyxl_in_ironcalc(tmp_path: Path) -> None:
    wb = openpyxl.Workbook()
    wb.active["A1"], wb.active["A2"] = 4, "=SQRT(A1)"
    wb.save(tmp_path / "o.xlsx")
    assert Recalculated(tmp_path / "o.xlsx").value("Sheet", 2, 1) == 2


def test_a_book_that_ironcalc_cannot_load(make_book: MakeBook) -> None:
    path = make_book({"s": FORMULAS}, parts={"xl/styles.xml": "<no"})
    with pytest.raises(WorkbookError, match=r"book\.xlsx.*IronCalc"):
        Recalculated(path)


def test_ironcalc_missing(make_book: MakeBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ironcalc", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "minnet\[check\]"'):
        Recalculated(make_book({"s": FORMULAS}))


# LibreOffice


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_libreoffice_ignores_stored_values(make_book: MakeBook) -> None:
    paths = [
        make_book({"first": {}, "s": FORMULAS}, name="same.xlsx"),
        make_book({"it's": {"A1": ("1/3", 0.0)}}, name="other name.xlsx"),
    ]
    first, second = libreoffice_values(paths)
    assert first.path == paths[0]
    for at, value in RIGHT.items():
        assert first.cells("s")[at].value == value
    assert second.cells("it's")[1, 1].value == pytest.approx(1 / 3, rel=1e-14)


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_libreoffice_takes_too_long(make_book: MakeBook) -> None:
    with pytest.raises(WorkbookError, match=r"within 0\.01 seconds"):
        libreoffice_values([make_book({"s": FORMULAS})], timeout=0.01)


def test_libreoffice_gives_no_result(
    make_book: MakeBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "soffice"
    program.write_text("#!/bin/sh\necho sorry\n")
    program.chmod(0o755)
    monkeypatch.setattr(recalculate, "_SOFFICE", (str(program),))
    with pytest.raises(WorkbookError, match=r"book\.xlsx.*'sorry'"):
        libreoffice_values([make_book({"s": FORMULAS})])


def test_libreoffice_missing(make_book: MakeBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalculate, "_SOFFICE", ("no-such-program",))
    assert not libreoffice_available()
    with pytest.raises(MissingDependencyError, match="libreoffice-calc-nogui"):
        libreoffice_values([make_book({"s": FORMULAS})])
