"""Learning rates that change while a model trains: give one to an optimizer as its ``lr``.

A step is one batch. Each schedule is its ``lr`` times a factor of the step's number, written in
operations, so the workbook shows the rate of each step as a formula.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from minnet import configs
from minnet.checks import fraction, number, positive, whole
from minnet.errors import ArgumentError, mismatch
from minnet.ops.periodic import cos, floor
from minnet.ops.pointwise import greater, less_equal, log, maximum, minimum, sqrt, where
from minnet.ops.reduce import sum as total
from minnet.ops.shape import reshape
from minnet.tensor import called

Slots = Mapping[str, Any]  # what an optimizer keeps for one parameter


@dataclass
class Schedule:
    """The contract: ``factor``. A schedule of your own is a dataclass with its arguments.

    ``lr``: the rate that the factor scales. Calling a schedule with a step's number, counted from
    0, gives the rate of that step.

    Raises :class:`~minnet.errors.ArgumentError` for a rate that is not a finite number above 0.
    """

    lr: float
    #: What :meth:`start` and :meth:`after_step` may put into what the optimizer remembers.
    names: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.lr = positive(f"{type(self).__name__} lr", self.lr)

    def factor(self, step: Any) -> Any:
        """What ``lr`` is multiplied by at this step: a number or a tensor, as the step is."""
        raise NotImplementedError(f"{type(self).__name__}.factor")

    def __call__(self, step: int) -> float:
        return float(self.lr * self.factor(step))

    def start(self) -> dict[str, Any]:
        """What the optimizer remembers for the schedule before its first step, by name."""
        return {}

    def scale(self, shared: Mapping[str, Any]) -> Any:
        """The factor of the next step, given what the optimizer remembers."""
        return called("factor", self.factor(shared["iterations"]))

    def after_step(self, slots: Collection[Slots], shared: dict[str, Any], rate: Any) -> None:
        """Look at what a step at this rate has left; new values are put in old ones' places.

        ``slots``: what the optimizer keeps for each parameter; ``shared``: what it remembers
        besides, with the number of steps before this one as ``iterations``.
        """

    def config(self) -> configs.Config:
        """The keyword arguments that make an equal schedule, as JSON can hold them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def _whole(self, *names: str) -> None:
        for name in names:
            value = whole(f"{type(self).__name__} {name}", getattr(self, name), 1)
            setattr(self, name, value)

    def _positive(self, *names: str) -> None:
        for name in names:
            value = positive(f"{type(self).__name__} {name}", getattr(self, name))
            setattr(self, name, value)


@dataclass
class StepDecay(Schedule):
    """lr · rate^⌊step / steps⌋: every ``decay_steps`` steps the rate is ``decay_rate`` times what
    it was (Keras's ExponentialDecay with ``staircase=True``).
    """

    decay_steps: int
    decay_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("decay_steps")
        self._positive("decay_rate")

    def factor(self, step: Any) -> Any:
        return self.decay_rate ** floor(step / self.decay_steps)


@dataclass
class ExponentialDecay(Schedule):
    """lr · rate^(step / steps): as :class:`StepDecay`, but a little at each step."""

    decay_steps: int
    decay_rate: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("decay_steps")
        self._positive("decay_rate")

    def factor(self, step: Any) -> Any:
        return self.decay_rate ** (step / self.decay_steps)


@dataclass
class CosineDecay(Schedule):
    """Half a wave, from ``lr`` down to ``alpha`` times ``lr`` after ``decay_steps`` steps, and flat
    from there (Loshchilov & Hutter 2017, "SGDR", equation 5 without restarts; Keras's CosineDecay).
    """

    decay_steps: int
    alpha: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("decay_steps")
        self.alpha = fraction("CosineDecay alpha", self.alpha)

    def factor(self, step: Any) -> Any:
        return _wave(1.0, self.alpha, minimum(step / self.decay_steps, 1))


@dataclass
class OneCycle(Schedule):
    """One rise and one fall, both half waves (Smith & Topin 2018, "Super-convergence").

    From lr / ``start_divisor`` up to ``lr`` during the first ``warm_up`` part of ``total_steps``,
    then down to lr / (start_divisor · ``end_divisor``) at the last step, and flat from there. The
    rates are those of PyTorch's OneCycleLR, which calls the three pct_start, div_factor and
    final_div_factor; momentum is left alone.

    Raises :class:`~minnet.errors.ArgumentError` for fewer steps than the rise and the fall need.
    """

    total_steps: int
    warm_up: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("total_steps")
        self._positive("start_divisor", "end_divisor")
        self.warm_up = fraction("OneCycle warm_up", self.warm_up)
        if not 1 < self.warm_up * self.total_steps < self.total_steps:
            expected = "more than one step of total_steps · warm_up"
            received = f"{self.total_steps} · {self.warm_up:g}"
            raise ArgumentError(mismatch("OneCycle", expected, received))

    def factor(self, step: Any) -> Any:
        top, end = self.warm_up * self.total_steps - 1, self.total_steps - 1
        first = 1 / self.start_divisor
        rise = _wave(first, 1.0, step / top)
        fall = _wave(1.0, first / self.end_divisor, minimum((step - top) / (end - top), 1))
        return where(less_equal(step, top), called("rise", rise), called("fall", fall))


