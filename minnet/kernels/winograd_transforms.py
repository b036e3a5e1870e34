"""The transforms of Winograd's convolution, as code for whole vectors.

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

The functions below transform one tile, ``lanes`` channels at a time. Tiles reach over the border:
``inside`` says which rows and columns exist, ``(first row, end, first column, end)``; the others
are read as zeros and not written. ``None`` says that all exist, and is faster.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils

from minnet.kernels import vector_ir as ir
from minnet.kernels.vector import emitted, lanes

Matrix = npt.NDArray[np.float64]
Vectors = Sequence[Any]

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


# -- sums of vectors -------------------------------------------------------------------------------


class _Sums:
    """Writes the instructions for a small matrix times a column of vectors."""

    def __init__(self, builder: Any, element: Any):
        self.builder, self.element = builder, element
        self.constants: dict[float, Any] = {}

    def product(self, matrix: Matrix, column: Vectors) -> list[Any]:
        """``matrix @ column``, for a matrix whose rows or columns 1 and 2, 3 and 4 … pair up."""
        pairs = range(1, len(matrix) - 1, 2)
        mirrored = all(np.allclose(abs(matrix[i]), abs(matrix[i + 1])) for i in pairs)
        by_rows = mirrored and len(matrix) % 2 == 0 and len(matrix) >= matrix.shape[1]
        return self._by_rows(matrix, column) if by_rows else self._by_columns(matrix, column)

    def _by_rows(self, matrix: Matrix, column: Vectors) -> list[Any]:
        """Rows for ±p: one sum over what they have in common, one over what differs in sign."""
        results = [self.combine(matrix[0], column)]
        for plus, minus in zip(matrix[1:-1:2], matrix[2:-1:2], strict=True):
            alike, opposite = (plus + minus) / 2, (plus - minus) / 2
            scale = opposite[np.flatnonzero(opposite)[-1]]
            even, odd = self.combine(alike, column), self.combine(opposite / scale, column)
            results += [self.add(even, scale, odd), self.add(even, -scale, odd)]
        return [*results, self.combine(matrix[-1], column)]

    def _by_columns(self, matrix: Matrix, column: Vectors) -> list[Any]:
        """Columns for ±p: first the sum and the difference of the vectors that meet them."""
        factors, vectors = [matrix[:, 0]], [column[0]]
        for i in range(1, len(column) - 1, 2):
            plus, minus = matrix[:, i], matrix[:, i + 1]
            factors += [(plus + minus) / 2, (plus - minus) / 2]
            vectors += [self.add(column[i], sign, column[i + 1]) for sign in (1, -1)]
        table = np.array([*factors, matrix[:, -1]])
        return [self.combine(row, [*vectors, column[-1]]) for row in table.T]

    def combine(self, factors: Matrix, vectors: Vectors) -> Any:
        """The sum of multiples of vectors; those that need no multiplication come first."""
        terms = [(float(f), v) for f, v in zip(factors, vectors, strict=True) if f]
        terms.sort(key=lambda term: (abs(term[0]) != 1, term[0] != 1))
        factor, total = terms[0]
        if factor != 1:
            total = self.builder.fmul(self.constant(factor), total)
        for factor, vector in terms[1:]:
            total = self.add(total, factor, vector)
        return total

    def add(self, total: Any, factor: float, vector: Any) -> Any:
        if factor == 1:
            return self.builder.fadd(total, vector)
        if factor == -1:
            return self.builder.fsub(total, vector)
        return ir.multiply_add(self.builder, self.constant(factor), vector, total)

    def constant(self, value: float) -> Any:
        """Written once and referred to by name: the code would be mostly constants otherwise."""
        if value not in self.constants:
            number = llvm.Constant(self.element, value)
            self.constants[value] = ir.broadcast(self.builder, number)
        return self.constants[value]


def _sandwich(sums: _Sums, matrix: Matrix, read: Callable[[int, int], Any]) -> Iterator[list[Any]]:
    """The rows of ``matrix @ tile @ matrix.T``, one after the other."""
    side = range(matrix.shape[1])
    columns = [sums.product(matrix, [read(i, j) for i in side]) for j in side]
    for row in zip(*columns, strict=True):
        yield sums.product(matrix, row)


# -- tiles in memory -------------------------------------------------------------------------------


class _Tile:
    """Where a tile's vectors are, and which of them exist."""

    bounds: Any = None  # first row, end, first column, end

    def __init__(self, context: Any, builder: Any, side: int, array: tuple[Any, Any], at: Any):
        """``side`` rows and columns of ``array``, a type and a value, from ``at`` on."""
        start, row, column = cgutils.unpack_tuple(builder, at)
        self.builder = builder
        self.start = ir.pointer(context, builder, array[0], array[1], start)
        self.element = self.start.type.pointee
        self.down = [builder.mul(row, ir.int64(i)) for i in range(side)]
        self.across = [builder.mul(column, ir.int64(j)) for j in range(side)]

    def limit(self, kind: Any, inside: Any) -> None:
        """Only what is inside these bounds exists; all does if they are of the type of None."""
        if isinstance(kind, types.NoneType):
            return
        self.bounds = cgutils.unpack_tuple(self.builder, inside)
        # Reading from and writing to a place of one's own is quicker than a branch.
        zero = ir.constant(self.element, 0.0)
        with self.builder.goto_entry_block():
            own = cgutils.alloca_once(self.builder, zero.type)
        self.builder.store(zero, own)
        self.elsewhere = self.builder.bitcast(own, self.start.type)

    def place(self, i: int, j: int) -> Any:
        builder = self.builder
        place = builder.gep(self.start, [builder.add(self.down[i], self.across[j])])
        if self.bounds is None:
            return place
        top, bottom, left, right = self.bounds
        exists = builder.and_(self._between(top, i, bottom), self._between(left, j, right))
        return builder.select(exists, place, self.elsewhere)

    def _between(self, first: Any, number: int, end: Any) -> Any:
        here = ir.int64(number)
        return self.builder.and_(
            self.builder.icmp_signed("<=", first, here), self.builder.icmp_signed("<", here, end)
        )

    def read(self, i: int, j: int) -> Any:
        return ir.load(self.builder, self.place(i, j))

    def write(self, i: int, row: Sequence[Any]) -> None:
        for j, vector in enumerate(row):
            ir.store(self.builder, vector, self.place(i, j))


