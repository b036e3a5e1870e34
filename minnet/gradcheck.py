"""Is a gradient right? Compare it with differences of the function itself.

The slope of f at x is nearly (f(x + h) − f(x − h)) / 2h, and that needs no derivative at all. Two
choices make this comparison sharp.

*The step.* The central difference is wrong by about h²·f‴/6 because f is not straight, and by about
ε·f/h because numbers are rounded (ε = 2.2e-16 in float64). The sum is smallest near h = ε^(1/3) =
6e-6 and is then about ε^(2/3) = 4e-11. So the step is 6e-6·max(1, |x|), everything is computed in
float64, and the default tolerance of 1e-6 leaves four digits for functions that bend more than
usual, while no real mistake (a sign, a factor, a missing term) is that small.

*The upstream gradient.* A function with many outputs is checked through ⟨f(x), v⟩ with a random v.
Had v been all ones, as in ``f(x).sum()``, errors could cancel: the gradient of a softmax would look
right even if it were zero everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.problem import Problem
from minnet.tensor import Array

EPSILON = float(np.finfo(np.float64).eps)
STEP = EPSILON ** (1 / 3)
#: A change of one input changes a result's last digits at random; this many are forgiven.
ROUNDINGS = 32

__all__ = ["Difference", "Report", "check_gradients"]


@dataclass(frozen=True)
class Difference:
    """One element of one input, with its slope computed in both ways."""

    input: str
    index: tuple[int, ...]
    value: float
    analytic: float
    numeric: float
    allowed: float

    @property
    def error(self) -> float:
        """|analytic − numeric|; infinite where either is not a finite number."""
        error = abs(self.analytic - self.numeric)
        return error if np.isfinite(error) else float("inf")

    @property
    def ok(self) -> bool:
        return self.error <= self.allowed

    def __str__(self) -> str:
        place = f"{self.input}{list(self.index)}" if self.index else self.input
        return (
            f"{place} = {self.value:.6g}: the backward pass gives {self.analytic:.10g}, central "
            f"differences give {self.numeric:.10g} (error {self.error:.2g}, "
            f"allowed {self.allowed:.2g})"
        )


@dataclass(frozen=True)
class Report:
    """What :func:`check_gradients` found. True as a condition if all is well."""

    ok: bool
    checked: int
    wrong: int
    worst: Difference | None
    order: int
    note: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def summary(self) -> str:
        """One paragraph: the verdict, then the worst element with both its numbers."""
        kind = "gradient" if self.order == 1 else "gradient of the gradient"
        if self.ok:
            text = f"the {kind} is right in all {self.checked} elements"
        else:
            text = f"the {kind} is wrong in {self.wrong} of {self.checked} elements"
        worst = "" if self.worst is None else f" Worst at {self.worst}."
        return f"{text}.{worst} {self.note}".rstrip()


def check_gradients(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = STEP,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    seed: int = 0,
    second_order: bool = False,
) -> Report:
    """Compare the gradient of ``fn`` at ``inputs`` with central differences, in float64.

    ``fn`` maps one Tensor per input to one Tensor of any shape. It may be a layer or a model, which
    is given several inputs as a list: then the trainable tensors of its ``parameters`` are checked
    too; they are float64 during the check and get their own arrays back afterwards. What is not
    built yet is built for the shapes of the inputs' rows, with weights drawn from ``seed``.

    ``inputs``: an array or a Tensor, or a list or tuple of them. Floating ones are converted to
    float64 and checked; integers and booleans (labels, masks, indices) are passed on as they are.

    ``eps`` is the step relative to max(1, |x|). An element passes if the two slopes differ by at
    most ``atol + rtol·|slope|`` plus what rounding of the outputs alone can cause. ``seed`` draws
    the upstream gradient. ``second_order`` checks, instead, the gradient of ⟨gradient, u⟩ for a
    random u: it needs gradients that are written in operations.

    Raises :class:`~minnet.errors.DtypeError` if ``fn`` returns anything but float64 (it converts
    somewhere), :class:`~minnet.errors.GraphError` if its result is not a Tensor that depends on the
    inputs, and :class:`~minnet.errors.ArgumentError` if it is random or nothing can be checked.
    """
    if not isinstance(inputs, (list, tuple)):
        inputs = [inputs]
    problem = Problem(fn, inputs, seed)
    with problem.in_float64():
        points = problem.start
        if not points:
            expected = "a floating input, or a layer with parameters that are trained"
            raise ArgumentError(mismatch("check_gradients", expected, "neither", "Pass floats."))
        rng = np.random.default_rng(seed)
        out = problem.value(points)
        if not np.array_equal(out, problem.value(points), equal_nan=True):
            raise ArgumentError(
                f"check_gradients: {problem.title} gives different results for the same inputs, so "
                "differences say nothing about its slope. Fix its random numbers (dropout in "
                "inference mode, a fixed mask) and check again."
            )
        upstream = _cotangent(rng, out.shape)
        if second_order:
            along = [_cotangent(rng, p.shape) for p in points]
            analytic = problem.second(points, upstream, along)
            slopes = _Slopes(lambda at: problem.first(at, upstream), along, points)
        else:
            analytic = problem.first(points, upstream)
            slopes = _Slopes(lambda at: [problem.value(at)], [upstream], points)
        checked = wrong = 0
        worst: Difference | None = None
        note = ""
        for name, which in zip(problem.names, range(len(points)), strict=True):
            for index in np.ndindex(points[which].shape):
                slope = float(analytic[which][index])
                numeric, rounding = slopes.at(which, index, eps)
                allowed = atol + rtol * max(abs(slope), abs(numeric)) + rounding
                value = float(points[which][index])
                found = Difference(name, index, value, slope, numeric, allowed)
                checked += 1
                wrong += not found.ok
                if worst is None or found.error / allowed > worst.error / worst.allowed:
                    worst = found
                    if not found.ok:
                        note = slopes.diagnosis(which, found, eps)
    return Report(not wrong, checked, wrong, worst, 2 if second_order else 1, note)


def _cotangent(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random numbers of either sign with sizes from 0.5 to 1.5: none of them hides its element."""
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