def _wave(start: float, end: float, part: Any) -> Any:
    """From ``start`` (part 0) to ``end`` (part 1) along half a cosine."""
    wave = (start - end) / 2 * (1 + cos(math.pi * part))
    return wave + end if end else wave


@dataclass
class Annealing(Schedule):
    """Cuts the rate after an epoch in which the gradients have grown; for subclasses.

    ``every``: the steps of an epoch. ``divisor``: what a cut divides the rate by. ``growth``: how
    many times the reference a measurement must be for a cut. What the rate has been cut to depends
    on how training went: the optimizer remembers ``cut`` and, from the first measurement on,
    ``reference``, which the next one is compared with.
    """

    every: int
    growth: float = 2.0
    divisor: float = 2.0
    #: The slots that the measurement needs an optimizer to keep.
    needs: ClassVar[Collection[str]] = ()
    names = ("cut", "reference")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._whole("every")
        self._positive("growth")
        name = f"{type(self).__name__} divisor"
        self.divisor = number(name, self.divisor, "a finite number above 1", 1, above=True)

    def start(self) -> dict[str, Any]:
        return {"cut": 1.0}

    def scale(self, shared: Mapping[str, Any]) -> Any:
        return shared["cut"]

    def after_step(self, slots: Collection[Slots], shared: dict[str, Any], rate: Any) -> None:
        """Measure, and judge, if this step ends an epoch.

        Raises :class:`~minnet.errors.ArgumentError` where the optimizer keeps something else.
        """
        for state in slots:
            if not all(name in state for name in self.needs):
                where, expected = type(self).__name__, f"an optimizer that keeps {self.needs}"
                raise ArgumentError(mismatch(where, expected, f"one that keeps {tuple(state)}"))
        if slots and (float(shared["iterations"]) + 1) % self.every == 0:
            sizes = [_total(self.measure(state, rate)) for state in slots]
            self.judge(called("size", sum(sizes[1:], sizes[0])), shared)

    def measure(self, slots: Slots, rate: Any) -> Any:
        """The size, element by element, of a parameter's gradients, or of its steps at a rate."""
        raise NotImplementedError(f"{type(self).__name__}.measure")

    def judge(self, size: Any, shared: dict[str, Any]) -> None:
        """Cut or not, given the sum of all measurements; choose the next reference."""
        raise NotImplementedError(f"{type(self).__name__}.judge")


TINY = 1e-30  # what a scale of 0 is taken for where it is divided by


def _total(x: Any) -> Any:
    return reshape(x, ()) if math.prod(x.shape) == 1 else total(x)


@dataclass
class AdamAnnealing(Annealing):
    """The annealing of Adam in the lesson's ``graddesc.xlsm``, sheet ``adam_ann``.

    After each epoch the sum of √v over all weights is compared with the smallest such sum so far:
    when it is more than ``growth`` times as large, the rate is divided by ``divisor`` (4). For
    :class:`~minnet.optimizers.Adam` and its kin.
    """

    divisor: float = 4.0
    needs = ("v",)

    def measure(self, slots: Slots, rate: Any) -> Any:
        return sqrt(slots["v"])

    def judge(self, size: Any, shared: dict[str, Any]) -> None:
        if "reference" not in shared:
            shared["reference"] = size
            return
        cut, reference = shared["cut"], shared["reference"]
        shared["cut"] = where(greater(size, self.growth * reference), cut / self.divisor, cut)
        shared["reference"] = minimum(size, reference)


@dataclass
class AdagradAnnealing(Annealing):
    """The annealing of Adagrad in the lesson's ``graddesc.xlsm``, sheet ``adagrad_ann``.

    After each epoch the expected step, rate · (this epoch's gradient) / (the divisor it was
    divided by), is summed over all weights: while it is more than ``growth`` times the epoch's
    before, the rate is divided by ``divisor`` (2). For :class:`~minnet.optimizers.EpochAdagrad`
    with ``period=every``. The sheet goes back and repeats an epoch with the lower rate; here the
    lower rate holds from the next epoch on.
    """

    needs = ("squares", "scale")

    def measure(self, slots: Slots, rate: Any) -> Any:
        """A weight that had no gradient in the epoch before is left out."""
        scale = slots["scale"]
        step = rate * sqrt(slots["squares"]) / self.every / maximum(scale, TINY)
        return where(greater(scale, 0), step, 0)

    def judge(self, size: Any, shared: dict[str, Any]) -> None:
        if float(shared.get("reference", 0)) > 0 and 0 < float(size) < math.inf:
            wanted = minimum(self.growth * shared["reference"] / size, 1)
            # As many cuts as it takes, a whole number.
            by = called("cut by", self.divisor ** floor(log(wanted) / math.log(self.divisor)))
            shared["cut"], size = shared["cut"] * by, size * by
        shared["reference"] = size


SCHEDULES: dict[str, type[Schedule]] = {
    cls.__name__: cls
    for cls in (
        AdagradAnnealing, AdamAnnealing, CosineDecay, ExponentialDecay, OneCycle, StepDecay
    )
}  # fmt: skip


def get(schedule: Any) -> Schedule:
    """A schedule as it is, or from its description by :func:`minnet.configs.of_object`.

    Raises :class:`~minnet.errors.ArgumentError` for anything else.
    """
    if isinstance(schedule, Schedule):
        return schedule
    return configs.build("schedule", schedule, SCHEDULES)  # type: ignore[no-any-return]
