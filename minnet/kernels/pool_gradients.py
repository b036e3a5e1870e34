"""The gradients of pooling: from each place of the window back to the pixels that it saw.

Most windows tile the image: each pixel is seen once. Then every number is written once, and a task
is some rows of places. Otherwise windows overlap or leave pixels out, so pixels are cleared first
and then added to. Nobody else may add to the same pixels meanwhile, so a task is an image, or some
channels of one where there are fewer images than workers. A row is cleared just before the first
window reaches it, and is still in the cache when numbers are added to it.

Arguments and results are those of :mod:`minnet.kernels.reference`, in float32 or float64.
"""

from __future__ import annotations

from typing import Any

from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Window, plan
from minnet.kernels.jit import compiled, kernel, next_task, portion, workers_for
from minnet.kernels.panels import flat
from minnet.kernels.places import load_whole, load_whole_part, where_equal
from minnet.kernels.pool import NO_PLACES, inlined, numbers
from minnet.kernels.pool_means import divisor
from minnet.kernels.vector import (
    broadcast,
    lanes,
    load,
    load_part,
    store,
    store_part,
)
from minnet.tensor import Array

Shape = tuple[int, ...]

FEWEST = 16  # channels of a task: a cache line of float32


# The next two go through a row of places, the first at g[at]. ``columns`` and ``sizes``
# are those of a :class:`minnet.kernels.geometry.Plan`. The pixels begin at dx[row];
# ``tall`` rows of taps see them, the first of which begins with the tap of number ``tap``. Only
# the channels from ``start`` to ``stop`` are worked on.


@inlined
def give(
    g: Any,
    places: Any,
    at: int,
    dx: Any,
    row: int,
    tap: int,
    tall: int,
    columns: Any,
    sizes: Any,
    start: int,
    stop: int,
    tiled: bool,
) -> None:
    """Give each number to the pixel whose tap it came from, and 0 to the others."""
    _, _, channels, kw, down, across = sizes
    number, none = g.dtype.type, broadcast(g.dtype.type(0))
    rest = (stop - start) % lanes(g)
    whole = stop - rest
    for j in range(len(columns)):
        first = row + columns[j, 0] * channels
        for r in range(tall):
            for s in range(columns[j, 2]):
                pixel, this = first + r * down + s * across, tap + columns[j, 1] + r * kw + s
                numbers = broadcast(number(this))
                for k in range(start, whole, lanes(g)):
                    given = load(g, at + k)
                    mine = where_equal(load_whole(places, at + k, given), numbers, given, none)
                    store(dx, pixel + k, mine if tiled else load(dx, pixel + k) + mine)
                if whole < stop:
                    given = load_part(g, at + whole, rest)
                    place = load_whole_part(places, at + whole, given, rest)
                    mine = where_equal(place, numbers, given, none)
                    if not tiled:
                        mine = load_part(dx, pixel + whole, rest) + mine
                    store_part(dx, pixel + whole, mine, rest)
        at += channels


@inlined
def share_out(
    g: Any,
    count: int,
    at: int,
    dx: Any,
    row: int,
    tall: int,
    columns: Any,
    sizes: Any,
    start: int,
    stop: int,
    tiled: bool,
) -> None:
    """Give equal shares to all pixels: ``count`` of them, or 0 for as many as are inside."""
    _, _, channels, _, down, across = sizes
    rest = (stop - start) % lanes(g)
    whole = stop - rest
    for j in range(len(columns)):
        first = row + columns[j, 0] * channels
        share = g.dtype.type(1 / (count or max(tall * columns[j, 2], 1)))
        shares = broadcast(share)
        for r in range(tall):
            for s in range(columns[j, 2]):
                pixel = first + r * down + s * across
                for k in range(start, whole, lanes(g)):
                    mine = shares * load(g, at + k)
                    store(dx, pixel + k, mine if tiled else load(dx, pixel + k) + mine)
                if whole < stop:
                    mine = shares * load_part(g, at + whole, rest)
                    if not tiled:
                        mine = load_part(dx, pixel + whole, rest) + mine
                    store_part(dx, pixel + whole, mine, rest)
        at += channels


