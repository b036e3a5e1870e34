"""The gradient of a square kernel's weights, in fewer multiplications.

The transforms of :mod:`minnet.kernels.winograd_transforms`, once more transposed: from V = Bᵀ d B
for tiles of the input and Z = A dY Aᵀ for tiles of the result's gradient the sums over all tiles

    S = Vᵀ·Z        [n²][channels][filters], one matrix product for each of the n²

give the gradient Gᵀ S G. The tiles are worked off in chunks, as V and Z of all tiles are larger
than any cache. Where S is small each worker takes chunks of its own and adds to a sum of its own
(*alone*). Where it is large, they take the steps of one chunk after the other *together*.

S is made in blocks of some channels and filters, ``[blocks][n²][panels][channels][panel]``: a block
stays in the cache while all of a chunk's tiles are added to it, and, after the last chunk, until it
is transformed. If there is only one chunk it never leaves it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Padding
from minnet.kernels.jit import compiled, inlined, kernel, next_task, start_again, workers_for
from minnet.kernels.microkernel import multiply_rows, panel, panel_of
from minnet.kernels.panels import flat
from minnet.kernels.vector import broadcast, lanes, load, store
from minnet.kernels.winograd_matrices import lengths
from minnet.kernels.winograd_tiles import GAP, Grid, fetch, grid, place, read_input
from minnet.kernels.winograd_transforms import gradient_tile, weight_gradient_tile
from minnet.program import run
from minnet.tensor import Array

GROUP, ROWS = 4, 64  # at most so many panels of filters and channels make a block of S
CHUNK = 96  # tiles
ALONE = 1 << 26  # bytes that all workers' sums of their own may take

#: Steps: alone a worker's own chunks and then the total of all workers, together one after the
#: other for each chunk.
CHUNKS, TOTAL, INPUT, PRODUCT = range(4)


class Sizes(NamedTuple):
    """How the work is divided, and where V, Z and S lie in the workspace."""

    alone: bool
    chunks: int
    most: int  # tiles in a chunk
    panels: int  # of filters
    group: int  # panels in a block of S
    rows: int  # channels in a block of S
    blocks: int
    v_row: int  # numbers from one tile to the next
    v_step: int  # from one of the n² products to the next
    z_panel: int  # from one panel to the next
    z_step: int
    block: int  # in a block of S
    own: int  # in a worker's part of the workspace


def weight_gradient(x: Array, g: Array, padding: Padding, r: int, m: int = 4) -> Array:
    """The gradient (r, r, channels, filters) of the weights of a convolution.

    ``x`` (n, height, width, channels) was its input, ``g`` is the gradient of its result. ``m``:
    the results' tiles have m x m pixels.
    """
    shape = r, r, x.shape[3], g.shape[3]
    t = grid(m, r, x.shape, padding, g.shape[3])
    n = m + r - 1
    if not g.size:
        return np.zeros(shape, x.dtype)
    dw = memory.empty(shape, x.dtype)
    workers = workers_for(t.tiles * n * n * x.shape[3] * g.shape[3])
    chunks, alone = schedule(n, t, workers, x.itemsize)
    s, length = _sizes(n, t, chunks, alone, workers, x.dtype)
    work = memory.empty((length,), x.dtype)
    steps = 2 if alone else 2 * chunks
    used = np.empty(workers, np.int64)
    run(np.copyto, used, 0)
    _gradient(workers, steps, *lengths(m, r), t, s, flat(x), flat(g), dw.reshape(-1), work, used)
    return dw


def schedule(n: int, t: Grid, workers: int, itemsize: int) -> tuple[int, bool]:
    """How many chunks there are, and whether each worker takes some of its own."""
    chunks = -(-t.tiles // CHUNK)
    sums = n * n * t.channels * t.filters * itemsize
    if workers * sums <= ALONE and t.tiles >= CHUNK // 2 * workers:
        return -(-chunks // workers) * workers, True
    return chunks, False


def _sizes(
    n: int, t: Grid, chunks: int, alone: bool, workers: int, dtype: Any
) -> tuple[Sizes, int]:
    """The sizes, and how long the workspace is."""
    points, width = n * n, panel_of(dtype)
    panels, chunk = -(-t.filters // width), -(-t.tiles // chunks)
    group, rows = min(GROUP, panels), min(ROWS, t.channels)
    while not alone and group > 1 and _blocks(t, panels, group, rows) < 4 * workers:
        group //= 2  # else some workers would have nothing to do
    blocks = _blocks(t, panels, group, rows)
    # Channels are read across tiles: these must not be apart by just what a cache repeats after.
    v_row, z_panel = t.channels + GAP, chunk * width
    v_step, z_step = chunk * v_row + GAP, panels * z_panel + GAP
    block = points * group * rows * width
    tiles = points * (v_step + z_step)
    own = tiles + blocks * block
    s = Sizes(
        alone, chunks, chunk, panels, group, rows, blocks, v_row, v_step, z_panel, z_step, block,
        own,
    )  # fmt: skip
    if alone:
        return s, workers * own
    return s, tiles + block * (workers if chunks == 1 else blocks)


def _blocks(t: Grid, panels: int, group: int, rows: int) -> int:
    return -(-panels // group) * -(-t.channels // rows)


@kernel
def _gradient(workers, counters, steps, size, taps, t, s, x, g, dw, work, used):
    for step in range(steps):
        start_again(counters)
        for worker in prange(workers):
            task = step, np.int64(worker), workers
            _work(*task, counters, size, taps, t, s, x, g, dw, work, used)


@compiled
def _work(step, worker, workers, counters, size, taps, t, s, x, g, dw, work, used):
    """One worker's part of a step: tiles to transform, blocks to add to and to transform back."""
    kind = step if s.alone else INPUT + step % 2
    chunk = step // 2
    v = worker * s.own if s.alone else 0
    z = v + len(size) ** 2 * s.v_step
    sums = z + len(size) ** 2 * s.z_step
    # Which worker adds up which chunks must not depend on who is faster: the last digits would.
    mine = kind == CHUNKS
    if mine:
        task, tasks = worker * s.chunks // workers, (worker + 1) * s.chunks // workers
    else:
        tasks = s.most if kind == INPUT else s.blocks
        task = next_task(counters, worker, tasks)
    while task < tasks:
        if kind == CHUNKS:
            chunk = task
        first, end = chunk * t.tiles // s.chunks, (chunk + 1) * t.tiles // s.chunks
        tiles, blocks = (0, 0), (task, task + 1)
        if kind == CHUNKS:
            tiles, blocks = (first, end), (0, s.blocks)
        elif kind == INPUT:
            tiles, blocks = (first + task, min(first + task + 1, end)), (0, 0)
        for tile in range(tiles[0], tiles[1]):
            _read(size, taps, t, s, x, g, tile, work, v, z, tile - first)
        for block in range(blocks[0], blocks[1]):
            if kind == TOTAL:
                at = _total(s, used, work, sums - v + block * s.block)
            else:
                at = sums + (worker if kind == PRODUCT and s.chunks == 1 else block) * s.block
                add = used[worker] if kind == CHUNKS else chunk
                _add(len(size) ** 2, t, s, block, end - first, work, v, z, at, add)
            if kind == TOTAL or (kind == PRODUCT and chunk == s.chunks - 1):
                _finish(size, taps, t, s, block, work, at, dw)
        used[worker] += kind == CHUNKS
        task = task + 1 if mine else next_task(counters, worker, tasks)


