from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minnet
from minnet.errors import ArgumentError, WorkbookError
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import CellError
from minnet.spreadsheet.recalculate import libreoffice_available
from minnet.spreadsheet.verify import Engine, difference, verify_xlsx

MakeBook = Callable[..., Path]

ENGINES = [
    "ironcalc",
    pytest.param(
        "libreoffice",
        marks=pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is missing"),
    ),
]

NETWORK = {
    "A1": 0.3,
    "B1": -0.7,
    "A2": 1.25,
    "B2": 0.5,
    "C1": ("SUMPRODUCT(A1:B1,A2:B2)", 0.3 * 1.25 - 0.7 * 0.5),
    "D1": ("MAX(0,C1)", 0.3 * 1.25 - 0.7 * 0.5),
    "E1": ("D1>0", True),
    "F1": ('IF(E1,"on","off")', "on"),
    "G1": ("1/(A1-A1)", "#DIV/0!"),
    "H1": ("LN(-1)", "#NUM!"),
    "I1": ("MAX(0,B1)", 0.0),
}


def test_right_values_pass(make_book: MakeBook) -> None:
    path = make_book({"network": NETWORK, "it's": {"B1": ("network!A1*2", 0.6)}}, name="ok.xlsx")
    report = verify_xlsx(path, every_cell=True)
    assert report.ok, report.summary()
    assert report.path == path
    assert report.cells == len(report.all) == 8
    assert 0 <= report.largest < 1e-12
    assert [cell.where for cell in report.all][-1] == "it's!B1"
    start = "ok.xlsx: 8 formula cells recalculated by IronCalc; largest difference "
    assert report.summary().startswith(start)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_formula_behind_a_right_value_is_noticed(
    make_book: MakeBook, engine: Engine
) -> None:
    right = NETWORK["C1"][1]
    broken = {**NETWORK, "C1": ("SUMPRODUCT(A1:B1,A2:B2)+A2*1E-6", right)}
    # Shown with decimals, a truth value comes back from LibreOffice as a number.
    styled = '<row r="1"><c r="B1" s="1" t="b"><f>1&gt;0</f><v>1</v></c></row>'
    path = make_book({"network": NETWORK, "broken net": broken, "styled": styled})
    report = verify_xlsx(path, engine=engine)
    assert report.cells == 15
    assert not report.ok
    assert [cell.where for cell in report.failures] == ["broken net!C1", "broken net!D1"]
    cell = report.failures[0]
    assert cell.formula == "SUMPRODUCT(A1:B1,A2:B2)+A2*1E-6"
    assert cell.stored == right
    assert cell.recalculated == pytest.approx(right + 1.25e-6, abs=1e-12)
    title = {"ironcalc": "IronCalc", "libreoffice": "LibreOffice"}[engine]
    assert f"15 formula cells recalculated by {title}; 2 differ by more" in report.summary()
    assert "broken net!C1 =SUMPRODUCT" in report.summary()


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("D1", 0.5),
        ("E1", False),
        ("E1", 1.0),
        ("F1", "off"),
        ("G1", "#N/A"),
        ("G1", 0.0),
        ("C1", None),
        ("D1", "0.025"),
        ("E1", "TRUE"),
    ],
)
def test_a_wrong_stored_value_is_noticed(make_book: MakeBook, cell: str, value: Any) -> None:
    path = make_book({"network": {**NETWORK, cell: (NETWORK[cell][0], value)}})
    report = verify_xlsx(path)
    assert [failure.where for failure in report.failures] == [f"network!{cell}"]
    assert report.where == f"network!{cell}"
    assert report.stored == value
    assert report.largest == report.failures[0].difference > 0
    assert report.recalculated == report.failures[0].recalculated != value or cell == "E1"


# -- rounding that is enlarged ---------------------------------------------------------------------