@inlined
def clear(dx: Any, pixel: int, end: int, channels: int, start: int, stop: int) -> None:
    """Zero in the channels from ``start`` to ``stop`` of the pixels from ``pixel`` to ``end``."""
    if stop - start == channels:
        dx[pixel * channels : end * channels] = 0
    else:
        for first in range(pixel * channels, end * channels, channels):
            dx[first + start : first + stop] = 0


@compiled
def give_to_fours(
    first: int, end: int, g: Any, places: Any, dx: Any, rows: Any, columns: Any, sizes: Any
) -> None:
    """What :func:`give` does, for some rows of places, where 2x2 taps tile the images."""
    height, width, channels, _, down, across = sizes
    none, taps, rest = broadcast(g.dtype.type(0)), numbers(0, 2, g), channels % lanes(g)
    whole = channels - rest
    at = first * len(columns) * channels
    for line in range(first, end):
        image, i = divmod(line, len(rows))
        row = (image * height + rows[i, 0]) * width
        for j in range(len(columns)):
            above = (row + columns[j, 0]) * channels
            below = above + down
            for k in range(0, whole, lanes(g)):
                given = load(g, at + k)
                place = load_whole(places, at + k, given)
                store(dx, above + k, where_equal(place, taps[0], given, none))
                store(dx, above + across + k, where_equal(place, taps[1], given, none))
                store(dx, below + k, where_equal(place, taps[2], given, none))
                store(dx, below + across + k, where_equal(place, taps[3], given, none))
            if whole < channels:
                given = load_part(g, at + whole, rest)
                place, pixel = load_whole_part(places, at + whole, given, rest), above + whole
                store_part(dx, pixel, where_equal(place, taps[0], given, none), rest)
                store_part(dx, pixel + across, where_equal(place, taps[1], given, none), rest)
                pixel = below + whole
                store_part(dx, pixel, where_equal(place, taps[2], given, none), rest)
                store_part(dx, pixel + across, where_equal(place, taps[3], given, none), rest)
            at += channels


