"""Watching a calculation: every operation of a pass becomes a node that a sheet can show.

A :class:`Trace` is a tracer (:class:`minnet.recording.Tracer`): it notes forward operations under
the layer that ran them, gradients under the tensor they belong to, and updates. Composite
operations are replaced by their steps, and a calculation that was made before is not noted again:
the softmax that a loss's gradient asks for is the one that the forward pass already shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minnet.ops.base import Operation
from minnet.recording import STATE, no_grad
from minnet.tensor import Array, Tensor, wrap

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"


@dataclass(eq=False)
class Scope:
    """A strip of the sheet: a layer, the inputs, the loss."""

    name: str
    description: str = ""


@dataclass(eq=False, repr=False)  # written out, a node would be its whole history
class Node:
    """One tensor of the pass and how it came about. Leaves have no operation."""

    op: Operation | None
    inputs: tuple[Node | float, ...]
    value: Array
    scope: Scope
    phase: str
    kind: str = "result"  # or a leaf: input, target, parameter, state, rate, seed, constant
    inner: bool = False  # a step inside a composite: shown where it has a name
    owner: Node | None = None  # the forward node whose gradient this is a part of
    gradient: Node | None = None
    tensors: list[Tensor] = field(default_factory=list)

    @property
    def name(self) -> str | None:
        return next((t.name for t in self.tensors if t.name), None)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape


class Trace:
    """The nodes of one pass in the order in which they were calculated.

    ``widens``: float32 arrays that layers and losses hold are taken for float64, as the model's
    weights were.
    """

    def __init__(self, widens: bool = False) -> None:
        self._widens = widens
        self._widened: dict[int, tuple[Any, Any]] = {}  # what was held, kept alive, and its copy
        self.nodes: list[Node] = []
        self.phase = FORWARD
        self._of_tensor: dict[int, Node] = {}
        self._of_array: dict[int, Node] = {}
        self._calculated: dict[Any, Node] = {}
        self._announced: dict[int, tuple[Tensor, str]] = {}
        self._known_scopes: dict[str, Scope] = {}
        self._scopes = [self._scope("")]
        self._inner = False
        self._owner: Node | None = None

    @contextmanager
    def watching(self) -> Iterator[Trace]:
        """Note everything that is calculated inside this block, in this thread."""
        before, STATE.tracer = STATE.tracer, self
        try:
            yield self
        finally:
            STATE.tracer = before

    def announce(self, tensor: Tensor, kind: str) -> None:
        """Say what a leaf is; it joins the layer that uses it first."""
        self._announced[id(tensor)] = tensor, kind

    def mention(self, tensor: Tensor) -> None:
        """A leaf that belongs to the current scope, whoever uses it first."""
        self.node_of(tensor)

    def leaf(self, tensor: Tensor, kind: str) -> Node:
        """Note a tensor that the calculation starts from, in the current scope."""
        node = Node(None, (), tensor.data, self._scopes[-1], self.phase, kind, owner=self._owner)
        self.nodes.append(node)
        self.alias(tensor, node)
        return node

    def alias(self, tensor: Tensor, node: Node) -> None:
        node.tensors.append(tensor)  # also keeps the tensor alive, so that its id stays its own
        self._of_tensor[id(tensor)] = node

    def known(self, tensor: Tensor) -> Node | None:
        """The node of a tensor, if it was used."""
        return self._of_tensor.get(id(tensor))

    def node_of(self, tensor: Tensor) -> Node:
        """The node of a tensor; one that was never announced is a constant of the current scope."""
        node = self._of_tensor.get(id(tensor))
        if node is None:
            _, kind = self._announced.get(id(tensor), (tensor, "constant"))
            node = self.leaf(tensor, kind)
        return node

    # -- the Tracer protocol -----------------------------------------------------------------------

    def admit(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(map(self._wide, inputs)) if self._widens else inputs

    def _wide(self, x: Any) -> Any:
        held = isinstance(x, np.ndarray) or (isinstance(x, Tensor) and not x.requires_grad)
        if not held or x.dtype != np.float32:
            return x
        if id(x) not in self._widened:
            wide = (
                x.astype(np.float64) if isinstance(x, np.ndarray) else Tensor(x, dtype=np.float64)
            )
            self._widened[id(x)] = x, wide
        return self._widened[id(x)][1]

    def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> None:
        operands = tuple(self._operand(x) for x in inputs)
        key = (op, *(x if isinstance(x, Node) else ("number", x) for x in operands))
        known = self._calculated.get(key)
        if known is not None and (self.phase != FORWARD or self._inner):
            self.alias(out, known)
            return
        node = Node(
            op, operands, out.data, self._scopes[-1], self.phase,
            inner=self._inner, owner=self._owner,
        )  # fmt: skip
        self.nodes.append(node)
        self.alias(out, node)
        self._calculated.setdefault(key, node)

    def expand(self, op: Any, inputs: tuple[Any, ...]) -> Tensor:
        operands = [wrap(x) if isinstance(x, np.ndarray) else x for x in inputs]
        # Only the fused calculation checks shapes; its steps would broadcast.
        op.value(*(x.data if isinstance(x, Tensor) else x for x in inputs))
        before, self._inner = self._inner, True
        try:
            with no_grad():
                result = op.steps(*operands)
        finally:
            self._inner = before
        node = self.node_of(result)
        node.inner = node.inner and self._inner
        out = wrap(result.data)
        self.alias(out, node)
        return out

    @contextmanager
    def scope(self, name: str, description: str = "") -> Iterator[None]:
        self._scopes.append(self._scope(name, description))
        try:
            yield
        finally:
            self._scopes.pop()

    def _scope(self, name: str, description: str = "") -> Scope:
        return self._known_scopes.setdefault(name, Scope(name, description))

    @contextmanager
    def backward_pass(self) -> Iterator[None]:
        """Gradients of this block are the pass's; those of the forward pass are steps of it."""
        with self._in_phase(BACKWARD):
            yield

    @contextmanager
    def gradient_scope(self, tensor: Tensor) -> Iterator[None]:
        with nullcontext() if self.phase == FORWARD else self._working_for(tensor):
            yield

    @contextmanager
    def update_scope(self, parameter: Tensor) -> Iterator[None]:
        """What is calculated inside this block is the parameter's new value."""
        with self._in_phase(UPDATE), self._working_for(parameter):
            yield

    @contextmanager
    def _working_for(self, tensor: Tensor) -> Iterator[None]:
        before, self._owner = self._owner, self.node_of(tensor)
        self._scopes.append(self._owner.scope)
        try:
            yield
        finally:
            self._owner = before
            self._scopes.pop()

    @contextmanager
    def _in_phase(self, phase: str) -> Iterator[None]:
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    @contextmanager
    def optimizer_scope(self, name: str, description: str) -> Iterator[None]:
        """What is calculated inside this block is the optimizer's, and no one parameter's."""
        with self._in_phase(UPDATE), self.scope(name, description):
            yield

    def mark_gradient(self, tensor: Tensor, gradient: Any) -> None:
        if self.phase == FORWARD:
            return
        node = self.node_of(tensor)
        if id(gradient) not in self._of_tensor:
            with self.gradient_scope(tensor):
                self.leaf(gradient, "seed")
        if node.gradient is None:
            node.gradient = self.node_of(gradient)

    def _operand(self, x: Any) -> Node | float:
        if isinstance(x, Tensor):
            return self.node_of(x)
        if np.ndim(x) == 0:
            return x if isinstance(x, (bool, int, float)) else np.asarray(x).item()
        if id(x) not in self._of_array:
            self._of_array[id(x)] = self.leaf(wrap(x), "constant")
        return self._of_array[id(x)]
