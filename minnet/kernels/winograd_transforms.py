"""The transforms of Winograd's convolution, as code for whole vectors.

Their matrices, and why they work, are in :mod:`minnet.kernels.winograd_matrices`. The functions
below transform one tile, ``lanes`` channels at a time. ``size`` and ``taps`` are those of
:func:`minnet.kernels.winograd_matrices.lengths`. Tiles reach over the border: ``inside`` says which
rows and columns exist, ``(first row, end, first column, end)``; the others are read as zeros and
not written. In the last vector of a pixel only some channels may exist, ``count`` of them, for
which the same holds. ``None`` says that all exist, and is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils

from minnet.kernels import vector_ir as ir
from minnet.kernels.vector import emitted, lanes
from minnet.kernels.winograd_matrices import Matrices, Matrix, matrices

Vectors = Sequence[Any]


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


def _sandwich(sums: _Sums, matrix: Matrix, given: _Tile) -> Iterator[list[Any]]:
    """The rows of ``matrix @ tile @ matrix.T``, one after the other.

    What lies between the two products is more than there are registers. It is put aside column by
    column and fetched row by row: left to itself the compiler works on several columns at a time,
    and moves numbers to and fro.
    """
    builder = sums.builder
    rows, side = matrix.shape
    between = cgutils.alloca_once(builder, ir.vector_of(sums.element), size=rows * side)
    for j, column in enumerate(given.columns()):
        for i, vector in enumerate(sums.product(matrix, column)):
            builder.store(vector, builder.gep(between, [ir.int64(i * side + j)]))
    ir.settle(builder, between)
    for i in range(rows):
        places = [builder.gep(between, [ir.int64(i * side + j)]) for j in range(side)]
        yield sums.product(matrix, [builder.load(place) for place in places])


# -- tiles in memory -------------------------------------------------------------------------------


class _Tile:
    """Where a tile's vectors are, and which of them exist."""

    bounds: Any = None  # first row, end, first column, end
    mask: Any = None  # the lanes that exist

    def __init__(self, context: Any, builder: Any, side: int, array: tuple[Any, Any], at: Any):
        """``side`` rows and columns of ``array``, a type and a value, from ``at`` on."""
        start, row, column = cgutils.unpack_tuple(builder, at)
        self.builder, self.side = builder, side
        self.start = ir.pointer(context, builder, array[0], array[1], start)
        self.element = self.start.type.pointee
        self.row, self.column = ir.opaque(builder, row), ir.opaque(builder, column)

    def limit(self, kind: Any, inside: Any) -> None:
        """Only what is inside these bounds exists; all does if they are of the type of None."""
        if isinstance(kind, types.NoneType):
            return
        top, bottom, left, right = cgutils.unpack_tuple(self.builder, inside)
        side = range(self.side)
        self.bounds = (
            [self._between(top, i, bottom) for i in side],
            [self._between(left, j, right) for j in side],
        )
        # Reading from and writing to a place of one's own is quicker than a branch.
        zero = ir.constant(self.element, 0.0)
        with self.builder.goto_entry_block():
            own = cgutils.alloca_once(self.builder, zero.type)
        self.builder.store(zero, own)
        self.elsewhere = self.builder.bitcast(own, self.start.type)

    def narrow(self, kind: Any, count: Any) -> None:
        """Only so many lanes of each vector exist; all do if it is of the type of None."""
        if not isinstance(kind, types.NoneType):
            self.mask = ir.first_lanes(self.builder, self.element, count)

    def _between(self, first: Any, number: int, end: Any) -> Any:
        here = ir.int64(number)
        return self.builder.and_(
            self.builder.icmp_signed("<=", first, here), self.builder.icmp_signed("<", here, end)
        )

    def _lines(self, step: Any, along: Any) -> Iterator[list[Any]]:
        """Places in lines that are ``step`` apart, the vectors of each ``along``.

        A processor adds a multiple of 1, 2, 4 or 8 of a number to an address for nothing. So odd
        multiples are all that takes registers, if each line begins anew.
        """
        start = self.start
        for _ in range(self.side):
            yield [
                self.builder.gep(start, [self.builder.mul(along, ir.int64(k))])
                for k in range(self.side)
            ]
            start = ir.opaque(self.builder, self.builder.gep(start, [step]))

    def _place(self, place: Any, i: int, j: int) -> Any:
        if self.bounds is None:
            return place
        exists = self.builder.and_(self.bounds[0][i], self.bounds[1][j])
        return self.builder.select(exists, place, self.elsewhere)

    def columns(self) -> Iterator[list[Any]]:
        """The tile's vectors, column by column."""
        for j, places in enumerate(self._lines(self.column, self.row)):
            places = [self._place(place, i, j) for i, place in enumerate(places)]
            yield [self._load(place) for place in places]

    def _load(self, place: Any) -> Any:
        if self.mask is None:
            return ir.load(self.builder, place)
        return ir.load_part(self.builder, self.mask, place)

    def write(self, rows: Iterator[Sequence[Any]]) -> None:
        """Write vectors row by row."""
        for i, places in enumerate(self._lines(self.row, self.column)):
            for j, (place, vector) in enumerate(zip(places, next(rows), strict=True)):
                if self.mask is None:
                    ir.store(self.builder, vector, self._place(place, i, j))
                else:
                    ir.store_part(self.builder, self.mask, vector, self._place(place, i, j))


