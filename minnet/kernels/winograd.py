"""Convolution with square kernels in fewer multiplications, and its input gradient.

See :mod:`minnet.kernels.winograd_matrices` for why this works. A convolution is three steps:

1.  Each tile of n x n pixels is transformed: n² vectors of channels, V ``[n²][tiles][channels]``.
2.  Each of the n² is multiplied by the transformed weights: M = V·U, ``[n²][tiles][filters]``.
3.  The n² results of a tile are transformed back, into m x m pixels of the result. Bias, relu and
    pooling come with it.

What makes it fast is that V and M never leave the cache. *Chunks*: a worker takes a few dozen tiles
through all steps, with M for 64 filters at a time. That reads U once for each chunk. Where there
are few tiles, and U is large, that would be slow: then the workers go through the steps together
(*phases*), so that U is read once.

U is ``[filters / 64][n²][64 / panel][channels][panel]``, in the order in which it is read. The
gradient of the input is again a convolution: of the result's gradient, with the taps turned by 180
degrees and with channels and filters swapped. Only U is made differently (``rotated``).
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
from minnet.kernels.vector import (
    LANES,
    broadcast,
    lanes,
    load,
    load_part,
    prefetch,
    prefetch_to_write,
    store,
    store_uncached,
    transpose,
)
from minnet.kernels.winograd_matrices import lengths
from minnet.kernels.winograd_tiles import GAP, LINE, Grid, grid, place, read_input, schedule
from minnet.kernels.winograd_transforms import output_tile, weight_tile
from minnet.tensor import Array

GROUP = 4  # panels of filters for which M is worked out at a time
#: Channels that are added up one after the other. Most of the error of a result comes from these
#: sums: for 512 channels, two halves have three quarters of the error, at 1 % of the time.
DEPTH = 256

SQUARE = 64  # channels whose weights are transformed by one worker in one go
UNCACHED = 1 << 22  # bytes of transformed weights from which on they are stored past the cache

#: Steps, as the kernel numbers them: a worker's own chunk through all three, or one for all tiles.
CHUNKS, INPUT, PRODUCT, OUTPUT, END = range(5)


class Sizes(NamedTuple):
    """How the work is divided, and where V and M lie in the workspace."""

    tasks: int  # chunks
    panels: int  # of filters
    v_step: int  # numbers from one of the n² products to the next
    m_step: int
    m_row: int  # from one tile to the next
    own: int  # in a worker's own part of the workspace


def forward(
    x: Array,
    u: Array,
    bias: Array | None,
    padding: Padding,
    filters: int,
    taps: int,
    relu: bool = False,
    pool: bool = False,
) -> Array:
    """The convolution of ``x`` (n, height, width, channels) with a kernel of ``taps`` x ``taps``.

    ``u`` is the kernel after :func:`transform_weights`. ``relu`` replaces negative results by 0,
    ``pool`` then keeps the largest of every 2x2 (an odd last row or column is dropped). NaN stays
    NaN. With a rotated ``u``, the gradient of a convolution's result and ``taps`` - 1 minus each of
    that convolution's paddings, this is the gradient of its input. Raises
    :class:`~minnet.errors.ShapeError` where the images are too small.
    """
    m = u.shape[0] - taps + 1
    g = grid(m, taps, x.shape, padding, filters, 2 if pool else 1)
    y = memory.empty((len(x), g.rows, g.columns, filters), x.dtype)
    if not y.size:
        return y
    workers = workers_for(g.tiles * u.size)
    chunk, phases = schedule(g.tiles, workers)
    s = _sizes(len(u), g, chunk, phases, workers, x.dtype)
    work = memory.empty(((1 if phases else workers) * s.own,), x.dtype)
    steps = (INPUT, END) if phases else (CHUNKS, INPUT)
    if bias is None:
        bias = np.zeros(filters, x.dtype)
    floor = x.dtype.type(0 if relu else -np.inf)
    _convolve(
        workers, steps, *lengths(m, taps), g, s,
        flat(x), flat(u), flat(bias), floor, y.reshape(-1), work,
    )  # fmt: skip
    return y


def _sizes(n: int, g: Grid, chunk: int, phases: bool, workers: int, dtype: Any) -> Sizes:
    panels = -(-g.filters // panel_of(dtype))
    if phases:
        tasks, chunk, columns = 0, g.tiles, panels
    else:
        tasks = workers * max(1, round(g.tiles / chunk / workers))  # as many for each worker
        chunk, columns = -(-g.tiles // tasks), min(GROUP, panels)
    m_row = columns * panel_of(dtype)
    v_step, m_step = chunk * g.channels + GAP, chunk * m_row + GAP
    return Sizes(tasks, panels, v_step, m_step, m_row, n * n * (v_step + m_step))


@kernel
def _convolve(workers, counters, steps, size, taps, g, s, x, u, bias, floor, y, work):
    for step in range(steps[0], steps[1]):
        start_again(counters)
        for worker in prange(workers):
            _work(step, np.int64(worker), counters, size, taps, g, s, x, u, bias, floor, y, work)


@compiled
def _work(step, worker, counters, size, taps, g, s, x, u, bias, floor, y, work):
    """One worker's part of a step: tiles to transform, products, tiles to transform back."""
    points, width = len(size) ** 2, GROUP * panel(u)
    groups = (s.panels + GROUP - 1) // GROUP
    v_start = worker * s.own if step == CHUNKS else 0
    m_start = v_start + points * s.v_step
    tasks = s.tasks if step == CHUNKS else groups * points if step == PRODUCT else g.tiles
    task = next_task(counters, worker, tasks)
    while task < tasks:
        first, end = 0, g.tiles  # the tiles that V and M are for
        reads, writes = (task, task + 1) if step == INPUT else (0, 0), (0, 0)
        group, last, xi, last_xi = 0, 0 if step == INPUT else groups, 0, 0
        if step == CHUNKS:
            first, end = task * g.tiles // s.tasks, (task + 1) * g.tiles // s.tasks
            reads, writes, last_xi = (first, end), (first, end), points
        elif step == PRODUCT:
            group, xi = task // points, task % points
            last, last_xi = group + 1, xi + 1
        elif step == OUTPUT:
            writes = task, task + 1
        for tile in range(reads[0], reads[1]):
            at = v_start + (tile - first) * g.channels
            read_input(size, taps, g, x, tile, work, at, s.v_step)
        for j in range(group, last):
            m = m_start if step == CHUNKS else m_start + j * width
            for i in range(xi, last_xi):
                _multiply(points, g, s, u, j, i, end - first, work, v_start, m)
            filters = j * width, min((j + 1) * width, g.filters)
            for tile in range(writes[0], writes[1]):
                at = m + (tile - first) * s.m_row
                _write_output(size, taps, g, s, work, at, bias, floor, y, tile, filters)
        task = next_task(counters, worker, tasks)


