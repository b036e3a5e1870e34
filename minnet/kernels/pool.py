"""Pooling: the largest number, or the mean, of what a window sees of each channel.

Pixels follow one another in memory, each with all its channels, so vectors run over the channels.
The arithmetic takes less time than moving the images, if vectors do it: for windows of 2x2 taps in
one go, for all others one row of taps after the other, with the result in the first-level cache.

Strides, padding and dilation are all in the tables of :class:`minnet.kernels.geometry.Plan`: the
loops know nothing of them.

Arguments and results are those of :mod:`minnet.kernels.reference`, in float32 or float64. For the
gradients see :mod:`minnet.kernels.pool_gradients`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window, plan
from minnet.kernels.jit import compiled, kernel, next_task, portion, workers_for
from minnet.kernels.panels import flat
from minnet.kernels.places import (
    better,
    load_whole,
    load_whole_part,
    store_whole,
    store_whole_part,
)
from minnet.kernels.vector import (
    broadcast,
    lanes,
    load,
    load_part,
    maximum,
    store,
    store_part,
)
from minnet.tensor import Array

NO_PLACES = np.empty(0, np.int32)

#: For helpers that are called for each pixel: a call with all these arguments would take longer
#: than what it does.
inlined: Any = numba.njit(nogil=True, error_model="numpy", forceinline=True)


# -- two rows of two taps --------------------------------------------------------------------------
#
# ``start`` is where the first tap's pixel begins in ``x``, ``at`` where the place begins in ``y``,
# and ``size`` the number of channels. The last ones may not fill a vector.


@inlined
def four(x: Any, start: int, down: int, across: int) -> Any:
    """A vector from each of the taps."""
    a, b = load(x, start), load(x, start + across)
    return a, b, load(x, start + down), load(x, start + down + across)


@inlined
def four_parts(x: Any, start: int, down: int, across: int, count: int) -> Any:
    a, b = load_part(x, start, count), load_part(x, start + across, count)
    below = start + down
    return a, b, load_part(x, below, count), load_part(x, below + across, count)


@inlined
def largest_of_four(x: Any, start: int, down: int, across: int, y: Any, at: int, size: int) -> None:
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        a, b, c, d = four(x, start + k, down, across)
        store(y, at + k, maximum(maximum(a, b), maximum(c, d)))
    if whole < size:
        a, b, c, d = four_parts(x, start + whole, down, across, size - whole)
        store_part(y, at + whole, maximum(maximum(a, b), maximum(c, d)), size - whole)


@inlined
def best_of(a: Any, b: Any, c: Any, d: Any, taps: Any) -> Any:
    """The largest of four, and its tap's number."""
    best, tap = better(a, taps[0], b, taps[1])
    best, tap = better(best, tap, c, taps[2])
    return better(best, tap, d, taps[3])


@inlined
def best_and_place_of_four(
    x: Any,
    start: int,
    down: int,
    across: int,
    tap: int,
    kw: int,
    y: Any,
    places: Any,
    at: int,
    size: int,
) -> None:
    number = x.dtype.type
    upper = broadcast(number(tap)), broadcast(number(tap + 1))
    lower = broadcast(number(tap + kw)), broadcast(number(tap + kw + 1))
    taps = upper[0], upper[1], lower[0], lower[1]
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        a, b, c, d = four(x, start + k, down, across)
        best, place = best_of(a, b, c, d, taps)
        store(y, at + k, best)
        store_whole(places, at + k, place)
    if whole < size:
        a, b, c, d = four_parts(x, start + whole, down, across, size - whole)
        best, place = best_of(a, b, c, d, taps)
        store_part(y, at + whole, best, size - whole)
        store_whole_part(places, at + whole, place, size - whole)


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


# -- any window, one row of taps after the other ---------------------------------------------------
#
# ``seen`` is where the pixel of the first of ``count`` taps begins in ``x``.


@inlined
def fill(y: Any, at: int, size: int, value: Any) -> None:
    values = broadcast(value)
    whole = size - size % lanes(y)
    for k in range(at, at + whole, lanes(y)):
        store(y, k, values)
    if whole < size:
        store_part(y, at + whole, values, size - whole)


@inlined
def raise_to(x: Any, seen: int, across: int, count: int, y: Any, at: int, size: int) -> None:
    """y[at …] = the largest of itself and of what the taps see."""
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        best = load(y, at + k)
        for s in range(count):
            best = maximum(best, load(x, seen + s * across + k))
        store(y, at + k, best)
    if whole < size:
        best, rest = load_part(y, at + whole, size - whole), size - whole
        for s in range(count):
            best = maximum(best, load_part(x, seen + s * across + whole, rest))
        store_part(y, at + whole, best, rest)


@inlined
def raise_and_note(
    x: Any, seen: int, across: int, count: int, tap: int, y: Any, places: Any, at: int, size: int
) -> None:
    """The same, and which tap it was to places[at …]; the first has the number ``tap``."""
    number = x.dtype.type
    whole = size - size % lanes(x)
    for k in range(0, whole, lanes(x)):
        best = load(y, at + k)
        place = load_whole(places, at + k, best)
        for s in range(count):
            new = load(x, seen + s * across + k)
            best, place = better(best, place, new, broadcast(number(tap + s)))
        store(y, at + k, best)
        store_whole(places, at + k, place)
    if whole < size:
        best, rest = load_part(y, at + whole, size - whole), size - whole
        place = load_whole_part(places, at + whole, best, rest)
        for s in range(count):
            new = load_part(x, seen + s * across + whole, rest)
            best, place = better(best, place, new, broadcast(number(tap + s)))
        store_part(y, at + whole, best, rest)
        store_whole_part(places, at + whole, place, rest)


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


