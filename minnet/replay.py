"""Which training steps of a model are written down and done again: see :mod:`minnet.program`.

That a step will do the same as another one cannot be seen from outside, so it must be known:

* all layers, the loss and the model are of kinds that always do the same (``steady``), and have not
  been changed since;
* all numbers follow from the batch and the parameters (:meth:`minnet.program.Program.enter`);
* nobody traces, and there are as many threads as before.

A kind of step is written down when it is met for the second time.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minnet import random, several
from minnet.autodiff import backpropagate
from minnet.bundles import parts_of
from minnet.kernels.products import compiles
from minnet.layers.activations import ACTIVATIONS
from minnet.program import MOST, Program, Team, writing
from minnet.recording import STATE, Deferred, training_mode
from minnet.several import Several, each
from minnet.tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from minnet.model import Model

KINDS = 4  # of steps that are remembered of a model, by the shapes of batches for example


class Slopes(NamedTuple):
    """What a step finds out before it changes anything."""

    loss: Array
    prediction: Any  # a tensor, or several, or None where nobody asked
    #: By parameter; or all in one flat array, one after the other.
    gradients: list[Tensor | None] | Array
    deferred: list[Deferred]


def slopes_of(model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Slopes:
    """Worked out in the usual way, of a batch of tensors."""
    with training_mode() as deferred:
        loss, prediction = model.loss_of(*batch)
        gradients = backpropagate(loss, parameters)
    return Slopes(loss._data, prediction, gradients, deferred)


class Replays:
    """What is written down of a model's steps. A copy of a model has none yet."""

    def __init__(self) -> None:
        #: By the shapes of the batch, the number of workers, and the settings.
        self._steps: dict[Any, _Step | None] = {}
        self._settings: _Settings | None = None

    def __reduce__(self) -> tuple[type[Replays], tuple[()]]:
        return Replays, ()

    def slopes(
        self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]
    ) -> Slopes | None:
        """Those of a batch: prepared inputs and targets, and weights of its rows if there are any.

        None where they have to be worked out anew.
        """
        arrays = _flat(batch)
        if any(type(a) is not np.ndarray for a in arrays) or model.dtype != np.float32:
            return None
        if STATE.tracer is not None or not STATE.recording or not compiles():
            return None
        if self._settings is None or not self._settings.hold(model, parameters):
            new = _Settings(model, parameters)
            known = [kind[-1] for kind in self._steps]
            self._settings = next((old for old in known if old.key == new.key), new)
        kind = (*[(a.shape, a.dtype) for a in arrays], _workers(), self._settings)
        if kind not in self._steps:
            if len(self._steps) >= KINDS:
                del self._steps[next(iter(self._steps))]
            worth_while = _is_steady(model) and _is_small([*arrays, *arrays_of(parameters)])
            self._steps[kind] = _Step() if worth_while else None
            return None
        step = self._steps[kind]
        if step is None:
            return None
        if step.program is not None:
            return step.play(model, arrays, parameters)
        found = step.write(model, batch, parameters)
        if step.program is None:
            self._steps[kind] = None
        return found


