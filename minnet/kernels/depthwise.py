"""Depthwise convolution: every channel has one filter of its own and sees no other channel.

There is no matrix product in it. Each multiply-add needs two numbers that serve nothing else, so
the loops only see to it that they are vectors of neighbouring channels and still in the cache. A
task is a band of rows. Four neighbours in a row are done at once, then the four below them, whose
windows see mostly the same pixels, and so down the band. Places where the window leaves the image
on its left or right are done one by one. The loops are compiled for the usual windows one by one:
then the compiler sees which numbers of the image several of the four share, and loads them once.
See :mod:`minnet.kernels.depthwise_gradients` for the way back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window
from minnet.kernels.jit import compiled, inlined, kernel, next_task, workers_for
from minnet.kernels.memory import ALIGNMENT
from minnet.kernels.panels import flat
from minnet.kernels.vector import at_least, broadcast, fma, lanes, load, prefetch, store
from minnet.tensor import Array

Shape = tuple[int, ...]

USUAL = (3, 5)  # taps in a row of a window that has kernels of its own
UNKNOWN = (0,), (0,)
BAND = 8  # rows of a task


class Sizes(NamedTuple):
    """The numbers that all loops need."""

    n: int
    height: int
    width: int
    channels: int
    rows: int  # of the output
    columns: int
    kh: int
    kw: int
    down: int  # strides
    across: int
    top: int
    left: int
    dh: int  # dilation
    dw: int


def forward(x: Array, w: Array, b: Array | None, window: Window, relu: bool = False) -> Array:
    """``x`` (n, h, w, c) with ``w`` (kh, kw, 1, c) and ``b`` (c,): ``(n, *places, c)``."""
    sizes = sizes_of(x.shape, window)
    y = memory.empty((sizes.n, sizes.rows, sizes.columns, sizes.channels), x.dtype)
    convolve(sizes, x, w, b, relu, y)
    return y


def convolve(sizes: Sizes, x: Array, w: Array, b: Array | None, relu: bool, y: Array) -> None:
    """The convolution of ``x`` that these sizes describe, written into ``y``."""
    bias = np.zeros(sizes.channels, x.dtype) if b is None else b
    floor = x.dtype.type(0 if relu else -np.inf)
    operands = (flat(x), flat(w), flat(bias))
    workers = workers_for(y.size * sizes.kh * sizes.kw)
    _forward(workers, *known(sizes), sizes, *operands, floor, y.reshape(-1))


def sizes_of(shape: Shape, window: Window) -> Sizes:
    """Those of images of this shape."""
    (top, _), (left, _) = window.padding
    places = window.output_size(shape[1], shape[2])
    return Sizes._make(
        (*shape, *places, *window.size, *window.strides, top, left, *window.dilation)
    )


def known(sizes: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """kw and across of a usual window as the lengths of tuples, known where it is compiled."""
    usual = sizes.kw in USUAL and sizes.across <= 2 and sizes.dw == 1
    return ((0,) * sizes.kw, (0,) * sizes.across) if usual else UNKNOWN


@compiled
def inside(start, step, count, size):
    """The taps first … end - 1 whose places ``start + tap * step`` are from 0 to size - 1."""
    if step == 1:  # dividing takes long
        first, end = max(0, -start), min(count, size - start)
    else:
        first = max(0, (step - 1 - start) // step)
        end = min(count, (size - 1 - start) // step + 1)
    return first, max(first, end)


@inlined
def _fetch(x, start, count):
    """Ask for so many numbers, which are needed soon."""
    for k in range(start, start + count, ALIGNMENT // x.itemsize):
        prefetch(x, k)


@compiled
def middle(p):
    """Places from which the window, all of it, is between the image's left and right border."""
    left = min(p.columns, max(0, (p.left + p.across - 1) // p.across))
    room = p.width - 1 - (p.kw - 1) * p.dw + p.left
    return left, max(left, min(p.columns, room // p.across + 1 if room >= 0 else 0))


@kernel
def _forward(workers, counters, kw, across, sizes, x, w, bias, floor, y):
    lines = sizes.n * sizes.rows
    band = max(1, min(BAND, lines // (4 * workers)))
    portions = (lines + band - 1) // band
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            row = turn * band
            _band(kw, across, sizes, row, min(row + band, lines), x, w, bias, floor, y)
            turn = next_task(counters, worker, portions)


@compiled
def _band(kw, across, p, row, end, x, w, bias, floor, y):
    left, right = middle(p)
    if right - left < 4:
        left = right = p.columns
    for j in range(left, right, 4):
        # The last four may overlap with those before.
        _four_columns(kw, across, p, row, end, min(j, right - 4), x, w, bias, floor, y)
    for i in range(row, end):
        for j in range(left):
            _place(p, i, j, x, w, bias, floor, y)
        for j in range(right, p.columns):
            _place(p, i, j, x, w, bias, floor, y)


@compiled
def _four_columns(kw, across, p, row, end, j, x, w, bias, floor, y):
    """Four neighbours that see nothing beside the image: each weight is loaded once for all."""
    step, size, floors = lanes(x), p.channels, broadcast(floor)
    taps, stride, dilation = p.kw, p.across, p.dw
    if len(kw) > 1:
        taps, stride, dilation = len(kw), len(across), 1
    image, i = row // p.rows, row % p.rows
    down = p.dh * p.width * size
    for line in range(row, end):
        above = i * p.down - p.top
        rows = inside(above, p.dh, p.kh, p.height)
        corner = ((image * p.height + above) * p.width + j * p.across - p.left) * size
        to = (line * p.columns + j) * size
        for under in range(p.down):  # what the next row's windows see and this one's do not
            below = corner + ((p.kh - 1) * p.dh + 1 + under) * p.width * size
            _fetch(x, below, 4 * p.across * size)
        top = corner + rows[0] * down
        for c in range(0, size - size % step, step):
            one = two = three = four = load(bias, c)
            at, tap = top + c, rows[0] * taps * size + c
            for _ in range(rows[0], rows[1]):
                for s in range(taps):
                    weight, here = load(w, tap + s * size), at + s * dilation * size
                    one = fma(load(x, here), weight, one)
                    two = fma(load(x, here + stride * size), weight, two)
                    three = fma(load(x, here + 2 * stride * size), weight, three)
                    four = fma(load(x, here + 3 * stride * size), weight, four)
                at += down
                tap += taps * size
            store(y, to + c, at_least(one, floors))
            store(y, to + size + c, at_least(two, floors))
            store(y, to + 2 * size + c, at_least(three, floors))
            store(y, to + 3 * size + c, at_least(four, floors))
        for c in range(size - size % step, size):
            for k in range(4):
                at = corner + k * p.across * size + c
                _one_channel(p, rows, (0, p.kw), at, c, x, w, bias, floor, y, to + k * size)
        i += 1
        if i == p.rows:
            image, i = image + 1, 0


@compiled
def _place(p, row, j, x, w, bias, floor, y):
    """One place anywhere."""
    step, size = lanes(x), p.channels
    image, i = row // p.rows, row % p.rows
    above, before = i * p.down - p.top, j * p.across - p.left
    rows = inside(above, p.dh, p.kh, p.height)
    columns = inside(before, p.dw, p.kw, p.width)
    corner = ((image * p.height + above) * p.width + before) * size
    to = (row * p.columns + j) * size
    for c in range(0, size - size % step, step):
        total = load(bias, c)
        for r in range(rows[0], rows[1]):
            for s in range(columns[0], columns[1]):
                at = corner + (r * p.dh * p.width + s * p.dw) * size + c
                total = fma(load(x, at), load(w, (r * p.kw + s) * size + c), total)
        store(y, to + c, at_least(total, broadcast(floor)))
    for c in range(size - size % step, size):
        _one_channel(p, rows, columns, corner + c, c, x, w, bias, floor, y, to)


@compiled
def _one_channel(p, rows, columns, corner, c, x, w, bias, floor, y, to):
    """One of the channels that are too few for a vector."""
    total = bias[c]
    for r in range(rows[0], rows[1]):
        for s in range(columns[0], columns[1]):
            at = corner + (r * p.dh * p.width + s * p.dw) * p.channels
            total += x[at] * w[(r * p.kw + s) * p.channels + c]
    y[to + c] = floor if total < floor else total
