"""Which matrix product to use: our own (:mod:`minnet.kernels.gemm`) or NumPy's, which is BLAS.

This module does not import Numba: a network of small dense layers never needs it.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.kernels import reference
from minnet.program import run, worked_out
from minnet.tensor import Array

#: Multiply-adds below which BLAS works in one thread, and has answered before ours has begun.
SMALL = 1 << 18
#: A large matrix of this many numbers, with at most so many rows on the other side.
LARGE, FEW = 1 << 20, 32
#: Multiply-adds of a product that is worth loading Numba for, where BLAS is at a disadvantage.
HUGE = 1 << 24
#: The processors' families for which OpenBLAS has kernels with vectors of 64 bytes.
WIDE = {"SkylakeX", "Cooperlake", "SapphireRapids"}


def prefers_numba(m: int, k: int, n: int, dtype: np.dtype[Any]) -> bool:
    """Whether our own product is the better one for (m, k) times (k, n), as measured.

    * Alone, on large squares, the two differ by less than a fifth, in favour of BLAS, with vectors
      of 32 bytes. Where OpenBLAS has no kernels for those of 64 bytes, ours is 1.8 times as fast.
    * BLAS and Numba have a pool of threads each. One that waits for work keeps a core busy for a
      while, and slows the other severalfold: a network of convolutions must not alternate.
    * Where a large matrix meets few rows, and where a large result has a short inner sum (a dense
      layer's gradient), OpenBLAS copies the large one first. Ours reads or writes it once, and is
      1.3 to 4 times as fast.
    """
    if dtype != np.float32 or not compiles():
        return False  # float64 is for exactness, and not worth compiling for
    few = 1 < m <= FEW and k * n >= LARGE
    short = k <= FEW and m * n >= LARGE
    huge = min(m, n) > 1 and m * k * n >= HUGE and _blas_uses_half_of_the_vectors()
    return few or short or huge or threads_are_running()


@functools.cache
def _blas_uses_half_of_the_vectors() -> bool:
    """On AMD's processors with AVX-512, OpenBLAS has kernels for AVX2 alone."""
    from threadpoolctl import threadpool_info

    from minnet.kernels import vector_ir

    libraries = [lib for lib in threadpool_info() if lib["internal_api"] == "openblas"]
    wide = any(lib["architecture"] in WIDE for lib in libraries)
    return vector_ir.BYTES == 64 and bool(libraries) and not wide


@functools.cache
def compiles() -> bool:
    """Whether kernels are compiled; NUMBA_DISABLE_JIT=1 runs them as plain Python, for tests."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") == "0"


def threads_are_running() -> bool:
    """Whether kernels have begun to use threads of their own in this process."""
    jit = sys.modules.get("minnet.kernels.jit")
    return jit is not None and jit.threads_are_running()


@functools.cache
def _forced() -> str | None:
    choice = os.environ.get("MINNET_MATMUL") or None
    if choice not in (None, "blas", "numba"):
        raise ArgumentError(mismatch("MINNET_MATMUL", "'numba' or 'blas'", repr(choice)))
    return choice


def _takes_ours(m: int, k: int, n: int, dtype: np.dtype[Any]) -> bool:
    forced = _forced()
    if forced is None:
        return m * k * n >= SMALL and prefers_numba(m, k, n, dtype)
    return forced == "numba"


def linear(x: Array, w: Array, b: Array, relu: bool = False) -> Array:
    """``x @ w + b`` for a layer's weights, with relu applied; :func:`matmul` but for one thing:

    where few rows meet a large matrix that was seen before, it is kept in the arrangement that
    :mod:`minnet.kernels.streamed` reads, in two thirds of the time for 1 row and for 8, and is
    read-only from then on.
    """
    m, (k, n) = x.shape[0], w.shape
    if 1 <= m <= FEW and k * n >= LARGE and _takes_ours(m, k, n, x.dtype):
        from minnet.kernels import streamed
        from minnet.kernels.prepared import prepared, seen

        if seen(w, "linear"):
            arranged = prepared(w, "linear", lambda: streamed.arrange(w), True)
            y = streamed.matmul(x, arranged, n, b, relu)
            if arranged.rounded:
                run(_again_if_large, y, x, w, b, relu)
            return y
    return matmul(x, w, b, relu)


def _again_if_large(y: Array, x: Array, w: Array, b: Array, relu: bool) -> None:
    """Put in what BLAS gives where sums of products with codes may have been infinite."""
    from minnet.kernels.streamed import MOST

    if not (x.max(initial=0) < MOST and x.min(initial=0) > -MOST):
        with np.errstate(over="ignore", invalid="ignore"):
            y[...] = reference.matmul(x, w, b, relu)


def matmul(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """``a @ b`` for 2-D arrays of one dtype, with ``bias`` (columns,) added and relu applied.

    The environment variable MINNET_MATMUL forces the choice: ``numba`` or ``blas``. Raises
    :class:`~minnet.errors.ArgumentError` where it says anything else.
    """
    (m, k), n = a.shape, b.shape[1]
    if _takes_ours(m, k, n, a.dtype):
        from minnet.kernels import gemm

        return gemm.matmul(a, b, bias, relu)
    y: Array = worked_out(reference.matmul, a, b, bias, relu)
    return y