class _Slopes:
    """Slopes of ⟨function, weights⟩, by differences; the function gives a list of arrays."""

    def __init__(
        self, function: Callable[[list[Array]], list[Array]], weights: list[Array], x: list[Array]
    ):
        self.function = function
        self.weights = weights
        self.x = x

    def at(self, which: int, index: tuple[int, ...], eps: float) -> tuple[float, float]:
        """The central difference for one element, and the error that rounding may have caused."""
        low, high, width = self._either_side(which, index, eps)
        size = sum(float(np.sum(abs(w * h))) for w, h in zip(self.weights, high, strict=True))
        return self._rise(low, high) / width, ROUNDINGS * EPSILON * size / width

    def _either_side(
        self, which: int, index: tuple[int, ...], eps: float
    ) -> tuple[list[Array], list[Array], float]:
        """The function a step below and a step above one element, and the distance between."""
        x = float(self.x[which][index])
        step = eps * max(1.0, abs(x))
        results = []
        for moved in (x - step, x + step):
            at = list(self.x)
            at[which] = self.x[which].copy()
            at[which][index] = moved
            results.append(self.function(at))
        return results[0], results[1], (x + step) - (x - step)

    def _rise(self, low: list[Array], high: list[Array]) -> float:
        """Subtracted before they are summed, so that large equal terms leave no rounding error."""
        rises = zip(self.weights, low, high, strict=True)
        return sum(float(np.sum(w * (b - a))) for w, a, b in rises)

    def diagnosis(self, which: int, found: Difference, eps: float) -> str:
        """What else than a wrong gradient may be behind a difference."""
        for smaller in (eps * 1e-2, eps * 1e-4, eps * 1e-6):
            narrow, rounding = self.at(which, found.index, smaller)
            if abs(narrow - found.analytic) <= 1e-4 * abs(found.analytic) + rounding < found.error:
                return (
                    f"With eps={smaller:.0e} they agree: within a step of {eps:.0e} the function "
                    "bends much or ends. Keep test inputs away from such places, or pass eps."
                )
        if not np.isfinite(found.numeric):
            return "The function itself is not finite beside this input."
        low, high, width = self._either_side(which, found.index, eps)
        middle = self.function(self.x)
        left, right = (2 * self._rise(*s) / width for s in ((low, middle), (middle, high)))
        if abs(right - left) > 0.01 * max(abs(left), abs(right)) + found.allowed:
            return (
                f"The slope is {left:.6g} just below this input and {right:.6g} just above: a kink "
                "or a jump, where no gradient is right. Keep test inputs away from it."
            )
        wide, _ = self.at(which, found.index, 1e-2)
        if abs(wide - found.analytic) < 0.01 * min(found.error, 1.0):
            return "A much wider step agrees: part of the function seems to run in float32."
        return ""
