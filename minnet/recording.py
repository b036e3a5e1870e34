"""Recording: what happens when an operation is applied to tensors.

Each result remembers the operation that made it and what it was applied to, so that
:mod:`minnet.autodiff` can go back over it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from minnet.errors import DtypeError, mismatch
from minnet.program import WRITING, worked_out
from minnet.tensor import Tensor, wrap


class Tracer(Protocol):
    """What wants to see every operation as it happens (the workbook export does)."""

    def admit(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """What an operation is applied to in the place of these inputs."""
        ...

    def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> None: ...

    def expand(self, op: Any, inputs: tuple[Any, ...]) -> Tensor: ...

    def scope(self, name: str, description: str) -> AbstractContextManager[None]: ...

    def gradient_scope(self, tensor: Tensor) -> AbstractContextManager[None]: ...

    def mark_gradient(self, tensor: Tensor, gradient: Any) -> None: ...

    def announce(self, tensor: Tensor, kind: str) -> None: ...

    def mention(self, tensor: Tensor) -> None: ...


#: A parameter and how it follows from its present value: see :func:`defer`.
Deferred = tuple[Tensor, Callable[[Tensor], Tensor]]


class _State(threading.local):
    """Each thread decides for itself whether it records, and whether layers train."""

    recording: bool = True
    training: bool = False
    tracer: Tracer | None = None
    deferred: list[Deferred] | None = None


STATE = _State()
set_flags: Any = np.ndarray.setflags  # (array, write): the quickest way to lock an array
_creation = itertools.count()


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this block nothing is recorded: results do not require gradients and keep no graph."""
    before, STATE.recording = STATE.recording, False
    try:
        yield
    finally:
        STATE.recording = before


@contextmanager
def training_mode() -> Iterator[list[Deferred]]:
    """Inside this block layers do what they do in training alone: dropout drops, and batch
    normalization uses the batch's own statistics. Everywhere else they infer.

    Gives the list of what :func:`defer` puts off, for :func:`apply_deferred`; nothing is changed
    where the block is left without calling it.
    """
    before = STATE.training, STATE.deferred
    deferred: list[Deferred] = []
    STATE.training, STATE.deferred = True, deferred
    try:
        yield deferred
    finally:
        STATE.training, STATE.deferred = before


def defer(parameter: Tensor, function: Callable[[Tensor], Tensor]) -> None:
    """For layers, in training mode: once the step has succeeded, ``parameter`` becomes
    ``function(parameter)``, written in operations. It is for what is not learned by a gradient.
    """
    if STATE.deferred is not None:
        STATE.deferred.append((parameter, function))
    if STATE.tracer is not None:
        STATE.tracer.mention(parameter)


def apply_deferred(deferred: Sequence[Deferred]) -> None:
    """Give the parameters the values that were put off, in order."""
    with no_grad():
        for parameter, function in deferred:
            parameter.data = function(parameter)._data


def apply(op: Any, inputs: tuple[Any, ...]) -> Any:
    """Run ``op`` on ``inputs``, a tensor among them; gives a tensor and records it.

    Raises :class:`~minnet.errors.DtypeError` where the inputs' dtypes differ: NumPy would promote
    silently, and one float64 among float32 halves the speed of everything after it. Single numbers
    have no say, be they Python's or NumPy's.
    """
    tracer, program = STATE.tracer, WRITING.program
    if tracer is not None:
        inputs = tracer.admit(inputs)
    arrays = []
    dtype = None
    needs_grad = others = False
    for x in inputs:
        if type(x) is Tensor:
            if x.requires_grad:
                needs_grad = True
            x = x._data
            if x.dtype is not dtype:
                if dtype is None:
                    dtype = x.dtype
                elif op.one_dtype:
                    _check_dtypes(op, inputs)
        elif type(x) is not float and type(x) is not int:
            others = True
        arrays.append(x)
    needs_grad = needs_grad and op.differentiable and STATE.recording
    if others:
        for i, x in enumerate(inputs):
            if type(x) not in (Tensor, float, int):
                inputs = _admit(op, inputs, i, arrays, dtype, needs_grad)
    if program is not None:
        program.enter(op, inputs)
    kept = None
    if tracer is not None and op.composite:
        out = tracer.expand(op, inputs)
    else:
        keeps = needs_grad and op.keeps
        calculate = op.value_and_kept if keeps else op.value
        if program is None or op.replays:
            value = calculate(*arrays)
        else:
            value = worked_out(calculate, *arrays)
        if keeps:
            value, kept = value
        out = wrap(value if type(value) is np.ndarray else np.asarray(value))
        if tracer is not None:
            tracer.record(op, inputs, out)
    if needs_grad:
        if out.op is None:
            _remember(out, op, inputs, arrays, kept)
    elif op.view:
        _share(out, inputs)
    if program is not None:
        program.leave(out)
    return out


def _admit(
    op: Any, inputs: tuple[Any, ...], i: int, arrays: list[Any], dtype: Any, needs_grad: bool
) -> tuple[Any, ...]:
    """Check an input that is neither a tensor nor a Python number; gives the inputs to go on with.

    A graph gets a copy of an array: the caller keeps the right to edit an array of its own.
    """
    x = inputs[i]
    if isinstance(x, np.ndarray):
        if op.one_dtype and x.dtype is not dtype:
            _check_dtypes(op, inputs)
        if needs_grad:
            arrays[i] = own = x.copy()
            x = wrap(own)
    elif isinstance(x, np.generic):
        arrays[i] = x = x.item()  # a Python number is weak, np.float64(2) would promote float32
    elif not isinstance(x, bool):
        raise DtypeError(
            mismatch(
                f"operation {op.name!r}",
                "tensors, arrays and numbers",
                type(x).__name__,
                "Make it a Tensor first.",
            )
        )
    return (*inputs[:i], x, *inputs[i + 1 :])


def _remember(out: Tensor, op: Any, inputs: tuple[Any, ...], arrays: list[Any], kept: Any) -> None:
    """Make ``out`` a node of the graph; from here on its arrays are read-only."""
    out.requires_grad = True
    out.op = op
    out.inputs = inputs
    out.order = next(_creation)
    for x in inputs:
        if type(x) is Tensor and x.op is None:
            set_flags(x._data, False)
    out.arrays = tuple(arrays)
    out.kept = kept
    set_flags(out._data, False)


def _share(view: Tensor, inputs: tuple[Any, ...]) -> None:
    """Lock arrays that share their memory: who edits one would edit what the other recorded."""
    for x in inputs:
        if type(x) is Tensor and np.may_share_memory(x._data, view._data):
            set_flags(x._data, False)
            set_flags(view._data, False)


def _check_dtypes(op: Any, inputs: tuple[Any, ...]) -> None:
    found = {
        x.dtype
        for x in inputs
        if isinstance(x, (Tensor, np.ndarray, np.generic)) and x.dtype != np.bool_
    }
    if len(found) > 1:
        names = " and ".join(sorted(str(d) for d in found))
        raise DtypeError(
            mismatch(
                f"operation {op.name!r}",
                "inputs of one dtype",
                names,
                "Make them alike, e.g. Tensor(x, dtype=np.float32); minnet never changes a dtype "
                "silently.",
            )
        )
