"""Pooling by means, which works as that by the largest number does: see :mod:`minnet.kernels.pool`.

Arguments and results are those of :mod:`minnet.kernels.reference`, in float32 or float64.
"""

from __future__ import annotations

from typing import Any

from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window, plan
from minnet.kernels.jit import compiled, kernel, next_task, portion, workers_for
from minnet.kernels.panels import flat
from minnet.kernels.pool import fill, four, four_parts, inlined
from minnet.kernels.vector import broadcast, lanes, load, load_part, store, store_part
from minnet.tensor import Array


@inlined
def mean_of_four(
    x: Any, start: int, down: int, across: int, share: Any, y: Any, at: int, size: int
) -> None:
    shares = broadcast(share)
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        a, b, c, d = four(x, start + k, down, across)
        store(y, at + k, ((a + b) + (c + d)) * shares)
    if whole < size:
        a, b, c, d = four_parts(x, start + whole, down, across, size - whole)
        store_part(y, at + whole, ((a + b) + (c + d)) * shares, size - whole)


@inlined
def add_to(x: Any, seen: int, across: int, count: int, y: Any, at: int, size: int) -> None:
    """y[at …] += what the taps see."""
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        total = load(y, at + k)
        for s in range(count):
            total = total + load(x, seen + s * across + k)
        store(y, at + k, total)
    if whole < size:
        total, rest = load_part(y, at + whole, size - whole), size - whole
        for s in range(count):
            total = total + load_part(x, seen + s * across + whole, rest)
        store_part(y, at + whole, total, rest)


@compiled
def mean_rows(
    first: int, end: int, x: Any, y: Any, count: int, rows: Any, columns: Any, sizes: Any
) -> None:
    """``count``: what sums are divided by, 0 for the number of taps inside the image."""
    height, width, channels, _, down, across = sizes
    at = first * len(columns) * channels
    for line in range(first, end):
        image, i = divmod(line, len(rows))
        row, tall = image * height + rows[i, 0], rows[i, 2]
        for j in range(len(columns)):
            start, wide = (row * width + columns[j, 0]) * channels, columns[j, 2]
            share = x.dtype.type(1 / (count or max(tall * wide, 1)))
            if tall == 2 and wide == 2:
                mean_of_four(x, start, down, across, share, y, at, channels)
            else:
                fill(y, at, channels, x.dtype.type(0))
                for r in range(tall):
                    add_to(x, start + r * down, across, wide, y, at, channels)
                for k in range(at, at + channels):
                    y[k] *= share
            at += channels


@kernel
def _mean(
    workers: int,
    counters: Any,
    lines: int,
    size: int,
    x: Any,
    y: Any,
    count: int,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    portions = (lines + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            end = min((turn + 1) * size, lines)
            mean_rows(turn * size, end, x, y, count, rows, columns, sizes)
            turn = next_task(counters, worker, portions)


def average_pool(x: Array, window: Window, count_padding: bool = False) -> Array:
    """The mean of each window and channel, ``(n, *places, channels)``.

    The padding counts as zeros with ``count_padding``; otherwise it is left out of the mean.
    """
    slid = plan(window, *x.shape[1:])
    y = memory.empty((x.shape[0], *slid.places, x.shape[3]), x.dtype)
    if y.size:
        lines, count = x.shape[0] * slid.places[0], divisor(window, count_padding)
        workers, tables = workers_for(x.size), (slid.rows, slid.columns, slid.sizes)
        size = portion(lines, workers)
        _mean(workers, lines, size, flat(x), y.reshape(-1), count, *tables)
    return y


def divisor(window: Window, count_padding: bool) -> int:
    """What sums are divided by; 0 stands for the number of taps inside the image."""
    return window.size[0] * window.size[1] if count_padding else 0
