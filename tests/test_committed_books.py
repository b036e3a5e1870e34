"""The workbooks in ``spreadsheets/``: what the demos write, and what their formulas give."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from openpyxl.utils import get_column_letter

from minnet import Dense, Flatten, MaxPooling2D, Sequential, export_xlsx
from minnet.demos import collab, conv, digits, entropy, graddesc, layers, linear, universal, xor
from minnet.spreadsheet.check_sheet import CHECK
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import Book, open_book
from minnet.spreadsheet.recalculate import libreoffice_available, libreoffice_values
from minnet.spreadsheet.verify import difference, verify_xlsx

SPREADSHEETS = Path(__file__).parent.parent / "spreadsheets"

DEMOS: dict[str, Callable[[Path], Any]] = {
    "linear": linear.run,
    "layers": layers.run,
    "random": layers.run_random,
    "entropy": entropy.run,
    "digits": digits.run,
    "conv": conv.run,
    "graddesc": graddesc.run,
    "collab": collab.run,
    "xor": xor.run,
    "universal": universal.run,
}
WITH_SKLEARN = ("digits", "conv")
#: Training takes its time, and tests of their own look at what these demos write.
LONG = ("conv", "graddesc")
#: Its weights are drawn anew by whoever recalculates it.
DRAWN = "random"

#: Another machine adds the products of a sum in another order; in float64 that changes the books,
#: training included, by less than 1e-12 (measured with four kinds of BLAS kernels).
TOLERANCE = 1e-9
#: On the sheet that nudges a weight by ±0.0001, a difference of two losses is divided by 0.0002:
#: their last digit, 1e-16, becomes 1e-12, which ``difference`` compares with 0.001 at least.
CHECK_TOLERANCE = 1e-7


def committed(name: str) -> Path:
    return SPREADSHEETS / f"{name}.xlsx"


def assert_same_values(one: Book, other: Book, formulas: bool) -> None:
    """Every cell of one book against the other; ``formulas``: these, and constants, are equal."""
    assert one.sheets == other.sheets
    for sheet in one.sheets:
        tolerance = CHECK_TOLERANCE if sheet == CHECK else TOLERANCE
        cells, others = one.cells(sheet), other.cells(sheet)
        assert not formulas or cells.keys() == others.keys()
        for at, content in cells.items():
            if content.formula is None and not formulas:
                continue
            found, where = others[at], f"{one.path.name}, {sheet}!{a1(*at)}"
            assert not formulas or content.formula == found.formula, where
            values = [float(v) if isinstance(v, bool) else v for v in (content.value, found.value)]
            assert difference(*values) <= tolerance, f"{where}: {values}"


@cache
def by_libreoffice() -> dict[str, Book]:
    """All committed books as LibreOffice recalculates them, in one call."""
    names = [name for name in DEMOS if name != DRAWN]
    books = libreoffice_values([committed(name) for name in names])
    return dict(zip(names, books, strict=True))


def test_every_book_has_its_demo_and_its_line_in_the_readme() -> None:
    assert {path.name for path in SPREADSHEETS.iterdir()} == {
        "README.md", *(f"{name}.xlsx" for name in DEMOS)
    }  # fmt: skip
    readme = (SPREADSHEETS / "README.md").read_text(encoding="utf-8")
    for name in DEMOS:
        assert f"[{name}.xlsx]({name}.xlsx)" in readme
        assert f"`minnet demo {name}`" in readme


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in DEMOS],
)
def test_a_committed_book_is_what_the_demo_writes(name: str, tmp_path: Path) -> None:
    if name in WITH_SKLEARN:
        pytest.importorskip("sklearn")
    path = tmp_path / f"{name}.xlsx"
    DEMOS[name](path)
    fresh, kept = open_book(path), open_book(committed(name))
    assert (fresh.names, fresh.local_names) == (kept.names, kept.local_names)
    assert_same_values(kept, fresh, formulas=True)


@pytest.mark.parametrize("name", DEMOS)
def test_a_committed_book_is_confirmed_by_ironcalc(name: str) -> None:
    report = verify_xlsx(committed(name))
    assert report.ok, report.summary()


def test_the_readme_checks_the_book_that_is_there() -> None:
    printed = (SPREADSHEETS.parent / "README.md").read_text(encoding="utf-8")
    counted = verify_xlsx(committed("layers")).summary().partition(" formula cells")[0]
    assert f"{counted} formula cells recalculated by IronCalc" in printed


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("layers", "LOG has base 10"),
        ("random", "standard deviation of 2/n"),
        ("entropy", "LOG has base 10"),
        ("conv", "25 columns wide"),
        ("graddesc", "J5 reads Intro!F5"),
        ("collab", "not divided by the number of ratings"),
    ],
)
def test_the_first_sheet_says_where_the_lesson_errs(name: str, mistake: str) -> None:
    cells = open_book(committed(name)).cells("contents").values()
    assert any(mistake in content.value for content in cells if isinstance(content.value, str))


def texts_cut_off(path: Path) -> list[str]:
    """Texts that reach into the next cell with something in it."""
    cut = []
    for sheet in openpyxl.load_workbook(path):
        widths = {k: d.width for k, d in sheet.column_dimensions.items()}
        rows: dict[int, dict[int, Any]] = {}
        for cell in (cell for row in sheet.iter_rows() for cell in row if cell.value is not None):
            rows.setdefault(cell.row, {})[cell.column] = cell
        for cells in rows.values():
            for column, after in pairwise(sorted(cells)):
                cell = cells[column]
                lies = cell.alignment
                flows = cell.data_type == "s" and lies.horizontal is None and not lies.wrap_text
                room = sum(widths.get(get_column_letter(k), 8.4) for k in range(column, after))
                wide = 0.9 if cell.font.bold else 0.85  # Calibri, in digits at the size of 11
                if flows and len(cell.value) * cell.font.size / 11 * wide > room:
                    cut.append(f"{sheet.title}!{cell.coordinate}: {cell.value}")
    return cut


@pytest.mark.parametrize("name", [name for name in DEMOS if name not in LONG])
def test_no_text_is_cut_off(name: str) -> None:
    assert not texts_cut_off(committed(name))


def test_layers_of_long_names_have_room_for_them(tmp_path: Path) -> None:
    model = Sequential(
        [
            MaxPooling2D(1, input_shape=(1, 1, 2), name="a_rather_long_name_of_a_layer"),
            Flatten(name="flattened_to_two_numbers"),
            Dense(2, "softmax", name="n" * 200),
        ]
    )
    path = tmp_path / "book.xlsx"
    export_xlsx(model, np.ones((1, 1, 1, 2)), path=path)
    cut = texts_cut_off(path)
    assert all(text.startswith("contents!") for text in cut), cut
    shown = [str(content.value) for content in open_book(path).cells("network").values()]
    for name in ("a_rather_long_name_of_a_layer · Max", "flattened_to_two_numbers · Flatten"):
        assert [text for text in shown if text.startswith(name) and text.endswith("→")]
    assert [text for text in shown if text.startswith("nnn") and text.endswith("…")]


@pytest.mark.slow  # opens all of them in LibreOffice
@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is missing")
@pytest.mark.parametrize("name", DEMOS)
def test_a_committed_book_is_confirmed_by_libreoffice(name: str) -> None:
    if name == DRAWN:
        assert verify_xlsx(committed(name), engine="libreoffice").ok
        return
    assert_same_values(open_book(committed(name)), by_libreoffice()[name], formulas=False)
