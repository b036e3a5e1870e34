"""Matrix products: minnet's own beside NumPy's BLAS, in one run.

    python benchmarks/matmul.py [--rounds 15] [--quick]

float32. Left to itself minnet takes whichever is faster for a shape; here it always takes its own.
Ratios are BLAS ÷ minnet; "differs" is the largest difference as a part of the largest number.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics

os.environ["MINNET_MATMUL"] = "numba"

import numba
import numpy as np
from timing import Candidate, Table, heading, interleaved

from minnet import kernels

BLOCK = 0.05
SQUARES = (256, 512, 1024, 2048)
#: Rows of a, what is summed over, columns of b; and which of a and b are transposed views.
SHAPES = [
    *[(n, n, n, "") for n in SQUARES],
    (8, 25088, 4096, ""),
    (8, 4096, 4096, ""),
    (8, 4096, 1000, ""),
    (8, 4096, 4096, "b"),
    (25088, 8, 4096, "a"),
    (1, 4096, 4096, ""),
    (1000, 300, 700, ""),
    (511, 257, 129, ""),
    (512, 512, 512, "a"),
    (512, 512, 512, "b"),
    (512, 512, 512, "a and b"),
    (32, 784, 128, ""),
]


def operand(shape: tuple[int, int], transposed: bool, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(
        shape[::-1] if transposed else shape, dtype=np.float32
    )
    return drawn.T if transposed else drawn


def main() -> None:
    parser = argparse.ArgumentParser(description="Matrix products; see the top of this file.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    print(f"{heading(numba)}; medians of {rounds} rounds\n")
    columns = ["minnet ms", " BLAS ms", "minnet GFLOP/s", "BLAS ÷ minnet", "differs"]
    table = Table("product", 42, columns)
    squares: list[float] = []
    others: list[float] = []
    for m, k, n, transposed in SHAPES:
        a = operand((m, k), "a" in transposed.split(), 1)
        b = operand((k, n), "b" in transposed.split(), 2)
        steps = {
            "minnet": Candidate(functools.partial(kernels.matmul, a, b)),
            "BLAS": Candidate(functools.partial(np.matmul, a, b)),
        }
        found = interleaved(steps, rounds, BLOCK)
        ratio = found["BLAS"] / found["minnet"]
        (squares if m == k == n and not transposed else others).append(ratio)
        exact = a @ b
        apart = np.abs(kernels.matmul(a, b) - exact).max() / np.abs(exact).max()
        times = [f"{1000 * t:.3f}" for t in found.values()]
        rate = f"{2 * m * k * n / found['minnet'] / 1e9:.0f}"
        title = f"{m} x {k} · {k} x {n}" + (f", {transposed} transposed" if transposed else "")
        table.row(title, *times, rate, f"{ratio:.2f}", f"{apart:.0e}")
    for title, ratios in (("median of the squares", squares), ("median of the others", others)):
        table.row(title, "", "", "", f"{statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
