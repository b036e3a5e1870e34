"""Learning-rate schedules: against PyTorch's, and the lesson's annealing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from minnet import schedules
from minnet.errors import ArgumentError
from minnet.optimizers import SGD, Adam, EpochAdagrad
from minnet.schedules import (
    AdagradAnnealing,
    AdamAnnealing,
    Annealing,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    Schedule,
    StepDecay,
)
from minnet.tensor import Tensor, wrap

STEPS = 100


def rates(schedule: Schedule) -> list[float]:
    return [schedule(step) for step in range(STEPS)]


BY_TORCH: dict[str, tuple[Schedule, str, dict[str, Any]]] = {
    "step": (StepDecay(0.5, 30, 0.2), "StepLR", {"step_size": 30, "gamma": 0.2}),
    "exponential": (ExponentialDecay(0.5, 1, 0.9), "ExponentialLR", {"gamma": 0.9}),
    "cosine": (CosineDecay(0.5, 100, 0.1), "CosineAnnealingLR", {"T_max": 100, "eta_min": 0.05}),
    "one cycle": (OneCycle(0.5, 100), "OneCycleLR", {"max_lr": 0.5, "total_steps": 100}),
    "one cycle, other parts": (
        OneCycle(0.5, 100, 0.25, 10, 50),
        "OneCycleLR",
        {
            "max_lr": 0.5,
            "total_steps": 100,
            "pct_start": 0.25,
            "div_factor": 10,
            "final_div_factor": 50,
        },
    ),
}


@pytest.mark.filterwarnings("ignore:To get the last learning rate")
@pytest.mark.parametrize("name", BY_TORCH)
def test_as_pytorch_does(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, kind, options = BY_TORCH[name]
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    schedule = getattr(torch.optim.lr_scheduler, kind)(theirs, **options)
    found = []
    for step in range(STEPS):
        found.append(theirs.param_groups[0]["lr"])
        theirs.step()
        if step < STEPS - 1:
            schedule.step()
    np.testing.assert_allclose(rates(ours), found, rtol=1e-11)


def test_by_their_formulas() -> None:
    assert StepDecay(1.0, 10, 0.5)(29) == 0.25
    assert ExponentialDecay(1.0, 10, 0.5)(5) == pytest.approx(0.5**0.5)
    assert CosineDecay(1.0, 10)(5) == pytest.approx(0.5)
    assert CosineDecay(1.0, 10, 0.25)(1000) == pytest.approx(0.25)
    assert OneCycle(1.0, 10)(1000) == pytest.approx(1 / 25 / 1e4)
    assert isinstance(CosineDecay(np.float32(1), 10)(3), float)


@pytest.mark.parametrize("name", BY_TORCH)
def test_a_tensor_gives_the_same_rate(name: str) -> None:
    """So that a workbook's formulas do."""
    schedule, _, _ = BY_TORCH[name]
    for step in (0, 24, 29, 30, 99, 500):
        factor = schedule.factor(Tensor(float(step), dtype=np.float64))
        assert 0.5 * factor.item() == pytest.approx(schedule(step), rel=1e-12)


def test_an_optimizer_follows_its_schedule() -> None:
    parameter = Tensor([0.0], dtype=np.float64, requires_grad=True)
    sgd = SGD(StepDecay(1.0, 2, 0.5))
    found = []
    for _ in range(6):
        before = parameter.item()
        sgd.step([parameter], [wrap(np.ones(1))])
        found.append(before - parameter.item())
    assert found == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_schedule_of_ones_own() -> None:
    @dataclass
    class Halving(Schedule):
        def factor(self, step: Any) -> Any:
            return 1 / (1 + step)

    assert SGD(Halving(0.5)).lr == 0.5
    assert Halving(0.5)(4) == pytest.approx(0.1)


# -- annealing -------------------------------------------------------------------------------------


def judged(schedule: Annealing, sizes: list[float]) -> list[tuple[float, float]]:
    """The cut and the reference after each measurement."""
    shared: dict[str, Any] = {"iterations": 0, **schedule.start()}
    found = []
    for size in sizes:
        schedule.judge(size, shared)
        found.append((float(shared["cut"]), float(shared["reference"])))
    return found


def test_adam_annealing_cuts_when_gradients_are_twice_the_smallest() -> None:
    found = judged(AdamAnnealing(1.0, every=1), [3.0, 2.0, 3.9, 4.1, 5.0, 1.0, 2.1])
    assert [cut for cut, _ in found] == [1, 1, 1, 1 / 4, 1 / 16, 1 / 16, 1 / 64]
    assert [reference for _, reference in found] == [3, 2, 2, 2, 2, 1, 1]


def test_adagrad_annealing_halves_until_the_step_is_short_enough() -> None:
    found = judged(AdagradAnnealing(1.0, every=1), [1.0, 1.9, 20.0, 5.0])
    assert found == [(1, 1), (1, 1.9), (1 / 8, 2.5), (1 / 8, 5)]