def _indices(side: int, at: Any, inside: Any) -> Iterator[tuple[int, int, int]]:
    """The existing (row, column) of a square tile, and the index of each in the array."""
    top, bottom, left, right = (0, side, 0, side) if inside is None else inside
    for i in range(max(top, 0), min(bottom, side)):
        for j in range(max(left, 0), min(right, side)):
            yield i, j, at[0] + i * at[1] + j * at[2]


def _read_tile(side: int, array: Any, at: Any, inside: Any, count: Any) -> Any:
    tile = np.zeros((side, side, lanes(array)), array.dtype)
    here = lanes(array) if count is None else count
    for i, j, index in _indices(side, at, inside):
        tile[i, j, :here] = array[index : index + here]
    return tile


def _write_tile(tile: Any, array: Any, at: Any, inside: Any, count: Any) -> None:
    here = lanes(array) if count is None else count
    for i, j, index in _indices(len(tile), at, inside):
        array[index : index + here] = tile[i, j, :here]


def _apply(matrix: Matrix, tile: Any) -> Any:
    matrix = matrix.astype(tile.dtype)
    return np.einsum("ia,jb,abl->ijl", matrix, matrix, tile)


# -- the transforms --------------------------------------------------------------------------------


def _found(size: Any, taps: Any) -> Matrices:
    return matrices(len(size) - len(taps) + 1, len(taps))


def _transform(matrix_of: Callable[[Matrices], Matrix], narrows: str = "source") -> Any:
    """A function ``(size, taps, source, source_at, inside, target, target_at, count)``.

    It writes ``matrix @ tile @ matrix.T``. ``source_at`` and ``target_at`` are (start, row,
    column): vector (i, j) begins at ``array[start + i * row + j * column]``. ``inside`` is the
    source's, ``count`` is that of the one that it ``narrows``.
    """

    def meaning(
        size: Any, taps: Any, source: Any, at: Any, inside: Any, target: Any, to: Any, count: Any
    ) -> None:
        matrix = matrix_of(_found(size, taps))
        read, written = (count, None) if narrows == "source" else (None, count)
        tile = _read_tile(matrix.shape[1], source, at, inside, read)
        _write_tile(_apply(matrix, tile), target, to, None, written)

    @emitted(meaning)
    def transform(
        typing: Any, size: Any, taps: Any, source: Any, at: Any, inside: Any, target: Any, to: Any,
        count: Any,
    ) -> Any:  # fmt: skip
        matrix = matrix_of(_found(size, taps))

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds, (_, _, source, at, inside, target, to, count) = signature.args, arguments
            given = _Tile(context, builder, matrix.shape[1], (kinds[2], source), at)
            result = _Tile(context, builder, matrix.shape[0], (kinds[5], target), to)
            given.limit(kinds[4], inside)
            (given if narrows == "source" else result).narrow(kinds[7], count)
            sums = _Sums(builder, given.element)
            result.write(_sandwich(sums, matrix, given))
            return context.get_dummy_value()

        where = types.UniTuple(types.intp, 3)
        given = size, taps, source, where, _bounds(inside), target, where, _number(count)
        return types.void(*given), emit

    return transform


