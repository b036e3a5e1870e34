"""The matrix product C = A·B, with a bias and relu, for large matrices.

A task is a rectangle of C: some rows and some columns. Its inner sum is taken in blocks, so that
what the tiles read (see :mod:`minnet.kernels.microkernel`) is in the caches:

    for each block of the inner sum:
        pack this part of B into panels                               second-level cache
        for each block of rows of A:
            copy this part of A into one piece, unless it is one      second-level cache
            for each strip of panels:                                 first-level cache
                C[rows, strip] += A[rows, block] · B[block, strip]

How large these parts are makes the difference between two kinds of products, see :func:`_blocks`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import WIDE, panel, panel_of, product_rows
from minnet.kernels.panels import flat, matrix, pack_panel, padded
from minnet.kernels.reference import finished
from minnet.kernels.vector import copy, lanes, load, store
from minnet.program import worked_out
from minnet.tensor import Array

#: Up to so many rows of A, packing B costs more than it saves: each number of it is used only once
#: for each tile of rows. Rows of B are then read as they lie in memory.
FEW = 8
#: Up to so many rows, all of A's block is multiplied with a block of B while that is in the cache.
SOME = 32
#: A transposed B of so many numbers is better read as it lies than packed.
LARGE = 1 << 18
ROWS = 96  # of A in a block
STREAMS = 8  # rows of B read side by side: a processor foresees only a few streams


def matmul(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """``a @ b`` for 2-D arrays of one dtype, float32 or float64, transposed views welcome.

    ``bias`` (columns,) is added to every row; with ``relu`` negative results become 0 (NaN stays).
    """
    (m, depth), n = a.shape, b.shape[1]
    if m <= SOME < n and b.strides[0] < b.strides[1] and b.size >= LARGE:
        return _transposed(a, b, bias, relu)
    c = memory.empty((m, n), a.dtype)
    if c.size:
        floor = a.dtype.type(0 if relu else -np.inf)
        workers = workers_for(m * n * depth)
        right = matrix(b)
        blocks, room = _blocks(m, depth, n, workers, a.dtype, right[2] == 1)
        work = memory.empty((workers * room,), a.dtype)
        (product if blocks[4] else product_of_few)(
            workers, (m, depth, n), blocks, *matrix(a), *right,
            padded(bias, n, a.dtype), floor, c.reshape(-1), work, flat(work),
        )  # fmt: skip
    return c


def _transposed(a: Array, b: Array, bias: Array | None, relu: bool) -> Array:
    """A·B as (Bᵀ·Aᵀ)ᵀ: the rows of Bᵀ, which is large, are contiguous."""
    turned = matmul(b.T, a.T)
    c: Array = worked_out(_turned_back, turned, bias, relu)
    return c


def _turned_back(turned: Array, bias: Array | None, relu: bool) -> Array:
    return finished(np.ascontiguousarray(turned.T), bias, relu)


@functools.lru_cache(maxsize=1024)
def _blocks(
    m: int, depth: int, n: int, workers: int, dtype: Any, by_rows: bool
) -> tuple[tuple[int, int, int, int, int], int]:
    """How large the parts are: (rows and columns of a task, columns of a strip, block, rows), and
    the room for one worker's copies.

    ``rows`` is 0 where B is read as it lies in memory, for which its rows must be contiguous.
    """
    width = panel_of(dtype)
    depth = max(depth, 1)
    share = -(-n // (width * workers)) * width  # of the columns, for each worker
    if m <= FEW and by_rows:
        wide, block = min(4096, share), min(512, depth)
        return (m, wide, 1024, block, 0), m * (block + wide + width) + STREAMS * width
    if m <= SOME:
        tall, wide, strip, block, rows = m, min(1024, share), 4 * width, min(depth, 64), m
    else:
        tall, wide, block, rows = m, 512, -(-depth // -(-depth // min(depth, 384))), ROWS
        if workers > 1:  # each task copies all of A that it needs: few tasks copy less
            while -(-m // tall) * -(-n // wide) < 2 * workers and wide > 64:
                wide //= 2
            while -(-m // tall) * -(-n // wide) < 2 * workers and tall > ROWS:
                tall = -(-tall // 2)
        wide = -(-min(wide, n) // width) * width
        strip = max(width, 4096 // block // width * width)
    return (tall, wide, strip, block, rows), block * (wide + rows)


@kernel
def product(
    workers, counters, sizes, blocks, a, a_row, a_step, b, b_row, b_column, bias, floor, c, work,
    view,
):  # fmt: skip
    """See the module; ``view`` is a read-only view of ``work``."""
    across = (sizes[2] + blocks[1] - 1) // blocks[1]
    tasks = (sizes[0] + blocks[0] - 1) // blocks[0] * across
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            place = (task // across * blocks[0], task % across * blocks[1], worker)
            _task(
                place, sizes, blocks, a, a_row, a_step, b, b_row, b_column, bias, floor, c, work,
                view,
            )  # fmt: skip
            task = next_task(counters, worker, tasks)


@kernel
def product_of_few(
    workers, counters, sizes, blocks, a, a_row, a_step, b, b_row, b_column, bias, floor, c, work,
    view,
):  # fmt: skip
    """The same for few rows of A: those of B are read as they lie in memory."""
    tasks = (sizes[2] + blocks[1] - 1) // blocks[1]
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            place = (task * blocks[1], worker)
            _streamed_task(
                place, sizes, blocks, a, a_row, a_step, b, b_row, bias, floor, c, work, view
            )
            task = next_task(counters, worker, tasks)


@compiled
def _task(place, sizes, blocks, a, a_row, a_step, b, b_row, b_column, bias, floor, c, work, view):
    (top, left, worker), (m, depth, n) = place, sizes
    tall, wide, strip, block, rows = blocks
    width = panel(c)
    right, bottom = min(left + wide, n), min(top + tall, m)
    packed = worker * block * (wide + rows)
    copied = packed + block * wide
    for k in range(0, max(depth, 1), max(block, 1)):
        size = min(block, depth - k)
        is_first, is_last = k == 0, k + size == depth
        limit = floor if is_last else c.dtype.type(-np.inf)
        _pack_block(
            b, k * b_row + left * b_column, b_row, b_column, size, right - left, work, packed
        )
        for i in range(top, bottom, rows):
            count = min(rows, bottom - i)
            start = i * a_row + k * a_step
            if a_step == 1 and (a_row == size or right - left <= 2 * width):
                _strips(
                    (left, right, n), strip, count, size, a, (start, a_row, a_step), view, packed,
                    bias, limit, is_first, c, i * n,
                )  # fmt: skip
            else:
                at = _copy_block(a, start, a_row, a_step, count, size, work, copied)
                _strips(
                    (left, right, n), strip, count, size, view, at, view, packed,
                    bias, limit, is_first, c, i * n,
                )  # fmt: skip


@compiled
def _streamed_task(place, sizes, blocks, a, a_row, a_step, b, b_row, bias, floor, c, work, view):
    (left, worker), (m, depth, n) = place, sizes
    _, wide, strip, block, _ = blocks
    width = panel(c)
    right = min(left + wide, n)
    whole = right - right % width
    stride = wide + width  # such that the rows do not compete for the same places of the cache
    sums = worker * (m * (block + stride) + STREAMS * width)
    copied = sums + m * stride
    last = copied + m * block  # B's incomplete last panel
    for k in range(0, max(depth, 1), max(block, 1)):
        size = min(block, depth - k)
        start, row, step = _copy_block(a, k * a_step, a_row, a_step, m, size, work, copied)
        for few in range(0, max(size, 1), STREAMS):
            here = min(STREAMS, size - few)
            at = (start + few * step, row, step)
            begin, add = (k + few) * b_row, int(few > 0)
            for j in range(left, whole, strip):
                product_rows(
                    WIDE, m, min(strip, whole - j) // width, here, view, at, None, (0, 1),
                    b, (begin + j, width, 0, b_row),
                    work, (sums + j - left, stride, add), bias, (0, 0), c.dtype.type(-np.inf),
                )  # fmt: skip
            if whole < right:
                pack_panel(b, begin + whole, b_row, 1, here, right - whole, work, last, width)
                product_rows(
                    WIDE, m, 1, here, view, at, None, (0, 1),
                    view, (last, 0, 0, width),
                    work, (sums + whole - left, stride, add), bias, (0, 0), c.dtype.type(-np.inf),
                )  # fmt: skip
        limit = floor if k + size == depth else c.dtype.type(-np.inf)
        for i in range(m):
            if k == 0:
                copy(bias, left, c, i * n + left, right - left)
            _add_row(work, sums + i * stride, c, i * n + left, right - left, limit)


@compiled
def _add_row(source, start, c, to, count, floor):
    for j in range(count):
        value = c[to + j] + source[start + j]
        c[to + j] = floor if value < floor else value


@compiled
def _pack_block(b, start, row, column, depth, columns, work, to):
    """Pack a part of B. Its rows are read by eights: a processor foresees only a few streams."""
    width = panel(b)
    whole = columns - columns % width if column == 1 else 0
    for few in range(0, depth, STREAMS):
        for j in range(0, whole, width):
            for k in range(few, min(few + STREAMS, depth)):
                for v in range(0, width, lanes(b)):
                    vector = load(b, start + k * row + j + v)
                    store(work, to + j * depth + k * width + v, vector)
    for j in range(whole, columns, width):
        pack_panel(
            b, start + j * column, row, column, depth, columns - j, work, to + j * depth, width
        )


@compiled
def _strips(columns, strip, rows, size, a, a_at, b, packed, bias, floor, is_first, c, start):
    """One block of A times all panels."""
    left, right, n = columns
    width = panel(c)
    for j in range(left, right, strip):
        here = min(strip, right - j)
        product_rows(
            WIDE, rows, (here + width - 1) // width, size, a, a_at, None, (0, 1),
            b, (packed + (j - left) * size, size * width, 0, width),
            c, (start + j, n, 1 - is_first, here), bias, (j, int(is_first)), floor,
        )  # fmt: skip


@compiled
def _copy_block(a, start, a_row, a_step, rows, depth, work, to):
    """Copy rows x depth of A into one piece; where it is there: (start, row, step)."""
    if a_step == 1:
        for i in range(rows):
            copy(a, start + i * a_row, work, to + i * depth, depth)
        return to, depth, 1
    for k in range(depth):
        copy(a, start + k * a_step, work, to + k * rows, rows)
    return to, 1, rows
