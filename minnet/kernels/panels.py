"""Operands for the kernels: arrays as flat memory with strides, and matrices packed into panels.

A matrix that is the right-hand side of many products is *packed* first: its columns are grouped
into panels of the width that :mod:`minnet.kernels.microkernel` works with, the last one filled up
with zeros, and each panel lies in one piece, row after row: ``[panels][depth][width]``. The kernel
of a convolution is such a matrix for each of its taps: ``[panels][taps][depth][width]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.lib.stride_tricks import as_strided

from minnet.kernels import memory
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import panel_of
from minnet.kernels.vector import clear, lanes, load, load_part, store, transpose
from minnet.program import run, worked_out
from minnet.tensor import Array

GROUP, ROWS = 16, 64  # panels and rows that are packed together

lock: Any = np.ndarray.setflags  # (array, write): the quickest way to lock an array


def flat(array: Array) -> Array:
    """The elements in C order as a read-only array of one dimension; a view where possible.

    Numba compiles a kernel anew for arrays that are locked and for arrays that are not. So kernels
    take all that they only read as locked.
    """
    if not array.flags.c_contiguous:
        array = worked_out(np.ascontiguousarray, array)
    view = array.reshape(-1)
    lock(view, False)
    return view


def matrix(a: Array) -> tuple[Array, int, int]:
    """The elements of a 2-D array: flat memory, and how far apart rows and columns are in it.

    The array is copied only if neither its rows nor its columns are contiguous.
    """
    if a.flags.c_contiguous:
        return flat(a), a.shape[1], 1
    if a.flags.f_contiguous:
        return flat(a.T), 1, a.shape[0]
    size = a.itemsize
    row, column = a.strides
    if min(row, column) != size or row % size or column % size or not a.flags.aligned:
        return flat(a), a.shape[1], 1
    row, column = row // size, column // size
    length = (a.shape[0] - 1) * row + (a.shape[1] - 1) * column + 1
    return flat(as_strided(a, (length,), (size,))), row, column


def pack(
    source: Array, starts: Array, row: int, column: int, depth: int, columns: int, width: int
) -> Array:
    """Pack one matrix for each tap, ``(depth, columns)``, as ``[panels][taps][depth][width]``.

    ``source`` is flat; ``starts`` (int64) says where in it each matrix begins, ``row`` and
    ``column`` how far apart its rows and columns are, one of which is 1.
    """
    size = -(-columns // width) * width * len(starts) * depth
    target = memory.empty((size,), source.dtype)
    if size:
        pack_panels(
            workers_for(size), source, starts, row, column, depth, columns, target,
            width,
        )  # fmt: skip
    return flat(target)


def padded(bias: Array | None, columns: int, dtype: Any) -> Array:
    """A bias, flat, with zeros up to the end of the last panel; no bias is all zeros."""
    width = panel_of(dtype)
    if bias is not None and columns % width == 0:
        return flat(bias)
    whole = np.zeros(-(-columns // width) * width, dtype)
    if bias is not None:
        run(np.copyto, whole[:columns], bias)
    return flat(whole)


@kernel
def pack_panels(workers, counters, source, starts, row, column, depth, columns, target, width):
    """See :func:`pack`; a task is one tap of some neighbouring panels.

    These are packed by a few rows at a time: rows of a large matrix are in different pages of
    memory, and it takes time to find a page, so what is needed of it is read at once.
    """
    panels = (columns + width - 1) // width
    group = max(1, min(GROUP, panels * len(starts) // (4 * workers)))
    tasks = (panels + group - 1) // group * len(starts)
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            tap, first = task % len(starts), task // len(starts) * group
            for k in range(0, depth, ROWS):
                for j in range(first, min(first + group, panels)):
                    pack_panel(
                        source, starts[tap] + k * row + j * width * column, row, column,
                        min(ROWS, depth - k), columns - j * width,
                        target, ((j * len(starts) + tap) * depth + k) * width, width,
                    )  # fmt: skip
            task = next_task(counters, worker, tasks)


@compiled
def pack_panel(source, start, row, column, depth, columns, target, to, width):
    """Copy the first columns of a matrix, at most a panel; zeros stand for those it lacks."""
    here, n = min(width, columns), lanes(source)
    if column == 1:
        whole = here - here % n
        for k in range(depth):
            for j in range(0, whole, n):
                store(target, to + k * width + j, load(source, start + k * row + j))
            for j in range(whole, width, n):
                part = load_part(source, start + k * row + j, here - j)
                store(target, to + k * width + j, part)
        return
    if here < width:
        clear(target, to, depth * width)
    square = depth - depth % n if here == width else 0
    for k in range(0, square, n):
        for j in range(0, width, n):
            transpose(source, start + k + j * column, column, target, to + k * width + j, width)
    for k in range(square, depth):
        for j in range(here):
            target[to + k * width + j] = source[start + k * row + j * column]
