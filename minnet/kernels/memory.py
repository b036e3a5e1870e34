"""Arrays whose memory comes back: large results are written into blocks that are used again.

The system hands out large arrays as fresh pages, and the first write to each page costs more than
the calculation that fills it. So a block goes back to a pool when the last view of its array dies,
and the next array of about its size takes it.

A step of training needs the same blocks as the step before it, so the pool keeps them all. It never
makes a process much larger than it has been anyway: blocks in use and idle ones together take at
most half as much again as the most that was ever in use at once. (Blocks of many sizes do not fill
each other's places: with a quarter, training VGG16 asked for fresh pages at every step.)
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.tensor import Array

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
SMALLEST = 1 << 20  # bytes; below, the allocator keeps pages itself and is quicker
WASTE = 1.25  # a block may be this much larger than what is asked of it
SLACK = 1.5  # and all blocks this much larger than the most that was in use


class Pool:
    """Blocks, and those of them that wait to be used again."""

    def __init__(self, waste: float = WASTE, slack: float = SLACK):
        self._waste, self._slack = waste, slack
        self._idle: list[Array] = []  # raw bytes, the longest idle first
        self._removing = threading.Lock()  # held by whoever takes blocks out; anybody may append
        # Bytes, which the holder of the lock changes:
        self._total = 0  # in use or idle
        self._most = 0  # in use at once

    def take(self, size: int) -> Array:
        """The smallest idle block that fits without much waste, or a new one."""
        with self._removing:
            most = self._waste * size
            fitting = [i for i, r in enumerate(self._idle) if size <= r.nbytes <= most]
            if fitting:
                raw = self._idle.pop(min(fitting, key=lambda i: self._idle[i].nbytes))
            else:
                raw = np.empty(size, np.uint8)
                self._total += size
            self._most = max(self._most, self._total - self.idle())
            self._tidy_up()
        return raw

    def put(self, raw: Array) -> None:
        """Its array has died; that may be at any time, in any thread."""
        self._idle.append(raw)
        # The garbage collector may come here from within ``take``: then the next one tidies up.
        if self._removing.acquire(blocking=False):
            try:
                self._tidy_up()
            finally:
                self._removing.release()

    def _tidy_up(self) -> None:
        """Give back what is too much, the longest idle first; for the holder of the lock."""
        while self._idle and self._total > self._slack * self._most:
            self._total -= self._idle.pop(0).nbytes

    def idle(self) -> int:
        """Bytes that wait to be used again."""
        return sum(r.nbytes for r in list(self._idle))

    def release(self) -> None:
        """Give all idle memory back to the system."""
        with self._removing:
            while self._idle:
                self._total -= self._idle.pop().nbytes
            self._most = self._total


class Block:
    """Owns the memory of one array; NumPy keeps it alive as the base of every view."""

    __slots__ = ("__array_interface__", "pool", "raw")

    def __init__(self, pool: Pool, raw: Array, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.pool, self.raw = pool, raw
        address = raw.__array_interface__["data"][0]
        self.__array_interface__ = {
            "data": (address + -address % ALIGNMENT, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        self.pool.put(self.raw)


COMMON = Pool()


class _Chosen(threading.local):
    """Where this thread takes blocks from."""

    pool: Pool = COMMON


CHOSEN = _Chosen()


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """A C-contiguous array with undefined content, like ``np.empty``; a large one is aligned."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    pool = CHOSEN.pool
    return np.asarray(Block(pool, pool.take(size + ALIGNMENT), shape, dtype))


def owner_of(array: Array) -> Any:
    """Whose memory it is: the array that it is a view of, or a :class:`Block`."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base if isinstance(array.base, Block) else array