def _number(count: Any) -> Any:
    return count if isinstance(count, types.NoneType) else types.intp


def _bounds(inside: Any) -> Any:
    return inside if isinstance(inside, types.NoneType) else types.UniTuple(types.intp, 4)


#: n x n pixels to Bᵀ d B.
input_tile = _transform(lambda m: m.input)
#: r x r weights to G g Gᵀ.
weight_tile = _transform(lambda m: m.weights)
#: m x m gradients of the results to A dY Aᵀ.
gradient_tile = _transform(lambda m: m.output.T)
#: n x n sums of products to the r x r weights' gradient Gᵀ S G.
weight_gradient_tile = _transform(lambda m: m.weights.T, narrows="target")


def _output_tile(
    size: Any, taps: Any, block: Any, products: Any, at: Any, bias: Any, floor: Any, y: Any,
    to: Any, inside: Any, count: Any,
) -> None:  # fmt: skip
    tile = _apply(_found(size, taps).output, _read_tile(len(size), products, at, None, None))
    side, pooled = len(block), len(tile) // len(block)
    tile = tile.reshape(pooled, side, pooled, side, -1).max(axis=(1, 3)) + bias
    _write_tile(np.where(tile < floor, floor, tile), y, to, inside, count)


@emitted(_output_tile)
def output_tile(
    typing: Any, size: Any, taps: Any, block: Any, products: Any, at: Any, bias: Any, floor: Any,
    y: Any, to: Any, inside: Any, count: Any,
) -> Any:  # fmt: skip
    """n x n products to m x m results Aᵀ M A, plus ``bias``, and not less than ``floor``.

    ``bias`` and ``floor`` are vectors, NaN stays NaN. ``block`` is a tuple with one or two items:
    with two the tile is halved by taking the largest of each 2 x 2 results. ``inside`` and
    ``count`` are those of the results, after halving.
    """
    matrix = _found(size, taps).output

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, (products, at, bias, floor, y, to, inside, count) = signature.args, arguments[3:]
        given = _Tile(context, builder, matrix.shape[1], (kinds[3], products), at)
        side = len(kinds[2])
        result = _Tile(context, builder, matrix.shape[0] // side, (kinds[7], y), to)
        result.limit(kinds[9], inside)
        result.narrow(kinds[10], count)
        sums = _Sums(builder, given.element)
        rows = _sandwich(sums, matrix, given)
        result.write(_finished(builder, rows, side, bias, floor))
        return context.get_dummy_value()

    where = types.UniTuple(types.intp, 3)
    given = size, taps, block, products, where, bias, floor, y, where, _bounds(inside)
    return types.void(*given, _number(count)), emit


def _finished(
    builder: Any, rows: Iterator[list[Any]], side: int, bias: Any, floor: Any
) -> Iterator[list[Any]]:
    """Rows of the largest of each ``side`` x ``side`` results, plus bias, not less than floor."""
    for row in rows:
        block = [row, *(next(rows) for _ in range(side - 1))]
        finished = []
        for j in range(0, len(row), side):
            vector = _largest(builder, [v for r in block for v in r[j : j + side]])
            finished.append(ir.at_least(builder, builder.fadd(vector, bias), floor))
        yield finished


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
