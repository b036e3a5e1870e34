"""How the layers of a net hang together, and in which order they are calculated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from minnet.errors import ArgumentError, mismatch
from minnet.layers import InputLayer, Layer, Shape, Symbol
from minnet.tensor import Tensor


class Call(NamedTuple):
    """A layer called with what earlier calls gave. A layer that is shared is called twice."""

    layer: Layer
    inputs: tuple[int, ...]  # numbers of calls; none for an InputLayer
    shape: Shape  # of one row of what it gives


class Graph:
    """The calls of a net, each after those that it needs.

    ``inputs`` and ``outputs``: what goes in and what is wanted. Raises
    :class:`~minnet.errors.ArgumentError` where an output needs an input that is not listed, or an
    input is none, is not needed, or is listed twice.
    """

    def __init__(self, inputs: Sequence[Symbol], outputs: Sequence[Symbol]):
        order = _in_order(inputs, outputs)
        number = {id(symbol): i for i, symbol in enumerate(order)}
        self.calls = [Call(s.layer, tuple(number[id(x)] for x in s.inputs), s.shape) for s in order]
        self.inputs = [number[id(s)] for s in inputs]
        self.outputs = [number[id(s)] for s in outputs]
        self._remember_uses()

    def _remember_uses(self) -> None:
        uses = [0] * len(self.calls)
        for call in self.calls:
            for i in call.inputs:
                uses[i] += 1
        for i in self.outputs:
            uses[i] += 1
        self._uses = uses

    @property
    def layers(self) -> list[Layer]:
        """Every layer once, in the order of their first calls."""
        return list(dict.fromkeys(call.layer for call in self.calls))

    def run(self, x: Sequence[Any], as_scores: Sequence[bool]) -> list[Any]:
        """The outputs for tensors, or symbols; ``as_scores``: those that are wanted before the
        activation that they end in."""
        values: list[Any] = [None] * len(self.calls)
        left = list(self._uses)
        wanted = {i for i, scores in zip(self.outputs, as_scores, strict=True) if scores}
        scores = {}
        for i, given in zip(self.inputs, x, strict=True):
            values[i] = given
        for k, (layer, inputs, _) in enumerate(self.calls):
            if values[k] is None:
                arguments: Any = [values[i] for i in inputs]
                argument = arguments if takes_list(layer, inputs) else arguments[0]
                if k in wanted:
                    scores[k] = layer.scores(argument)
                if k not in wanted or left[k] > 1:
                    values[k] = layer(argument)
                for i in inputs:
                    left[i] -= 1
                    if not left[i]:
                        values[i] = None  # so that its memory can be used again
        return [scores[k] if k in scores else values[k] for k in self.outputs]

    def without(self, k: int) -> Graph:
        """The graph in which what call ``k`` gives is what it was given."""
        (source,) = self.calls[k].inputs
        keep = [i for i in range(len(self.calls)) if i != k]
        new = {old: i for i, old in enumerate(keep)}
        new[k] = new[source]
        graph = object.__new__(Graph)
        graph.calls = [
            call._replace(inputs=tuple(new[i] for i in call.inputs))
            for call in (self.calls[i] for i in keep)
        ]
        graph.inputs = [new[i] for i in self.inputs]
        graph.outputs = [new[i] for i in self.outputs]
        graph._remember_uses()
        return graph

    def users(self, k: int) -> list[int]:
        """The calls that need what call ``k`` gives, as often as they need it; outputs are -1."""
        users = [i for i, call in enumerate(self.calls) for source in call.inputs if source == k]
        return users + [-1 for output in self.outputs if output == k]


def takes_list(layer: Layer, inputs: tuple[int, ...]) -> bool:
    """Whether a layer with these inputs is called with a list of tensors, not with one."""
    several = layer.takes_several
    return several if several is not None else len(inputs) > 1


def _in_order(inputs: Sequence[Symbol], outputs: Sequence[Symbol]) -> list[Symbol]:
    """All symbols that the outputs need, inputs first, then in the order of their calls."""
    for what, symbols in (("inputs", inputs), ("outputs", outputs)):
        for symbol in symbols:
            if not isinstance(symbol, Symbol):
                expected = "symbols that come from minnet.Input"
                raise ArgumentError(mismatch(f"Model {what}", expected, type(symbol).__name__))
    if not inputs or not outputs:
        received = f"{len(inputs)} and {len(outputs)}"
        raise ArgumentError(mismatch("Model", "at least one input and one output", received))
    for symbol in inputs:
        if not isinstance(symbol.layer, InputLayer):
            received = f"the output of {symbol.layer.name!r}"
            raise ArgumentError(mismatch("Model inputs", "results of minnet.Input", received))
    order: dict[int, Symbol] = {id(symbol): symbol for symbol in inputs}
    if len(order) != len(inputs):
        raise ArgumentError(mismatch("Model inputs", "different inputs", "one of them twice"))
    stack = list(reversed(outputs))
    needed = set()
    while stack:  # not recursion: a chain of thousands of layers is an ordinary net
        symbol = stack.pop()
        needed.add(id(symbol))
        waiting = [x for x in symbol.inputs if id(x) not in order]
        if id(symbol) in order:
            continue
        if waiting:
            stack += [symbol, *reversed(waiting)]
        elif symbol.inputs:
            order[id(symbol)] = symbol
            needed.update(map(id, symbol.inputs))
        else:
            name, advice = symbol.layer.name, "List every Input that an output needs."
            raise ArgumentError(mismatch("Model inputs", f"input {name!r} too", "none", advice))
    for symbol in inputs:
        if id(symbol) not in needed:
            expected = "inputs that an output needs"
            raise ArgumentError(mismatch("Model inputs", expected, f"{symbol.layer.name!r}"))
    return list(order.values())


def connected(graph: Graph, x: Sequence[Tensor | Symbol]) -> list[Any]:
    """The graph's layers called once more, with other inputs: all parameters are shared."""
    return graph.run(x, [False] * len(graph.outputs))
