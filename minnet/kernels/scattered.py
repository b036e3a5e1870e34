"""The gradient of a convolution's images, by what each pixel of ``g`` sends back.

A pixel of the result has seen a window of the image, and sends its gradient back to all of it: to
a row of the window, with all channels, these are neighbouring numbers in memory. So a row of the
images' gradient is a matrix product of rows of ``g`` with the kernel's rows, transposed: (pixels,
filters) times (filters, window's columns * channels), summed over those rows of ``g`` that have
seen it. Row i of the product begins ``stride * channels`` numbers after row i-1, so neighbouring
rows overlap: each number is added to what is there already.

The other way, in :mod:`minnet.kernels.direct_gradients`, collects for each pixel of the images what
it is sent. This one multiplies no zeros outside of ``g``, and fills a panel's columns with taps and
channels together, where the other one has a few channels in them and zeros beside.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.direct import STRIP_BYTES, Shape
from minnet.kernels.geometry import Window, remainders
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import filled, panel_of, product_lines, width_for
from minnet.kernels.panels import flat, pack
from minnet.kernels.vector import clear, copy, lanes
from minnet.program import run
from minnet.tensor import Array

BAND = 4  # rows of a task


class _Sizes(NamedTuple):
    """What the kernel is told; its plan is these numbers as an array."""

    images: int
    height: int
    width: int
    channels: int
    rows: int  # of g
    columns: int
    filters: int
    places: int  # rows of the images with this remainder
    start: int  # the first of them
    stride: int  # from one to the next
    first: int  # row of g that the first tap meets, for the first of them
    pixel: int  # from one pixel's window to the next, in numbers
    left: int  # numbers of the window that are left of the image
    taps: int
    panels: int
    strip: int  # panels in one pass over a row of g
    room: int  # for a row of the result with all that hangs over
    band: int


def possible(window: Window, groups: int) -> bool:
    """Whether this way can be gone: with groups, or with a dilation along the rows, a window's row
    is not one piece of memory."""
    return groups == 1 and window.dilation[1] == 1


@functools.lru_cache(maxsize=1024)
def worth_while(
    g_shape: Shape, w_shape: Shape, window: Window, groups: int, input_shape: Shape, dtype: Any
) -> bool:
    """Whether this way is possible and has fewer multiplications than the other one."""
    _, kw, channels, _ = w_shape
    scattering = g_shape[2] * filled(kw * channels, dtype)
    collecting = -(-input_shape[2] // window.strides[1]) * kw * filled(channels, dtype)
    return possible(window, groups) and 1.1 * scattering < collecting


def input_gradient(g: Array, w: Array, window: Window, input_shape: Shape) -> Array:
    """See :func:`minnet.kernels.reference.conv2d_input_gradient`; there is one group."""
    dx = memory.empty(input_shape, g.dtype)
    columns, filters = w.shape[1] * w.shape[2], w.shape[3]
    width = width_for(columns, g.dtype)
    workers = workers_for(g.size * w.size // filters)
    plans, complete = _plans(g.shape, w.shape, window, input_shape, workers, g.dtype)
    if not complete:
        run(np.copyto, dx, 0)  # rows that no window sees
    for plan, taps, ranges, starts, room in plans:
        packed = pack(flat(w), starts, 1, filters, filters, columns, panel_of(g.dtype, width))
        work = memory.empty((workers * room,), g.dtype)
        scatter(workers, width, plan, flat(g), taps, ranges, packed, dx.reshape(-1), work)
    return dx


@functools.lru_cache(maxsize=1024)
def _plans(
    g_shape: Shape, w_shape: Shape, window: Window, input_shape: Shape, workers: int, dtype: Any
) -> tuple[list[tuple[Array, Array, Array, Array, int]], bool]:
    """For each remainder of rows what to do, and whether all rows have something to be done.

    To be done: the _Sizes as an array; where in g the taps begin; for each row the first of the
    taps that are inside g, and how many; where they begin in w; the room for one worker's rows.
    """
    kh, kw, channels, filters = w_shape
    images, height, width, _ = input_shape
    _, rows, columns, _ = g_shape
    (down, across), ((top, _), (left, _)) = window.strides, window.padding
    panel = panel_of(dtype, width_for(kw * channels, dtype))
    panels = -(-kw * channels // panel)
    room = max((columns - 1) * across * channels + panels * panel, (width + left) * channels)
    plans = []
    found = remainders(kh, down, window.dilation[0], top, height)
    for start, taps, first, step in found:
        places = -(-(height - start) // down)
        meets = first + np.arange(places)[:, None] + np.arange(len(taps)) * step
        inside = (meets >= 0) & (meets < rows)
        ranges = np.stack([inside.argmax(1), inside.sum(1)], 1)
        strip = max(1, STRIP_BYTES // (len(taps) * filters * panel * dtype.itemsize))
        band = max(1, min(BAND, images * places // (4 * workers)))
        sizes = _Sizes(
            images=images, height=height, width=width, channels=channels, rows=rows,
            columns=columns, filters=filters, places=places, start=start, stride=down,
            first=first, pixel=across * channels, left=left * channels, taps=len(taps),
            panels=panels, strip=strip, room=room, band=band,
        )  # fmt: skip
        plans.append((
            flat(np.array(sizes)), flat(np.arange(len(taps)) * (step * columns * filters)),
            flat(ranges), flat(np.array(taps) * (kw * channels * filters)), band * room,
        ))  # fmt: skip
    return plans, len(found) == min(down, height)


@kernel
def scatter(workers, counters, width, plan, g, taps, ranges, packed, dx, work):
    """See the module."""
    sizes = _sizes(plan)
    places, band = sizes.places, sizes.band
    total = sizes.images * places
    portions = (total + band - 1) // band
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            row, end = turn * band, min((turn + 1) * band, total)
            while row < end:
                last = _alike(row, end, places, ranges)
                _rows(width, plan, worker, row, last, g, taps, ranges, packed, dx, work)
                row = last
            turn = next_task(counters, worker, portions)


@compiled
def _alike(row, end, places, ranges):
    """The end of the rows that have the same taps inside g, in the same image."""
    place = 2 * (row % places)
    first, count = ranges[place], ranges[place + 1]
    while row < end and place < 2 * places:
        if ranges[place] != first or ranges[place + 1] != count:
            break
        row += 1
        place += 2
    return row


@compiled
def _sizes(p):
    return _Sizes(
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11],
        p[12], p[13], p[14], p[15], p[16], p[17],
    )  # fmt: skip


@compiled
def _rows(vectors, plan, worker, row, end, g, taps, ranges, packed, dx, work):
    """Some rows of the gradient of one of the images."""
    s = _sizes(plan)
    home = worker * s.band * s.room
    image, place = row // s.places, row % s.places
    width = len(vectors) * lanes(dx)
    tap = s.filters * width  # of a panel
    skipped, kept = ranges[2 * place], ranges[2 * place + 1]
    start = (image * s.rows + s.first + place) * s.columns * s.filters
    clear(work, home, (end - row) * s.room)
    for j in range(0, s.panels, s.strip):
        product_lines(
            vectors, s.columns, (end - row, s.columns * s.filters, s.room),
            min(s.strip, s.panels - j), s.filters,
            g, (start, s.filters, 1), taps, (skipped, kept),
            packed, ((j * s.taps + skipped) * tap, s.taps * tap, tap, width),
            work, (home + j * width, s.pixel, 1), None, (0, 0), None,
        )  # fmt: skip
    size = s.width * s.channels
    to = ((image * s.height) + s.start + place * s.stride) * size
    for i in range(end - row):
        copy(work, home + i * s.room + s.left, dx, to + i * s.stride * size, size)
