"""The gradients of a convolution of any kind, with respect to its images and to its weights.

**Images.** With stride 1, each pixel of the images gets what the pixels of ``g`` around it send
back through the weights: again a convolution, of ``g`` with the kernel turned by 180 degrees and
its channels and filters swapped. With larger strides only every second (or third …) tap of the
kernel meets a pixel of ``g``, and which ones depends on the pixel's place. All pixels of which the
rows leave the same remainder when divided by the stride, and the columns likewise, see the same
taps: so there is one convolution with stride 1 for each pair of remainders, with its part of the
kernel. Where :mod:`minnet.kernels.scattered` has less to multiply, it is done that way instead.

**Weights.** The gradient for tap (r, s), a matrix of channels by filters, is a matrix product too:
the pixels that the tap saw, transposed, times the pixels of ``g``. The inner sum goes over all
pixels of all images, and so over the taps of the micro-kernel: one for each row of pixels. A task
takes some of the rows, or some of the filters; tasks for different rows have results of their own,
which are added in the end, so the result does not depend on which thread was faster.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory, scattered
from minnet.kernels.direct import Correlation, Place, Shape, Sight, copy_band
from minnet.kernels.geometry import Window, remainders
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import panel_of, product_rows, width_for
from minnet.kernels.panels import flat, pack, pack_panel
from minnet.kernels.vector import lanes
from minnet.program import run, worked_out
from minnet.tensor import Array

BAND_BYTES = 1 << 17  # of images and of g in a worker's cache


# -- images ----------------------------------------------------------------------------------------


def input_gradient(g: Array, w: Array, window: Window, groups: int, input_shape: Shape) -> Array:
    """See :func:`minnet.kernels.reference.conv2d_input_gradient`."""
    if g.size and scattered.worth_while(g.shape, w.shape, window, groups, input_shape, g.dtype):
        return scattered.input_gradient(g, w, window, input_shape)
    dx = memory.empty(input_shape, g.dtype)
    if not dx.size:
        return dx
    filters, groups_filters = w.shape[3], w.shape[3] // groups
    each = input_shape[3] // groups
    panel = panel_of(g.dtype, width_for(each, g.dtype))
    parts, complete = _parts(g.shape, w.shape, window, groups, input_shape, g.dtype)
    if not complete:
        run(np.copyto, dx, 0)  # pixels that no window sees
    for correlation, starts in parts:
        packed = pack(flat(w), starts, 1, filters, groups_filters, each, panel)
        correlation(g, packed, None, False, dx)
    return dx


@functools.lru_cache(maxsize=1024)
def _parts(
    g_shape: Shape, w_shape: Shape, window: Window, groups: int, input_shape: Shape, dtype: Any
) -> tuple[list[tuple[Correlation, Array]], bool]:
    """For each pair of remainders what to do, and whether all pixels have something to be done.

    To be done: how windows slide over g, and where their taps begin in w.
    """
    _, kw, each, filters = w_shape
    _, height, width, channels = input_shape
    (sh, sw), (dh, dw), ((top, _), (left, _)) = window.strides, window.dilation, window.padding
    down = remainders(window.size[0], sh, dh, top, height)
    across = remainders(window.size[1], sw, dw, left, width)
    parts = []
    for y, row_taps, row_first, row_step in down:
        for x, column_taps, column_first, column_step in across:
            taps = np.add.outer(np.array(row_taps) * kw, column_taps).reshape(-1)
            starts = np.arange(groups)[:, None] * (filters // groups) + taps * (each * filters)
            size = len(row_taps), len(column_taps)
            sight = Sight(size, (1, 1), (row_step, column_step), (row_first, column_first))
            place = Place(
                (y * width + x) * channels, height * width * channels,
                sh * width * channels, sw * channels,
            )  # fmt: skip
            places = -(-(height - y) // sh), -(-(width - x) // sw)
            parts.append(
                (Correlation(g_shape, sight, groups, each, places, place, dtype), flat(starts))
            )
    return parts, len(parts) == min(sh, height) * min(sw, width)


# -- weights ---------------------------------------------------------------------------------------


class _Sizes(NamedTuple):
    """What the kernel is told; its plan is these numbers as an array."""

    height: int
    width: int
    groups: int
    channels: int  # in one group
    filters: int  # in one group
    rows: int  # of the gradient g
    columns: int
    row_step: int  # the strides
    column_step: int
    top: int  # where the first window begins: so many rows above the image
    left: int
    padded: int  # whether bands are copied
    wide: int  # length of a row that the windows see, in pixels
    run: int  # rows of the result for one entry of the table
    band: int  # rows of g at a time
    total: int  # rows of g in all images
    slices: int  # parts of these rows
    share: int  # panels in a task
    room: int  # for a band of the images


def weight_gradient(x: Array, g: Array, window: Window, groups: int) -> Array:
    """See :func:`minnet.kernels.reference.conv2d_weight_gradient`."""
    (kh, kw), channels, filters = window.size, x.shape[3] // groups, g.shape[3]
    shape = (kh, kw, channels, filters)
    if not x.size or not g.size:
        return np.zeros(shape, x.dtype)
    workers = workers_for(g.size * kh * kw * channels)
    plan, runs, lines, slices, room, across = _gradient_plan(
        x.shape, g.shape, window, groups, workers, x.dtype
    )
    space = memory.empty((workers * room,), x.dtype)
    sums = memory.empty((slices, kh * kw * channels, groups, across), x.dtype)
    correlate_gradients(
        workers, width_for(filters // groups, x.dtype), plan,
        flat(x), runs, lines, flat(g), sums.reshape(-1), space, flat(space),
    )  # fmt: skip
    total = sums[0] if slices == 1 else worked_out(np.add.reduce, sums)
    if across > filters // groups:
        total = worked_out(np.ascontiguousarray, total[:, :, : filters // groups])
    dw: Array = total.reshape(shape)
    return dw


@functools.lru_cache(maxsize=1024)
def _gradient_plan(
    shape: Shape, g_shape: Shape, window: Window, groups: int, workers: int, dtype: Any
) -> tuple[Array, Array, Array, int, int, int]:
    """(_Sizes, where runs of the result begin, where rows begin, slices, room, columns of sums)."""
    n, height, width, channels = shape
    _, rows, columns, filters = g_shape
    (kh, kw), (dh, dw), (row_step, column_step) = window.size, window.dilation, window.strides
    (top, _), (left, _) = window.padding
    sight = Sight(window.size, window.strides, window.dilation, (-top, -left))
    seen = sight.span((rows, columns))
    padded = top or left or seen[0] > height or seen[1] > width
    wide = seen[1] if padded else width
    if groups == 1 and dw == 1:
        runs, run = np.arange(kh) * (dh * wide * channels), kw * channels
    else:
        grid = np.arange(kh)[:, None] * (dh * wide) + np.arange(kw) * dw
        runs, run = grid.reshape(-1) * channels, channels // groups
    each = filters // groups
    size, panel = dtype.itemsize, panel_of(dtype, width_for(each, dtype))
    count = -(-each // panel)
    row_bytes = row_step * wide * channels * size + columns * panel * size
    band = max(1, min(rows, BAND_BYTES // row_bytes))
    total, share, slices = n * rows, count, 1
    if workers > 1:
        share = max(1, count // (2 * workers))
        slices = min(total, -(-2 * workers // -(-count // share)))
    band_rows = sight.span((band, 1))[0]
    room = band_rows * wide * channels if padded else 0
    sizes = _Sizes(
        height=height, width=width, groups=groups, channels=channels // groups,
        filters=each, rows=rows, columns=columns, row_step=row_step,
        column_step=column_step, top=top, left=left, padded=padded, wide=wide, run=run,
        band=band, total=total, slices=slices, share=share, room=room,
    )  # fmt: skip
    lines = np.arange(band) * (row_step * wide * channels)
    return (
        flat(np.array(sizes)), flat(runs), flat(lines), slices,
        room + band * columns * panel, count * panel,
    )  # fmt: skip


@kernel
def correlate_gradients(workers, counters, width, plan, x, runs, lines, g, sums, work, view):
    """See the module; ``view`` is a read-only view of ``work``."""
    s = _sizes(plan)
    panel = len(width) * lanes(g)
    share = s.share
    parts = ((s.filters + panel - 1) // panel + share - 1) // share
    tasks = s.slices * parts
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            # Neighbouring tasks, which a worker has, are for the same rows: for the same images.
            place = (task // parts, task % parts * share)
            _gradient_task(place, worker, width, plan, x, runs, lines, g, sums, work, view)
            task = next_task(counters, worker, tasks)


@compiled
def _sizes(p):
    return _Sizes(
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13],
        p[14], p[15], p[16], p[17], p[18],
    )  # fmt: skip


@compiled
def _gradient_task(place, worker, width, plan, x, runs, lines, g, sums, work, view):
    s = _sizes(plan)
    piece, part = place
    row, end = piece * s.total // s.slices, (piece + 1) * s.total // s.slices
    home = worker * (s.room + s.band * s.columns * len(width) * lanes(g))
    channels = s.groups * s.channels
    packed = home + s.room
    add = 0
    while row < end:
        image, top = row // s.rows, row % s.rows
        count = min(s.band, s.rows - top, end - row)
        begin = top * s.row_step - s.top
        where = (part, piece, row, count, add)
        if s.padded:
            tall = s.room // (s.wide * channels) - (s.band - count) * s.row_step
            corner = image * s.height * s.width * channels
            copy_band(
                x, corner, begin, tall, s.height, s.width, s.left, s.wide, channels, work, home
            )
            _gradient_band(width, where, s, view, home, runs, lines, g, sums, work, view, packed)
        else:
            start = (image * s.height + begin) * s.width * channels
            _gradient_band(width, where, s, x, start, runs, lines, g, sums, work, view, packed)
        row += count
        add = 1


@compiled
def _gradient_band(vectors, where, s, x, start, runs, lines, g, sums, work, view, packed):
    """Add what one band gives to the sums, for some of the filters."""
    first, piece, row, count, add = where
    width = len(vectors) * lanes(g)
    panels = (s.filters + width - 1) // width
    across = s.groups * panels * width  # one row of the sums
    pixels = count * s.columns
    pixel = s.column_step * s.groups * s.channels
    filters = s.groups * s.filters
    for group in range(s.groups):
        for j in range(first, min(first + s.share, panels)):
            at = row * s.columns * filters + group * s.filters + j * width
            pack_panel(g, at, filters, 1, pixels, s.filters - j * width, work, packed, width)
            for r in range(len(runs)):
                a_at = (start + runs[r] + group * s.channels, 1, pixel)
                line = (piece * len(runs) + r) * s.run * s.groups + group
                to = (line * panels + j) * width
                product_rows(
                    vectors, s.run, 1, s.columns, x, a_at, lines, (0, count),
                    view, (packed, 0, s.columns * width, width),
                    sums, (to, across, add), None, (0, 0), None,
                )  # fmt: skip