@inlined
def _multiply(points, g, s, u, group, xi, tiles, work, v_start, m_start):
    """One of the n² products, for a group of filters."""
    first = group * GROUP
    count = min(GROUP, s.panels - first)
    packed = g.channels * panel(u)
    start = (first * points + xi * count) * packed
    for j in range(count):
        for k in range(0, g.channels, DEPTH):
            multiply_rows(
                work, v_start + xi * s.v_step + k, g.channels, 1, tiles,
                u, start + j * packed + k * panel(u),
                work, m_start + xi * s.m_step + j * panel(u), s.m_row,
                min(DEPTH, g.channels - k), k,
            )  # fmt: skip


@inlined
def _write_output(size, taps, g, s, work, start, bias, floor, y, tile, filters):
    """Transform a tile of M, of the ``filters`` from … to, into results."""
    n = len(size)
    side = (n - len(taps) + 1) // g.side
    image, down, across = place(g, tile)
    i, j = down * side, across * side
    row = g.columns * g.filters
    to = (image * g.rows + i) * row + j * g.filters
    inner = i + side <= g.rows and j + side <= g.columns
    inside = (0, g.rows - i, 0, g.columns - j)
    least, rest = broadcast(floor), (filters[1] - filters[0]) % lanes(y)
    for f in range(filters[0], filters[1] - rest, lanes(y)):
        if f % LINE == 0:  # the next tile's results, which else would wait for memory
            for line in range(side * side):
                next_pixel = to + line // side * row + (side + line % side) * g.filters
                prefetch_to_write(y, next_pixel + f)
        source = (start + f - filters[0], n * s.m_step, s.m_step)
        target, b = (to + f, row, g.filters), load(bias, f)
        if g.side == 1:
            if inner:
                output_tile(size, taps, (0,), work, source, b, least, y, target, None, None)
            else:
                output_tile(size, taps, (0,), work, source, b, least, y, target, inside, None)
        else:  # it has so few results that checking each takes no time
            output_tile(size, taps, (0, 0), work, source, b, least, y, target, inside, None)
    if rest:
        f = filters[1] - rest
        source, target = (start + f - filters[0], n * s.m_step, s.m_step), (to + f, row, g.filters)
        _write_last(size, taps, g, work, source, bias, f, floor, y, target, inside, rest)


@compiled
def _write_last(size, taps, g, work, source, bias, f, floor, y, target, inside, count):
    """The filters that do not fill a vector; so rare that it has a place of its own."""
    b, least = load_part(bias, f, count), broadcast(floor)
    if g.side == 1:
        output_tile(size, taps, (0,), work, source, b, least, y, target, inside, count)
    else:
        output_tile(size, taps, (0, 0), work, source, b, least, y, target, inside, count)