# -- sliding ---------------------------------------------------------------------------------------
#
# A task is one row of places of one image; workers take ``size`` of them at a time. ``rows``,
# ``columns`` and ``sizes`` are those of a :class:`minnet.kernels.geometry.Plan`.


@compiled
def largest_row(
    task: int, x: Any, y: Any, places: Any, rows: Any, columns: Any, sizes: Any
) -> None:
    """``places`` is empty where nobody asks for them."""
    height, width, channels, kw, down, across = sizes
    image, i = divmod(task, len(rows))
    row, tall, noting = image * height + rows[i, 0], rows[i, 2], len(places) > 0
    at = task * len(columns) * channels
    for j in range(len(columns)):
        start, wide = (row * width + columns[j, 0]) * channels, columns[j, 2]
        tap = rows[i, 1] * kw + columns[j, 1]
        if tall == 2 and wide == 2 and noting:
            best_and_place_of_four(x, start, down, across, tap, kw, y, places, at, channels)
        elif tall == 2 and wide == 2:
            largest_of_four(x, start, down, across, y, at, channels)
        else:
            fill(y, at, channels, x.dtype.type(-np.inf))
            if noting:
                places[at : at + channels] = tap if tall and wide else 0
            for r in range(tall):
                seen, first = start + r * down, tap + r * kw
                if noting:
                    raise_and_note(x, seen, across, wide, first, y, places, at, channels)
                else:
                    raise_to(x, seen, across, wide, y, at, channels)
        at += channels


@kernel
def _largest(
    workers: int,
    counters: Any,
    tasks: int,
    size: int,
    x: Any,
    y: Any,
    places: Any,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    portions = (tasks + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            for task in range(turn * size, min((turn + 1) * size, tasks)):
                largest_row(task, x, y, places, rows, columns, sizes)
            turn = next_task(counters, worker, portions)


@compiled
def mean_row(task: int, x: Any, y: Any, count: int, rows: Any, columns: Any, sizes: Any) -> None:
    """``count``: what sums are divided by, 0 for the number of taps inside the image."""
    height, width, channels, _, down, across = sizes
    image, i = divmod(task, len(rows))
    row, tall = image * height + rows[i, 0], rows[i, 2]
    at = task * len(columns) * channels
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
    tasks: int,
    size: int,
    x: Any,
    y: Any,
    count: int,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    portions = (tasks + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            for task in range(turn * size, min((turn + 1) * size, tasks)):
                mean_row(task, x, y, count, rows, columns, sizes)
            turn = next_task(counters, worker, portions)


# -- for callers -----------------------------------------------------------------------------------


def max_pool(x: Array, window: Window) -> Array:
    """The largest element of each window and channel, ``(n, *places, channels)``.

    The padding counts as -infinity. A window with a NaN gives NaN.
    """
    return _max_pool(x, window, noting=False)[0]


def max_pool_places(x: Array, window: Window) -> tuple[Array, Array]:
    """:func:`max_pool`, and for each of its elements (int32) which tap it came from.

    Tap (r, s) has the number ``r * kw + s``. Among equals the first counts; so does the first NaN.
    It is a tap inside the image, unless the whole window is padding: then 0.
    """
    return _max_pool(x, window, noting=True)


def _max_pool(x: Array, window: Window, noting: bool) -> tuple[Array, Array]:
    slid = plan(window, *x.shape[1:])
    y = memory.empty((x.shape[0], *slid.places, x.shape[3]), x.dtype)
    places = memory.empty(y.shape, np.int32) if noting else NO_PLACES
    if y.size:
        tasks, outputs = x.shape[0] * slid.places[0], (y.reshape(-1), places.reshape(-1))
        workers, tables = workers_for(x.size), (slid.rows, slid.columns, slid.sizes)
        size = portion(tasks, workers)
        _largest(workers, tasks, size, flat(x), *outputs, *tables)
    return y, places


def average_pool(x: Array, window: Window, count_padding: bool = False) -> Array:
    """The mean of each window and channel, ``(n, *places, channels)``.

    The padding counts as zeros with ``count_padding``; otherwise it is left out of the mean.
    """
    slid = plan(window, *x.shape[1:])
    y = memory.empty((x.shape[0], *slid.places, x.shape[3]), x.dtype)
    if y.size:
        tasks, count = x.shape[0] * slid.places[0], divisor(window, count_padding)
        workers, tables = workers_for(x.size), (slid.rows, slid.columns, slid.sizes)
        size = portion(tasks, workers)
        _mean(workers, tasks, size, flat(x), y.reshape(-1), count, *tables)
    return y


def divisor(window: Window, count_padding: bool) -> int:
    """What sums are divided by; 0 stands for the number of taps inside the image."""
    return window.size[0] * window.size[1] if count_padding else 0
