"""The demo ``graddesc``: every row is the training step that it stands for."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from minnet import Dense, Sequential
from minnet.demos import graddesc
from minnet.errors import WorkbookError
from minnet.optimizers import Adam, EpochAdagrad, Optimizer
from minnet.schedules import AdagradAnnealing, AdamAnnealing
from minnet.spreadsheet import diff_xlsx
from minnet.spreadsheet.book import Book
from minnet.spreadsheet.ledger import FIRST_ROW, RATE_AT, Ledger
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.spreadsheet.xlsx import save
from minnet.tensor import Array

LESSON = Path(os.environ.get("MINNET_LESSON", "not given")) / "graddesc.xlsm"
COUNT = len(graddesc.X) * graddesc.EPOCHS


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graddesc") / "graddesc.xlsx"
    graddesc.run(path)
    return path


@pytest.fixture(scope="module")
def live(path: Path) -> Recalculated:
    """The book as it is; it is loaded once, as that takes its time."""
    return Recalculated(path)


@pytest.fixture(scope="module")
def halved(path: Path) -> Recalculated:
    """The book after half the learning rate has been typed into every sheet."""
    live = Recalculated(path)
    for name, optimizer in graddesc.optimizers().items():
        live.set_array(Area(name, *RATE_AT, 1, 1), np.array([[optimizer.base_lr / 2]]))
    live.evaluate()
    return live


@cache
def column(path: Path, sheet: str, title: str) -> Area:
    """The cells of a column of a ledger."""
    found = open_book(path).cells(sheet).items()
    (place,) = {c for (row, c), cell in found if row == 6 and cell.value == title}
    return Area(sheet, FIRST_ROW, place, COUNT, 1)


def trained(name: str, lr: float | None = None) -> Array:
    """a and b after each step (steps, 2), by training without a workbook."""
    optimizer = graddesc.optimizers()[name]
    if lr is not None:
        optimizer.base_lr = lr
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
def test_rows_are_the_steps_of_the_training(
    path: Path, live: Recalculated, halved: Recalculated, name: str
) -> None:
    areas = [column(path, name, f"new {which}") for which in ("weight", "bias")]
    rate = graddesc.optimizers()[name].base_lr
    for book, lr in ((live, rate), (halved, rate / 2)):
        found = np.concatenate([book.array(area) for area in areas], axis=1)
        np.testing.assert_allclose(found, trained(name, lr), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", graddesc.optimizers())
def test_gradients_by_difference_are_backpropagations(
    path: Path, live: Recalculated, name: str
) -> None:
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


def test_sheets_have_names_notes_and_a_validated_rate(path: Path) -> None:
    found = diff_xlsx(path, path)
    assert found.same and found.equal > 100
    book = openpyxl.load_workbook(path)
    for name in graddesc.optimizers():
        (rule,) = book[name].data_validations.dataValidation
        assert (str(rule.sqref), rule.operator, rule.formula1) == ("B4", "greaterThan", "0")
        notes = [cell.comment for cell in book[name][6] if cell.comment]
        assert len(notes) >= len(book[name].defined_names) >= 12


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


# -- the lesson's annealed sheets, row by row ------------------------------------------------------


def lesson_sheet(name: str) -> dict[str, float]:
    """The stored numbers of a sheet by cell."""
    sheet = openpyxl.load_workbook(LESSON, data_only=True)[name]
    cells = {c.coordinate: c.value for row in sheet.iter_rows() for c in row}
    return {at: value for at, value in cells.items() if isinstance(value, (int, float))}


def ledger_from(
    tmp_path: Path, optimizer: Optimizer, a: float, b: float, state: dict[str, float]
) -> Path:
    """One epoch of a line and an optimizer that have already come some way."""
    model = graddesc.network(optimizer)
    model.set_weights([[[a]], [b]])
    shapes = {"line_weight": (1, 1), "line_bias": (1,)}
    optimizer.load_state_arrays(
        {
            key: np.full(() if key.endswith("steps") else shapes.get(key.split("/")[0], ()), value)
            for key, value in {"iterations": 0, **state}.items()
        }
    )
    book, (x, y) = Book(), graddesc.points()
    Ledger(book, "steps", "one epoch", model, x, y, 1)
    save(book.workbook, book.rows, tmp_path / "epoch.xlsx")
    assert verify_xlsx(tmp_path / "epoch.xlsx").ok
    return tmp_path / "epoch.xlsx"


def assert_columns(path: Path, lesson: dict[str, float], columns: dict[str, str]) -> None:
    live, count = Recalculated(path), len(graddesc.X)
    for title, letter in columns.items():
        found = live.array(column(path, "steps", title)._replace(rows=count))[:, 0]
        expected = [lesson[f"{letter}{row}"] for row in range(4, 33)]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10, err_msg=title)


FORWARD = {"x": "A", "target": "B", "bias": "C", "weight": "D", "out": "E"}
SLOPES = {"d bias": "F", "d weight": "G"}


@pytest.mark.skipif(not LESSON.is_file(), reason="the lesson's graddesc.xlsm is not here")
@pytest.mark.filterwarnings("ignore")  # openpyxl's, about what it leaves out
def test_annealed_adagrad_has_the_lessons_numbers(tmp_path: Path) -> None:
    s = lesson_sheet("adagrad_ann")
    optimizer = EpochAdagrad(AdagradAnnealing(s["D2"], 29), 29, epsilon=0)
    state = {"cut": 1.0, "reference": s["J1"]}
    for name, scale in (("weight", s["G1"]), ("bias", s["F1"])):
        own = {"squares": 0.0, "scale": scale, "steps": 0}
        state |= {f"line_{name}/{slot}": value for slot, value in own.items()}
    path = ledger_from(tmp_path, optimizer, s["C2"], s["C1"], state)
    assert_columns(path, s, {**FORWARD, **SLOPES, "new weight": "H", "new bias": "I"})
    live, (end,) = Recalculated(path), [FIRST_ROW + len(graddesc.X) - 1]
    for title, expected in (("size", s["H33"]), ("reference", s["J1"]), ("new cut", 1.0)):
        area = column(path, "steps", title)._replace(row=end, rows=1)
        assert live.array(area).item() == pytest.approx(expected, rel=1e-9), title


def adam_ann(s: dict[str, float], corrected: bool) -> dict[str, float]:
    """The sheet's own formulas; J5 as it is, reading an empty cell, or corrected to read F5."""
    out = dict(s)
    rate, beta, rho = s["D2"], s["J1"], s["L1"]
    b, a, m, v = s["C1"], s["C2"], [s["J3"], s["K3"]], [s["L3"], s["M3"]]
    for r in range(4, 33):
        out[f"C{r}"], out[f"D{r}"], x, y = b, a, s[f"A{r}"], s[f"B{r}"]
        out[f"E{r}"] = b + a * x
        slopes = [2 * (a * x + b - y), 2 * (a * x + b - y) * x]
        read = slopes if corrected or r != 5 else [0.0, slopes[1]]
        m = [beta * old + (1 - beta) * new for old, new in zip(m, read, strict=True)]
        v = [rho * old + (1 - rho) * new**2 for old, new in zip(v, slopes, strict=True)]
        b, a = (w - m[i] * rate / np.sqrt(v[i]) for i, w in enumerate((b, a)))
        values = zip("FGHIJKLM", (*slopes, b, a, *m, *v), strict=True)
        out |= {f"{letter}{r}": value for letter, value in values}
    return out