# -- weights ---------------------------------------------------------------------------------------


def transform_weights(w: Array, m: int, rotated: bool = False) -> Array:
    """A kernel (r, r, channels, filters) as :func:`forward` takes it, for tiles of m x m results.

    ``rotated`` turns it by 180 degrees and swaps channels and filters. The result's shape is
    ``(n, n, channels, filters)``, n = m + r - 1, after the swap and with the filters rounded up to
    whole panels, but its numbers are in another order.
    """
    channels, filters = w.shape[:1:-1] if rotated else w.shape[2:]
    r = len(w)
    n, width = m + r - 1, panel_of(w.dtype)
    panels = -(-filters // width)
    u = memory.empty((n, n, channels, panels * width), w.dtype)
    workers = workers_for(u.size)
    length = n * n * (LANES * width + GAP) + r * r * LANES * width
    work = memory.empty((workers * length,), w.dtype)
    k = Kernel(rotated, channels, filters, panels, length, u.nbytes >= UNCACHED)
    _transform(workers, *lengths(m, r), k, flat(w), u.reshape(-1), work)
    return u


class Kernel(NamedTuple):
    """The weights to be transformed: channels and filters as they will be in ``u``."""

    rotated: bool
    channels: int
    filters: int
    panels: int
    length: int  # of a worker's part of the workspace
    uncached: bool  # store past the cache, as no cache could hold it


@kernel
def _transform(workers, counters, size, taps, k, w, u, work):
    for worker in prange(workers):
        _transform_parts(size, taps, k, w, u, work, np.int64(worker), counters)


@compiled
def _transform_parts(size, taps, k, w, u, work, worker, counters):
    """Takes squares of channels and filters, and in them the blocks in the order of memory."""
    n, width, points = lanes(w), panel(w), len(size) ** 2
    step = n * width + GAP  # from one of the n² to the next
    start = worker * k.length
    near = start + points * step
    parts = (k.channels + SQUARE - 1) // SQUARE
    tasks = (k.panels + GROUP - 1) // GROUP * parts
    task = next_task(counters, worker, tasks)
    while task < tasks:
        group = task // parts
        panels = min(GROUP, k.panels - group * GROUP)
        first = (task - group * parts) * SQUARE
        blocks = (min(SQUARE, k.channels - first) + n - 1) // n
        for b in range(blocks * panels):
            j, i = (b // blocks, b % blocks) if k.rotated else (b % panels, b // panels)
            # What does not fill the last vector of channels is done with some before it, again.
            c, filter = min(first + i * n, k.channels - n), (group * GROUP + j) * width
            _gather(taps, k, w, c, filter, min(width, k.filters - filter), work, near)
            for i in range(0, n * width, n):
                source = (near + i, len(taps) * n * width, n * width)
                target = (start + i, len(size) * step, step)
                weight_tile(size, taps, work, source, None, work, target, None)
            to = ((group * GROUP * points + j) * k.channels + c) * width
            for xi in range(points):
                _put(k, work, start + xi * step, u, to)
                to += panels * k.channels * width
        task = next_task(counters, worker, tasks)


@inlined
def _gather(taps, k, w, first, filter, count, near, start):
    """Copy a block: [r²][channels][filters], for one vector of channels and one panel of filters.

    Filters that there are not get zeros.
    """
    n, width, last = lanes(w), panel(w), len(taps) ** 2 - 1
    for tap in range(last + 1):
        for f in range(0, width, n):
            to, here = start + tap * n * width + f, count - f
            turned = ((last - tap) * k.filters + filter + f) * k.channels + first
            if here < n:  # some of them, or none
                at = (tap * k.channels + first) * k.filters + filter + f
                for i in range(n):
                    if not k.rotated:
                        store(near, to + i * width, load_part(w, at + i * k.filters, here))
                        continue
                    store(near, to + i * width, broadcast(w.dtype.type(0)))
                    for j in range(here):
                        near[to + i * width + j] = w[turned + j * k.channels + i]
            elif k.rotated:
                at = turned
                transpose(w, at, k.channels, near, to, width)
                for i in range(n):  # the block of the next channels
                    prefetch(w, at + i * k.channels + n)
            else:
                at = (tap * k.channels + first) * k.filters + filter + f
                for i in range(n):
                    store(near, to + i * width, load(w, at + i * k.filters))
                    prefetch(w, at + i * k.filters + width)  # that of the next filters


@inlined
def _put(k, work, start, u, to):
    """Copy transformed weights of a block to where they belong."""
    for i in range(0, lanes(u) * panel(u), lanes(u)):
        if k.uncached:
            store_uncached(u, to + i, load(work, start + i))
        else:
            store(u, to + i, load(work, start + i))
