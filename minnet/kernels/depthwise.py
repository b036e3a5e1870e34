"""Depthwise convolution: every channel has one filter of its own and sees no other channel.

There is no matrix product in it. Each multiply-add needs two numbers that serve nothing else, so
the loops only see to it that they are vectors of neighbouring channels and still in the cache. A
task is a row of images; places where the window leaves the image are found before the loops over
channels begin, which therefore are the same everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window
from minnet.kernels.jit import compiled, kernel, new_counter, workers_for
from minnet.kernels.panels import flat
from minnet.kernels.vector import at_least, broadcast, fma, lanes, load, next_task, store
from minnet.tensor import Array

Shape = tuple[int, ...]

#: Parts of the images whose shares of the kernel's gradient are summed one by one. The number does
#: not depend on the threads, and so neither does the result.
PARTS = 16


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
    _forward(workers, new_counter(), sizes, *operands, floor, y.reshape(-1))
    return y


def input_gradient(g: Array, w: Array, window: Window, input_shape: Shape) -> Array:
    """How the images' gradient, of shape ``input_shape``, follows from the output's."""
    sizes = _sizes(input_shape, window)
    dx = memory.empty(input_shape, g.dtype)
    workers = workers_for(dx.size * sizes.kh * sizes.kw)
    _input_gradient(workers, new_counter(), sizes, flat(g), flat(w), dx.reshape(-1))
    return dx


def weight_gradient(x: Array, g: Array, window: Window) -> Array:
    """The kernel's gradient ``(kh, kw, 1, c)``."""
    sizes = _sizes(x.shape, window)
    shares = np.zeros((PARTS, sizes.kh, sizes.kw, 1, sizes.channels), x.dtype)
    workers = workers_for(g.size * sizes.kh * sizes.kw)
    _weight_gradient(workers, new_counter(), sizes, flat(x), flat(g), shares.reshape(-1))
    return np.asarray(shares.sum(0))


def _sizes(shape: Shape, window: Window) -> Sizes:
    (top, _), (left, _) = window.padding
    places = window.output_size(shape[1], shape[2])
    return Sizes._make(
        (*shape, *places, *window.size, *window.strides, top, left, *window.dilation)
    )


@compiled
def _inside(start, step, count, size):
    """The taps first … end - 1 whose places ``start + tap * step`` are from 0 to size - 1."""
    first = max(0, (step - 1 - start) // step)
    end = min(count, (size - 1 - start) // step + 1)
    return first, max(first, end)


@kernel
def _forward(workers, counter, sizes, x, w, bias, floor, y):
    for _ in prange(workers):
        task = next_task(counter)
        while task < sizes.n * sizes.rows:
            _forward_row(sizes, task, x, w, bias, floor, y)
            task = next_task(counter)


@compiled
def _forward_row(p, task, x, w, bias, floor, y):
    image, i = task // p.rows, task % p.rows
    above = i * p.down - p.top
    r0, r1 = _inside(above, p.dh, p.kh, p.height)
    step = lanes(x)
    whole = p.channels - p.channels % step
    floors = broadcast(floor)
    for j in range(p.columns):
        before = j * p.across - p.left
        s0, s1 = _inside(before, p.dw, p.kw, p.width)
        start = ((image * p.height + above) * p.width + before) * p.channels
        to = (task * p.columns + j) * p.channels
        for c in range(0, whole, step):
            total = load(bias, c)
            for r in range(r0, r1):
                for s in range(s0, s1):
                    at = start + (r * p.dh * p.width + s * p.dw) * p.channels + c
                    total = fma(load(x, at), load(w, (r * p.kw + s) * p.channels + c), total)
            store(y, to + c, at_least(total, floors))
        for c in range(whole, p.channels):
            one = bias[c]
            for r in range(r0, r1):
                for s in range(s0, s1):
                    at = start + (r * p.dh * p.width + s * p.dw) * p.channels + c
                    one += x[at] * w[(r * p.kw + s) * p.channels + c]
            y[to + c] = floor if one < floor else one


@kernel
def _input_gradient(workers, counter, sizes, g, w, dx):
    for _ in prange(workers):
        task = next_task(counter)
        while task < sizes.n * sizes.height:
            _input_gradient_row(sizes, task, g, w, dx)
            task = next_task(counter)


@compiled
def _seen_from(place, tap, dilation, before, stride, count):
    """Which window sees ``place`` with this tap; -1 where none does."""
    distance = place + before - tap * dilation
    window = distance // stride
    return window if distance >= 0 and window * stride == distance and window < count else -1


@compiled
def _input_gradient_row(p, task, g, w, dx):
    image, y = task // p.height, task % p.height
    step = lanes(g)
    whole = p.channels - p.channels % step
    row = p.width * p.channels
    for k in range(task * row, (task + 1) * row):
        dx[k] = 0
    for r in range(p.kh):
        i = _seen_from(y, r, p.dh, p.top, p.down, p.rows)
        if i < 0:
            continue
        for x in range(p.width):
            to = task * row + x * p.channels
            for s in range(p.kw):
                j = _seen_from(x, s, p.dw, p.left, p.across, p.columns)
                if j < 0:
                    continue
                start = ((image * p.rows + i) * p.columns + j) * p.channels
                tap = (r * p.kw + s) * p.channels
                for c in range(0, whole, step):
                    total = fma(load(g, start + c), load(w, tap + c), load(dx, to + c))
                    store(dx, to + c, total)
                for c in range(whole, p.channels):
                    dx[to + c] += g[start + c] * w[tap + c]


@kernel
def _weight_gradient(workers, counter, sizes, x, g, shares):
    for _ in prange(workers):
        task = next_task(counter)
        while task < PARTS:
            rows = sizes.n * sizes.rows
            for row in range(task * rows // PARTS, (task + 1) * rows // PARTS):
                _weight_gradient_row(sizes, row, x, g, shares, task)
            task = next_task(counter)


@compiled
def _weight_gradient_row(p, row, x, g, shares, part):
    image, i = row // p.rows, row % p.rows
    step = lanes(x)
    whole = p.channels - p.channels % step
    for r in range(p.kh):
        y = i * p.down - p.top + r * p.dh
        if y < 0 or y >= p.height:
            continue
        for s in range(p.kw):
            j0, j1 = _inside(s * p.dw - p.left, p.across, p.columns, p.width)
            start = ((image * p.height + y) * p.width + s * p.dw - p.left) * p.channels
            to = ((part * p.kh + r) * p.kw + s) * p.channels
            for c in range(0, whole, step):
                total = load(shares, to + c)
                for j in range(j0, j1):
                    at = start + j * p.across * p.channels + c
                    total = fma(load(x, at), load(g, (row * p.columns + j) * p.channels + c), total)
                store(shares, to + c, total)
            for c in range(whole, p.channels):
                for j in range(j0, j1):
                    at = start + j * p.across * p.channels + c
                    shares[to + c] += x[at] * g[(row * p.columns + j) * p.channels + c]
