"""Which training steps, predictions and evaluations of a model are written down and done again:
see :mod:`minnet.program`.

That a step will do the same as another one cannot be seen from outside, so it must be known
(:mod:`minnet.steady`):

* all layers, the loss and the model are of kinds that always do the same (``steady``), and have not
  been changed since;
* all numbers follow from the batch and the parameters (:meth:`minnet.program.Program.enter`);
* nobody traces, and there are as many threads as before.

A kind of step is written down when it is met for the second time. The same holds for predictions
and evaluations, whose parameters moreover must be the arrays that they were.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minnet import several
from minnet.autodiff import backpropagate
from minnet.bundles import parts_of
from minnet.kernels.products import compiles
from minnet.program import MOST, Program, Team, writing
from minnet.recording import STATE, Deferred, training_mode
from minnet.several import Several, each
from minnet.steady import Settings, is_steady, parts_of_step
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
    """What is written down of a model. A copy of it has nothing yet."""

    def __init__(self) -> None:
        self._steps, self._predictions = _Written(_Step), _Written(_Prediction)
        self._measures = _Written(_Measure)

    def __reduce__(self) -> tuple[type[Replays], tuple[()]]:
        return Replays, ()

    def slopes(
        self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]
    ) -> Slopes | None:
        """Those of a batch: prepared inputs and targets, and weights of its rows if there are any.

        None where they have to be worked out anew.
        """
        self._predictions.forget()  # they are those of weights that are about to change
        self._measures.forget()
        if not STATE.recording:
            return None
        found: Slopes | None = self._steps.done(model, batch, parameters, arrays_of(parameters))
        return found

    def prediction(self, model: Model, inputs: Any) -> Any:
        """The output for prepared inputs: an array or several. None where it has to be worked out
        anew."""
        found = self._inferred(self._predictions, model, [inputs])
        return None if found is None else found[0]

    def measures(self, model: Model, batch: Sequence[Any]) -> list[Any] | None:
        """The loss of a batch, and the prediction where it was computed, as :meth:`prediction`."""
        return self._inferred(self._measures, model, batch)

    def _inferred(self, written: _Written, model: Model, batch: Sequence[Any]) -> list[Any] | None:
        if STATE.training or STATE.recording:
            return None
        found: list[Any] | None = written.done(model, batch, model.parameters())
        return found


class _Written:
    """What is written down, by kinds: the shapes of the batch, the number of workers, the settings.

    Several threads may ask at once. There is no lock that a forked process could inherit: each of
    the dictionary's methods that are used is one step.
    """

    def __init__(self, new: type[_Replay]) -> None:
        self._new = new
        self._kinds: dict[Any, _Replay | None] = {}
        self._settings: Settings | None = None

    def forget(self) -> None:
        self._kinds.clear()

    def done(
        self,
        model: Model,
        batch: Sequence[Any],
        parameters: Sequence[Tensor],
        copied: Sequence[Array] = (),
    ) -> Any:
        """What is found for a batch; ``copied``: what has to be copied for it, besides the batch.

        None where such a batch is met for the first time, and where it has to be worked out each
        time.
        """
        arrays = _flat(batch)
        if any(type(a) is not np.ndarray for a in arrays) or model.dtype != np.float32:
            return None
        if STATE.tracer is not None or not compiles():
            return None
        kind = self._kind(model, arrays, parameters)
        if kind not in self._kinds:
            for oldest in list(self._kinds)[: 1 - KINDS]:
                self._kinds.pop(oldest, None)
            steady = is_steady(model, self._new.parts(model))
            self._kinds[kind] = self._new() if steady and _is_small([*arrays, *copied]) else None
            return None
        replay = self._kinds.get(kind)
        if replay is None:
            return None
        found = replay.done(model, batch, parameters)
        if replay.refused:
            self._kinds[kind] = None
        return found

    def _kind(self, model: Model, arrays: Sequence[Array], parameters: Sequence[Tensor]) -> Any:
        settings = self._settings
        if settings is None or not settings.hold(model, parameters):
            new = Settings(model, parameters)
            known = [kind[-1] for kind in list(self._kinds)]
            self._settings = settings = next((old for old in known if old.key == new.key), new)
        return (*[(a.shape, a.dtype) for a in arrays], _workers(), settings)


class _Replay:
    """Something of one kind: its program, and the arrays where numbers come in and go out.

    All of it belongs to the holder of ``Team.lock``.
    """

    def __init__(self) -> None:
        #: Whether there can be no program.
        self.refused = False
        self._program: Program | None = None
        self._batch: Sequence[Array] = []
        self._fixed: list[tuple[Tensor, Array]] = []

    @staticmethod
    def parts(model: Model) -> list[Any]:
        """What acts in it, besides the model itself."""
        return list(model.layers)

    def done(self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Any:
        """For the numbers of a batch; None where that cannot be done now."""
        if not Team.lock.acquire(blocking=False):
            return None
        try:
            if self.refused:
                return None
            program = self._program  # not before: another thread may have written a new one
            if program is None or any(p._data is not array for p, array in self._fixed):
                self._program = None  # whose memory is free then
                self._program = self._written(model, batch, parameters)
                self.refused = self._program.refusal is not None
            else:
                for array, new in zip(self._batch, _flat(batch), strict=True):
                    array[...] = new
                self._begin(model, parameters)
                program.play()
            return self._results()
        finally:
            Team.lock.release()

    def _written(self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Program:
        """Do it in the usual way, on arrays of our own, and write it down."""
        raise NotImplementedError

    def _copied(self, batch: Sequence[Any]) -> list[Any]:
        """Tensors of the batch, in arrays of our own."""
        batch = [each(np.ndarray.copy, part) for part in batch]
        self._batch = _flat(batch)
        # Views: what is recorded is locked, and these arrays will be given new numbers.
        return [each(lambda a: wrap(a[...]), part) for part in batch]

    def _begin(self, model: Model, parameters: Sequence[Tensor]) -> None:
        """Put in what else there is besides the batch."""

    def _results(self) -> Any:
        """Copies, as the arrays will be written to again."""
        raise NotImplementedError


class _Step(_Replay):
    """A training step: parameters come in, and gradients go out."""

    def __init__(self) -> None:
        super().__init__()
        self._values = np.empty(0)  # of all parameters
        self._found = Slopes(np.empty(0), None, [], [])
        self._gradients: list[Array] = []  # flat

    @staticmethod
    def parts(model: Model) -> list[Any]:
        return parts_of_step(model)

    def _written(self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Program:
        before = arrays_of(parameters)
        self._values = np.concatenate([a.reshape(-1) for a in before])
        given = self._copied(batch)
        trained = {id(p) for p in parameters}
        fixed = [p for p in model.parameters() if id(p) not in trained]
        # Before they are used: a value that another thread gives one meanwhile is a new one.
        held = [(p, p._data) for p in fixed]
        program = Program([*_flat(given), *parameters, *fixed])
        try:
            for parameter, array in zip(parameters, parts_of(self._values, before), strict=True):
                parameter._data = array
            with writing(program):
                self._found = slopes_of(model, given, parameters)
        finally:
            for parameter, array in zip(parameters, before, strict=True):
                parameter._data = array
        self._fixed = [(p, array) for p, array in held if program.uses(p)]
        found = [g._data for g in self._found.gradients if g is not None]
        flat = len(found) == len(before) and _are_flat(found) and program.refusal is None
        self._gradients = [g.reshape(-1) for g in found] if flat else []
        return program

    def _begin(self, model: Model, parameters: Sequence[Tensor]) -> None:
        self._values[...] = model.optimizer.values_of(parameters)

    def _results(self) -> Slopes:
        """What is put off is done at once."""
        loss, prediction, gradients, deferred = self._found
        if prediction is not None:
            prediction = each(lambda p: wrap(p._data.copy()), prediction)
        copies: list[Tensor | None] | Array
        if self._gradients:
            copies = np.concatenate(self._gradients)
        else:
            copies = [None if g is None else wrap(g._data.copy()) for g in gradients]
        return Slopes(loss.copy(), prediction, copies, deferred)


class _Prediction(_Replay):
    """The output of a model whose parameters stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[Any] = []  # tensors, or several

    def _worked_out(self, model: Model, given: Sequence[Any]) -> list[Any]:
        return [model.forward(*given)]

    def _written(self, model: Model, batch: Sequence[Any], parameters: Sequence[Tensor]) -> Program:
        given = self._copied(batch)
        held = [(p, p._data) for p in parameters]  # before they are used, as for a step
        program = Program([*_flat(given), *parameters])
        with writing(program):
            self._found = self._worked_out(model, given)
            if not all(map(program.follows, _flat(self._found))):
                program.refuse("what is found follows from no operation")
        self._fixed = [(p, array) for p, array in held if program.uses(p)]
        return program

    def _results(self) -> list[Any]:
        return [each(lambda t: t._data.copy(), found) for found in self._found]


class _Measure(_Prediction):
    """The loss, and the prediction where it was computed."""

    @staticmethod
    def parts(model: Model) -> list[Any]:
        return parts_of_step(model)

    def _worked_out(self, model: Model, given: Sequence[Any]) -> list[Any]:
        return [found for found in model.loss_of(*given) if found is not None]


def _are_flat(arrays: Sequence[Array]) -> bool:
    return all(a.flags.c_contiguous and a.dtype == np.float32 for a in arrays)


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