@inlined
def _read(size, taps, t, s, x, g, tile, work, v, z, number):
    """Transform a tile of the input and of the gradient: the chunk's ``number``-th tile."""
    read_input(size, taps, t, x, tile, work, v + number * s.v_row, s.v_step)
    n, width = len(size), panel(g)
    m = n - len(taps) + 1
    image, down, across = place(t, tile)
    i, j = down * m, across * m
    row = t.columns * t.filters
    at = (image * t.rows + i) * row + j * t.filters
    inner = i + m <= t.rows and j + m <= t.columns
    inside = (0, t.rows - i, 0, t.columns - j)
    for f in range(0, s.panels * width, lanes(g)):
        to = z + f // width * s.z_panel + number * width + f % width
        target = (to, n * s.z_step, s.z_step)
        if f >= t.filters:  # the last panel is not full
            for xi in range(n * n):
                store(work, to + xi * s.z_step, broadcast(g.dtype.type(0)))
            continue
        fetch(g, at + m * t.filters, m, row, m, t.filters, f)
        source = (at + f, row, t.filters)
        count = t.filters - f
        if count < lanes(g):
            _read_last(size, taps, g, source, inside, work, target, count)
        elif inner:
            gradient_tile(size, taps, g, source, None, work, target, None)
        else:
            gradient_tile(size, taps, g, source, inside, work, target, None)


# What does not fill a vector is so rare that it has places of its own.


@compiled
def _read_last(size, taps, g, source, inside, work, target, count):
    gradient_tile(size, taps, g, source, inside, work, target, count)


@compiled
def _finish_last(size, taps, work, source, dw, to, count):
    weight_gradient_tile(size, taps, work, source, None, dw, to, count)


@inlined
def _bounds(t, s, block):
    """The first panel and channel of a block of S, and the first ones after it."""
    across = (s.panels + s.group - 1) // s.group
    down = block // across
    j, c = (block - down * across) * s.group, down * s.rows
    return j, min(j + s.group, s.panels), c, min(c + s.rows, t.channels)


@inlined
def _add(points, t, s, block, tiles, work, v, z, at, add):
    """Add a chunk's tiles to a block of S, or begin it with them unless ``add``."""
    first, end, c, stop = _bounds(t, s, block)
    width = panel(work)
    for xi in range(points):
        for j in range(first, end):
            multiply_rows(
                work, v + xi * s.v_step + c, 1, s.v_row, stop - c,
                work, z + xi * s.z_step + j * s.z_panel, work, at, width, tiles, add,
            )  # fmt: skip
            at += (stop - c) * width


@inlined
def _finish(size, taps, t, s, block, work, at, dw):
    """Transform a block of S into gradients of weights."""
    first, end, c, stop = _bounds(t, s, block)
    n, width = len(size), panel(work)
    step = (end - first) * (stop - c) * width
    tap = t.channels * t.filters
    for j in range(first, end):
        for i in range(c, stop):
            for f in range(0, min(width, t.filters - j * width), lanes(work)):
                source = (at + f, n * step, step)
                to = (i * t.filters + j * width + f, len(taps) * tap, tap)
                count = t.filters - j * width - f
                if count < lanes(work):
                    _finish_last(size, taps, work, source, dw, to, count)
                else:
                    weight_gradient_tile(size, taps, work, source, None, dw, to, None)
            at += width


@inlined
def _total(s, used, work, start):
    """Sum a block over all workers that have added to theirs; says where the result is."""
    total = -1
    for worker in range(len(used)):
        at = start + worker * s.own
        if used[worker] and total < 0:
            total = at
        elif used[worker]:
            for i in range(0, s.block, lanes(work)):
                store(work, total + i, load(work, total + i) + load(work, at + i))
    return total
