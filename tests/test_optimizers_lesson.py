"""The lesson's workbook ``graddesc.xlsm`` row by row: each row of its sheets is one step.

The workbook is not part of minnet: the directory that holds it is named by the environment
variable MINNET_LESSON. Where a sheet errs, the test
says what it shows and what is right.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from minnet import Dense, Sequential
from minnet.optimizers import SGD, Adam, EpochAdagrad, Eve, Optimizer, RMSprop
from minnet.schedules import AdagradAnnealing, AdamAnnealing

LESSON = Path(os.environ.get("MINNET_LESSON", "not given")) / "graddesc.xlsm"

pytestmark = [
    pytest.mark.skipif(not LESSON.is_file(), reason="the lesson's graddesc.xlsm is not here"),
    pytest.mark.filterwarnings("ignore"),  # openpyxl's, about what it leaves out
]

FIRST, LAST = 4, 32  # rows, one step each
ROWS = range(FIRST, LAST + 1)
EPOCH = len(ROWS)
TIGHT = {"rel": 1e-10, "abs": 1e-13}


@cache
def sheet(name: str) -> dict[str, Any]:
    """The stored values of a sheet by cell."""
    cells = openpyxl.load_workbook(LESSON, data_only=True)[name].iter_rows()
    return {c.coordinate: c.value for row in cells for c in row if c.value is not None}


@cache
def names(name: str) -> dict[str, str]:
    """The cells behind a sheet's defined names."""
    defined = openpyxl.load_workbook(LESSON)[name].defined_names
    return {k: v.attr_text.rpartition("!")[2].replace("$", "") for k, v in defined.items()}


class Line:
    """y = a·x + b as the sheets have it, a step at a time."""

    def __init__(self, optimizer: Optimizer, a: float, b: float):
        self.model = Sequential([Dense(1, input_dim=1)], dtype=np.float64)
        self.model.compile(optimizer, "mse")
        self.move_to(a, b)

    def move_to(self, a: float, b: float) -> None:
        self.model.set_weights([[[a]], [b]])

    def remember(
        self, shared: dict[str, float] | None = None, **slots: tuple[float, float]
    ) -> None:
        """Put the optimizer in a state: for each slot what it holds of a and of b."""
        state: dict[str, Any] = {"iterations": np.array(0)}
        state |= {k: np.array(v) for k, v in (shared or {}).items()}
        for slot, (a, b) in slots.items():
            whole = slot == "steps"
            state[f"dense_1_weight/{slot}"] = np.array(a if whole else [[a]])
            state[f"dense_1_bias/{slot}"] = np.array(b if whole else [b])
        self.model.optimizer.load_state_arrays(state)

    def step(self, x: float, y: float) -> tuple[float, float]:
        """a and b after the step."""
        self.model.train_on_batch([[x]], [[y]])
        (a,), (b,) = (w.ravel() for w in self.model.get_weights())
        return float(a), float(b)

    def slot(self, name: str) -> tuple[float, float]:
        """What the optimizer remembers of a and of b."""
        state = self.model.optimizer.state_arrays()
        return state[f"dense_1_weight/{name}"].item(), state[f"dense_1_bias/{name}"].item()


def test_basic_sgd() -> None:
    s = sheet("basic SGD")
    line = Line(SGD(s["F1"]), a=s["C2"], b=s["C1"])
    losses = 0.0
    for r in ROWS:
        x, y = s[f"A{r}"], s[f"B{r}"]
        losses += line.model.evaluate([[x]], [[y]])  # type: ignore[operator]
        assert line.step(x, y) == pytest.approx((s[f"M{r}"], s[f"N{r}"]), **TIGHT)
    # What the sheet calls rmse is not divided by the number of rows.
    assert s["E33"] == "rmse"
    assert s["F33"] == pytest.approx(math.sqrt(losses / EPOCH) * math.sqrt(EPOCH))


