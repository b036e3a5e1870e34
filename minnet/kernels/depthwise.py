"""Depthwise convolution: every channel has one filter of its own and sees no other channel.

There is no matrix product in it. Each multiply-add needs two numbers that serve nothing else, so
the loops only see to it that they are vectors of neighbouring channels and still in the cache. A
task is some rows of images; places where the window leaves the image are found before the loops
over channels begin, which therefore are the same everywhere. Inside the image four neighbours are
done at once. Forward is compiled for the usual windows one by one: then the compiler sees which
numbers of the image several of the four share, and loads them once.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.memory import ALIGNMENT
from minnet.kernels.panels import flat
from minnet.kernels.vector import at_least, broadcast, fma, lanes, load, prefetch, store
from minnet.program import run, worked_out
from minnet.tensor import Array

Shape = tuple[int, ...]

#: Parts of the images whose shares of the kernel's gradient are summed one by one. The number does
#: not depend on the threads, and so neither does the result.
PARTS = 16
USUAL = (3, 5)  # taps in a row of a window that has a forward kernel of its own
UNKNOWN = (0,), (0,)
BAND = 8  # rows of a task: neighbours, for their windows see the same rows


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
    sizes = _sizes(x.shape, window)
    y = memory.empty((sizes.n, sizes.rows, sizes.columns, sizes.channels), x.dtype)
    bias = np.zeros(sizes.channels, x.dtype) if b is None else b
    floor = x.dtype.type(0 if relu else -np.inf)
    workers = workers_for(y.size * w[..., 0].size // max(1, sizes.channels))
    operands = (flat(x), flat(w), flat(bias))
    _forward(workers, *_known(sizes), sizes, *operands, floor, y.reshape(-1))
    return y


def input_gradient(g: Array, w: Array, window: Window, input_shape: Shape) -> Array:
    """How the images' gradient, of shape ``input_shape``, follows from the output's."""
    sizes = _sizes(input_shape, window)
    dx = memory.empty(input_shape, g.dtype)
    workers = workers_for(dx.size * sizes.kh * sizes.kw)
    if window.strides == (1, 1):
        # A convolution of g with the kernel turned by 180 degrees.
        turned = sizes._replace(
            height=sizes.rows, width=sizes.columns, rows=sizes.height, columns=sizes.width,
            top=(sizes.kh - 1) * sizes.dh - sizes.top, left=(sizes.kw - 1) * sizes.dw - sizes.left,
        )  # fmt: skip
        operands = flat(g), flat(w[::-1, ::-1]), flat(np.zeros(sizes.channels, g.dtype))
        floor = g.dtype.type(-np.inf)
        _forward(workers, *_known(turned), turned, *operands, floor, dx.reshape(-1))
    else:
        seen = _seen(sizes)
        room = np.empty((workers, 2, sizes.kh * sizes.kw), np.int64)
        _input_gradient(workers, sizes, *seen, flat(g), flat(w), room, dx.reshape(-1))
    return dx


@functools.lru_cache(maxsize=1024)
def _seen(p: Sizes) -> tuple[Array, Array]:
    """Which window sees a row (or column) with which tap: ``[places][taps]``, -1 for none."""
    axes = (
        (p.height, p.kh, p.dh, p.top, p.down, p.rows),
        (p.width, p.kw, p.dw, p.left, p.across, p.columns),
    )
    tables = []
    for length, taps, dilation, before, stride, count in axes:
        distance = np.arange(length)[:, None] + before - np.arange(taps) * dilation
        window, rest = np.divmod(distance, stride)
        tables.append(np.where((rest == 0) & (window >= 0) & (window < count), window, -1))
    return tables[0], tables[1]


def weight_gradient(x: Array, g: Array, window: Window) -> Array:
    """The kernel's gradient ``(kh, kw, 1, c)``."""
    sizes = _sizes(x.shape, window)
    shares = np.empty((PARTS, sizes.kh, sizes.kw, 1, sizes.channels), x.dtype)
    run(np.copyto, shares, 0)
    workers = workers_for(g.size * sizes.kh * sizes.kw)
    _weight_gradient(workers, sizes, flat(x), flat(g), shares.reshape(-1))
    dw: Array = worked_out(np.add.reduce, shares)
    return dw


def _sizes(shape: Shape, window: Window) -> Sizes:
    (top, _), (left, _) = window.padding
    places = window.output_size(shape[1], shape[2])
    return Sizes._make(
        (*shape, *places, *window.size, *window.strides, top, left, *window.dilation)
    )


