"""Two books side by side: what differs is found by name, wherever it stands."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from minnet import Dense, Sequential
from minnet.errors import WorkbookError
from minnet.spreadsheet import diff_xlsx

MakeBook = Any


def exported(path: Path, units: int = 2, **options: Any) -> Path:
    model = Sequential([Dense(units, "relu", input_dim=3, name="fc1"), Dense(1)], seed=3)
    model.compile("sgd", "mse")
    model.export_xlsx(np.array([[0.5, -1.0, 2.0]]), np.array([[1.0]]), path, **options)
    return path


def test_a_book_is_equal_to_itself(tmp_path: Path) -> None:
    path = exported(tmp_path / "a.xlsx", steps=2)
    found = diff_xlsx(path, path)
    assert found.same and found.equal > 20


def test_numbers_that_differ_are_named_with_their_places(tmp_path: Path) -> None:
    first, second = exported(tmp_path / "a.xlsx", steps=2), tmp_path / "b.xlsx"
    book = openpyxl.load_workbook(first)
    book["network"]["C3"] = 0.5
    book["network"]["F9"] = 8.0  # row 2, column 2 of fc1's weights
    book.save(second)
    # openpyxl rounds numbers and drops the stored values of formulas, so those all differ.
    found = {t.name: t for t in diff_xlsx(first, second, tolerance=1e-12).tensors}
    assert found["fc1_weight"].differing == 1 and found["fc1_weight"].cells == 6
    assert found["fc1_weight"].after == 8.0 and found["fc1_weight"].cell == "network!F9"
    assert found["learning_rate"].before == 0.01 and found["learning_rate"].after == 0.5
    assert found["learning_rate"].difference == pytest.approx(0.98)
    assert "step 2: fc1_weight" in found and math.isinf(found["loss"].difference)
    assert "x" not in found and "fc1_bias" not in found


def test_blocks_are_found_wherever_they_stand(make_book: MakeBook) -> None:
    first = make_book(
        {"network": {"B2": 1.0, "C2": 2.0}, "step 2": {"A1": 3.0}},
        [("w", "network!$B$2:$C$2"), ("w", "'step 2'!$A$1", 1)],
        name="a.xlsx",
    )
    second = make_book(
        {"net": {"D7": 1.0, "E7": 2.5}, "later": {"B4": 3.0}},
        [("w", "net!$D$7:$E$7"), ("w", "later!$B$4", 1)],
        name="b.xlsx",
    )
    found = diff_xlsx(first, second)
    assert found.equal == 1
    (tensor,) = found.tensors
    assert tensor[2:] == (1, 2, 2.0, 2.5, "net!E7") and tensor.difference == 0.2
    assert diff_xlsx(first, second, tolerance=0.2).same


def test_other_shapes_and_other_names(tmp_path: Path) -> None:
    first, second = exported(tmp_path / "a.xlsx"), exported(tmp_path / "b.xlsx", 3, steps=2)
    found = diff_xlsx(first, second)
    shapes = {t.name: (t.before, t.after) for t in found.tensors}
    assert shapes["fc1_weight"] == ("2 × 3 cells", "3 × 3 cells")
    assert found.only_first == [] and "step 2: fc1_weight" in found.only_second
    assert not found.same


def test_a_name_for_more_than_there_is_costs_nothing(make_book: MakeBook) -> None:
    book = make_book({"s": {"A1": 1.0}}, [("w", "s!$A$1:$XFD$1048576")])
    (tensor,) = diff_xlsx(book, book).tensors
    assert math.isinf(tensor.difference)


def test_a_book_without_names_is_refused(make_book: MakeBook) -> None:
    book = make_book({"s": {"A1": 1.0}})
    with pytest.raises(WorkbookError, match="areas with names"):
        diff_xlsx(book, book)
