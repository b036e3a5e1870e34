"""Each optimizer's training as a workbook: recalculated, and the same as the engine's own steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from live_cases import OPTIMIZERS, TOLERANCE, assert_book_is_training, on_sheet, remembered

from minnet import Dense, Sequential, optimizers, read_xlsx, schedules
from minnet.optimizers import SGD, Adam, Optimizer
from minnet.schedules import CosineDecay, ExponentialDecay
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx

STEPS, BEFORE = 3, 2  # steps in the book, and steps taken before it is written

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), RNG.integers(0, 2, 6)


def classifier(optimizer: Optimizer, slow: float = 1.0) -> Sequential:
    """A model that has been trained a little, so that there is something to remember."""
    layers = [Dense(4, "tanh", input_dim=3, name="hidden"), Dense(2, "softmax", name="top")]
    model = Sequential(layers, seed=0, dtype=np.float64)
    model.layers[0].lr_multiplier = slow
    model.compile(optimizer, "sparse_categorical_crossentropy")
    for _ in range(BEFORE):
        model.train_on_batch(X, Y)
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_recalculate_as_the_engine_takes_them(name: str, tmp_path: Path) -> None:
    model = classifier(OPTIMIZERS[name](), slow=0.3)
    path = tmp_path / "book.xlsx"
    before = remembered(model)
    model.export_xlsx(X, Y, path, steps=STEPS)
    assert verify_xlsx(path, TOLERANCE).ok
    assert lint_xlsx(path) == []
    assert remembered(model).keys() == before.keys()
    compared = assert_book_is_training(Recalculated(path), path, model, X, Y, STEPS)
    shown = {n for n in before if not n.startswith("optimizer_")}
    assert shown <= compared  # all that is remembered of parameters is on the sheets


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_book_follows_another_rate_and_another_memory(name: str, tmp_path: Path) -> None:
    model = classifier(OPTIMIZERS[name]())
    path = tmp_path / "book.xlsx"
    model.export_xlsx(X, Y, path, steps=STEPS, check=False)
    live, names = Recalculated(path), open_book(path).names
    model.optimizer.base_lr *= 1.5
    live.set_array(names["learning_rate"], np.array([[model.optimizer.base_lr]]))
    state = model.optimizer.state_arrays()
    for key, array in state.items():
        sheet_name = key.replace("/", "_")
        if array.ndim and sheet_name in names:
            state[key] = array * 1.25
            live.set_array(names[sheet_name], on_sheet(names[sheet_name], state[key]))
    model.optimizer.load_state_arrays(state)
    live.evaluate()
    assert_book_is_training(live, path, model, X, Y, STEPS)


def test_every_optimizer_and_schedule_has_a_case() -> None:
    made = [make() for make in OPTIMIZERS.values()]
    assert {type(optimizer) for optimizer in made} == set(optimizers.OPTIMIZERS.values())
    found = {type(optimizer._schedule) for optimizer in made} - {type(None)}
    assert found == set(schedules.SCHEDULES.values())


def formula(path: Path, name: str, sheet: str = "network") -> str | None:
    book = open_book(path)
    area = (book.names if sheet == "network" else book.local_names[sheet])[name]
    return book.cells(sheet)[area.row, area.column].formula


def test_formulas_are_the_plain_ones(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    classifier(Adam(ExponentialDecay(0.1, 2, 0.5))).export_xlsx(X, Y, path, steps=2)
    names = open_book(path).names
    at = {n: openpyxl.utils.get_column_letter(a.column) + str(a.row) for n, a in names.items()}
    assert formula(path, "hidden_weight_m") is None
    m, g = at["hidden_weight_m"], at["hidden_weight_grad"]
    assert formula(path, "hidden_weight_m_new") == f"0.9*{m}+0.1*{g}"
    assert formula(path, "optimizer_factor") == f"0.5^({at['optimizer_iterations']}/2)"
    assert formula(path, "optimizer_rate") == f"learning_rate*{at['optimizer_factor']}"
    assert formula(path, "hidden_weight_m", "step 2") == f"network!{at['hidden_weight_m_new']}"
    new = at["optimizer_iterations_new"]
    letters = new.rstrip("0123456789")
    fixed = f"network!${letters}${new[len(letters) :]}"
    assert formula(path, "optimizer_iterations", "step 2") == fixed
    column = names["hidden_weight"].column
    assert all(
        names[f"hidden_weight{rest}"].column == column for rest in ("_new", "_m", "_m_new", "_v")
    )
    assert names["hidden_weight_new"].row < names["hidden_weight_m"].row


def test_plain_sgd_shows_nothing_more_than_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    classifier(SGD(0.1)).export_xlsx(X, Y, path)
    assert not [n for n in open_book(path).names if n.startswith("optimizer")]
    assert str(formula(path, "hidden_weight_new")).count("learning_rate*") == 1


def test_each_steps_rate_is_on_the_training_sheet(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    model = classifier(SGD(CosineDecay(0.1, 4)))
    model.export_xlsx(X, Y, path, steps=STEPS)
    cells, live = open_book(path).cells("training"), Recalculated(path)
    schedule = CosineDecay(0.1, 4)
    for step in range(STEPS):
        cell = cells[5 + step, 2]
        assert cell.formula is not None
        assert cell.value == pytest.approx(schedule(BEFORE + step), rel=1e-12)
        area = Area("training", 5 + step, 2, 1, 1)
        assert live.array(area).item() == pytest.approx(schedule(BEFORE + step), rel=1e-12)
    header = open_book(path).cells("step 2")[3, 3]
    assert header.value == pytest.approx(schedule(BEFORE + 1))
    assert open_book(path).cells("network")[3, 1].value == "base rate"


def test_reading_back_sets_the_schedules_rate(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    model = classifier(SGD(CosineDecay(0.1, 4)))
    model.export_xlsx(X, Y, path)
    book: Any = openpyxl.load_workbook(path)
    book["network"]["C3"] = 0.4
    book.save(path)
    read_xlsx(path, model)
    assert model.optimizer.base_lr == 0.4
    assert model.optimizer.lr == pytest.approx(0.2)