def test_momentum() -> None:
    """The sheet's momentum is a mean, beta · m + (1 − beta) · g, and Keras's a sum: the same steps
    where the rate is (1 − beta) times as large, with velocity = −rate · m.
    """
    s = sheet("momentum")
    beta, lr = s["J1"], s["D2"]
    line = Line(SGD(lr * (1 - beta), momentum=beta), a=s["C2"], b=s["C1"])
    line.remember(velocity=(-lr * s["K3"], -lr * s["J3"]))
    for r in ROWS:
        assert line.step(s[f"A{r}"], s[f"B{r}"]) == pytest.approx((s[f"I{r}"], s[f"H{r}"]), **TIGHT)
        expected = -lr * s[f"K{r}"], -lr * s[f"J{r}"]
        assert line.slot("velocity") == pytest.approx(expected, **TIGHT)


def test_adagrad() -> None:
    """The sheet's Adagrad divides by the gradients' size in the epoch before, √(sum of squares) /
    count. Neither is that Duchi's Adagrad, which never forgets, nor a mean: √(sum / count) is one.
    """
    s = sheet("adagrad")
    line = Line(EpochAdagrad(s["D2"], EPOCH, epsilon=0), a=s["C2"], b=s["C1"])
    line.remember(squares=(0, 0), scale=(s["G1"], s["F1"]), steps=(0, 0))
    for r in ROWS:
        assert line.step(s[f"A{r}"], s[f"B{r}"]) == pytest.approx((s[f"I{r}"], s[f"H{r}"]), **TIGHT)
    line.step(1, 1)  # the first of the next epoch
    assert line.slot("scale") == pytest.approx((s["G33"], s["F33"]), **TIGHT)


def test_rmsprop() -> None:
    """The sheet divides by the mean of the row before, which does not know the row's own gradient
    yet; RMSprop divides by the mean after it.
    """
    s = sheet("rmsprop")
    rho, lr = s["J1"], s["D2"]
    line = Line(RMSprop(lr, rho, epsilon=0), a=s["C2"], b=s["C1"])
    for r in ROWS:
        line.move_to(a=s[f"D{r}"], b=s[f"C{r}"])
        line.remember(squares=(s[f"K{r - 1}"], s[f"J{r - 1}"]))
        found = line.step(s[f"A{r}"], s[f"B{r}"])
        assert line.slot("squares") == pytest.approx((s[f"K{r}"], s[f"J{r}"]), **TIGHT)
        for now, old, new, slope, mean in zip(found, "DC", "IH", "GF", "KJ", strict=True):
            move = lr * s[f"{slope}{r}"]
            late = s[f"{old}{r}"] - move / math.sqrt(s[f"{mean}{r - 1}"])
            right = s[f"{old}{r}"] - move / math.sqrt(s[f"{mean}{r}"])
            assert s[f"{new}{r}"] == pytest.approx(late, **TIGHT)
            assert now == pytest.approx(right, **TIGHT)


def adam_row(s: dict[str, Any], r: int, m: str, v: str) -> dict[str, tuple[float, float]]:
    """m and v of a and of b as they stand in a row; the columns are named b's first."""
    return {"m": (s[f"{m[1]}{r}"], s[f"{m[0]}{r}"]), "v": (s[f"{v[1]}{r}"], s[f"{v[0]}{r}"])}


def test_adam() -> None:
    """The sheet's Adam corrects no bias."""
    s = sheet("adam")
    adam = Adam(s["D2"], s["J1"], s["L1"], epsilon=0, bias_correction=False)
    line = Line(adam, a=s["C2"], b=s["C1"])
    line.remember(**adam_row(s, 3, "JK", "LM"))
    for r in ROWS:
        assert line.step(s[f"A{r}"], s[f"B{r}"]) == pytest.approx((s[f"I{r}"], s[f"H{r}"]), **TIGHT)
        for slot, expected in adam_row(s, r, "JK", "LM").items():
            assert line.slot(slot) == pytest.approx(expected, **TIGHT)


