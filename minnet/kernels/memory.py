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

_idle: list[Array] = []  # raw bytes, the longest idle first
_removing = threading.Lock()  # held by whoever takes blocks out; anybody may append one


class _Bytes:
    """Of all blocks; changed by the holder of the lock alone."""

    total = 0  # in use or idle
    most = 0  # in use at once


class Block:
    """Owns the memory of one array; NumPy keeps it alive as the base of every view."""

    __slots__ = ("__array_interface__", "raw")

    def __init__(self, raw: Array, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.raw = raw
        address = raw.__array_interface__["data"][0]
        self.__array_interface__ = {
            "data": (address + -address % ALIGNMENT, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self) -> None:
        _idle.append(self.raw)
        # The garbage collector may come here from within _take: then the next one tidies up.
        if _removing.acquire(blocking=False):
            try:
                _tidy_up()
            finally:
                _removing.release()


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """A C-contiguous array with undefined content, like ``np.empty``; a large one is aligned."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(Block(_take(size + ALIGNMENT), shape, dtype))


def _take(size: int) -> Array:
    """The smallest idle block that fits without much waste, or a new one."""
    with _removing:
        fitting = [i for i, r in enumerate(_idle) if size <= r.nbytes <= WASTE * size]
        if fitting:
            raw = _idle.pop(min(fitting, key=lambda i: _idle[i].nbytes))
        else:
            raw = np.empty(size, np.uint8)
            _Bytes.total += size
        _Bytes.most = max(_Bytes.most, _Bytes.total - idle())
        _tidy_up()
    return raw


def _tidy_up() -> None:
    """Give back what is too much, the longest idle first; for the holder of the lock."""
    while _idle and _Bytes.total > SLACK * _Bytes.most:
        _Bytes.total -= _idle.pop(0).nbytes


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """Like :func:`empty`, filled with zeros."""
    out = empty(shape, dtype)
    out.fill(0)
    return out


def idle() -> int:
    """Bytes that wait to be used again."""
    return sum(r.nbytes for r in list(_idle))


def release() -> None:
    """Give all idle memory back to the system."""
    with _removing:
        while _idle:
            _Bytes.total -= _idle.pop().nbytes
        _Bytes.most = _Bytes.total