def _indices(side: int, at: Any, inside: Any) -> Iterator[tuple[int, int, int]]:
    """The existing (row, column) of a square tile, and the index of each in the array."""
    top, bottom, left, right = (0, side, 0, side) if inside is None else inside
    for i in range(max(top, 0), min(bottom, side)):
        for j in range(max(left, 0), min(right, side)):
            yield i, j, at[0] + i * at[1] + j * at[2]


def _read_tile(side: int, array: Any, at: Any, inside: Any) -> Any:
    tile = np.zeros((side, side, lanes(array)), array.dtype)
    for i, j, index in _indices(side, at, inside):
        tile[i, j] = array[index : index + lanes(array)]
    return tile


def _write_tile(tile: Any, array: Any, at: Any, inside: Any) -> None:
    for i, j, index in _indices(len(tile), at, inside):
        array[index : index + lanes(array)] = tile[i, j]


def _apply(matrix: Matrix, tile: Any) -> Any:
    matrix = matrix.astype(tile.dtype)
    return np.einsum("ia,jb,abl->ijl", matrix, matrix, tile)


# -- the transforms --------------------------------------------------------------------------------


def _transform(matrix_of: Callable[[Matrices], Matrix]) -> Any:
    """A function ``(size, source, source_at, inside, target, target_at)``.

    It writes ``matrix @ tile @ matrix.T``. ``source_at`` and ``target_at`` are (start, row,
    column): vector (i, j) begins at ``array[start + i * row + j * column]``. ``inside`` is the
    source's.
    """

    def meaning(size: Any, source: Any, at: Any, inside: Any, target: Any, to: Any) -> None:
        matrix = matrix_of(matrices(len(size) - 2))
        tile = _read_tile(matrix.shape[1], source, at, inside)
        _write_tile(_apply(matrix, tile), target, to, None)

    @emitted(meaning)
    def transform(
        typing: Any, size: Any, source: Any, at: Any, inside: Any, target: Any, to: Any
    ) -> Any:
        matrix = matrix_of(matrices(len(size) - 2))

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds, (_, source, at, inside, target, to) = signature.args, arguments
            given = _Tile(context, builder, matrix.shape[1], (kinds[1], source), at)
            result = _Tile(context, builder, matrix.shape[0], (kinds[4], target), to)
            given.limit(kinds[3], inside)
            sums = _Sums(builder, given.element)
            for i, row in enumerate(_sandwich(sums, matrix, given.read)):
                result.write(i, row)
            return context.get_dummy_value()

        where = types.UniTuple(types.intp, 3)
        return types.void(size, source, where, _bounds(inside), target, where), emit

    return transform


