"""Pooling: the largest number that a window sees of each channel.

Pixels follow one another in memory, each with all its channels, so vectors run over the channels.
The arithmetic takes less time than moving the images, if vectors do it: for windows of 2x2 taps in
one go, for all others one row of taps after the other, with the result in the first-level cache.

Strides, padding and dilation are all in the tables of :class:`minnet.kernels.geometry.Plan`: the
loops know nothing of them.

Arguments and results are those of :mod:`minnet.kernels.reference`, in float32 or float64. For means
see :mod:`minnet.kernels.pool_means`, for the gradients :mod:`minnet.kernels.pool_gradients`.
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
    x: Any, start: int, down: int, across: int, taps: Any, y: Any, places: Any, at: int, size: int
) -> None:
    """``taps``: a vector for each tap, filled with its number."""
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


# -- sliding ---------------------------------------------------------------------------------------
#
# Workers take some rows of places at a time, counted through all images: those from ``first`` to
# ``end``. (Passing all these arrays takes longer than a short row does.) ``rows``, ``columns`` and
# ``sizes`` are those of a :class:`minnet.kernels.geometry.Plan`.


@inlined
def numbers(first: Any, below: Any, like: Any) -> Any:
    """Of two rows of two taps: vectors filled with each tap's number."""
    number = like.dtype.type
    upper = broadcast(number(first)), broadcast(number(first + 1))
    return upper[0], upper[1], broadcast(number(below)), broadcast(number(below + 1))


@compiled
def largest_of_fours(
    first: int, end: int, x: Any, y: Any, places: Any, rows: Any, columns: Any, sizes: Any
) -> None:
    """Of 2x2 taps, all of them inside the image. ``places`` is empty where nobody asks for them."""
    height, width, channels, _, down, across = sizes
    noting, taps = len(places) > 0, numbers(0, 2, x)
    at = first * len(columns) * channels
    for line in range(first, end):
        image, i = divmod(line, len(rows))
        row = (image * height + rows[i, 0]) * width
        for j in range(len(columns)):
            start = (row + columns[j, 0]) * channels
            if noting:
                best_and_place_of_four(x, start, down, across, taps, y, places, at, channels)
            else:
                largest_of_four(x, start, down, across, y, at, channels)
            at += channels


@compiled
def largest_rows(
    first: int, end: int, x: Any, y: Any, places: Any, rows: Any, columns: Any, sizes: Any
) -> None:
    """Of any taps."""
    height, width, channels, kw, down, across = sizes
    noting = len(places) > 0
    at = first * len(columns) * channels
    for line in range(first, end):
        image, i = divmod(line, len(rows))
        row, tall = image * height + rows[i, 0], rows[i, 2]
        for j in range(len(columns)):
            start, wide = (row * width + columns[j, 0]) * channels, columns[j, 2]
            tap = rows[i, 1] * kw + columns[j, 1]
            if tall == 2 and wide == 2 and noting:
                taps = numbers(tap, tap + kw, x)
                best_and_place_of_four(x, start, down, across, taps, y, places, at, channels)
            elif tall == 2 and wide == 2:
                largest_of_four(x, start, down, across, y, at, channels)
            else:
                fill(y, at, channels, x.dtype.type(-np.inf))
                if noting:
                    places[at : at + channels] = tap if tall and wide else 0
                for r in range(tall):
                    seen, number = start + r * down, tap + r * kw
                    if noting:
                        raise_and_note(x, seen, across, wide, number, y, places, at, channels)
                    else:
                        raise_to(x, seen, across, wide, y, at, channels)
            at += channels


@kernel
def _largest(
    workers: int,
    counters: Any,
    lines: int,
    size: int,
    fours: bool,
    x: Any,
    y: Any,
    places: Any,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    """Workers take ``size`` of all ``lines`` at a time."""
    portions = (lines + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            end = min((turn + 1) * size, lines)
            if fours:
                largest_of_fours(turn * size, end, x, y, places, rows, columns, sizes)
            else:
                largest_rows(turn * size, end, x, y, places, rows, columns, sizes)
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
        lines, outputs = x.shape[0] * slid.places[0], (y.reshape(-1), places.reshape(-1))
        workers, tables = workers_for(x.size), (slid.rows, slid.columns, slid.sizes)
        size = portion(lines, workers)
        _largest(workers, lines, size, slid.fours, flat(x), *outputs, *tables)
    return y, places
