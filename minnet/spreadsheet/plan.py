"""Which tensors get a block of cells, how each lies, and which are written into other formulas.

The rule for a reader's sake: everything the forward pass names is a block, its gradient is a block
below it, its new value a block below that. What is left over (``lr × gradient``, ``p − y`` on its
way to a gradient) is written inside the one formula that uses it, unless that formula would grow
too long or has to read it as a range.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from minnet.errors import WorkbookError
from minnet.ops.base import Placement, Pointwise, View
from minnet.ops.matmul import contraction_lines
from minnet.ops.shape import stop_gradient
from minnet.spreadsheet.blocks import (
    COLUMN,
    FILTERS,
    IMAGES,
    NORMAL,
    STACKED,
    STACKED_FILTERS,
    TRANSPOSED,
    Block,
    parameter_orientations,
    usual,
)
from minnet.spreadsheet.operands import ROW
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node, Scope, Trace
from minnet.tensor import Array

LONGEST, DEEPEST = 90, 6  # of a formula written inside another one: characters, levels


def is_scalar_leaf(node: Node) -> bool:
    """A constant, or the learning rate: written into formulas, not given a block."""
    return node.op is None and node.value.ndim == 0 and node.kind in ("constant", "rate")


def single_view(node: Node) -> Node | None:
    """What a node shows under another arrangement, if that is all it does."""
    if isinstance(node.op, View) and len(node.inputs) == 1:
        (source,) = node.inputs
        return source if isinstance(source, Node) else None
    return None


class Plan:
    """The blocks of one sheet, in the order of the calculation.

    ``stacked``: images and kernels lie in columns, channels below one another, not as tiles.
    ``as_written``: parameters lie as matrices are written, not one row per neuron.
    """

    def __init__(
        self, trace: Trace, forward_only: bool = False, stacked: bool = False,
        as_written: bool = False,
    ):  # fmt: skip
        self._nodes = [n for n in trace.nodes if not forward_only or n.phase == FORWARD]
        self._forward_only, self.as_written = forward_only, as_written
        self.stacked = stacked
        self.blocks: dict[Node, Block] = {}
        self.helpers: dict[tuple[Node, int], Node] = {}  # (user, operand): a copy that lies right
        self._slots = self._find_slots()
        self._needed = self._find_needed()
        self._lies = self._find_orientations()
        self._uses: dict[Node, int] = defaultdict(int)
        self._as_range: set[Node] = set()
        self._choose_blocks()
        self._limit_lengths()
        for node in self._nodes:
            if node in self._needed and node.op is not None and node.op.reads_ranges:
                self._align(node)
        self._echo_shared_gradients()

    # -- what is shown ---------------------------------------------------------------------------

    def _find_slots(self) -> dict[Node, tuple[Node, str]]:
        """The node's place by right: (forward tensor whose columns it takes, band)."""
        slots: dict[Node, tuple[Node, str]] = {}
        for node in self._nodes:
            shown = node.op is None or not node.inner or node.name is not None
            if node.phase == FORWARD and shown and not is_scalar_leaf(node):
                slots[node] = (node, FORWARD)
        if not self._forward_only:
            for node in reversed(list(slots)):
                if node.gradient is not None:
                    slots.setdefault(node.gradient, (node, BACKWARD))
            for node in self._nodes:
                if node.phase == UPDATE and node.name and (node.op or node.kind == "state"):
                    slots[node] = (node.owner or node, UPDATE)
        return slots

    def _find_needed(self) -> set[Node]:
        needed: set[Node] = set()
        stack = list(self._slots)
        while stack:
            node = stack.pop()
            if node not in needed:
                needed.add(node)
                stack.extend(x for x in node.inputs if isinstance(x, Node))
        return needed

    def _find_orientations(self) -> dict[Node, str]:
        lies: dict[Node, str] = {}
        for node in self._nodes:
            if node.kind == "parameter":
                usual_one = parameter_orientations(node.value.ndim)[-1]
                lies[node] = NORMAL if self.as_written else usual_one
            for i, x in enumerate(node.inputs):
                if node.op is None or not isinstance(x, Node):
                    continue
                if i in node.op.stands and x.kind == "parameter" and not self.as_written:
                    lies[x] = COLUMN
                if i in node.op.filters:
                    lies[x] = FILTERS
                if i in node.op.tables and x.kind == "parameter":
                    lies[x] = NORMAL
                if x.kind == "target" and node.value.ndim == 2 and single_view(node) is x:
                    lies[x] = NORMAL  # a row for each of what the loss takes for rows
        for node, (slot, _) in self._slots.items():
            if node is not slot and slot in lies and node.shape == slot.shape:
                lies[node] = lies[slot]
        return lies

    # -- blocks or inline ------------------------------------------------------------------------

    def _add_block(self, node: Node) -> Block:
        slot, band = self._slots.get(node) or (self._home(node), node.phase)
        lies = self._lies.get(node) or usual(node.value.ndim)
        if band == UPDATE and node.shape == slot.shape:
            lies = self._lies.get(slot, lies)
        if self.stacked:
            lies = {IMAGES: STACKED, FILTERS: STACKED_FILTERS}.get(lies, lies)
        block = Block(node, lies, slot, band)
        self.blocks[node] = block
        return block

    def _home(self, node: Node) -> Node:
        """The columns of a block that has no place by right: those of whom it works for."""
        if isinstance(node.op, Placement) and isinstance(node.inputs[0], Node):
            source = node.inputs[0]
            return self._slots[source][0] if source in self._slots else self._home(source)
        if node.phase == FORWARD or node.owner is None or node.owner not in self._slots:
            return node
        return self._slots[node.owner][0]

    def _choose_blocks(self) -> None:
        """From the results back, so that all users of a node are known before it is decided."""
        for node in reversed(self._nodes):
            if node not in self._needed:
                continue
            scalar = is_scalar_leaf(node)
            shown = node in self._slots or (node.op is None and not scalar)
            own = single_view(node) is None and not scalar
            if shown or (own and self._deserves_block(node)):
                self._add_block(node)
            self._count_uses(node)
        self.blocks = {n: self.blocks[n] for n in self._nodes if n in self.blocks}

    def _deserves_block(self, node: Node) -> bool:
        return node in self._as_range or self._uses[node] > 1

    def _count_uses(self, node: Node) -> None:
        passes_on = node not in self.blocks and single_view(node) is not None
        for i, x in enumerate(node.inputs):
            if not isinstance(x, Node):
                continue
            if passes_on:
                self._uses[x] += self._uses[node]
                if node in self._as_range:
                    self._as_range.add(x)
            elif node.op is not None and i in node.op.reads_ranges:
                self._as_range.add(x)
            else:
                self._uses[x] += self._repeats(node, i)

    @staticmethod
    def _repeats(node: Node, index: int) -> int:
        """How often a formula mentions an operand: a long text should not be written twice."""
        if isinstance(node.op, Pointwise):
            marks = [f"\0{i}\0" for i in range(len(node.inputs))]
            return max(1, node.op.formula(*marks).count(marks[index]))
        return 1

    def _limit_lengths(self) -> None:
        """Give a block to whatever would make the formula around it hard to read."""
        sizes: dict[Node, tuple[int, int]] = {}
        for node in self._nodes:
            if node not in self._needed:
                continue
            parts = [sizes[x] if isinstance(x, Node) else (4, 0) for x in node.inputs]
            own = 22 if node.op is not None and node.op.reads_ranges else 4
            length, depth = own + sum(p[0] for p in parts), 1 + max([p[1] for p in parts] + [0])
            if single_view(node) is not None:
                length, depth = parts[0]
            if node in self.blocks or node.op is None:
                length, depth = 5, 0
            elif length > LONGEST or depth > DEEPEST:
                self._add_block(node)
                length, depth = 5, 0
            sizes[node] = (length, depth)
        self.blocks = {n: self.blocks[n] for n in self._nodes if n in self.blocks}

    # -- ranges ----------------------------------------------------------------------------------

    def place(self, node: Node) -> tuple[Block, Array] | None:
        """The block in which a node's elements stand and their addresses within it."""
        if node in self.blocks:
            return self.blocks[node], self.blocks[node].local_addresses()
        source = single_view(node)
        found = None if source is None else self.place(source)
        if found is None or source is None or not isinstance(node.op, View):
            return None
        block, addresses = found
        return block, addresses.reshape(-1)[node.op.sources(source.shape)]

    def _align(self, node: Node) -> None:
        """See to it that ranges which are multiplied run in one direction."""
        if node.op is None:
            return
        for operand in node.op.columns:
            self._stand(node, operand)
        if node.op.columns or node.op.reads_ranges != (0, 1):
            return
        if node.op.filters:
            self._align_tiles(node)
            return
        a, b = node.inputs[0], node.inputs[1]
        if not isinstance(a, Node) or not isinstance(b, Node) or a.shape[-1] == 1:
            return
        first = self._direction(a, 0, b)
        if first is None:
            a = self._copy(node, 0, a, NORMAL)
            first = 1
        if self._direction(b, 1, a) != first:
            self._copy(node, 1, b, TRANSPOSED if first == 1 else NORMAL)

    def _stand(self, node: Node, operand: int) -> None:
        """See to it that the columns of an operand run down without a gap."""
        x = node.inputs[operand]
        if isinstance(x, Node):
            found = self.place(x)
            if found is None or (np.diff(found[1], axis=0) != ROW).any():
                self._copy(node, operand, x, COLUMN if x.value.ndim == 1 else NORMAL)

    def _align_tiles(self, node: Node) -> None:
        """See to it that windows and filters are rectangles that lie alike."""
        for operand, (first, lies) in enumerate(((1, IMAGES), (0, FILTERS))):
            x = node.inputs[operand]
            if not isinstance(x, Node):
                continue
            found = self.place(x)
            if found is None or not self._are_tiles(found[1], first):
                self._copy(node, operand, x, lies)

    def _are_tiles(self, addresses: Array, first: int) -> bool:
        """Whether the axis ``first`` runs down and the next one to the right, cell by cell.

        Stacked, it is the axis of channels after them that runs down, for each step of the first.
        """
        down, right, channel = (np.diff(addresses, axis=first + i) for i in range(3))
        step = ROW
        if self.stacked:
            step *= addresses.shape[first + 2]
            if (channel != ROW).any():
                return False
        return bool((down == step).all() and (right == 1).all())

    def _direction(self, node: Node, operand: int, other: Node) -> int | None:
        """1 where the multiplied elements lie side by side, ROW where one below the other."""
        found = self.place(node)
        if found is None:
            return None
        pair = (node.shape, other.shape) if operand == 0 else (other.shape, node.shape)
        lines = contraction_lines(*pair)[operand]
        steps = np.unique(np.diff(found[1].reshape(-1)[lines], axis=-1))
        return int(steps[0]) if len(steps) == 1 and int(steps[0]) in (1, ROW) else None

    def _copy(self, user: Node, operand: int, node: Node, lies: str) -> Node:
        """A live copy of a tensor that lies differently, in the columns of the original."""
        found = self.place(node)
        home = found[0] if found else self.blocks[user]
        for helper in self.helpers.values():
            same = helper.inputs[0] is node and self.blocks[helper].band == user.phase
            if same and self.blocks[helper].lies == lies:
                self.helpers[user, operand] = helper
                return helper
        helper = Node(stop_gradient, (node,), node.value, home.slot.scope, user.phase)
        self._lies[helper] = lies
        self._slots[helper] = (home.slot, user.phase)
        self._add_block(helper)
        self.helpers[user, operand] = helper
        return helper

    def _echo_shared_gradients(self) -> None:
        """A gradient that serves two tensors (both terms of a sum) is shown below each of them."""
        if self._forward_only:
            return
        for node in [n for n, (slot, band) in self._slots.items() if n is slot and band == FORWARD]:
            gradient = node.gradient
            if gradient is None or self._slots.get(gradient, (None,))[0] is node:
                continue
            if gradient not in self.blocks:
                raise WorkbookError(f"the gradient of {node.name!r} has no cells to refer to")
            echo = Node(stop_gradient, (gradient,), gradient.value, node.scope, BACKWARD)
            self._slots[echo] = (node, BACKWARD)
            self._lies[echo] = self._lies.get(node) or usual(node.value.ndim)
            node.gradient = echo
            self._add_block(echo)

    def scopes(self) -> list[Scope]:
        """The strips from left to right: in the order of the calculation, the inputs first."""
        return list(dict.fromkeys(b.slot.scope for b in self.blocks.values()))
