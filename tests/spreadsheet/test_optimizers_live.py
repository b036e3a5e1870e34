"""Each optimizer's training as a workbook: recalculated, and the same as the engine's own steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from minnet import Dense, Sequential, read_xlsx
from minnet.optimizers import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    EpochAdagrad,
    Eve,
    Optimizer,
    RMSprop,
)
from minnet.schedules import (
    AdagradAnnealing,
    AdamAnnealing,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    StepDecay,
)
from minnet.spreadsheet.blocks import COLUMN, TRANSPOSED, arrange
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

TOLERANCE = 1e-9
STEPS, BEFORE = 3, 2  # steps in the book, and steps taken before it is written

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)), RNG.integers(0, 2, 6)

OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "sgd": lambda: SGD(0.1),
    "sgd, decay": lambda: SGD(0.1, decay=0.3),
    "sgd, clipnorm": lambda: SGD(0.1, clipnorm=0.05),
    "sgd, clipvalue": lambda: SGD(0.1, clipvalue=0.05),
    "momentum": lambda: SGD(0.1, 0.9),
    "nesterov": lambda: SGD(0.1, 0.9, nesterov=True),
    "adagrad": lambda: Adagrad(0.1),
    "epoch adagrad": lambda: EpochAdagrad(0.01, 2, 1.0),
    "adadelta": lambda: Adadelta(1.0),
    "rmsprop": lambda: RMSprop(0.01),
    "rmsprop, all on": lambda: RMSprop(0.01, momentum=0.5, centered=True),
    "adam": lambda: Adam(0.01),
    "adam, not corrected": lambda: Adam(0.01, bias_correction=False),
    "adamw": lambda: AdamW(0.01, 0.1),
    "eve": lambda: Eve(0.01, 0.9),
    "eve, no limits": lambda: Eve(0.01, 0.9, None),
    "step": lambda: SGD(StepDecay(0.1, 2, 0.5)),
    "exponential": lambda: SGD(ExponentialDecay(0.1, 2, 0.5)),
    "cosine": lambda: SGD(CosineDecay(0.1, 4, 0.1), 0.9),
    "one cycle": lambda: AdamW(OneCycle(0.1, 10)),
    "adam annealed": lambda: Adam(AdamAnnealing(0.01, 2, growth=0.5)),
    "adagrad annealed": lambda: EpochAdagrad(AdagradAnnealing(0.01, 2, growth=0.5), 2, 1.0),
}


def classifier(optimizer: Optimizer, slow: float = 1.0) -> Sequential:
    """A model that has been trained a little, so that there is something to remember."""
    layers = [Dense(4, "tanh", input_dim=3, name="hidden"), Dense(2, "softmax", name="top")]
    model = Sequential(layers, seed=0, dtype=np.float64)
    model.layers[0].lr_multiplier = slow
    model.compile(optimizer, "sparse_categorical_crossentropy")
    for _ in range(BEFORE):
        model.train_on_batch(X, Y)
    return model


def on_sheet(area: Area, array: Array) -> Array:
    """A number, or a parameter and what has its shape, as it lies on the sheet."""
    lies = {1: COLUMN, 2: TRANSPOSED}.get(array.ndim)
    order = np.zeros((1, 1), int) if lies is None else arrange(array.shape, lies)
    assert order.shape == (area.rows, area.columns)
    return array.reshape(-1)[order]


def assert_same(live: Recalculated, area: Area, array: Array, what: str) -> None:
    np.testing.assert_allclose(
        live.array(area), on_sheet(area, array), rtol=TOLERANCE, atol=1e-13, err_msg=what
    )


def remembered(model: Sequential) -> dict[str, Array]:
    """Everything the optimizer remembers by the name it has in a workbook."""
    return {
        key.replace("/", "_") if "/" in key else f"optimizer_{key}": array
        for key, array in model.optimizer.state_arrays().items()
    }


def assert_book_is_training(live: Recalculated, path: Path, model: Sequential) -> set[str]:
    """Each sheet shows the step that the engine takes; gives the names that were compared."""
    book, compared = open_book(path), set()
    for step in range(STEPS):
        areas = book.names if step == 0 else book.local_names[f"step {step + 1}"]
        rate = model.optimizer.lr
        before = remembered(model)
        loss = model.train_on_batch(X, Y)
        after = remembered(model)
        assert_same(live, areas["loss"], np.array(loss), f"loss of step {step + 1}")
        for p in model.parameters():
            assert_same(live, areas[f"{p.name}_new"], p.data, f"{p.name} of step {step + 1}")
        for name, area in areas.items():
            new = name.removesuffix("_new")
            if name in before:
                assert_same(live, area, before[name], f"{name} before step {step + 1}")
                compared.add(name)
            elif new in after and new != name:
                assert_same(live, area, after[new], f"{name} after step {step + 1}")
                compared.add(name)
        if model.optimizer._schedule is not None:
            assert_same(live, areas["optimizer_rate"], np.array(rate), f"rate of step {step + 1}")
        cell = live.array(book.names["learning_rate"])
        assert cell == model.optimizer.base_lr
    return compared


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_three_steps_recalculate_as_the_engine_takes_them(name: str, tmp_path: Path) -> None:
    model = classifier(OPTIMIZERS[name](), slow=0.3)
    path = tmp_path / "book.xlsx"
    before = remembered(model)
    model.export_xlsx(X, Y, path, steps=STEPS)
    assert verify_xlsx(path, TOLERANCE).ok
    assert lint_xlsx(path) == []
    assert remembered(model).keys() == before.keys()
    compared = assert_book_is_training(Recalculated(path), path, model)
    shown = {n for n in before if not n.startswith("optimizer_")}
    assert shown <= compared  # all that is remembered of parameters is on the sheets


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
    assert_book_is_training(live, path, model)


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