@compiled
def go_back(
    first: int,
    end: int,
    tiled: bool,
    bands: int,
    parts: int,
    g: Any,
    places: Any,
    count: int,
    dx: Any,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    """Some tasks: each is one of the ``bands`` of rows and one of the ``parts`` of the channels."""
    height, width, channels, kw, down, _ = sizes
    for task in range(first, end):
        (image, band), part = divmod(task // parts, bands), task % parts
        start, stop = part * channels // parts, (part + 1) * channels // parts
        top = image * height
        for i in range(len(rows) * band // bands, len(rows) * (band + 1) // bands):
            row, tall, tap = image * height + rows[i, 0], rows[i, 2], rows[i, 1] * kw
            if tall and not tiled:
                under = row + (tall - 1) * (down // (width * channels)) + 1
                clear(dx, top * width, under * width, channels, start, stop)
                top = max(top, under)
            at, pixel = (image * len(rows) + i) * len(columns) * channels, row * width * channels
            if not len(places):
                share_out(g, count, at, dx, pixel, tall, columns, sizes, start, stop, tiled)
            else:
                give(g, places, at, dx, pixel, tap, tall, columns, sizes, start, stop, tiled)
        if not tiled:
            clear(dx, top * width, (image + 1) * height * width, channels, start, stop)


@kernel
def _back(
    workers: int,
    counters: Any,
    tasks: int,
    size: int,
    fours: bool,
    tiled: bool,
    bands: int,
    parts: int,
    g: Any,
    places: Any,
    count: int,
    dx: Any,
    rows: Any,
    columns: Any,
    sizes: Any,
) -> None:
    """``places`` is empty for means; ``count`` is as for :func:`share_out`."""
    portions = (tasks + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            first, end = turn * size, min((turn + 1) * size, tasks)
            if fours and tiled and len(places):
                give_to_fours(first, end, g, places, dx, rows, columns, sizes)
            else:
                go_back(first, end, tiled, bands, parts, g, places, count, dx, rows, columns, sizes)
            turn = next_task(counters, worker, portions)


def _gradient(g: Array, places: Array, count: int, window: Window, input_shape: Shape) -> Array:
    n, height, width, channels = input_shape
    slid = plan(window, height, width, channels)
    dx = memory.empty(input_shape, g.dtype)
    if dx.size:
        workers = workers_for(dx.size)
        if slid.tiled:
            bands, parts = slid.places[0], 1
        else:
            bands, parts = 1, _parts(n, channels, workers)
        tables = slid.rows, slid.columns, slid.sizes
        arrays = flat(g), flat(places), count, dx.reshape(-1)
        tasks = n * bands * parts
        shares = portion(tasks, workers), slid.fours, slid.tiled, bands, parts
        _back(workers, tasks, *shares, *arrays, *tables)
    return dx


def _parts(images: int, channels: int, workers: int) -> int:
    """Into how many parts to divide the channels, so that every worker gets a few tasks."""
    if workers == 1:
        return 1
    return max(1, min(channels // FEWEST, 4 * workers // images))


def max_pool_gradient(g: Array, places: Array, window: Window, input_shape: Shape) -> Array:
    """Each element of ``g`` goes to where its maximum was; shape ``input_shape``."""
    return _gradient(g, places, 0, window, input_shape)


def average_pool_gradient(
    g: Array, window: Window, input_shape: Shape, count_padding: bool = False
) -> Array:
    """Each element of ``g`` in equal shares to the taps of its window; shape ``input_shape``."""
    return _gradient(g, NO_PLACES, divisor(window, count_padding), window, input_shape)


# -- gradients of gradients ------------------------------------------------------------------------


@compiled
def take(
    task: int, h: Any, places: Any, taken: Any, rows: Any, columns: Any, sizes: Any, jumps: Any
) -> None:
    """One row of places of one image."""
    height, width, channels, kw, _, _ = sizes
    image, i = divmod(task, len(rows))
    at, row = task * len(columns) * channels, image * height + rows[i, 0]
    for j in range(len(columns)):
        first = (row * width + columns[j, 0]) * channels
        origin = first - jumps[rows[i, 1] * kw + columns[j, 1]]
        inside = rows[i, 2] and columns[j, 2]
        for k in range(channels):
            taken[at + k] = h[origin + jumps[places[at + k]] + k] if inside else 0
        at += channels


@kernel
def _take(
    workers: int,
    counters: Any,
    tasks: int,
    size: int,
    h: Any,
    places: Any,
    taken: Any,
    rows: Any,
    columns: Any,
    sizes: Any,
    jumps: Any,
) -> None:
    portions = (tasks + size - 1) // size
    for worker in prange(workers):
        turn = next_task(counters, worker, portions)
        while turn < portions:
            for task in range(turn * size, min((turn + 1) * size, tasks)):
                take(task, h, places, taken, rows, columns, sizes, jumps)
            turn = next_task(counters, worker, portions)


def max_pool_take(h: Array, places: Array, window: Window) -> Array:
    """What ``h`` (shaped like the pooled images) has where the maxima were; shape of ``places``.

    The adjoint, and so the gradient, of :func:`max_pool_gradient`.
    """
    slid = plan(window, *h.shape[1:])
    taken = memory.empty(places.shape, h.dtype)
    if taken.size:
        workers, tasks = workers_for(taken.size), h.shape[0] * slid.places[0]
        arrays = flat(h), flat(places), taken.reshape(-1)
        tables = slid.rows, slid.columns, slid.sizes, slid.jumps
        _take(workers, tasks, portion(tasks, workers), *arrays, *tables)
    return taken
