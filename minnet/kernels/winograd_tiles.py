"""How the tiles of Winograd's convolution lie over images, and how they are read.

The results are covered with tiles of m x m pixels, row after row and image after image; the last
ones of a row or column may reach over the border. A tile is worked out from n x n pixels of the
input, n = m + r - 1, of which it shares r - 1 rows and columns with each of its neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minnet.kernels.geometry import Padding, Window
from minnet.kernels.jit import compiled, inlined
from minnet.kernels.microkernel import WIDE, filled
from minnet.kernels.vector import LANES, lanes, prefetch
from minnet.kernels.winograd_transforms import input_tile

LINE = 16  # numbers in a cache line of 64 bytes
CHUNK = 36  # tiles
#: Numbers between what belongs to one of the n x n products and what belongs to the next. Without
#: them all would begin at the same place of the cache and drive each other out.
GAP = 16


class Grid(NamedTuple):
    """Images ``(n, height, width, channels)`` and the tiles of results over them.

    The results are ``(n, rows, columns, filters)``. Where they are halved by pooling (``side`` 2)
    this is their size afterwards.
    """

    height: int
    width: int
    channels: int
    top: int  # rows of padding
    left: int
    rows: int
    columns: int
    filters: int
    side: int
    down: int  # tiles in an image, down and across it
    across: int
    tiles: int  # in all images


def grid(
    m: int, r: int, images: tuple[int, ...], padding: Padding, filters: int, side: int = 1
) -> Grid:
    """The tiles for images of the shape ``(n, height, width, channels)``, and r x r kernels.

    Raises :class:`~minnet.errors.ShapeError` where the images are too small.
    """
    n, height, width, channels = images
    (top, _), (left, _) = padding
    rows, columns = Window((r, r), padding=padding).output_size(height, width)
    if side > 1:
        rows, columns = Window((side, side), (side, side)).output_size(rows, columns)
    down, across = -(-rows * side // m), -(-columns * side // m)
    return Grid(
        height, width, channels, top, left, rows, columns, filters, side, down, across,
        n * down * across,
    )  # fmt: skip


# -- the choice ------------------------------------------------------------------------------------


#: What is to be done for each weight besides the products, counted in tiles: read it after its
#: transformation, and transform it if that was not done before.
READ, TRANSFORM = 2, 12
#: Multiplications that take as long as transforming a number of a tile, there or back.
TILE = 16
#: Multiplications that take no longer, done directly, than preparing Winograd's steps.
FEW = 6 << 20
#: Channels and filters up to which the error of 5x5 kernels stays below 2e-5 of the largest result.
MOST = 512


def accepts(kernel_shape: tuple[int, ...], window: Window, groups: int) -> bool:
    """Whether a convolution with a kernel of this shape is one for Winograd's algorithm.

    It is if the kernel is 3x3 or 5x5 and goes over all pixels and all channels, there is less
    padding on each side than the kernel is wide, and channels and filters fill a vector.
    """
    size, (channels, filters) = window.size, kernel_shape[2:]
    dense = window.strides == window.dilation == (1, 1) and groups == 1
    small = size == (3, 3) or (size == (5, 5) and max(channels, filters) <= MOST)
    padded = max(max(side) for side in window.padding)
    return min(channels, filters) >= LANES and dense and small and padded < size[0]


def plan(
    r: int, n: int, rows: int, columns: int, channels: int, filters: int, ready: bool
) -> int | None:
    """The side of tiles of ``n`` results of ``rows`` x ``columns``; None: directly is faster.

    The kernel has r x r taps. ``ready`` tells whether the transformed weights are at hand. The
    costs are in multiplications for each weight, as measured:

    ======  =====  ======================================  =========================================
    direct  r = 3  9 for each pixel
    m = 2   r = 3  16 for each tile (4 for each pixel)     best where m = 4 would be mostly border:
                                                           images up to 6 x 6, one at a time
    m = 4   r = 3  36 for each tile (2.25 for each pixel)  best nearly everywhere
    m = 6   r = 3  64 for each tile (1.8 for each pixel)   not chosen: at best 14 % faster than
                                                           m = 4, at four times the error
    direct  r = 5  25 for each pixel
    m = 2   r = 5  36 for each tile (9 for each pixel)     not chosen
    m = 4   r = 5  64 for each tile (4 for each pixel)     best nearly everywhere
    ======  =====  ======================================  =========================================

    With few channels or filters transforming the tiles takes as long as the products.
    """
    pixels = r * r * n * rows * columns
    if pixels * channels * filters < FEW:
        return None
    tiles = {m: n * -(-rows // m) * -(-columns // m) for m in ((4, 2) if r == 3 else (4,))}
    # As if the weights were ready: another m for a first time would be compiled for that alone.
    m = min(tiles, key=lambda m: (m + r - 1) ** 2 * (tiles[m] + READ))
    extra = READ if ready else READ + TRANSFORM
    tile = filled(filters, np.float32, WIDE) / filters + TILE / channels + TILE / filters
    directly = filled(filters, np.float32) / filters * pixels
    return None if directly < (m + r - 1) ** 2 * (tile * tiles[m] + extra) else m


def schedule(tiles: int, workers: int) -> tuple[int, bool]:
    """How many tiles a chunk has, and whether to work in phases instead.

    A chunk of 36 tiles and 64 channels fills a second-level cache; smaller and larger ones, up to
    twice as many tiles, differ by some per cent at most, whatever the channels. In phases the
    weights are read once, but workers wait for each other: that is for tiles too few to make a
    chunk for each.
    """
    if tiles <= max(64, 16 * workers):
        return tiles, True
    return CHUNK, False


# -- reading ---------------------------------------------------------------------------------------


@inlined
def place(g, tile):
    """A tile's image, and its row and column among the tiles there."""
    image = tile // (g.down * g.across)
    rest = tile - image * (g.down * g.across)
    down = rest // g.across
    return image, down, rest - down * g.across


