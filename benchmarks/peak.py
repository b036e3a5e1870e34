"""The machine's limit: how many multiply-adds it does per second when no memory is touched."""

from __future__ import annotations

import threading

import numba
import numpy as np
from timing import THREADS, timed

from minnet.kernels.vector import LANES, broadcast, fma, load, store

CHAINS = 12  # sums that do not wait for each other: enough to hide the latency of an addition
STEPS = 10_000_000


@numba.njit(nogil=True)
def multiply_add(x: np.ndarray, steps: int) -> None:
    """CHAINS sums in registers, steps multiply-adds of a vector each; x holds a vector."""
    a, b = load(x, 0), broadcast(x[0])
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = c8 = c9 = c10 = c11 = a
    for _ in range(steps):
        c0, c1, c2, c3 = fma(a, b, c0), fma(a, b, c1), fma(a, b, c2), fma(a, b, c3)
        c4, c5, c6, c7 = fma(a, b, c4), fma(a, b, c5), fma(a, b, c6), fma(a, b, c7)
        c8, c9, c10, c11 = fma(a, b, c8), fma(a, b, c9), fma(a, b, c10), fma(a, b, c11)
    store(x, 0, c0 + c1 + c2 + c3 + c4 + c5 + c6 + c7 + c8 + c9 + c10 + c11)


def peak_flops(rounds: int = 9) -> float:
    """float32 operations per second, a multiply-add counted as two, of all threads together.

    The best of some rounds, as it is a limit.
    """
    numbers = [np.full(LANES, 0.5, np.float32) for _ in range(THREADS)]
    multiply_add(numbers[0], 1)

    def together() -> None:
        threads = [threading.Thread(target=multiply_add, args=(x, STEPS)) for x in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    seconds = min(timed(together) for _ in range(rounds))
    return 2 * CHAINS * LANES * STEPS * THREADS / seconds


if __name__ == "__main__":
    print(f"{peak_flops() / 1e9:.0f} GFLOP/s with {THREADS} threads")
