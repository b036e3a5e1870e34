"""Where the blocks stand: a strip of columns for each layer, a band of rows for each pass.

The bands share their columns, so a tensor's gradient is found straight below it and its new value
below that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from minnet.errors import WorkbookError
from minnet.spreadsheet.blocks import COLUMN, TRANSPOSED, Block
from minnet.spreadsheet.labels import Labels
from minnet.spreadsheet.names import MAX_COLUMNS, MAX_ROWS
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node, Scope

BANDS = (FORWARD, BACKWARD, UPDATE)
TITLE_ROWS = 2  # a block's name and its formula in words
FIRST_BAND_ROW = 4  # above it: title, how to read, learning rate and loss
NAME_CHARACTERS, WORDS_CHARACTERS = 7.0, 10.0  # that fit above one column, by size of type
WIDEST_TITLE = 5  # columns


@dataclass
class Strip:
    scope: Scope
    first: int  # column
    last: int


class Layout:
    """Sets the row and column of every block of a plan."""

    def __init__(self, plan: Plan, labels: Labels, first_row: int = FIRST_BAND_ROW):
        self._plan = plan
        self._labels = labels
        self.strips: list[Strip] = []
        self.bands: dict[str, int] = {}  # the row of each band's bar
        self._stacks: dict[Node, dict[str, list[Block]]] = {}
        for block in plan.blocks.values():
            stack = self._stacks.setdefault(block.slot, {}).setdefault(block.band, [])
            stack.insert(0, block) if self._is_first(block) else stack.append(block)
        self.last_column = self._set_columns()
        self.last_row = self._set_rows(first_row)
        self._check_size()

    @staticmethod
    def _is_first(block: Block) -> bool:
        tensor_itself = block.node in (block.slot, block.slot.gradient)
        return tensor_itself or block.node.name == f"new {block.slot.name}"

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
            self.strips.append(Strip(scope, first, max(first, column - 2)))
        return column - 2

    def _ends_the_rows_of(self, bias: Block, weight: Block) -> bool:
        """A bias stands at the end of its neurons' rows, unless that would cover a title."""
        pair = bias.lies == COLUMN and weight.lies == TRANSPOSED and bias.height == weight.height
        blocks = [b for stack in self._stacks[weight.slot].values() for b in stack]
        return pair and all(
            self._title_width(b) <= weight.width for b in blocks if self._by_right(b)
        )

    def _width(self, block: Block) -> int:
        return max(block.width, self._title_width(block))

    def _title_width(self, block: Block) -> int:
        name, words = self._labels.short(block.node), self._labels.words(block.node)
        columns = max(len(name) / NAME_CHARACTERS, len(words) / WORDS_CHARACTERS)
        return min(WIDEST_TITLE, math.ceil(columns))

    def _set_rows(self, row: int) -> int:
        for band in BANDS:
            if not any(band in stack for stack in self._stacks.values()):
                continue
            self.bands[band] = row
            top = lowest = row + 2  # the bar, the layers' names
            for stack in self._stacks.values():
                below = top
                for block in stack.get(band, ()):
                    block.row = below + TITLE_ROWS
                    below = block.row + block.height + 1
                lowest = max(lowest, below)
            row = lowest + 1
        return row - 2

    def _check_size(self) -> None:
        if self.last_column > MAX_COLUMNS or self.last_row > MAX_ROWS:
            raise WorkbookError(
                f"The network needs {self.last_row:,} rows × {self.last_column:,} columns, more "
                f"than the {MAX_ROWS:,} × {MAX_COLUMNS:,} of a sheet. Export a smaller batch or a "
                "narrower network."
            )
