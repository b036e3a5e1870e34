"""What is done to each element by itself, and the sums over all elements of a channel.

Nothing here is limited by arithmetic: the time goes into moving the arrays. So each is passed over
once, in chunks that stay in the first or second-level cache, and steps that follow each other (the
gradient of relu, and the sums that are the gradient of the bias before it) share the pass. The
loops are plain; the compiler makes them loops over vectors.

Arguments and results are those of :mod:`minnet.kernels.reference`, in float32 or float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.panels import flat
from minnet.tensor import Array

CHUNK = 1 << 13  # elements that a worker takes at a time: three chunks fit the second-level cache
WIDTH = 256  # elements that are added up side by side, about: fewer would not fill the vectors
FEW = 1 << 13  # elements up to which two calls of NumPy take less time than one of a kernel


# -- element by element ----------------------------------------------------------------------------


@compiled
def gate(g: Any, y: Any, gated: Any) -> None:
    zero = g.dtype.type(0)
    for k in range(len(gated)):
        gated[k] = g[k] if y[k] > zero else zero


@kernel
def _gate(workers: int, counters: Any, g: Any, y: Any, gated: Any) -> None:
    chunks = (len(gated) + CHUNK - 1) // CHUNK
    for worker in prange(workers):
        task = next_task(counters, worker, chunks)
        while task < chunks:
            start, stop = task * CHUNK, min((task + 1) * CHUNK, len(gated))
            gate(g[start:stop], y[start:stop], gated[start:stop])
            task = next_task(counters, worker, chunks)


def relu_gradient(g: Array, y: Array) -> Array:
    """``g`` where ``y``, relu's output, is positive, and 0 elsewhere (so too where it is NaN)."""
    gated = memory.empty(y.shape, y.dtype)
    _gate(workers_for(gated.size), flat(g), flat(y), gated.reshape(-1))
    return gated


@compiled
def step(p: Any, g: Any, rate: Any, lower: Any) -> None:
    for k in range(len(lower)):
        lower[k] = p[k] - rate * g[k]


@kernel
def _descend(workers: int, counters: Any, p: Any, g: Any, rate: Any, lower: Any) -> None:
    chunks = (len(lower) + CHUNK - 1) // CHUNK
    for worker in prange(workers):
        task = next_task(counters, worker, chunks)
        while task < chunks:
            start, stop = task * CHUNK, min((task + 1) * CHUNK, len(lower))
            step(p[start:stop], g[start:stop], rate, lower[start:stop])
            task = next_task(counters, worker, chunks)


def descend(p: Array, g: Array, rate: float) -> Array:
    """One step of gradient descent: ``p - rate * g``, a new array."""
    rate = p.dtype.type(rate)
    if p.size <= FEW:
        return p - rate * g
    lower = memory.empty(p.shape, p.dtype)
    workers = workers_for(lower.size)
    _descend(workers, flat(p), flat(g), rate, lower.reshape(-1))
    return lower


# -- sums over all pixels --------------------------------------------------------------------------
#
# Each chunk of pixels has a line of sums of its own, and the lines are added up at the end: so the
# result does not depend on which thread took which chunk, and it is more accurate than one long
# sum. Where there are few channels, several pixels are added side by side, as if they were one.


@compiled
def add_up(g: Any, line: Any) -> None:
    line[:] = 0
    width = len(line)
    for start in range(0, len(g), width):
        pixels = g[start : start + width]
        for k in range(len(pixels)):
            line[k] += pixels[k]


@compiled
def total(lines: Any, width: int, sums: Any) -> None:
    line, channels = lines[:width], len(sums)
    for start in range(width, len(lines), width):
        for k in range(width):
            line[k] += lines[start + k]
    sums[:] = 0
    for start in range(0, width, channels):
        for c in range(channels):
            sums[c] += line[start + c]


@kernel
def _sums(
    workers: int, counters: Any, g: Any, chunk: int, width: int, lines: Any, sums: Any
) -> None:
    chunks = (len(g) + chunk - 1) // chunk
    for worker in prange(workers):
        task = next_task(counters, worker, chunks)
        while task < chunks:
            pixels = g[task * chunk : (task + 1) * chunk]
            add_up(pixels, lines[task * width : (task + 1) * width])
            task = next_task(counters, worker, chunks)
    total(lines, width, sums)


@kernel
def _gate_and_sums(
    workers: int,
    counters: Any,
    g: Any,
    y: Any,
    gated: Any,
    chunk: int,
    width: int,
    lines: Any,
    sums: Any,
) -> None:
    chunks = (len(g) + chunk - 1) // chunk
    for worker in prange(workers):
        task = next_task(counters, worker, chunks)
        while task < chunks:
            start, stop = task * chunk, min((task + 1) * chunk, len(gated))
            pixels = gated[start:stop]
            gate(g[start:stop], y[start:stop], pixels)
            add_up(pixels, lines[task * width : (task + 1) * width])
            task = next_task(counters, worker, chunks)
    total(lines, width, sums)


def _portions(g: Array) -> tuple[int, int, Array]:
    """How many elements a chunk and a line have, whole pixels both, and memory for the lines."""
    channels = g.shape[-1]
    width = channels * max(1, WIDTH // channels)
    chunk = width * max(1, CHUNK // width)
    return chunk, width, np.empty(-(-g.size // chunk) * width, g.dtype)


def channel_sums(g: Array) -> Array:
    """The sum over all axes but the last, ``(channels,)``: a bias's gradient."""
    if not g.size:
        return np.zeros(g.shape[-1], g.dtype)
    sums = np.empty(g.shape[-1], g.dtype)
    _sums(workers_for(g.size), flat(g), *_portions(g), sums)
    return sums


def relu_gradient_and_sums(g: Array, y: Array) -> tuple[Array, Array]:
    """:func:`relu_gradient` and its :func:`channel_sums`, in one pass."""
    gated, sums = memory.empty(y.shape, y.dtype), np.zeros(y.shape[-1], y.dtype)
    if gated.size:
        flats = flat(g), flat(y), gated.reshape(-1)
        _gate_and_sums(workers_for(gated.size), *flats, *_portions(y), sums)
    return gated, sums
