"""The gradients of a depthwise convolution, with respect to its images and to its weights.

**Images.** With stride 1 a convolution again, of ``g`` with the kernel turned by 180 degrees. With
larger strides each pixel gathers from the windows that see it; every second (or third …) pixel of a
row is seen with the same taps, so four of these are done at once.

**Weights.** Each tap gets the sum, over all places, of the pixel that it saw times the gradient of
what came out there. In the usual windows, a row of taps is done at once where all of it is inside
the image, so that each number of the gradient is loaded once for all of them.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.depthwise import BAND, Shape, Sizes, convolve, inside, known, middle, sizes_of
from minnet.kernels.geometry import Window
from minnet.kernels.jit import compiled, inlined, kernel, next_task, workers_for
from minnet.kernels.panels import flat
from minnet.kernels.vector import broadcast, fma, lanes, load, store
from minnet.program import run, worked_out
from minnet.tensor import Array

#: Parts of the images whose shares of the kernel's gradient are summed one by one. The number does
#: not depend on the threads, and so neither does the result.
PARTS = 16


def input_gradient(g: Array, w: Array, window: Window, input_shape: Shape) -> Array:
    """How the images' gradient, of shape ``input_shape``, follows from the output's."""
    sizes = sizes_of(input_shape, window)
    dx = memory.empty(input_shape, g.dtype)
    if window.strides == (1, 1):
        # A convolution of g with the kernel turned by 180 degrees.
        turned = sizes._replace(
            height=sizes.rows, width=sizes.columns, rows=sizes.height, columns=sizes.width,
            top=(sizes.kh - 1) * sizes.dh - sizes.top, left=(sizes.kw - 1) * sizes.dw - sizes.left,
        )  # fmt: skip
        convolve(turned, g, w[::-1, ::-1], None, False, dx)
    else:
        seen = _seen(sizes)
        workers = workers_for(dx.size * sizes.kh * sizes.kw)
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
    sizes = sizes_of(x.shape, window)
    shares = np.empty((PARTS, sizes.kh, sizes.kw, 1, sizes.channels), x.dtype)
    run(np.copyto, shares, 0)
    workers = workers_for(g.size * sizes.kh * sizes.kw)
    _weight_gradient(workers, *known(sizes), sizes, flat(x), flat(g), shares.reshape(-1))
    dw: Array = worked_out(np.add.reduce, shares)
    return dw


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
def _input_gradient_row(p, line, down, across, g, w, pairs, dx):
    """Where all windows are inside g, every second (or third …) pixel sees the same taps."""
    left = max(0, (p.kw - 1) * p.dw - p.left)
    right = min(p.width, p.columns * p.across - p.left)
    group = 4 * p.across
    end = left + max(0, right - left) // group * group if p.channels >= lanes(g) else left
    x = 0
    while x < p.width:
        whole = left <= x < end
        for start in range(x, x + (p.across if whole else 1)):
            _pixels(p, line, start, 4 if whole else 1, down, across, g, w, pairs, dx)
        x += group if whole else 1


@inlined
def _pixels(p, line, x, number, down, across, g, w, pairs, dx):
    """One pixel, or four that the same taps see, gets the sum over the windows that see it.

    ``pairs``: where in g and w the windows and taps are.
    """
    image, y = line // p.height, line % p.height
    step, size = lanes(g), p.channels
    count, to = 0, (line * p.width + x) * size
    for s in range(p.kw):
        if across[x, s] >= 0:
            for r in range(p.kh):
                if down[y, r] >= 0:
                    window = (image * p.rows + down[y, r]) * p.columns + across[x, s]
                    pairs[0, count] = window * size
                    pairs[1, count] = (r * p.kw + s) * size
                    count += 1
    whole, beside = size - size % step, p.across * size
    if number == 4:
        for c in range(0, whole, step):
            one = two = three = four = broadcast(g.dtype.type(0))
            for k in range(count):
                weight, at = load(w, pairs[1, k] + c), pairs[0, k] + c
                one = fma(load(g, at), weight, one)
                two = fma(load(g, at + size), weight, two)
                three = fma(load(g, at + 2 * size), weight, three)
                four = fma(load(g, at + 3 * size), weight, four)
            store(dx, to + c, one)
            store(dx, to + beside + c, two)
            store(dx, to + 2 * beside + c, three)
            store(dx, to + 3 * beside + c, four)
    else:
        for c in range(0, whole, step):
            total = broadcast(g.dtype.type(0))
            for k in range(count):
                total = fma(load(g, pairs[0, k] + c), load(w, pairs[1, k] + c), total)
            store(dx, to + c, total)
    for i in range(number):
        for c in range(whole, size):
            total = g.dtype.type(0)
            for k in range(count):
                total += g[pairs[0, k] + i * size + c] * w[pairs[1, k] + c]
            dx[to + i * beside + c] = total


@kernel
def _weight_gradient(workers, counters, kw, across, sizes, x, g, shares):
    lines = sizes.n * sizes.rows
    for worker in prange(workers):
        task = next_task(counters, worker, PARTS)
        while task < PARTS:
            for line in range(task * lines // PARTS, (task + 1) * lines // PARTS):
                _line(kw, across, sizes, line, x, g, shares, task)
            task = next_task(counters, worker, PARTS)


@compiled
def _line(kw, across, p, line, x, g, shares, part):
    """What a row of places gives."""
    left, right = middle(p) if len(kw) > 1 else (p.columns, p.columns)
    above = line % p.rows * p.down - p.top
    rows = inside(above, p.dh, p.kh, p.height)
    for r in range(rows[0], rows[1]):
        under = line // p.rows * p.height + above + r * p.dh
        start = (under * p.width - p.left) * p.channels
        to = (part * p.kh + r) * p.kw * p.channels
        if left < right:
            _row_of_taps(kw, across, p, line, left, right, start, x, g, shares, to)
        for s in range(p.kw):
            # Places whose windows have this tap inside the image.
            first, end = inside(s * p.dw - p.left, p.across, p.columns, p.width)
            at, tap = start + s * p.dw * p.channels, to + s * p.channels
            _one_tap(p, line, first, min(left, end), at, x, g, shares, tap)
            _one_tap(p, line, max(first, right), end, at, x, g, shares, tap)


@compiled
def _row_of_taps(kw, across, p, row, first, end, start, x, g, shares, to):
    """What a row of three or five taps gets, all of which are inside the image."""
    step, size, taps, stride = lanes(x), p.channels, len(kw), len(across)
    pixel = stride * size
    for c in range(0, size - size % step, step):
        one = two = three = four = five = broadcast(x.dtype.type(0))
        at, here = start + first * pixel + c, (row * p.columns + first) * size + c
        for _ in range(first, end):
            slope = load(g, here)
            one = fma(load(x, at), slope, one)
            two = fma(load(x, at + size), slope, two)
            three = fma(load(x, at + 2 * size), slope, three)
            if taps > 3:
                four = fma(load(x, at + 3 * size), slope, four)
                five = fma(load(x, at + 4 * size), slope, five)
            at += pixel
            here += size
        _add(shares, to + c, one)
        _add(shares, to + size + c, two)
        _add(shares, to + 2 * size + c, three)
        if taps > 3:
            _add(shares, to + 3 * size + c, four)
            _add(shares, to + 4 * size + c, five)
    for c in range(size - size % step, size):
        for s in range(taps):
            total = x.dtype.type(0)
            for j in range(first, end):
                at = start + j * pixel + s * size + c
                total += x[at] * g[(row * p.columns + j) * size + c]
            shares[to + s * size + c] += total


@inlined
def _add(shares, to, total):
    store(shares, to, load(shares, to) + total)


@compiled
def _one_tap(p, row, first, end, start, x, g, shares, to):
    """What one tap gets from the places ``first`` … ``end - 1`` of a row."""
    step, size = lanes(x), p.channels
    pixel = p.across * size
    if first >= end:
        return
    for c in range(0, size - size % step, step):
        # Two sums, as each addition waits for the one before.
        total, other = load(shares, to + c), broadcast(x.dtype.type(0))
        at, there = start + first * pixel + c, (row * p.columns + first) * size + c
        for _ in range((end - first) // 2):
            total = fma(load(x, at), load(g, there), total)
            other = fma(load(x, at + pixel), load(g, there + size), other)
            at += 2 * pixel
            there += 2 * size
        if (end - first) % 2:
            total = fma(load(x, at), load(g, there), total)
        store(shares, to + c, total + other)
    for c in range(size - size % step, size):
        for j in range(first, end):
            at = start + j * pixel + c
            shares[to + c] += x[at] * g[(row * p.columns + j) * size + c]
