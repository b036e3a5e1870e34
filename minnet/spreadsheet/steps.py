"""Training steps that are laid out by hand: what each takes from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from minnet.ops.base import CellWriter
from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.labels import Labels
from minnet.spreadsheet.passes import Pass, latest_state, trace_step
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import Node
from minnet.tensor import Array

Key = tuple[str, str, str]  # band, layer, title


class Step(NamedTuple):
    """A step and its blocks, by where they belong and what they are called."""

    step: Pass
    plan: Plan
    labels: Labels
    blocks: dict[Key, Block]


def take(model: Any, x: Array, y: Array, as_written: bool = False) -> Step:
    """Watch a compiled float64 model take a step; ``as_written``: no parameter lies transposed."""
    step = trace_step(model, x, y)
    plan = Plan(step.trace, as_written=as_written)
    labels = Labels(plan)
    blocks = {
        (block.band, block.slot.scope.name, labels.short(node)): block
        for node, block in plan.blocks.items()
    }
    model.train_on_batch(x, y)
    return Step(step, plan, labels, blocks)


def memory(
    taken: Step, earlier: Sequence[Step], reference: Callable[[Step, Node], CellWriter]
) -> dict[Node, CellWriter]:
    """Weights, and what the optimizer remembers, read from the steps before."""
    before = earlier[-1]
    old = {p.name: p for p in before.step.parameters}
    links: dict[Node, CellWriter] = {}
    for parameter in taken.step.parameters:
        source = before.step.new.get(old[parameter.name])
        if source is not None:
            links[parameter] = reference(before, source)
    for state in taken.step.states:
        found = latest_state([(s, s.step) for s in earlier], str(state.name))
        if found is not None:  # else no step so far has looked at it
            links[state] = reference(*found)
    return links
