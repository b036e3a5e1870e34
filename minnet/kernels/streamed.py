"""The product of a few rows with a large matrix that stays the same: a dense layer that predicts.

Each number of the matrix is used once for each of the few rows, so the time it takes is the time to
read the matrix from memory, 411 MB in VGG16's largest layer. Memory is fastest read from one end to
the other, and so that is how the matrix is arranged, once: in panels of columns, row after row (see
:mod:`minnet.kernels.panels`). A worker takes a panel and goes down its rows in blocks:

    for each block of rows of B:
        C[:, panel] += A[:, block] · B[block, panel]       and fetches the panel's next block

A sum over a block ends before the next begins: adding up 25,088 products one by one would double
the error.

And there is a quarter less to read if the numbers of a matrix have three bytes instead of four: a
column of a block shares a factor, by which its sums are multiplied (:mod:`minnet.kernels.codes`).
That rounds a number by some 2⁻²⁴ of the largest of its 512. Trained weights are at most about ten
times as large as their mean; then the result is no less exact, since a sum of float32 numbers is
rounded at each of its steps. A matrix that is too ``uneven`` keeps its numbers as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import codes, memory
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import multiply_rows, panel, panel_of
from minnet.kernels.panels import flat, pack, padded
from minnet.kernels.vector import (
    broadcast,
    clear,
    fma,
    lanes,
    load,
    load_part,
    maximum,
    store,
)
from minnet.tensor import Array

#: Rows of B. Fewer end sums more often than is needed, and more are less exact. Going down several
#: panels by turns, for the sake of A, takes a third longer, as memory is read at as many places.
BLOCK = 512
GROUP = 16  # panels that are arranged together
#: How many times its mean the largest number of a column may be, as a mean over the blocks. Beyond
#: that, rounding to codes would add more to the error than the sum itself does.
EVEN = 16
SMALLEST = 1e-25  # of which factors are not subnormal
#: Numbers of A below which no sum of a block's products with codes is infinite, with some room.
MOST = float(np.finfo(np.float32).max) / (4 * BLOCK * codes.LARGEST * codes.SHIFT)


class Arranged(NamedTuple):
    """A matrix as :func:`matmul` reads it; both parts are flat."""

    numbers: Array  # [panels][depth][panel], float or codes
    factors: Array  # [panels][blocks][panel]

    @property
    def rounded(self) -> bool:
        """Whether the numbers are codes."""
        return bool(self.numbers.dtype == np.uint8)

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + self.factors.nbytes


def arrange(b: Array) -> Arranged:
    """A matrix (depth, columns), float32 or float64, as :func:`matmul` reads it."""
    depth, columns = b.shape
    if b.dtype == np.float32 and b.size:
        numbers, largest, means = _encoded(flat(b), depth, columns)
        if not uneven(largest, means):
            return Arranged(flat(numbers), flat(largest / (codes.LARGEST * codes.SHIFT)))
    width = panel_of(b.dtype)
    numbers = pack(flat(b), np.zeros(1, np.int64), columns, 1, depth, columns, width)
    count = -(-depth // BLOCK) * -(-columns // width) * width
    return Arranged(numbers, flat(np.ones(count, b.dtype)))


def uneven(largest: Array, means: Array) -> bool:
    """Whether a matrix is better not encoded, from its columns' largest numbers and means, both
    without their signs, (panels, blocks, panel)."""
    tiny = (largest != 0) & ~(largest > SMALLEST)
    if tiny.any() or not np.isfinite(largest).all():
        return True
    squares = [(part.astype(np.float64) ** 2).mean(axis=1) for part in (largest, means)]
    return bool((squares[0] > EVEN**2 * squares[1]).any())


def _encoded(b: Array, depth: int, columns: int) -> tuple[Array, Array, Array]:
    """A flat matrix as codes, and what :func:`uneven` wants to know."""
    width = panel_of(b.dtype)
    panels, blocks = -(-columns // width), -(-depth // BLOCK)
    numbers = memory.empty((panels * depth * panel_of(np.uint8) + codes.BEHIND,), np.uint8)
    largest, means, _ = found = np.zeros((3, panels, blocks, width), b.dtype)
    _encode(workers_for(b.size), b, depth, columns, numbers, *found.reshape(3, -1))
    return numbers, largest, means


@kernel
def _encode(workers, counters, b, depth, columns, numbers, largest, means, inverse):
    """A task is a block of some neighbouring panels, whose rows are read together: they are in
    different pages of memory, and it takes time to find a page."""
    panels, blocks = (columns + panel(b) - 1) // panel(b), (depth + BLOCK - 1) // BLOCK
    tasks = (panels + GROUP - 1) // GROUP * blocks
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            first, block = task // blocks * GROUP, task % blocks
            last, rows = min(first + GROUP, panels), min(BLOCK, depth - block * BLOCK)
            at = block * BLOCK * columns
            for k in range(rows):
                for j in range(first, last):
                    place = (j * blocks + block) * panel(b)
                    _compare(b, at + k * columns, j * panel(b), columns, largest, means, place)
            for j in range(first, last):
                place = (j * blocks + block) * panel(b)
                to = (j * depth + block * BLOCK) * panel(numbers)
                for f in range(place, place + panel(b)):
                    means[f] /= rows
                    inverse[f] = codes.LARGEST / largest[f] if largest[f] > 0 else 0
                _round(b, at, rows, j * panel(b), columns, inverse, place, numbers, to)
            task = next_task(counters, worker, tasks)


@compiled
def _compare(b, row, left, columns, largest, sums, place):
    """One row of a panel."""
    for f in range(0, panel(b), lanes(b)):
        number = load_part(b, row + left + f, columns - left - f)
        size = maximum(number, broadcast(b.dtype.type(0)) - number)
        store(largest, place + f, maximum(load(largest, place + f), size))
        store(sums, place + f, load(sums, place + f) + size)


@compiled
def _round(b, start, rows, left, columns, inverse, place, numbers, to):
    """A block of a panel."""
    for k in range(rows):
        for f in range(0, panel(b), lanes(b)):
            number = load_part(b, start + k * columns + left + f, columns - left - f)
            codes.store(numbers, to + f * codes.SIZE, number * load(inverse, place + f))
        to += panel(numbers)


def matmul(a: Array, arranged: Arranged, columns: int, bias: Array | None, relu: bool) -> Array:
    """``a @ b`` where :func:`arrange` made ``arranged`` of ``b``, which has so many columns.

    ``bias`` (columns,) is added to every row; with ``relu`` negative results become 0 (NaN stays).
    """
    m, depth = a.shape
    c = memory.empty((m, columns), a.dtype)
    if c.size:
        floor = a.dtype.type(0 if relu else -np.inf)
        workers = workers_for(m * depth * columns)
        work = memory.empty((workers, 2 * m * panel_of(a.dtype)), a.dtype)
        _product(
            workers, (m, depth, columns), flat(a), *arranged,
            padded(bias, columns, a.dtype), floor, c.reshape(-1), work.reshape(-1),
        )  # fmt: skip
    return c


@kernel
def _product(workers, counters, sizes, a, b, factors, bias, floor, c, work):
    panels = (sizes[2] + panel(c) - 1) // panel(c)
    for worker in prange(workers):
        sums = worker * (len(work) // workers)
        j = next_task(counters, worker, panels)
        while j < panels:
            _sum(j, sizes, a, b, factors, work, sums)
            _finish(j * panel(c), sizes, work, sums, bias, floor, c)
            j = next_task(counters, worker, panels)


@compiled
def _sum(j, sizes, a, b, factors, work, sums):
    """The product with a panel."""
    (m, depth, _), width = sizes, panel(work)
    blocks, part = (depth + BLOCK - 1) // BLOCK, sums + m * width
    clear(work, sums, m * width)
    for block in range(blocks):
        k = block * BLOCK
        size = min(BLOCK, depth - k)
        multiply_rows(a, k, depth, 1, m, b, (j * depth + k) * panel(b), work, part, width, size, 0)
        _add(m, factors, (j * blocks + block) * width, work, part, sums)


@compiled
def _add(m, factors, place, work, part, sums):
    """Add what a block gives, times its factors."""
    width = panel(work)
    for f in range(0, width, lanes(work)):
        factor = load(factors, place + f)
        for i in range(f, m * width + f, width):
            store(work, sums + i, fma(load(work, part + i), factor, load(work, sums + i)))


@compiled
def _finish(left, sizes, work, sums, bias, floor, c):
    m, _, n = sizes
    for j in range(left, min(n, left + panel(c))):
        for i in range(m):
            total = work[sums + i * panel(c) + j - left] + bias[j]
            c[i * n + j] = floor if total < floor else total
