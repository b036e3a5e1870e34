"""The layout of fast.ai's lesson ``layers_example``: forward down the left, gradients beside their
blocks, new weights below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise, zip_longest

from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.explanations import short_shape
from minnet.spreadsheet.labels import Labels
from minnet.spreadsheet.layout import (
    COLUMN_WIDTH,
    FIRST_BAND_ROW,
    Place,
    Sign,
    Strip,
    check_size,
    is_bias_of,
    scope_title,
    stacks_of,
)
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node

WORDS_WIDTH = 34.0  # of a column of words, in characters
LEAST_ROWS = 2  # beside a block stand its name and, below that, its formula in words
NARROWEST = 9  # columns of a half: the words of its bar, and above them the header, need as many
BARS = {
    FORWARD: "FORWARD  ↓   each block is computed from those above it",
    BACKWARD: "BACKWARD  ↑   d = how much the loss changes with each number at the left",
}


class LessonLayout:
    """Sets the row and column of every block of a plan, one below the other."""

    def __init__(self, plan: Plan, labels: Labels, first_row: int = FIRST_BAND_ROW):
        self._labels = labels
        self._stacks = stacks_of(plan)
        self._biases = self._find_biases()
        self._signs: list[Sign] = []
        left = [b for b in plan.blocks.values() if b.band != BACKWARD]
        right = [b for b in plan.blocks.values() if b.band == BACKWARD]
        self._split = 2 + max(NARROWEST, *map(self._width, left)) + 1
        self.last_column = self._split - 2
        if right:
            self.last_column = max(NARROWEST, *map(self._width, right)) + self._split
        scopes = plan.scopes()
        self.strips = [Strip(scope, 1, self._split - 2) for scope in scopes]
        row = self._bars(first_row)
        for scope in scopes:
            slots = [s for s in self._stacks if s.scope is scope]
            row = self._section(slots, (FORWARD, BACKWARD), row)
        self._update_row = row
        row += 1
        for scope in scopes:
            slots = [s for s in self._stacks if s.scope is scope]
            row = self._section(slots, (UPDATE,), row)
        self._updates = row > self._update_row + 1
        self.last_row = row
        check_size(self.last_row, self.last_column)

    def reserve(self, columns: int) -> int:
        """The first of so many columns beside everything: the bars belong to what is below them."""
        first = self.last_column + 2
        check_size(self.last_row, first + columns - 1)
        return first

    # -- what stands around the blocks -------------------------------------------------------------

    def title(self, block: Block) -> str:
        """A block's name, and its shape as it lies."""
        name, node = self._labels.short(block.node), block.node
        shaped = node is block.slot and node.value.ndim > 1 and node.value.size > 1
        beside = block.slot in self._biases
        return f"{name}  {short_shape(block)}" if shaped and not beside else name

    def places_of_words(self, block: Block) -> tuple[Place, Place | None]:
        """Where a block's title stands, and its formula in words."""
        if block.slot in self._biases:
            return (block.row - 1, block.column), None
        column = self._split if block.band == BACKWARD else 1
        return (block.row, column), (block.row + 1, column)

    def signs(self, band_titles: Mapping[str, str]) -> Iterator[Sign]:
        """The bars of forward, backward and update, and the names of the layers."""
        yield from self._signs
        if self._updates:
            text = band_titles[UPDATE]
            yield Sign(self._update_row, 1, self.last_column, text, f"band {UPDATE}")

    def widths(self) -> dict[int, float]:
        """The width of each column, in characters."""
        widths = dict.fromkeys(range(1, self.last_column + 1), COLUMN_WIDTH)
        words = {1: WORDS_WIDTH}
        if self.last_column > self._split:
            words[self._split] = WORDS_WIDTH
        return widths | words

    # -- where they stand --------------------------------------------------------------------------

    def _find_biases(self) -> dict[Node, Node]:
        """Biases that stand at the ends of their neurons' rows, and the weights in those."""
        biases: dict[Node, Node] = {}
        for weight, bias in pairwise(self._stacks):
            if weight.scope is bias.scope and weight.kind == bias.kind == "parameter":
                of_weight, of_bias = self._stacks[weight], self._stacks[bias]
                pairs = [
                    (own, other)
                    for band, blocks in of_bias.items()
                    for own, other in zip_longest(blocks, of_weight.get(band, ())[: len(blocks)])
                ]
                first = is_bias_of(of_bias[FORWARD][0], of_weight[FORWARD][0])
                if first and all(a and b and a.height == b.height for a, b in pairs):
                    biases[bias] = weight
        return biases

    def _width(self, block: Block) -> int:
        return block.width + block.beside + (block.slot in self._biases.values())

    def _bars(self, row: int) -> int:
        left, right = self._split - 2, self.last_column - self._split + 1
        self._signs.append(Sign(row, 1, left, BARS[FORWARD], f"band {FORWARD}"))
        if right > 0:
            bar = Sign(row, self._split, right, BARS[BACKWARD], f"band {BACKWARD}")
            self._signs.append(bar)
        return row + 1

    def _section(self, slots: list[Node], bands: tuple[str, ...], row: int) -> int:
        """A layer's blocks of these bands; gives the row after them."""
        if not any(band in self._stacks[slot] for slot in slots for band in bands):
            return row
        scope = slots[0].scope
        text = scope_title(scope)
        self._signs.append(Sign(row, 1, self.last_column, text, "strip", scope))
        row += 2  # a bias has its name above it
        for slot in slots:
            if slot in self._biases:
                self._put_beside(slot, bands)
            else:
                row = max(self._put(slot, band, row) for band in bands)
        return row

    def _put(self, slot: Node, band: str, row: int) -> int:
        column = self._split + 1 if band == BACKWARD else 2
        for block in self._stacks[slot].get(band, ()):
            block.row, block.column = row, column
            row += max(LEAST_ROWS, block.height + block.below) + 1
        return row

    def _put_beside(self, bias: Node, bands: tuple[str, ...]) -> None:
        weight = self._biases[bias]
        for band in bands:
            of_weight = self._stacks[weight].get(band, [])
            for block, beside in zip(self._stacks[bias].get(band, ()), of_weight, strict=False):
                block.row, block.column = beside.row, beside.column + beside.width
