"""Blocks: how a tensor lies on the sheet.

A matrix lies as it is written. Images (n, height, width, channels) are tiles, one row of tiles for
each sample and one tile for each channel, so that a window in a channel is a rectangle of cells. A
kernel (kh, kw, channels, filters) has one row of tiles for each filter, one tile for each channel.

Of hundreds of channels, tiles would make formulas of hundreds of terms. Stacked, the channels of a
row of pixels stand one below the other, then those of the next row: so a window in all channels at
once is one rectangle of cells. A stacked kernel has its filters side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from minnet.ops.base import positions
from minnet.spreadsheet.operands import ROW
from minnet.spreadsheet.trace import Node
from minnet.tensor import Array

NORMAL, TRANSPOSED, COLUMN = "normal", "transposed", "column"
IMAGES, FILTERS = "images", "filters"
STACKED, STACKED_FILTERS = "stacked", "stacked filters"


@dataclass(eq=False)
class Block:
    """A tensor's place on the sheet: row i of the block holds the elements ``order[i]``."""

    node: Node
    lies: str
    slot: Node  # the forward tensor in whose columns it stands
    band: str
    order: Array = field(init=False)
    row: int = 0  # of its first number, set by the layout
    column: int = 0
    beside: int = 0  # columns to its right that are kept free, for pictures
    below: int = 0  # rows below it, likewise

    def __post_init__(self) -> None:
        self.order = arrange(self.node.shape, self.lies)

    @property
    def height(self) -> int:
        return len(self.order)

    @property
    def width(self) -> int:
        return int(self.order.shape[1])

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and columns of one of its tiles; where it has none, of the whole block."""
        if self.lies == IMAGES:
            return self.node.shape[1], self.node.shape[2]
        if self.lies == FILTERS:
            return self.node.shape[0], self.node.shape[1]
        if self.lies == STACKED:
            return self.node.shape[3], self.node.shape[2]
        if self.lies == STACKED_FILTERS:
            return self.node.shape[2], self.node.shape[1]
        return self.height, self.width

    def places(self) -> Array:
        """For each element in C order its row and column within the block, counted from 0."""
        places = np.empty((self.order.size, 2), np.int64)
        places[self.order.reshape(-1)] = np.indices(self.order.shape).reshape(2, -1).T
        return places

    def local_addresses(self) -> Array:
        """Addresses relative to the block's first cell, in the tensor's shape."""
        return (self.places() @ (ROW, 1)).reshape(self.node.shape)

    @property
    def origin(self) -> int:
        return self.row * ROW + self.column


def arrange(shape: tuple[int, ...], lies: str) -> Array:
    """Positions of a tensor's elements as they lie on the sheet.

    ``normal``: the last axis runs to the right, so that a vector is a row and a stack of matrices
    is one below the other. ``transposed`` swaps the last two axes, ``column`` stands a vector up;
    ``images`` and ``filters`` lay four axes as tiles; ``stacked`` and ``stacked filters`` stack the
    channels.
    """
    order = positions(shape or (1,))
    if lies == IMAGES:
        n, height, width, channels = shape
        return order.transpose(0, 1, 3, 2).reshape(n * height, channels * width)
    if lies == FILTERS:
        height, width, channels, filters = shape
        return order.transpose(3, 0, 2, 1).reshape(filters * height, channels * width)
    if lies == STACKED:
        n, height, width, channels = shape
        return order.transpose(0, 1, 3, 2).reshape(n * height * channels, width)
    if lies == STACKED_FILTERS:
        height, width, channels, filters = shape
        return order.transpose(0, 2, 3, 1).reshape(height * channels, filters * width)
    if lies == TRANSPOSED:
        order = order.swapaxes(-1, -2)
    if lies == COLUMN:
        return order.reshape(-1, 1)
    return order.reshape(-1, order.shape[-1])


def usual(ndim: int) -> str:
    """How a tensor lies where nothing else is asked of it."""
    return IMAGES if ndim == 4 else NORMAL


def parameter_orientations(ndim: int) -> tuple[str, ...]:
    """How a parameter that is no table may lie: one row per neuron, whoever uses it.

    Reading back has only the area's shape to go by, and a square matrix has the same either way.
    Of a table, a name in the book says that it is one.
    """
    return {1: (COLUMN, NORMAL), 2: (TRANSPOSED,), 4: (FILTERS,)}.get(ndim, (NORMAL,))
