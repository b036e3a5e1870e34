"""Which training steps of a model are written down and done again: see :mod:`minnet.program`.

That a step will do the same as another one cannot be seen from outside, so it must be known:

* all layers, the loss and the model are of kinds that always do the same (``steady``), and have not
  been changed since;
* all operations say that they can be written down, and their numbers follow from inputs, targets
  and parameters (:meth:`minnet.program.Program.enter`);
* nothing is put off until after the step, nobody traces, and there are as many threads as before.

A kind of step is written down when it is met for the second time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minnet import random
from minnet.autodiff import backpropagate
from minnet.kernels.products import compiles
from minnet.layers.activations import ACTIVATIONS
from minnet.program import MOST, Program, Team, writing
from minnet.recording import STATE, Deferred, training_mode
from minnet.tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from minnet.model import Model

KINDS = 4  # of steps that are remembered of a model, by the shapes of batches for example


class Slopes(NamedTuple):
    """What a step finds out before it changes anything."""

    loss: Array
    prediction: Any  # a tensor, or None where nobody asked
    gradients: list[Tensor | None]
    deferred: list[Deferred]


def slopes_of(
    model: Model, x: Any, y: Any, weights: Tensor | None, parameters: Sequence[Tensor]
) -> Slopes:
    """Worked out in the usual way. Inputs and targets are tensors, or several; ``weights`` (rows,)
    or none."""
    with training_mode() as deferred:
        loss, prediction = model.loss_of(x, y, weights)
        gradients = backpropagate(loss, parameters)
    return Slopes(loss._data, prediction, gradients, deferred)


class Replays:
    """What is written down of a model's steps. A copy of a model has none yet."""

    def __init__(self) -> None:
        self._steps: dict[Any, _Step | None] = {}

    def __reduce__(self) -> tuple[type[Replays], tuple[()]]:
        return Replays, ()

    def slopes(
        self, model: Model, x: Array, y: Array, parameters: Sequence[Tensor]
    ) -> Slopes | None:
        """Those of a prepared batch; None where they have to be worked out anew."""
        if type(x) is not np.ndarray or type(y) is not np.ndarray or x.dtype != np.float32:
            return None
        if STATE.tracer is not None or not compiles():
            return None
        settings = _settings(model)
        kind = (x.shape, y.shape, y.dtype, _workers(), *map(id, settings))
        if kind not in self._steps:
            if len(self._steps) >= KINDS:
                del self._steps[next(iter(self._steps))]
            worth_while = _is_steady(model) and _is_small(x, parameters)
            self._steps[kind] = _Step(settings) if worth_while else None
            return None
        step = self._steps[kind]
        if step is None or step.program is not None:
            return None if step is None else step.play(x, y, parameters)
        found = step.write(model, x, y, parameters)
        if step.program is None:
            self._steps[kind] = None
        return found


class _Step:
    """A step of one kind: its program, and the arrays where numbers come in and go out."""

    def __init__(self, settings: list[Any]) -> None:
        self.program: Program | None = None
        self._settings = settings  # lest something else gets the identity of one of them
        self._inputs: list[Array] = []
        self._frozen: list[tuple[Tensor, Array]] = []
        self._loss = np.empty(0)
        self._prediction: Array | None = None
        self._gradients: list[Array | None] = []

    def write(self, model: Model, x: Array, y: Array, parameters: Sequence[Tensor]) -> Slopes:
        """Take a step in the usual way, on arrays of our own, and write it down."""
        self._inputs = [a.copy() for a in (x, y, *[p._data for p in parameters])]
        # Views: what is recorded is locked, and these arrays will be given new numbers.
        inputs, targets, *own = [a[...] for a in self._inputs]
        trained = {id(p) for p in parameters}
        fixed = [p for p in model.parameters() if id(p) not in trained]
        self._frozen = [(p, p._data) for p in fixed]
        batch, target = wrap(inputs), wrap(targets)
        program = Program([batch, target, *parameters, *fixed])
        before = [p._data for p in parameters]
        try:
            for parameter, array in zip(parameters, own, strict=True):
                parameter._data = array
            with writing(program):
                found = slopes_of(model, batch, target, None, parameters)
        finally:
            for parameter, array in zip(parameters, before, strict=True):
                parameter._data = array
        self._loss = found.loss
        self._prediction = None if found.prediction is None else found.prediction._data
        self._gradients = [None if g is None else g._data for g in found.gradients]
        if program.refusal is None and not found.deferred:
            self.program = program
        return Slopes(*self._results(), found.deferred)

    def play(self, x: Array, y: Array, parameters: Sequence[Tensor]) -> Slopes | None:
        """The step on other numbers; None where it cannot be done now."""
        if any(p._data is not array for p, array in self._frozen) or self.program is None:
            self.program = None
            return None
        if not Team.lock.acquire(blocking=False):
            return None
        try:
            for array, new in zip(self._inputs, (x, y, *[p._data for p in parameters])):
                array[...] = new
            self.program.play()
            return Slopes(*self._results(), [])
        finally:
            Team.lock.release()

    def _results(self) -> tuple[Array, Tensor | None, list[Tensor | None]]:
        """Copies, as the arrays will be written to again."""
        prediction = None if self._prediction is None else wrap(self._prediction.copy())
        gradients = [None if g is None else wrap(g.copy()) for g in self._gradients]
        return self._loss.copy(), prediction, gradients


def _settings(model: Model) -> list[Any]:
    """All that decides what a step does, besides the shapes of its arrays."""
    settings: list[Any] = [model.loss, bool(model.metrics), random.generator()]
    for layer in model.layers:
        settings += vars(layer).values()
        for parameter in layer.parameters.values():
            settings += parameter, parameter.requires_grad
    return settings


def _workers() -> int:
    """How many threads kernels would get; 0 before there are any."""
    jit = sys.modules.get("minnet.kernels.jit")
    return jit.workers_for(sys.maxsize) if jit and jit.threads_are_running() else 0


def _is_small(x: Array, parameters: Sequence[Tensor]) -> bool:
    return x.nbytes + sum(p._data.nbytes for p in parameters) <= MOST


def _is_steady(model: Model) -> bool:
    """Whether all parts always do the same; a subclass must say so itself."""
    parts = [model, model.loss, *model.layers]
    return all(vars(type(part)).get("steady") for part in parts) and all(
        ACTIVATIONS.get(str(layer.activation_name)) is layer.activation
        for layer in model.layers
        if hasattr(layer, "activation")
    )