@inlined
def fetch(x, start, rows, row, columns, column, c):
    """Bring pixels near of which channel ``c`` begins at ``start + i * row + j * column``.

    Meant to be called for every vector of channels. It fetches a share of the cache lines at each
    call: many at once would have to wait for each other.
    """
    calls = max(LINE // lanes(x), 1)
    for i in range(c // lanes(x) % calls, rows, calls):
        for j in range(columns):
            prefetch(x, start + i * row + j * column + c // LINE * LINE)


@inlined
def read_input(size, taps, g, x, tile, v, start, step):
    """Transform a tile of ``x``, all of its channels, which must be enough for a vector.

    Channel c of product number xi (row by row) is written to ``v[start + c + xi * step]``. What
    does not fill the last vector is transformed with channels before it, once more.
    """
    n = len(size)
    m = n - len(taps) + 1
    image, down, across = place(g, tile)
    i, j = down * m - g.top, across * m - g.left
    row = g.width * g.channels
    at = (image * g.height + i) * row + j * g.channels
    inner = i >= 0 and j >= 0 and i + n <= g.height and j + n <= g.width
    inside = (-i, g.height - i, -j, g.width - j)
    rest = g.channels % lanes(x)
    for c in range(0, g.channels - rest, lanes(x)):
        # The next tile's pixels, but for those that both tiles have.
        fetch(x, at + n * g.channels, n, row, m, g.channels, c)
        source, target = (at + c, row, g.channels), (start + c, n * step, step)
        if inner:
            input_tile(size, taps, x, source, None, v, target, None)
        else:
            input_tile(size, taps, x, source, inside, v, target, None)
    if rest:
        c = g.channels - lanes(x)
        source, target = (at + c, row, g.channels), (start + c, n * step, step)
        _read_last(size, taps, x, source, inside, v, target)


@compiled
def _read_last(size, taps, x, source, inside, v, target):
    """So rare that it has a place of its own."""
    input_tile(size, taps, x, source, inside, v, target, None)
