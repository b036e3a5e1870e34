"""The matrices of Winograd's convolution.

A 3x3 kernel slides over a row of n = m + 2 pixels to m places: 3·m products if worked out one by
one, but n are enough. Pixels d and kernel g are the coefficients of two polynomials. Products of
polynomials are products of their values: evaluate both at n points, multiply, and find the
polynomial with these values (Toom and Cook). Transposing that (as the kernel *slides*, and is not
multiplied out) gives

    y = Aᵀ ((G g) · (Bᵀ d))       for rows, and       Y = Aᵀ ((G g Gᵀ) · (Bᵀ d B)) A

for tiles of n x n pixels that give m x m results: n² products instead of 9·m², which is 2.25 times
fewer for m = 2, 4 times for m = 4 and 5.1 times for m = 6. Summed over the channels each of the n²
products becomes a matrix product, and the transforms are shared by all channels and filters: Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016). With F(m) = A, B, G the
gradient of the weights follows by transposing once more: Gᵀ ((Bᵀ d B) · (A dY Aᵀ)) G.

Rounding errors grow with m, and depend on the points. Zero and infinity cost nothing; the others
are pairs ±p, which share half of their sums (the even and the odd powers), and reciprocals of each
other, which keeps the coefficients small: Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis
and Improving the Accuracy of Winograd Convolution for Deep Neural Networks" (2020). For m = 4 the
points ±√½, ±√2 have half the error of ±1, ±2 (root mean square; a quarter at worst).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

#: Points at which polynomials are evaluated, besides 0 and infinity: these and their negatives.
POINTS = {2: (1.0,), 4: (0.5**0.5, 2**0.5), 6: (0.5, 1.0, 2.0)}

#: What the functions take as ``size``, by m: a tuple with m + 2 items. Its length is part of its
#: type, so that it is known to the compiler.
SIZES = {m: (0,) * (m + 2) for m in POINTS}


class Matrices(NamedTuple):
    """A transform's matrices: ``output`` (m, n), ``weights`` (n, 3), ``input`` (n, n)."""

    output: Matrix  # Aᵀ
    weights: Matrix  # G
    input: Matrix  # Bᵀ


@functools.cache
def matrices(m: int) -> Matrices:
    """Aᵀ, G and Bᵀ for m results in a row; rows of G and Bᵀ: the points 0, ±p …, infinity."""
    n = m + 2
    points = np.array([0.0, *(sign * p for p in POINTS[m] for sign in (1, -1))])
    output, weights, inputs = np.zeros((m, n)), np.zeros((n, 3)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        inputs[i, :-1] = np.poly(others)[::-1]  # is 0 at all points but this one …
        weights[i] = point ** np.arange(3) / np.prod(point - others)  # … where this makes it 1
        output[:, i] = point ** np.arange(m)
    inputs[-1] = np.poly(points)[::-1]
    weights[-1, -1] = output[-1, -1] = 1.0  # at infinity only the highest power counts
    for matrix in (output.T, weights, inputs):
        matrix[abs(matrix) < 1e-12] = 0.0
        for i in range(1, n - 1, 2):  # p and -p differ in signs alone, not in their rounding
            matrix[i + 1] = np.copysign(matrix[i], matrix[i + 1])
    return Matrices(output, weights, inputs)