def test_eve() -> None:
    """The sheet renews d once an epoch, from the losses of the two epochs before; within one it
    stays. Its loss, too, is a root of a sum that is not divided by the number of rows.
    """
    s = sheet("eve")
    settings = {"beta_1": s["K1"], "beta_2": s["M1"], "epsilon": 0, "bias_correction": False}
    eve = Eve(s["D2"], beta_3=s["H38"], limits=None, **settings)
    line = Line(eve, a=s["C2"], b=s["C1"])
    state = adam_row(s, 3, "KL", "MN")
    squares = 0.0
    for r in ROWS:
        line.remember({"d": s["F38"]}, **state)  # without the loss before, d stays
        squares += line.model.evaluate([[s[f"A{r}"]]], [[s[f"B{r}"]]])  # type: ignore[operator]
        assert line.step(s[f"A{r}"], s[f"B{r}"]) == pytest.approx((s[f"J{r}"], s[f"I{r}"]), **TIGHT)
        state = {slot: line.slot(slot) for slot in ("m", "v")}
        for slot, expected in adam_row(s, r, "KL", "MN").items():
            assert state[slot] == pytest.approx(expected, **TIGHT)
    assert s["F33"] == pytest.approx(math.sqrt(squares))
    # d itself, from the two losses that the sheet has noted.
    line.remember({"d": s["F37"], "loss": s["F35"]}, **state)
    eve.step([], [], loss=s["F34"])
    assert eve.shared["d"] == pytest.approx(s["F38"])


def test_adagrad_with_annealing() -> None:
    s = sheet("adagrad_ann")
    schedule = AdagradAnnealing(s["D2"], EPOCH)
    line = Line(EpochAdagrad(schedule, EPOCH, epsilon=0), a=s["C2"], b=s["C1"])
    line.remember(
        {"cut": 1.0, "reference": s["J1"]},
        squares=(0, 0), scale=(s["G1"], s["F1"]), steps=(0, 0),
    )  # fmt: skip
    for r in ROWS:
        assert line.step(s[f"A{r}"], s[f"B{r}"]) == pytest.approx((s[f"H{r}"], s[f"I{r}"]), **TIGHT)
    # The expected step is what the sheet has, and what the next epoch's is compared with.
    shared = line.model.optimizer.shared
    assert s["H33"] <= 2 * s["J1"] and shared["cut"] == 1
    assert float(shared["reference"]) == pytest.approx(s["H33"], **TIGHT)


def test_adam_with_annealing() -> None:
    """In row 5 the mean of b's gradients reads the empty cell F5 of sheet Intro, not its own."""
    s = sheet("adam_ann")
    beta, lr = s["J1"], s["D2"]
    schedule = AdamAnnealing(lr, EPOCH)
    adam = Adam(schedule, beta, s["L1"], epsilon=0, bias_correction=False)
    line = Line(adam, a=s["C2"], b=s["C1"])
    for r in ROWS:
        line.move_to(a=s[f"D{r}"], b=s[f"C{r}"])
        line.remember(**adam_row(s, r - 1, "JK", "LM"))
        a, b = line.step(s[f"A{r}"], s[f"B{r}"])
        m, v = adam_row(s, r, "JK", "LM").values()
        if r == 5:
            assert m[1] == pytest.approx(s["J4"] * beta, **TIGHT)  # the gradient is missing
            m = m[0], m[1] + (1 - beta) * s["F5"]
        assert line.slot("m") == pytest.approx(m, **TIGHT)
        assert line.slot("v") == pytest.approx(v, **TIGHT)
        assert a == pytest.approx(s[f"I{r}"], **TIGHT)
        assert b == pytest.approx(s[f"C{r}"] - m[1] * lr / math.sqrt(v[1]), **TIGHT)
        assert (b == pytest.approx(s[f"H{r}"], **TIGHT)) == (r != 5)
    # What decides about the rate: the sum of the roots, beside the smallest so far.
    size = sum(float(schedule.measure({"v": s[cell]}, lr)) for cell in ("L33", "M33"))
    assert size == pytest.approx(s["N33"])
    shared = {"cut": 1.0, "reference": s["N3"]}
    schedule.judge(size, shared)
    assert (s["N34"] > 2) == (shared["cut"] < 1)
    assert shared["reference"] == min(s["N3"], size)


def test_the_sheets_lose_the_last_step_of_each_epoch() -> None:
    """``run`` goes on from a and b before the last row's step, but for the sheet adagrad. Here an
    epoch goes on from where the one before has ended.
    """
    for name in ("basic SGD", "momentum", "rmsprop", "adam", "eve", "adagrad_ann", "adam_ann"):
        assert (names(name)["lastslope"], names(name)["lastconst"]) == ("D32", "C32")
    assert (names("adagrad")["lastslope"], names("adagrad")["lastconst"]) == ("I32", "H32")