def _known(sizes: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """kw and across of a usual window as the lengths of tuples, known where it is compiled."""
    usual = sizes.kw in USUAL and sizes.across <= 2 and sizes.dw == 1
    return ((0,) * sizes.kw, (0,) * sizes.across) if usual else UNKNOWN


@compiled
def _inside(start, step, count, size):
    """The taps first … end - 1 whose places ``start + tap * step`` are from 0 to size - 1."""
    first = max(0, (step - 1 - start) // step)
    end = min(count, (size - 1 - start) // step + 1)
    return first, max(first, end)


@kernel
def _forward(workers, counters, kw, across, sizes, x, w, bias, floor, y):
    band = max(1, min(BAND, sizes.n * sizes.rows // (4 * workers)))
    portions = (sizes.n * sizes.rows + band - 1) // band
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            row = turn * band
            for i in range(row, min(row + band, sizes.n * sizes.rows)):
                _forward_row(kw, across, sizes, i, x, w, bias, floor, y)
            turn = next_task(counters, worker, portions)


@compiled
def _forward_row(kw, across, p, task, x, w, bias, floor, y):
    image, i = task // p.rows, task % p.rows
    above = i * p.down - p.top
    rows = _inside(above, p.dh, p.kh, p.height)
    start = (image * p.height + above) * p.width
    to = task * p.columns
    # Places from which the window, all of it, is between the image's left and right border.
    first = min(p.columns, max(0, (p.left + p.across - 1) // p.across))
    room = p.width - 1 - (p.kw - 1) * p.dw + p.left
    end = max(first, min(p.columns, room // p.across + 1 if room >= 0 else 0))
    if end - first < 4:
        first = end = p.columns
    for j in range(first, end, 4):
        j = min(j, end - 4)  # the last four may overlap with those before
        at = start + j * p.across - p.left
        for row in range(p.down):  # what the next row's windows see and this one's do not
            below = (at + ((p.kh - 1) * p.dh + 1 + row) * p.width) * p.channels
            for k in range(below, below + 4 * p.across * p.channels, ALIGNMENT // x.itemsize):
                prefetch(x, k)
        _four_places(kw, across, p, rows, at, x, w, bias, floor, y, to + j)
    for j in range(first):
        _place(p, rows, j, start, x, w, bias, floor, y, to)
    for j in range(end, p.columns):
        _place(p, rows, j, start, x, w, bias, floor, y, to)


@compiled
def _four_places(kw, across, p, rows, start, x, w, bias, floor, y, to):
    """Four neighbours that see nothing beside the image: each weight is loaded once for all."""
    step, size, floors = lanes(x), p.channels, broadcast(floor)
    taps, stride, dilation = p.kw, p.across, p.dw
    if len(kw) > 1:
        taps, stride, dilation = len(kw), len(across), 1
    top, down = (start + rows[0] * p.dh * p.width) * size, p.dh * p.width * size
    for c in range(0, size - size % step, step):
        one = two = three = four = load(bias, c)
        at, tap = top + c, rows[0] * taps * size + c
        for _ in range(rows[0], rows[1]):
            for s in range(taps):
                weight, first = load(w, tap + s * size), s * dilation
                one = fma(load(x, at + first * size), weight, one)
                two = fma(load(x, at + (first + stride) * size), weight, two)
                three = fma(load(x, at + (first + 2 * stride) * size), weight, three)
                four = fma(load(x, at + (first + 3 * stride) * size), weight, four)
            at += down
            tap += taps * size
        store(y, to * size + c, at_least(one, floors))
        store(y, (to + 1) * size + c, at_least(two, floors))
        store(y, (to + 2) * size + c, at_least(three, floors))
        store(y, (to + 3) * size + c, at_least(four, floors))
    for c in range(size - size % step, size):
        for j in range(4):
            _one_channel(p, rows, (0, p.kw), start + j * p.across, c, x, w, bias, floor, y, to + j)


@compiled
def _place(p, rows, j, start, x, w, bias, floor, y, to):
    """One place anywhere."""
    step, size = lanes(x), p.channels
    before = j * p.across - p.left
    columns = _inside(before, p.dw, p.kw, p.width)
    for c in range(0, size - size % step, step):
        total = load(bias, c)
        for r in range(rows[0], rows[1]):
            for s in range(columns[0], columns[1]):
                at = (start + before + r * p.dh * p.width + s * p.dw) * size + c
                total = fma(load(x, at), load(w, (r * p.kw + s) * size + c), total)
        store(y, (to + j) * size + c, at_least(total, broadcast(floor)))
    for c in range(size - size % step, size):
        _one_channel(p, rows, columns, start + before, c, x, w, bias, floor, y, to + j)


@compiled
def _one_channel(p, rows, columns, start, c, x, w, bias, floor, y, to):
    """One of the channels that are too few for a vector."""
    size = p.channels
    total = bias[c]
    for r in range(rows[0], rows[1]):
        for s in range(columns[0], columns[1]):
            at = (start + r * p.dh * p.width + s * p.dw) * size + c
            total += x[at] * w[(r * p.kw + s) * size + c]
    y[to * size + c] = floor if total < floor else total


@kernel
def _input_gradient(workers, counters, sizes, down, across, g, w, room, dx):
    band = max(1, min(BAND, sizes.n * sizes.height // (4 * workers)))
    portions = (sizes.n * sizes.height + band - 1) // band
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            row = turn * band
            for y in range(row, min(row + band, sizes.n * sizes.height)):
                _input_gradient_row(sizes, y, down, across, g, w, room[worker], dx)
            turn = next_task(counters, worker, portions)


@compiled
def _input_gradient_row(p, task, down, across, g, w, pairs, dx):
    """A place gets the sum over the windows that see it; ``pairs``: where they are in g and w."""
    image, y = task // p.height, task % p.height
    step, size = lanes(g), p.channels
    whole = size - size % step
    for x in range(p.width):
        to, count = (task * p.width + x) * size, 0
        for s in range(p.kw):
            if across[x, s] >= 0:
                for r in range(p.kh):
                    if down[y, r] >= 0:
                        window = (image * p.rows + down[y, r]) * p.columns + across[x, s]
                        pairs[0, count] = window * size
                        pairs[1, count] = (r * p.kw + s) * size
                        count += 1
        for c in range(0, whole, step):
            total = broadcast(g.dtype.type(0))
            for k in range(count):
                total = fma(load(g, pairs[0, k] + c), load(w, pairs[1, k] + c), total)
            store(dx, to + c, total)
        for c in range(whole, size):
            total = g.dtype.type(0)
            for k in range(count):
                total += g[pairs[0, k] + c] * w[pairs[1, k] + c]
            dx[to + c] = total


@kernel
def _weight_gradient(workers, counters, sizes, x, g, shares):
    for worker in prange(workers):
        task = next_task(counters, worker, PARTS)
        while task < PARTS:
            rows = sizes.n * sizes.rows
            for row in range(task * rows // PARTS, (task + 1) * rows // PARTS):
                _weight_gradient_row(sizes, row, x, g, shares, task)
            task = next_task(counters, worker, PARTS)


@compiled
def _weight_gradient_row(p, row, x, g, shares, part):
    image, i = row // p.rows, row % p.rows
    step = lanes(x)
    whole = p.channels - p.channels % step
    pixel = p.across * p.channels
    for r in range(p.kh):
        y = i * p.down - p.top + r * p.dh
        if y < 0 or y >= p.height:
            continue
        for s in range(p.kw):
            j0, j1 = _inside(s * p.dw - p.left, p.across, p.columns, p.width)
            start = ((image * p.height + y) * p.width + s * p.dw - p.left) * p.channels
            to = ((part * p.kh + r) * p.kw + s) * p.channels
            pairs = j0 + (j1 - j0) // 2 * 2
            for c in range(0, whole, step):
                # Two sums, as each addition waits for the one before.
                total, other = load(shares, to + c), broadcast(x.dtype.type(0))
                for j in range(j0, pairs, 2):
                    at, there = start + j * pixel + c, (row * p.columns + j) * p.channels + c
                    total = fma(load(x, at), load(g, there), total)
                    other = fma(load(x, at + pixel), load(g, there + p.channels), other)
                if pairs < j1:
                    at, there = (
                        start + pairs * pixel + c,
                        (row * p.columns + pairs) * p.channels + c,
                    )
                    total = fma(load(x, at), load(g, there), total)
                store(shares, to + c, total + other)
            for c in range(whole, p.channels):
                for j in range(j0, j1):
                    at = start + j * pixel + c
                    shares[to + c] += x[at] * g[(row * p.columns + j) * p.channels + c]