class _Step:
    """A step of one kind: its program, and the arrays where numbers come in and go out."""

    def __init__(self) -> None:
        self.program: Program | None = None
        self._batch: Sequence[Array] = []
        self._values = np.empty(0)  # of all parameters
        self._frozen: list[tuple[Tensor, Array]] = []
        self._found = Slopes(np.empty(0), None, [], [])
        self._gradients: list[Array] = []  # flat

    def write(self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Slopes:
        """Take a step in the usual way, on arrays of our own, and write it down."""
        before = arrays_of(parameters)
        batch = [each(np.ndarray.copy, part) for part in batch]
        self._batch = _flat(batch)
        self._values = np.concatenate([a.reshape(-1) for a in before])
        # Views: what is recorded is locked, and these arrays will be given new numbers.
        given = [each(lambda a: wrap(a[...]), part) for part in batch]
        trained = {id(p) for p in parameters}
        fixed = [p for p in model.parameters() if id(p) not in trained]
        program = Program([*_flat(given), *parameters, *fixed])
        try:
            for parameter, array in zip(parameters, parts_of(self._values, before), strict=True):
                parameter._data = array
            with writing(program):
                self._found = slopes_of(model, given, parameters)
        finally:
            for parameter, array in zip(parameters, before, strict=True):
                parameter._data = array
        self._frozen = [(p, p._data) for p in fixed if program.uses(p)]
        if program.refusal is None:
            self.program = program
            found = [g._data for g in self._found.gradients if g is not None]
            if len(found) == len(before) and _are_flat(found):
                self._gradients = [g.reshape(-1) for g in found]
        return self._results()

    def play(
        self, model: Model, arrays: Sequence[Array], parameters: Sequence[Tensor]
    ) -> Slopes | None:
        """The step on other numbers, those of a batch; None where it cannot be done now."""
        if any(p._data is not array for p, array in self._frozen) or self.program is None:
            self.program = None
            return None
        if not Team.lock.acquire(blocking=False):
            return None
        try:
            for array, new in zip(self._batch, arrays, strict=True):
                array[...] = new
            self._values[...] = model.optimizer.values_of(parameters)
            self.program.play()
            return self._results()
        finally:
            Team.lock.release()

    def _results(self) -> Slopes:
        """Copies, as the arrays will be written to again. What is put off is done at once."""
        loss, prediction, gradients, deferred = self._found
        if prediction is not None:
            prediction = each(lambda p: wrap(p._data.copy()), prediction)
        copies: list[Tensor | None] | Array
        if self._gradients:
            copies = np.concatenate(self._gradients)
        else:
            copies = [None if g is None else wrap(g._data.copy()) for g in gradients]
        return Slopes(loss.copy(), prediction, copies, deferred)


class _Settings:
    """All that decides what a step does, besides the shapes of its arrays.

    That is what the model's parts have as attributes: the very same objects, which have the same
    ``key``. They are remembered, lest something else gets the identity of one of them.
    """

    def __init__(self, model: Model, parameters: Sequence[Tensor]) -> None:
        dicts = [vars(part) for part in _parts(model) if hasattr(part, "__dict__")]
        self._dicts = [*dicts, *[layer.parameters for layer in model.layers]]
        self._values = self._now(model, parameters)
        self.key = tuple(map(id, self._values))

    def hold(self, model: Model, parameters: Sequence[Tensor]) -> bool:
        """Whether nothing has changed."""
        values = self._now(model, parameters)
        return len(values) == len(self._values) and all(map(operator.is_, values, self._values))

    def _now(self, model: Model, parameters: Sequence[Tensor]) -> list[Any]:
        regularized = [layer.regularizers.values() for layer in model.layers if layer.regularizers]
        return [
            bool(model.metrics),
            random.generator(),
            model.loss,
            *model.layers,
            *chain.from_iterable(regularized),
            *parameters,
            *chain.from_iterable(map(dict.values, self._dicts)),
        ]


def _are_flat(arrays: Sequence[Array]) -> bool:
    return all(a.flags.c_contiguous and a.dtype == np.float32 for a in arrays)


def _parts(model: Model) -> list[Any]:
    """What acts in a step, besides the model itself."""
    losses = [model.loss, *getattr(model.loss, "losses", ())]
    regularizers = [r for layer in model.layers for r in layer.regularizers.values()]
    return [*losses, *model.layers, *regularizers]


def _flat(batch: Sequence[Any]) -> Sequence[Any]:
    """All arrays or tensors, where an input or a target may be several."""
    if Several not in map(type, batch):
        return batch
    return [one for part in batch for one in several.parts_of(part)]


def _workers() -> int:
    """How many threads kernels would get; 0 before there are any."""
    jit = sys.modules.get("minnet.kernels.jit")
    return jit.workers_for(sys.maxsize) if jit and jit.threads_are_running() else 0


def arrays_of(tensors: Sequence[Tensor]) -> list[Array]:
    return [t._data for t in tensors]


def _is_small(arrays: Sequence[Array]) -> bool:
    return sum(a.nbytes for a in arrays) <= MOST


def _is_steady(model: Model) -> bool:
    """Whether all parts always do the same; a subclass must say so itself."""
    parts = [model, *_parts(model)]
    return all(vars(type(part)).get("steady") for part in parts) and all(
        ACTIVATIONS.get(str(layer.activation_name)) is layer.activation
        for layer in model.layers
        if hasattr(layer, "activation")
    )
