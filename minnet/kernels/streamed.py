"""The product of a few rows with a large matrix that stays the same: a dense layer that predicts.

Each number of the matrix is used once for each of the few rows, so the time it takes is the time to
read the matrix from memory, 411 MB in VGG16's largest layer. Memory is fastest read from one end to
the other, and so that is how the matrix is arranged, once: in panels of columns, row after row (see
:mod:`minnet.kernels.panels`). A worker takes some panels and goes down their rows in blocks:

    for each block of rows of B:
        for each of the panels:
            C[:, panel] += A[:, block] · B[block, panel]       and fetches the panel's next block

The block of A stays in the first-level cache, those of the panels reach the second-level one while
the one before is multiplied. A sum over a block ends before the next begins: adding up 25,088
products one by one would double the error.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import multiply_rows, panel, panel_of
from minnet.kernels.panels import flat, pack, padded
from minnet.kernels.vector import clear
from minnet.tensor import Array

BLOCK = 256  # rows of B: 16 KB of a panel
PANELS = 4  # of a task


def arrange(b: Array) -> Array:
    """A matrix (depth, columns) as :func:`matmul` reads it."""
    depth, columns = b.shape
    starts = np.zeros(1, np.int64)
    return pack(flat(b), starts, columns, 1, depth, columns, panel_of(b.dtype))


def matmul(a: Array, arranged: Array, columns: int, bias: Array | None, relu: bool) -> Array:
    """``a @ b`` where :func:`arrange` made ``arranged`` of ``b``, which has so many columns.

    ``bias`` (columns,) is added to every row; with ``relu`` negative results become 0 (NaN stays).
    """
    m, depth = a.shape
    c = memory.empty((m, columns), a.dtype)
    if c.size:
        floor = a.dtype.type(0 if relu else -np.inf)
        workers = workers_for(m * depth * columns)
        work = memory.empty((workers, PANELS * m * panel_of(a.dtype)), a.dtype)
        _product(
            workers, (m, depth, columns), flat(a), arranged,
            padded(bias, columns, a.dtype), floor, c.reshape(-1), work.reshape(-1),
        )  # fmt: skip
    return c


@kernel
def _product(workers, counters, sizes, a, b, bias, floor, c, work):
    width = panel(c) * PANELS
    tasks = (sizes[2] + width - 1) // width
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            sums = worker * (len(work) // workers)
            _task(task * width, sizes, a, b, work, sums)
            _finish(task * width, sizes, work, sums, bias, floor, c)
            task = next_task(counters, worker, tasks)


@compiled
def _task(left, sizes, a, b, work, sums):
    (m, depth, n), width = sizes, panel(b)
    panels = (min(n - left, PANELS * width) + width - 1) // width
    clear(work, sums, panels * m * width)
    for k in range(0, depth, BLOCK):
        size = min(BLOCK, depth - k)
        for j in range(panels):
            multiply_rows(
                a, k, depth, 1, m, b, (left + j * width) * depth + k * width,
                work, sums + j * m * width, width, size, 1,
            )  # fmt: skip


@compiled
def _finish(left, sizes, work, sums, bias, floor, c):
    (m, _, n), width = sizes, panel(c)
    for j in range(left, min(n, left + PANELS * width)):
        place = sums + (j - left) // width * m * width + j % width
        for i in range(m):
            total = work[place + i * width] + bias[j]
            c[i * n + j] = floor if total < floor else total
