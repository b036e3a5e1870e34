"""What the tests of recalculated workbooks share: optimizers of all kinds, what an engine says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, settings

from minnet.model import Model
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
from minnet.spreadsheet.blocks import COLUMN, FILTERS, NORMAL, TRANSPOSED, arrange
from minnet.spreadsheet.names import legal_name
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.tensor import Array

TOLERANCE = 1e-9
many_books = settings(
    deadline=None,
    max_examples=min(25, settings.default.max_examples),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking whole workbooks takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

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


def on_sheet(area: Area, array: Array) -> Array:
    """A number, a parameter, or what has a parameter's shape, as it lies on the sheet."""
    ways = {1: (COLUMN, NORMAL), 2: (TRANSPOSED, NORMAL), 4: (FILTERS,)}
    for lies in ways.get(array.ndim, (NORMAL,)):
        order = arrange(array.shape, lies)
        if order.shape == (area.rows, area.columns):
            return array.reshape(-1)[order]
    raise AssertionError(f"{array.shape} does not lie in {area}")


def assert_same(live: Recalculated, area: Area, array: Array, what: str) -> None:
    np.testing.assert_allclose(
        live.array(area), on_sheet(area, array), rtol=TOLERANCE, atol=1e-13, err_msg=what
    )


def remembered(model: Model) -> dict[str, Array]:
    """Everything the optimizer remembers by the name it has in a workbook."""
    return {
        legal_name(key.replace("/", "_") if "/" in key else f"optimizer_{key}"): array
        for key, array in model.optimizer.state_arrays().items()
    }


def assert_book_is_training(
    live: Recalculated, path: Path, model: Model, x: Any, y: Any, steps: int
) -> set[str]:
    """Each sheet shows the step that the engine takes; gives the names that were compared."""
    book, compared = open_book(path), set()
    for step in range(steps):
        areas = book.names if step == 0 else book.local_names[f"step {step + 1}"]
        rate = model.optimizer.lr
        before = remembered(model)
        weights = {legal_name(str(p.name)): p.numpy() for p in model.parameters()}
        loss = np.asarray(model.train_on_batch(x, y)).reshape(-1)[0]
        after = remembered(model)
        assert_same(live, areas["loss"], loss, f"loss of step {step + 1}")
        for p in model.parameters():
            name = legal_name(str(p.name))
            if name + "_new" in areas:
                assert_same(live, areas[name + "_new"], p.data, f"{name} of step {step + 1}")
            else:
                assert not p.requires_grad
                np.testing.assert_array_equal(p.data, weights[name])
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