@pytest.mark.skipif(not LESSON.is_file(), reason="the lesson's graddesc.xlsm is not here")
@pytest.mark.filterwarnings("ignore")  # openpyxl's, about what it leaves out
def test_annealed_adam_has_the_lessons_numbers_with_one_cell_corrected(tmp_path: Path) -> None:
    s = lesson_sheet("adam_ann")
    as_it_is = adam_ann(s, corrected=False)
    assert all(as_it_is[at] == pytest.approx(s[at], rel=1e-9, abs=1e-10) for at in s)
    corrected = adam_ann(s, corrected=True)
    assert corrected["J5"] != pytest.approx(s["J5"], rel=0.1)

    schedule = AdamAnnealing(s["D2"], 29)
    optimizer = Adam(schedule, s["J1"], s["L1"], epsilon=0, bias_correction=False)
    state = {"cut": 1.0, "reference": s["N3"]}
    state |= {"line_weight/m": s["K3"], "line_bias/m": s["J3"]}
    state |= {"line_weight/v": s["M3"], "line_bias/v": s["L3"]}
    path = ledger_from(tmp_path, optimizer, s["C2"], s["C1"], state)
    columns = {"new bias": "H", "new weight": "I", "new bias m": "J", "new weight m": "K"}
    columns |= {"new bias v": "L", "new weight v": "M"}
    assert_columns(path, corrected, {**FORWARD, **SLOPES, **columns})


def test_the_rates_of_the_annealed_sheets_are_cut(path: Path) -> None:
    """And by the book's own formulas: with a gentle rate, nothing is cut."""
    live, last = Recalculated(path), FIRST_ROW + COUNT - 1
    for name in ("Adam annealed", "Adagrad annealed"):
        area = column(path, name, "new cut")._replace(row=last, rows=1)
        assert live.array(area).item() < 0.5
    live.set_array(Area("Adam annealed", *RATE_AT, 1, 1), np.array([[0.1]]))
    live.evaluate()
    area = column(path, "Adam annealed", "new cut")._replace(row=last, rows=1)
    assert live.array(area).item() == 1
