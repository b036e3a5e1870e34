"""The matrices of Winograd's convolution.

A row of a kernel, with r taps, slides over n = m + r - 1 pixels to m places: r·m products if worked
out one by one, but n are enough. Pixels d and kernel g are the coefficients of two polynomials.
Products of polynomials are products of their values: evaluate both at n points, multiply, and find
the polynomial with these values (Toom and Cook). Transposing that (as the kernel *slides*, and is
not multiplied out) gives

    y = Aᵀ ((G g) · (Bᵀ d))       for rows, and       Y = Aᵀ ((G g Gᵀ) · (Bᵀ d B)) A

for tiles of n x n pixels that give m x m results: n² products instead of r²·m², which for r = 3 is
2.25 times fewer for m = 2, 4 times for m = 4 and 5.1 times for m = 6; with r = 5 and m = 4 it is
6.25 times. Summed over the channels each of the n²
products becomes a matrix product, and the transforms are shared by all channels and filters: Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016). With F(m) = A, B, G the
gradient of the weights follows by transposing once more: Gᵀ ((Bᵀ d B) · (A dY Aᵀ)) G.

Rounding errors grow with n, and depend on the points. Zero and infinity cost nothing; the others
are pairs ±p, which share half of their sums (the even and the odd powers), and reciprocals of each
other, which keeps the coefficients small: Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis
and Improving the Accuracy of Winograd Convolution for Deep Neural Networks" (2020). For n = 6 the
points ±√½, ±√2 have half the error of ±1, ±2 (root mean square; a quarter at worst).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

#: By n, the points at which polynomials are evaluated: 0, infinity, these and their negatives.
POINTS = {4: (1.0,), 6: (0.5**0.5, 2**0.5), 8: (0.5, 1.0, 2.0)}


def lengths(m: int, r: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the functions take as ``size`` and ``taps``: tuples with n and r items.

    Their lengths are part of their types, so that they are known to the compiler.
    """
    return (0,) * (m + r - 1), (0,) * r


class Matrices(NamedTuple):
    """A transform's matrices: ``output`` (m, n), ``weights`` (n, r), ``input`` (n, n)."""

    output: Matrix  # Aᵀ
    weights: Matrix  # G
    input: Matrix  # Bᵀ


@functools.cache
def matrices(m: int, r: int) -> Matrices:
    """Aᵀ, G and Bᵀ for m results in a row; rows of G and Bᵀ: the points 0, ±p …, infinity."""
    n = m + r - 1
    points = np.array([0.0, *(sign * p for p in POINTS[n] for sign in (1, -1))])
    output, weights, inputs = np.zeros((m, n)), np.zeros((n, r)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        inputs[i, :-1] = np.poly(others)[::-1]  # is 0 at all points but this one …
        weights[i] = point ** np.arange(r) / np.prod(point - others)  # … where this makes it 1
        output[:, i] = point ** np.arange(m)
    inputs[-1] = np.poly(points)[::-1]
    weights[-1, -1] = output[-1, -1] = 1.0  # at infinity only the highest power counts
    for matrix in (output.T, weights, inputs):
        matrix[abs(matrix) < 1e-12] = 0.0
        for i in range(1, n - 1, 2):  # p and -p differ in signs alone, not in their rounding
            matrix[i + 1] = np.copysign(matrix[i], matrix[i + 1])
    return Matrices(output, weights, inputs)
