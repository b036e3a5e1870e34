"""Random weights drawn by the spreadsheet itself: every recalculation starts from new ones.

As in fast.ai's lesson ``layers_example``, but with the standard deviation √(2/n) of He et al. 2015
where the lesson takes 2/n: its weights are drawn too small but for two inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.initializers import Scaled, fans
from minnet.ops.base import CellWriter
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.passes import Pass
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import Node
from minnet.tensor import wrap


class Draws:
    """The weights of a pass that are drawn: those whose initializer is scaled by the fan in or out.

    For each of them the pass gets one more leaf, the standard deviation, which stands before it.

    Raises :class:`~minnet.errors.ArgumentError` for a model that has none.
    """

    def __init__(self, model: Any, step: Pass):
        self._nodes = step.trace.nodes
        self._draws: dict[Node, tuple[Node, Scaled]] = {}  # weight -> deviation, initializer
        scaled = {
            id(layer.parameters["weight"]): layer.kernel_initializer
            for layer in model.layers
            if isinstance(getattr(layer, "kernel_initializer", None), Scaled)
        }
        for weight in step.parameters:
            found = next((scaled[id(t)] for t in weight.tensors if id(t) in scaled), None)
            if found is not None:
                self._draws[weight] = _deviation(step, weight, found), found
        if not self._draws:
            expected = "a layer with weights that glorot_, he_ or lecun_… initializes"
            raise ArgumentError(mismatch("random_weights='live'", expected, repr(model.name)))

    def links(self, plan: Plan, formulas: Formulas) -> Mapping[Node, CellWriter]:
        """The formulas of the weights and of their standard deviations."""
        links: dict[Node, CellWriter] = {}
        for weight, (deviation, _) in self._draws.items():
            source = formulas.cells_of(plan.blocks[deviation])
            links[deviation] = _always(f"SQRT({self._variance(plan, formulas, weight)})")
            links[weight] = _always(f"NORMINV(RAND(),0,{source.cell(0)})")
        return links

    def _variance(self, plan: Plan, formulas: Formulas, weight: Node) -> str:
        """A formula that counts what a neuron reads and, where it matters, the neurons."""
        (fan_in, fan_out), (_, initializer) = fans(weight.shape), self._draws[weight]
        user = next(node for node in self._nodes if weight in node.inputs)
        # Not the layer's output: that depends on the weights, and they on this.
        read, _, *bias = user.inputs
        inputs = _count(plan, formulas, read, weight) or str(fan_in)
        if not initializer.average:
            return f"{initializer.gain:g}/{inputs}"
        outputs = _count(plan, formulas, bias[0], weight) if bias else ""
        return f"{2 * initializer.gain:g}/({inputs}+{outputs or fan_out})"


def _always(formula: str) -> CellWriter:
    return lambda k: formula


def _deviation(step: Pass, weight: Node, initializer: Scaled) -> Node:
    fan_in, fan_out = fans(weight.shape)
    fan = (fan_in + fan_out) / 2 if initializer.average else fan_in
    value = wrap(np.array(math.sqrt(initializer.gain / fan))).named(f"{weight.name}_scale")
    node = Node(None, (), value.data, weight.scope, weight.phase, "scale", tensors=[value])
    step.trace.nodes.insert(step.trace.nodes.index(weight), node)
    return node


def _count(plan: Plan, formulas: Formulas, node: Node | float, weight: Node) -> str:
    """How many numbers stand in a row of a block, counted by the sheet; "" where there is none."""
    if not isinstance(node, Node) or weight.value.ndim != 2:
        return ""
    block = plan.blocks.get(node)
    if block is None or not 1 <= node.value.ndim <= 2:
        return ""
    return f"COUNT({formulas.cells_of(block).area(np.arange(node.shape[-1]))})"