def adam_behind_batch_normalization(path: Path) -> None:
    """The bias of a convolution before batch normalization has a gradient of 0, and rounding."""
    model = minnet.Sequential(
        [
            minnet.Conv2D(2, 3, padding="same", input_shape=(6, 6, 1)),
            minnet.BatchNormalization(),
            minnet.Flatten(),
            minnet.Dense(2, "softmax"),
        ],
        seed=1,
    )
    model.compile(minnet.Adam(lr=0.1), loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((3, 6, 6, 1))
    minnet.export_xlsx(model, x, np.array([0, 1, 1]), path, steps=2)


@pytest.mark.parametrize("engine", ENGINES)
def test_enlarged_rounding_is_no_mistake(tmp_path: Path, engine: Engine) -> None:
    path = tmp_path / "book.xlsx"
    adam_behind_batch_normalization(path)
    report = verify_xlsx(path, engine=engine)
    assert report.ok, report.summary()
    assert report.enlarged and report.largest > report.tolerance
    assert f"{len(report.enlarged)} have rounding before them enlarged" in report.summary()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wrong", [1e-8, 1e-6, 1e-3])
def test_a_mistake_is_no_enlarged_rounding(
    make_book: MakeBook, engine: Engine, wrong: float
) -> None:
    """What follows from a wrong number is excused only as long as the number itself is not."""
    sheet = {"A1": 2.0, "B1": ("A1/2", 1 + wrong), "C1": ("B1<A1", True), "D1": ("B1*3", 3.0)}
    report = verify_xlsx(make_book({"s": sheet}), engine=engine)
    assert [cell.where for cell in report.failures] == ["s!B1"]
    # An input was changed, and what stands beside the formulas is from before.
    stale = {"A1": 2 + 2 * wrong, "B1": ("A1/2", 1.0), "C1": ("B1*3", 3.0), "D1": ("C1-B1", 2.0)}
    report = verify_xlsx(make_book({"s": stale, "t": {"A1": ("s!D1", 2.0)}}), engine=engine)
    assert "s!B1" in [cell.where for cell in report.failures]


def test_without_every_cell_only_failures_are_kept(make_book: MakeBook) -> None:
    assert verify_xlsx(make_book({"network": NETWORK})).all == []


def test_tolerance(make_book: MakeBook) -> None:
    path = make_book({"s": {"A1": ("1/4", 0.25 * (1 + 1e-6))}})
    assert not verify_xlsx(path).ok
    assert verify_xlsx(path, tolerance=1.1e-6).ok
    assert verify_xlsx(path, tolerance=0.9e-6).largest == pytest.approx(1e-6, rel=1e-5)


@pytest.mark.parametrize("wrong", [1.01e-5, -1e-5, 0.0])
def test_a_tiny_wrong_gradient_is_noticed(make_book: MakeBook, wrong: float) -> None:
    assert verify_xlsx(make_book({"s": {"A1": ("1/100000", 1e-5)}})).ok
    assert not verify_xlsx(make_book({"s": {"A1": ("1/100000", wrong)}})).ok


@pytest.mark.parametrize(
    ("stored", "recalculated", "expected"),
    [
        (2.0, 2.0, 0.0),
        (2.0, 2.2, 0.2 / 2.2),
        (-2.0, 2.0, 2.0),
        (1e-17, 0.0, 1e-14),
        (0.0, 1e-4, 0.1),
        (1e300, 1.1e300, 0.1 / 1.1),
        (True, True, 0.0),
        (True, 1.0, math.inf),
        ("a", "a", 0.0),
        ("a", "b", math.inf),
        (CellError("#N/A"), CellError("#N/A"), 0.0),
        ("#N/A", CellError("#N/A"), math.inf),
        (None, None, math.inf),
        (None, 0.0, math.inf),
        (0.0, None, math.inf),
    ],
)
def test_difference(stored: Any, recalculated: Any, expected: float) -> None:
    assert difference(stored, recalculated) == pytest.approx(expected)
    assert difference(recalculated, stored) == pytest.approx(expected)


def test_a_book_without_formulas_is_no_proof(make_book: MakeBook) -> None:
    with pytest.raises(WorkbookError, match=r"book\.xlsx.*nothing to verify"):
        verify_xlsx(make_book({"s": {"A1": 1.0}}))


def test_arguments(make_book: MakeBook) -> None:
    path = make_book({"network": NETWORK})
    with pytest.raises(ArgumentError, match="ironcalc, libreoffice"):
        verify_xlsx(path, engine="excel")  # type: ignore[arg-type]
    for tolerance in (-1.0, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="tolerance"):
            verify_xlsx(path, tolerance=tolerance)


def test_many_cells_are_verified_quickly(make_book: MakeBook) -> None:
    cells: dict[str, Any] = {"A1": 0.5}
    for row in range(2, 202):
        for column in range(1, 101):
            cells[a1(row, column)] = (f"$A$1*{column}+{row}", column / 2 + row)
    path = make_book({"s": cells})
    start = time.process_time()
    assert verify_xlsx(path).cells == 20_000
    assert time.process_time() - start < 5  # about 1 on a quiet machine
