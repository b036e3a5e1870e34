"""Where the blocks stand: a strip of columns for each layer, a band of rows for each pass.

The bands share their columns, so a tensor's gradient is found straight below it and its new value
below that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from minnet.spreadsheet.blocks import COLUMN, TRANSPOSED, Block
from minnet.spreadsheet.explanations import short_shape
from minnet.spreadsheet.labels import Labels, shorten
from minnet.spreadsheet.names import MAX_COLUMNS, MAX_ROWS, DoesNotFit
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node, Scope

BANDS = (FORWARD, BACKWARD, UPDATE)
TITLE_ROWS = 2  # a block's name and its formula in words
FIRST_BAND_ROW = 4  # above it: title, how to read, learning rate and loss
NAME_CHARACTERS, WORDS_CHARACTERS = 7.0, 10.0  # that fit above one column, by size of type
WIDEST_TITLE, WIDEST_STRIP_TITLE = 5, 10  # columns
STRIP_CHARACTERS = 7.5  # of a layer's name, above one column
ARROW = 3  # characters, after the name or before it
NARROWEST_BAR = 12  # columns
COLUMN_WIDTH = 6.9
Place = tuple[int, int]  # row, column


@dataclass
class Strip:
    scope: Scope
    first: int  # column
    last: int


class Sign(NamedTuple):
    """A text on the page that belongs to no block; ``columns`` of its row have its style."""

    row: int
    column: int
    columns: int
    text: str
    style: str
    scope: Scope | None = None  # of which layer it is the name


Stacks = dict[Node, dict[str, list[Block]]]


def stacks_of(plan: Plan) -> Stacks:
    """The blocks of each forward tensor by their bands, the tensor itself, or what it became,
    first."""
    stacks: Stacks = {}
    for block in plan.blocks.values():
        stack = stacks.setdefault(block.slot, {}).setdefault(block.band, [])
        tensor_itself = block.node in (block.slot, block.slot.gradient)
        first = tensor_itself or block.node.name == f"new {block.slot.name}"
        stack.insert(0, block) if first else stack.append(block)
    return stacks


def scope_title(scope: Scope) -> str:
    return f"{scope.name} · {scope.description}" if scope.description else scope.name


def check_size(rows: int, columns: int) -> None:
    """Raises :class:`~minnet.spreadsheet.names.DoesNotFit` for more than a sheet has."""
    if columns > MAX_COLUMNS or rows > MAX_ROWS:
        raise DoesNotFit(
            f"The network needs {rows:,} rows × {columns:,} columns, more than the {MAX_ROWS:,} × "
            f"{MAX_COLUMNS:,} of a sheet. Export a smaller batch or a narrower network."
        )


class Layout:
    """Sets the row and column of every block of a plan."""

    def __init__(self, plan: Plan, labels: Labels, first_row: int = FIRST_BAND_ROW):
        self._plan = plan
        self._labels = labels
        self.strips: list[Strip] = []
        self._bands: dict[str, int] = {}  # the row of each band's bar
        self._stacks = stacks_of(plan)
        self.last_column = self._set_columns()
        self.last_row = self._set_rows(first_row)
        check_size(self.last_row, self.last_column)

    def reserve(self, columns: int) -> int:
        """Lengthen the bars over so many columns more, at the right; gives the first of these."""
        first = self.last_column + 2
        self.last_column = first + columns - 1
        check_size(self.last_row, self.last_column)
        return first

    # -- what stands around the blocks -------------------------------------------------------------

    def title(self, block: Block) -> str:
        """A block's name, and its shape as it lies where there is room for it."""
        name, node = self._labels.short(block.node), block.node
        if node is not block.slot or node.value.ndim < 2 or node.value.size < 2:
            return name
        titled = f"{name}  {short_shape(block)}"
        room = max(block.width, self._title_width(block))
        return titled if len(titled) <= room * NAME_CHARACTERS else name

    def places_of_words(self, block: Block) -> tuple[Place, Place | None]:
        """Where a block's title stands, and its formula in words."""
        return (block.row - 2, block.column), (block.row - 1, block.column)

    def signs(self, band_titles: Mapping[str, str]) -> Iterator[Sign]:
        """The bars of the bands, and the names of the layers below them."""
        for band, row in self._bands.items():
            width = max(self.last_column, NARROWEST_BAR)
            yield Sign(row, 1, width, band_titles[band], f"band {band}")
            for strip in self.strips:
                columns = strip.last - strip.first + 1
                text = shorten(scope_title(strip.scope), int(columns * STRIP_CHARACTERS) - ARROW)
                if band == FORWARD and strip is not self.strips[-1]:
                    text = f"{text}  →"
                elif band == BACKWARD and strip is not self.strips[0]:
                    text = f"←  {text}"
                yield Sign(row + 1, strip.first, columns, text, "strip", strip.scope)

    def widths(self) -> dict[int, float]:
        """The width of each column, in characters."""
        return dict.fromkeys(range(1, max(self.last_column, NARROWEST_BAR) + 1), COLUMN_WIDTH)

    # -- where they stand --------------------------------------------------------------------------

    @staticmethod
    def _by_right(block: Block) -> bool:
        tensor_itself = block.node in (block.slot, block.slot.gradient)
        return tensor_itself or (block.band == UPDATE and block.node.name is not None)

    def _set_columns(self) -> int:
        column = 1
        for scope in self._plan.scopes():
            first = column
            before: Block | None = None
            for slot, stack in self._stacks.items():
                if slot.scope is not scope:
                    continue
                block = next(iter(stack.values()))[0]
                if before is not None and self._ends_the_rows_of(block, before):
                    column = before.column + before.width
                for bands in stack.values():
                    for b in bands:
                        b.column = column
                column += max(self._width(b) for bands in stack.values() for b in bands) + 1
                before = block
            name = math.ceil((len(scope_title(scope)) + ARROW) / STRIP_CHARACTERS)
            last = max(column - 2, first + min(name, WIDEST_STRIP_TITLE) - 1)
            self.strips.append(Strip(scope, first, last))
            column = last + 2
        return column - 2

    def _ends_the_rows_of(self, bias: Block, weight: Block) -> bool:
        """A bias stands at the end of its neurons' rows, unless that would cover a title."""
        blocks = [b for stack in self._stacks[weight.slot].values() for b in stack]
        return is_bias_of(bias, weight) and all(
            self._title_width(b) <= weight.width for b in blocks if self._by_right(b)
        )

    def _width(self, block: Block) -> int:
        return max(block.width + block.beside, self._title_width(block))

    def _title_width(self, block: Block) -> int:
        name, words = self._labels.short(block.node), self._labels.words(block.node)
        columns = max(len(name) / NAME_CHARACTERS, len(words) / WORDS_CHARACTERS)
        return min(WIDEST_TITLE, math.ceil(columns))

    def _set_rows(self, row: int) -> int:
        for band in BANDS:
            if not any(band in stack for stack in self._stacks.values()):
                continue
            self._bands[band] = row
            top = lowest = row + 2  # the bar, the layers' names
            for stack in self._stacks.values():
                below = top
                for block in stack.get(band, ()):
                    block.row = below + TITLE_ROWS
                    below = block.row + block.height + block.below + 1
                lowest = max(lowest, below)
            row = lowest + 1
        return row - 2


def is_bias_of(bias: Block, weight: Block) -> bool:
    """Whether the one is a column of as many numbers as the other, a weight, has rows."""
    return bias.lies == COLUMN and weight.lies == TRANSPOSED and bias.height == weight.height