@pytest.mark.parametrize("growth", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("divisor", [1.5, 2.0, 10.0])
def test_adagrad_annealing_is_a_loop_of_cuts(growth: float, divisor: float) -> None:
    """As the lesson's macro writes it."""
    schedule = AdagradAnnealing(1.0, every=1, growth=growth, divisor=divisor)
    sizes = np.random.default_rng(0).lognormal(0, 3, 20).tolist()
    cut, reference, expected = 1.0, math.inf, []
    for size in sizes:
        while size > growth * reference:
            cut, size = cut / divisor, size / divisor
        reference = size
        expected.append((cut, reference))
    np.testing.assert_allclose(judged(schedule, sizes), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [0.0, math.inf])
def test_adagrad_annealing_of_epochs_that_say_nothing(size: float) -> None:
    schedule = AdagradAnnealing(1.0, every=1)
    assert judged(schedule, [1.0, size, 1.0])[-1] == (1, 1)
    zero = {"squares": np.array([4.0, 4.0]), "scale": np.array([2.0, 0.0])}
    np.testing.assert_array_equal(schedule.measure(zero, 1.0), [1, 0])


def test_annealing_measures_once_an_epoch() -> None:
    parameter = Tensor([0.0, 0.0], dtype=np.float64, requires_grad=True)
    adam = Adam(AdamAnnealing(0.1, every=3), beta_2=0.5)
    for step, size in enumerate([4.0, 4, 4, 40, 40, 40, 40]):
        adam.step([parameter], [wrap(np.full(2, size))])
        v = adam.state_of(parameter)["v"]
        if step == 2:
            assert adam.shared["reference"] == pytest.approx(2 * math.sqrt(v[0]))
        assert adam.lr == (0.1 if step < 5 else 0.025)


def test_adagrad_annealing_of_epochs() -> None:
    """The expected step: this epoch's size of a gradient, over the size it was divided by."""
    parameter = Tensor([0.0], dtype=np.float64, requires_grad=True)
    adagrad = EpochAdagrad(AdagradAnnealing(0.5, every=2), period=2, initial_scale=1.0)
    for _ in range(2):
        adagrad.step([parameter], [wrap(np.full(1, 1.0))])
    first = math.sqrt(2) / 2
    assert adagrad.shared["reference"] == pytest.approx(0.5 * first / 1.0)
    for _ in range(2):
        adagrad.step([parameter], [wrap(np.full(1, 3.0))])
    second = 3 * first  # 3 times the scale, where twice the first expectation is the most
    assert second / first > 2 * first and adagrad.shared["cut"] == 0.25
    assert adagrad.shared["reference"] == pytest.approx(0.5 * 0.25 * second / first)


def test_what_annealing_has_measured_is_the_optimizers_and_goes_with_the_schedule() -> None:
    """One schedule may serve two optimizers; another schedule starts afresh."""
    schedule = AdamAnnealing(0.1, every=1)
    one, two = Adam(schedule), Adam(schedule)
    for adam, sizes in ((one, (1.0, 100.0)), (two, (1.0, 1.0))):
        parameter = Tensor([0.0], dtype=np.float64, requires_grad=True)
        for size in sizes:
            adam.step([parameter], [wrap(np.full(1, size))])
    assert (one.shared["cut"], two.shared["cut"]) == (0.25, 1)
    one.lr = 0.5
    assert one.shared == {"iterations": 2} and one.lr == 0.5
    one.lr = schedule
    assert one.shared == {"iterations": 2, "cut": 1} and one.lr == 0.1


def test_annealing_needs_its_optimizer() -> None:
    parameter = Tensor([0.0], dtype=np.float64, requires_grad=True)
    with pytest.raises(ArgumentError, match="AdamAnnealing: expected an optimizer that keeps"):
        SGD(AdamAnnealing(0.1, 10), 0.9).step([parameter], [wrap(np.ones(1))])


# -- settings --------------------------------------------------------------------------------------

ALL = [BY_TORCH[name][0] for name in BY_TORCH] + [
    AdamAnnealing(0.5, 3),
    AdagradAnnealing(0.5, 3, 4),
]


@pytest.mark.parametrize("schedule", ALL, ids=lambda s: type(s).__name__)
def test_settings_make_an_equal_schedule(schedule: Schedule) -> None:
    kind, config = type(schedule).__name__, json.loads(json.dumps(schedule.config()))
    assert schedules.get({"class_name": kind, "config": config}) == schedule
    assert SGD.from_config(SGD(schedule).config())._schedule == schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(0, 10), "StepDecay lr: expected a finite number above 0, received 0"),
        (lambda: ExponentialDecay(0.1, 0.5), "decay_steps: expected a whole number >= 1"),
        (lambda: ExponentialDecay(0.1, 5, -1), "ExponentialDecay decay_rate: .*received -1"),
        (lambda: CosineDecay(0.1, 5, 1.0), "CosineDecay alpha: expected a number from 0"),
        (lambda: OneCycle(0.1, 3), "OneCycle: expected more than one step .*received 3 · 0.3"),
        (lambda: AdamAnnealing(0.1, 3, divisor=1), "AdamAnnealing divisor: .*above 1, received 1"),
        (lambda: schedules.get("cosine"), 'schedule: expected {"class_name": …, "config": {…}}'),
        (lambda: SGD({"class_name": "Cosine", "config": {}}), "unknown schedule: .*CosineDecay"),
    ],
)
def test_settings_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
