"""The demo ``graddesc``: every row is the training step that it stands for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from minnet import Dense, Sequential
from minnet.demos import graddesc
from minnet.errors import WorkbookError
from minnet.spreadsheet.book import Book
from minnet.spreadsheet.ledger import FIRST_ROW, RATE_AT, Ledger
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

LESSON = Path(os.environ.get("MINNET_LESSON", "not given")) / "graddesc.xlsm"
COUNT = len(graddesc.X) * graddesc.EPOCHS


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graddesc") / "graddesc.xlsx"
    graddesc.run(path)
    return path


def column(path: Path, sheet: str, title: str) -> Area:
    """The cells of a column of a ledger."""
    found = open_book(path).cells(sheet).items()
    (place,) = {c for (row, c), cell in found if row == 6 and cell.value == title}
    return Area(sheet, FIRST_ROW, place, COUNT, 1)


def trained(name: str, lr: float | None = None) -> Array:
    """a and b after each step (steps, 2), by training without a workbook."""
    optimizer = graddesc.optimizers()[name]
    if lr is not None:
        optimizer.lr = lr
    model, (x, y) = graddesc.network(optimizer), graddesc.points()
    found = []
    for step in range(COUNT):
        row = step % len(x)
        model.train_on_batch(x[row : row + 1], y[row : row + 1])
        found.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    return np.array(found)


def test_the_book_is_right_everywhere(path: Path) -> None:
    report = verify_xlsx(path)
    assert report.ok, report.summary()
    assert not lint_xlsx(path)


@pytest.mark.parametrize("name", graddesc.optimizers())
def test_rows_are_the_steps_of_the_training(path: Path, name: str) -> None:
    """Also after another learning rate has been typed into the sheet."""
    live = Recalculated(path)
    areas = [column(path, name, f"new {which}") for which in ("weight", "bias")]
    start = graddesc.optimizers()[name].lr
    for lr in (start, start / 2):
        live.set_array(Area(name, *RATE_AT, 1, 1), np.array([[lr]]))
        live.evaluate()
        found = np.concatenate([live.array(area) for area in areas], axis=1)
        np.testing.assert_allclose(found, trained(name, lr), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", graddesc.optimizers())
def test_gradients_by_difference_are_backpropagations(path: Path, name: str) -> None:
    live = Recalculated(path)
    for which in ("weight", "bias"):
        ours = live.array(column(path, name, f"d {which}"))
        near = live.array(column(path, name, f"≈ d {which}"))
        np.testing.assert_allclose(near, ours, rtol=1e-6, atol=1e-6)


def test_first_guesses_points_and_the_errors_by_epoch_are_live(path: Path) -> None:
    live = Recalculated(path)
    x, y = graddesc.points()
    live.set_array(column(path, "SGD", "weight")._replace(rows=1), np.array([[1.5]]))
    live.set_array(column(path, "SGD", "x")._replace(rows=len(x)), x / 2)
    live.evaluate()
    model = graddesc.network(graddesc.optimizers()["SGD"])
    model.set_weights([[[1.5]], [1.0]])
    errors = []
    for _ in range(graddesc.EPOCHS):
        losses = [model.train_on_batch(x[i : i + 1] / 2, y[i : i + 1]) for i in range(len(x))]
        errors.append(np.sqrt(np.mean(losses)))
    cells = open_book(path).cells("contents")
    at = next(k for k, c in cells.items() if c.formula and "SGD" in c.formula)
    found = live.array(Area("contents", *at, graddesc.EPOCHS, 1))
    np.testing.assert_allclose(found[:, 0], errors, rtol=1e-9)


def test_a_ledger_is_for_single_numbers() -> None:
    model = Sequential([Dense(1, input_dim=2)], dtype=np.float64)
    model.compile("sgd", "mse")
    with pytest.raises(WorkbookError, match=r"one number.*shape \(1, 2\)"):
        Ledger(Book(), "steps", "steps", model, np.ones((3, 2)), np.ones((3, 1)), 1)


@pytest.mark.skipif(not LESSON.is_file(), reason="the lesson's graddesc.xlsm is not here")
@pytest.mark.filterwarnings("ignore")  # openpyxl's, about what it leaves out
def test_sgd_has_the_lessons_numbers(path: Path) -> None:
    rows = list(openpyxl.load_workbook(LESSON, data_only=True)["basic SGD"].values)[3:32]
    lesson = np.array([row[:14] for row in rows], np.float64)
    live = Recalculated(path)
    titles = {
        "x": 0, "target": 1, "bias": 2, "weight": 3, "out": 4, "squares": 5, "d bias": 10,
        "d weight": 11, "new weight": 12, "new bias": 13,
    }  # fmt: skip
    for title, place in titles.items():
        found = live.array(column(path, "SGD", title))[: len(rows), 0]
        np.testing.assert_allclose(found, lesson[:, place], rtol=1e-10, atol=1e-10, err_msg=title)