def _bounds(inside: Any) -> Any:
    return inside if isinstance(inside, types.NoneType) else types.UniTuple(types.intp, 4)


#: n x n pixels to Bᵀ d B.
input_tile = _transform(lambda m: m.input)
#: 3 x 3 weights to G g Gᵀ.
weight_tile = _transform(lambda m: m.weights)
#: m x m gradients of the results to A dY Aᵀ.
gradient_tile = _transform(lambda m: m.output.T)
#: n x n sums of products to the 3 x 3 weights' gradient Gᵀ S G.
weight_gradient_tile = _transform(lambda m: m.weights.T)


def _output_tile(
    size: Any, block: Any, products: Any, at: Any, bias: Any, floor: Any, y: Any, to: Any,
    inside: Any,
) -> None:  # fmt: skip
    tile = _apply(matrices(len(size) - 2).output, _read_tile(len(size), products, at, None))
    side, pooled = len(block), len(tile) // len(block)
    tile = tile.reshape(pooled, side, pooled, side, -1).max(axis=(1, 3)) + bias
    _write_tile(np.where(tile < floor, floor, tile), y, to, inside)


@emitted(_output_tile)
def output_tile(
    typing: Any, size: Any, block: Any, products: Any, at: Any, bias: Any, floor: Any, y: Any,
    to: Any, inside: Any,
) -> Any:  # fmt: skip
    """n x n products to m x m results Aᵀ M A, plus ``bias``, and not less than ``floor``.

    ``bias`` and ``floor`` are vectors, NaN stays NaN. ``block`` is a tuple with one or two items:
    with two the tile is halved by taking the largest of each 2 x 2 results. ``inside`` is that of
    the results, after halving.
    """
    matrix = matrices(len(size) - 2).output

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, (_, _, products, at, bias, floor, y, to, inside) = signature.args, arguments
        given = _Tile(context, builder, matrix.shape[1], (kinds[2], products), at)
        result = _Tile(context, builder, matrix.shape[0], (kinds[6], y), to)
        result.limit(kinds[8], inside)
        sums = _Sums(builder, given.element)
        side = len(kinds[1])
        rows = []
        for i, row in enumerate(_sandwich(sums, matrix, given.read)):
            rows.append(row)
            if len(rows) == side:
                largest = [
                    _largest(builder, [v for r in rows for v in r[j : j + side]])
                    for j in range(0, len(row), side)
                ]
                shifted = [builder.fadd(v, bias) for v in largest]
                result.write(i // side, [ir.at_least(builder, v, floor) for v in shifted])
                rows = []
        return context.get_dummy_value()

    where = types.UniTuple(types.intp, 3)
    return types.void(size, block, products, where, bias, floor, y, where, _bounds(inside)), emit


def _largest(builder: Any, vectors: list[Any]) -> Any:
    """The largest of one or four vectors, lane by lane; NaN where any is NaN."""
    if len(vectors) == 1:
        return vectors[0]
    a, b, c, d = vectors
    numbers = builder.and_(
        builder.fcmp_ordered("ord", a, b),
        builder.fcmp_ordered("ord", c, d),
    )
    upper, lower = ir.at_least(builder, a, b), ir.at_least(builder, c, d)
    nan = llvm.Constant(a.type, [llvm.Constant(a.type.element, float("nan"))] * a.type.count)
    return builder.select(numbers, ir.at_least(builder, upper, lower), nan)
