"""Where the first number that is not finite came from.

Only looked for when training has stopped because of it: the pass is calculated once more, watched
operation by operation, and gone through from its end back to the operation whose inputs were all
right and whose output was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minnet.autodiff import backpropagate
from minnet.recording import STATE, training_mode
from minnet.several import as_tensors
from minnet.tensor import Array, Tensor, wrap


class _Made(NamedTuple):
    tensor: Tensor  # kept, so that its id stays its own
    op: Any
    inputs: tuple[Any, ...]
    scope: str
    backward: bool


class _Watch:
    """A tracer (:class:`minnet.recording.Tracer`) that notes what made each tensor, and where."""

    def __init__(self) -> None:
        self._made: dict[int, _Made] = {}
        self._scopes = [""]
        self._backward = False

    def origin(self, bad: Tensor) -> str:
        """In words, where the first number on the way to ``bad`` that is not finite arose."""
        made = self._made.get(id(bad))
        while made is not None:
            worse = next((x for x in made.inputs if not _is_finite(x)), None)
            if worse is None or id(worse) not in self._made:
                break
            made = self._made[id(worse)]
        if made is None:
            return "it arose before the first operation"
        # A gradient's scope is the layer of the tensor whose gradient was handed on.
        which = {"": "outside all layers", "loss": "in the loss"}
        place = which.get(made.scope, f"in layer {made.scope!r}")
        way = "backward pass (a gradient)" if made.backward else "forward pass"
        holder = getattr(worse, "name", None) or "input"
        held = "" if worse is None else f", whose {holder} has it already"
        return f"it first arose {place}, {way}, operation {made.op.name!r}{held}"

    # -- the Tracer protocol -----------------------------------------------------------------------

    def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> None:
        self._made[id(out)] = _Made(out, op, inputs, self._scopes[-1], self._backward)

    def expand(self, op: Any, inputs: tuple[Any, ...]) -> Tensor:
        # Its steps are the workbook's business; the engine calculates it as one.
        out = wrap(np.asarray(op.value(*(x._data if type(x) is Tensor else x for x in inputs))))
        self.record(op, inputs, out)
        return out

    @contextmanager
    def scope(self, name: str, description: str = "") -> Iterator[None]:
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextmanager
    def gradient_scope(self, tensor: Tensor) -> Iterator[None]:
        made = self._made.get(id(tensor))
        before, self._backward = self._backward, True
        try:
            with self.scope(made.scope if made else ""):
                yield
        finally:
            self._backward = before

    def admit(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return inputs

    def mark_gradient(self, tensor: Tensor, gradient: Any) -> None: ...

    def announce(self, tensor: Tensor, kind: str) -> None: ...

    def mention(self, tensor: Tensor) -> None: ...


def _is_finite(x: Any) -> bool:
    array = x._data if type(x) is Tensor else np.asarray(x)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def place_of(model: Any, x: Array, y: Array, weights: Array | None) -> str:
    """Where, in the pass of a prepared batch, the first number that is not finite arose."""
    watch = _Watch()
    before, STATE.tracer = STATE.tracer, watch
    try:
        wanted = model.trainable_parameters()
        with training_mode():
            loss, _ = model.loss_of(
                as_tensors(x), as_tensors(y), None if weights is None else wrap(weights)
            )
        if not _is_finite(loss):
            return watch.origin(loss)
        for gradient in backpropagate(loss, wanted) if wanted else ():
            if gradient is not None and not _is_finite(gradient):
                return watch.origin(gradient)
        return "each of its numbers is finite, the sum of their squares is not"
    finally:
        STATE.tracer = before
