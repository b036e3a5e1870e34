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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minnet.autodiff import grad
from minnet.errors import ArgumentError, DtypeError, GraphError, mismatch
from minnet.recording import no_grad
from minnet.tensor import Array, Tensor

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

    ``fn`` maps one Tensor per input to one Tensor of any shape. It may be a layer or a model: then
    the trainable tensors of its ``parameters`` are checked too; they are float64 during the check
    and get their own arrays back afterwards. What is not built yet is built for the shape of the
    input's rows, with weights drawn from ``seed``.

    ``inputs``: an array or a Tensor, or a list or tuple of them. Floating ones are converted to
    float64 and checked; integers and booleans (labels, masks) are passed on as they are.

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
    problem = _Problem(fn, inputs, seed)
    with problem.in_float64():
        points = problem.start
        if not points:
            raise ArgumentError(
                mismatch("check_gradients", "at least one floating input", "none", "Pass floats.")
            )
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


class _Problem:
    """A function, or a layer, as a function of the list of float64 arrays that are checked."""

    def __init__(self, fn: Any, inputs: Sequence[Any], seed: int):
        self.fn = fn
        self.title = str(getattr(fn, "name", None) or getattr(fn, "__name__", type(fn).__name__))
        self.inputs = [_as_float64(x) for x in inputs]
        self.checked = [i for i, x in enumerate(self.inputs) if _is_float(x)]
        self.names = [getattr(inputs[i], "name", None) or f"input {i}" for i in self.checked]
        self.parts = [fn, *getattr(fn, "layers", ())]
        if self.checked == [0]:
            self._build(self.inputs[0].shape[1:], np.random.default_rng(seed))
        self.parameters = _parameters_of(fn)
        self.trainable = [n for n, p in self.parameters.items() if p.requires_grad]
        self.names += self.trainable

    def _build(self, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        for layer in self.parts[1:] or self.parts:
            if hasattr(layer, "set_up"):
                known = layer.output_shape
                shape = layer.set_up(shape, self.fn.dtype, rng) if known is None else known

    @property
    def start(self) -> list[Array]:
        """Where the gradient is checked: inputs, then trainable parameters."""
        parameters = [self.parameters[n].data for n in self.trainable]
        return [self.inputs[i] for i in self.checked] + parameters

    @contextmanager
    def in_float64(self) -> Iterator[None]:
        """Parameters are float64 in this block. ``.data`` itself refuses a change of dtype."""
        before = [(p, p._data) for p in self.parameters.values()]
        dtypes = [(part, part.dtype) for part in self.parts if hasattr(part, "dtype")]
        try:
            for part, _ in dtypes:
                part.dtype = np.dtype(np.float64)
            for p, array in before:
                if array.dtype.kind == "f":
                    p._data = array.astype(np.float64)
            yield
        finally:
            for part, dtype in dtypes:
                part.dtype = dtype
            for p, array in before:
                p._data = array

    def value(self, at: list[Array]) -> Array:
        with no_grad():
            return self._run(at)[0].data

    def first(self, at: list[Array], upstream: Array) -> list[Array]:
        """The gradient by the backward pass."""
        out, leaves = self._run(at)
        if not out.requires_grad:
            raise GraphError(
                f"check_gradients: the result of {self.title} does not depend on its inputs as far "
                "as the graph knows. It must be computed with minnet's operations, outside "
                "no_grad(), and not through .data or .numpy()."
            )
        return [g.data for g in grad(out, leaves, upstream)]

    def second(self, at: list[Array], upstream: Array, along: list[Array]) -> list[Array]:
        """The gradient of ⟨gradient, along⟩ by a backward pass through the backward pass."""
        out, leaves = self._run(at)
        gradients = grad(out, leaves, upstream, create_graph=True)
        total: Any = Tensor(0.0, dtype=np.float64)
        for gradient, u in zip(gradients, along, strict=True):
            total = total + (gradient * u).sum()
        if not total.requires_grad:  # the function is linear: its gradient is constant
            return [np.zeros(p.shape) for p in at]
        return [g.data for g in grad(total, leaves)]

    def _run(self, at: list[Array]) -> tuple[Tensor, list[Tensor]]:
        arguments = list(self.inputs)
        leaves = []
        for i, array in zip(self.checked, at, strict=False):
            arguments[i] = Tensor(array, requires_grad=True)
            leaves.append(arguments[i])
        for name, array in zip(self.trainable, at[len(self.checked) :], strict=True):
            parameter = self.parameters[name]
            parameter._data = array.copy()
            leaves.append(parameter)
        out = self.fn(*arguments)
        if not isinstance(out, Tensor):
            raise GraphError(
                mismatch(f"check_gradients of {self.title}", "one Tensor", type(out).__name__)
            )
        if out.dtype != np.float64:
            raise DtypeError(
                mismatch(
                    f"check_gradients of {self.title}",
                    "a float64 result for float64 inputs",
                    f"{out.dtype}",
                    "Somewhere it converts to another dtype; differences need all of float64's "
                    "digits. Create its constants with the dtype of the input.",
                )
            )
        return out, leaves


def _parameters_of(fn: Any) -> dict[str, Tensor]:
    """A layer's parameters by name; a model lists its own, each with its layer's name in front."""
    found = getattr(fn, "parameters", {})
    if callable(found):
        found = {p.name: p for p in found()}
    return dict(found)


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _as_float64(x: Any) -> Any:
    """Floating inputs as float64 arrays; everything else as it is."""
    if isinstance(x, Tensor):
        return x.data.astype(np.float64) if x.dtype.kind == "f" else x
    if isinstance(x, (float, np.floating)) or (isinstance(x, np.ndarray) and x.dtype.kind == "f"):
        return np.array(x, np.float64)
    return x
