"""The instructions of a tile; :mod:`minnet.kernels.microkernel` explains what it is for.

The compiler would not keep the sums of a loop in registers by itself. So for each number of rows
that a tile may have, its instructions are written here one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils

from minnet.kernels import codes
from minnet.kernels import vector_ir as ir
from minnet.kernels.vector import emitted, lanes

ROWS = 12 if ir.BYTES >= 64 else 6  # of a tile, at most: AVX-512 has 32 registers, others 16
VECTORS = 2 if ir.BYTES >= 32 else 4  # in one row of a panel
NEIGHBOURS = 4  # rows of A that are found from the same pointer
UNROLL = 7  # rows up to which two steps of the inner sum are taken between looks at its end
#: Multiply-adds that a core has in the works at once. Smaller narrow tiles have two sums for each
#: element, which take turns.
SUMS = 8

#: How many rows a tile has at most, by its vectors in a row: a narrow one needs no fewer sums.
MOST_ROWS = tuple(12 if vectors < VECTORS else ROWS for vectors in range(VECTORS + 1))


def _tile(
    width: Any, rows: int, panels: int, depth: int,
    a: Any, a_at: Any, taps: Any, tap_range: Any, b: Any, b_at: Any,
    c: Any, c_at: Any, bias: Any, bias_at: Any, floor: Any,
) -> None:  # fmt: skip
    size = len(width) * lanes(c)
    i, k, columns = np.arange(rows)[:, None], np.arange(depth), np.arange(size)
    wide = c_at[3] if len(c_at) > 3 else panels * size
    for j in range(panels):
        total = np.zeros((rows, size), c.dtype)
        if bias_at[1]:
            total += bias[bias_at[0] + j * size + columns]
        for t in range(tap_range[1]):
            begin = a_at[0] + (0 if taps is None else int(taps[tap_range[0] + t]))
            left = a[begin + i * a_at[1] + k * a_at[2]]
            start = b_at[0] + j * b_at[1] + t * b_at[2]
            rows_of_b = start + k[:, None] * b_at[3]
            if b.dtype == np.uint8:
                total += left @ codes.decoded(b, rows_of_b + codes.SIZE * columns)
            else:
                total += left @ b[rows_of_b + columns]
        here = min(size, wide - j * size)
        for row, start in enumerate(c_at[0] + i[:, 0] * c_at[1] + j * size):
            place = slice(start, start + here)
            sums = total[row, :here] + c[place] if c_at[2] else total[row, :here]
            c[place] = sums if floor is None else np.where(sums < floor, floor, sums)


@emitted(_tile)
def tile(
    typing: Any, width: Any, rows: Any, panels: Any, depth: Any,
    a: Any, a_at: Any, taps: Any, tap_range: Any, b: Any, b_at: Any,
    c: Any, c_at: Any, bias: Any, bias_at: Any, floor: Any,
) -> Any:  # fmt: skip
    """Tiles side by side, of few enough rows.

    For the arguments see :func:`minnet.kernels.microkernel.product_rows`.
    """
    integers = types.UniTuple
    signature = types.void(
        width, types.intp, types.intp, types.intp,
        a, integers(types.intp, 3), taps, integers(types.intp, 2),
        b, integers(types.intp, len(b_at)),
        c, integers(types.intp, len(c_at)), bias, integers(types.intp, 2),
        floor if isinstance(floor, types.NoneType) else c.dtype,
    )  # fmt: skip

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, rows, panels, depth, a, a_at, taps, tap_range, b, b_at = arguments[:10]
        c, c_at, bias, bias_at, floor = arguments[10:]
        kinds = signature.args

        def operand(place: int, array: Any, at: Any) -> list[Any]:
            """The pointer to an operand's start, and its strides."""
            start, *strides = cgutils.unpack_tuple(builder, at)
            return [ir.pointer(context, builder, kinds[place], array, start), *strides]

        emitter = _Emitter(builder, len(kinds[0]), panels, depth)
        emitter.a, emitter.b = operand(4, a, a_at), operand(8, b, b_at)
        if len(kinds[9]) == 6:
            fetch, step = emitter.b[4:]
            emitter.fetch = [ir.pointer(context, builder, kinds[8], b, fetch), step]
        emitter.c = operand(10, c, c_at)
        emitter.element = emitter.c[0].type.pointee
        if len(kinds[11]) == 4:
            emitter.columns = emitter.c[3]
        if not isinstance(kinds[6], types.NoneType):
            emitter.taps = operand(6, taps, tap_range)
        if not isinstance(kinds[12], types.NoneType):
            emitter.bias = operand(12, bias, bias_at)
        if not isinstance(kinds[14], types.NoneType):
            emitter.floor = floor
        emitter.tiles(rows)
        return context.get_dummy_value()

    return signature, emit


class _Emitter:
    """Writes the instructions of tiles with 1, 2, … rows, and the choice between them."""

    a: list[Any]  # for each array the pointer to its start, and its strides
    b: list[Any]
    c: list[Any]
    fetch: list[Any] | None = None
    taps: list[Any] | None = None
    bias: list[Any] | None = None
    floor: Any = None
    columns: Any = None
    element: Any  # the type of a number

    def __init__(self, builder: Any, vectors: int, panels: Any, depth: Any):
        self.builder, self.vectors, self.panels, self.depth = builder, vectors, panels, depth

    def tiles(self, rows: Any) -> None:
        builder = self.builder
        width = ir.int64(self.vectors * ir.lanes_of(self.element))
        (b, b_panel, *_), (c, *_) = self.b, self.c
        bias = c if self.bias is None else self.bias[0]
        columns = ir.int64(0) if self.columns is None else self.columns
        end = builder.append_basic_block("tile.end")
        choice = builder.switch(rows, end)
        for count in range(1, MOST_ROWS[self.vectors] + 1):
            block = builder.append_basic_block(f"tile.{count}")
            choice.add_case(ir.int64(count), block)
            builder.position_at_end(block)
            walks = (b, b_panel), (c, width), (bias, width), (columns, builder.neg(width))
            with self.repeat(self.panels, *walks) as places:
                self.tile(count, *places)
            builder.branch(end)
        builder.position_at_end(end)

    def tile(self, rows: int, b: Any, c: Any, bias: Any, columns: Any) -> None:
        """The sums live in variables of their own, which the compiler turns into registers."""
        zero = ir.constant(self.element, 0.0)
        start = [self.variable(zero) for _ in range(self.vectors)]
        if self.bias is not None:
            with self.unless_zero(self.bias[1]):
                for j, variable in enumerate(start):
                    self.builder.store(ir.load(self.builder, bias, self.column(j)), variable)
        sums = [[self.variable(self.builder.load(v)) for v in start] for _ in range(rows)]
        both = [sums]
        if self.vectors < VECTORS and rows * self.vectors < SUMS:
            both.append([[self.variable(zero) for _ in start] for _ in range(rows)])
        if self.taps is None:
            self.inner_sum(both, self.a[0], b)
        else:
            table, count = self.taps
            with self.repeat(count, (table, ir.int64(1)), (b, self.b[2])) as (entry, there):
                offset = self.builder.load(entry)
                self.inner_sum(both, self.builder.gep(self.a[0], [offset]), there)
        if len(both) == 2:
            self.add_up(*both)
        if self.columns is None:
            self.finish(sums, c)
            return
        width = self.vectors * ir.lanes_of(self.element)
        whole = self.builder.icmp_signed(">=", columns, ir.int64(width))
        with self.builder.if_else(whole) as (complete, incomplete):
            with complete:
                self.finish(sums, c)
            with incomplete:
                self.finish(sums, c, columns)

    def add_up(self, sums: list[list[Any]], others: list[list[Any]]) -> None:
        for row, more in zip(sums, others, strict=True):
            for variable, other in zip(row, more, strict=True):
                loads = self.builder.load(variable), self.builder.load(other)
                self.builder.store(self.builder.fadd(*loads), variable)

    def inner_sum(self, both: list[list[list[Any]]], a: Any, b: Any) -> None:
        """Add A's columns, times B's rows, to the sums, or by turns to both of two.

        There are too few registers to point at each row of A. So some neighbours share a pointer,
        and differ by offsets that are the same for all pointers.
        """
        builder = self.builder
        (_, a_row, a_step), b_step = self.a, self.b[3]
        apart = [builder.mul(a_row, ir.int64(i)) for i in range(NEIGHBOURS)]
        firsts = range(0, len(both[0]), NEIGHBOURS)
        columns = [self.variable(builder.gep(a, [builder.mul(a_row, ir.int64(i))])) for i in firsts]
        row = self.variable(b)
        fetch = None if self.fetch is None else self.variable(self.fetch[0])
        turns = [(self.depth, 1)]
        if len(both[0]) <= UNROLL:
            two = ir.int64(2)
            turns = [(builder.sdiv(self.depth, two), 2), (builder.srem(self.depth, two), 1)]
        for count, steps in turns:
            with self.repeat(count):
                for turn in range(steps):
                    here = [builder.load(column) for column in columns]
                    self.step(both[turn % len(both)], here, apart, builder.load(row))
                    for column in columns:
                        self.advance(column, a_step)
                    self.advance(row, b_step)
                    if self.fetch is not None:
                        ir.prefetch(builder, builder.load(fetch), 0)
                        self.advance(fetch, self.fetch[1])

    def step(self, sums: list[list[Any]], a: list[Any], apart: list[Any], b: Any) -> None:
        """Add one row of B, times the elements of A's column, to the sums.

        ``a`` points at every ``NEIGHBOURS``-th element, the others are so far ``apart`` from it.
        """
        builder = self.builder
        load = codes.load if b.type.pointee == ir.BYTE else ir.load
        right = [load(builder, b, self.column(j)) for j in range(self.vectors)]
        for i, row in enumerate(sums):
            place = builder.gep(a[i // NEIGHBOURS], [apart[i % NEIGHBOURS]])
            left = ir.broadcast(builder, builder.load(place))
            for variable, vector in zip(row, right, strict=True):
                total = ir.multiply_add(builder, left, vector, builder.load(variable))
                builder.store(total, variable)

    def finish(self, sums: list[list[Any]], c: Any, columns: Any = None) -> None:
        """Write the sums to C, of which there are only so many ``columns``."""
        builder = self.builder
        _, row, add, *_ = self.c
        masks: list[Any] = [None] * self.vectors
        if columns is not None:
            for j in range(self.vectors):
                left = builder.sub(columns, ir.int64(self.column(j)))
                masks[j] = ir.first_lanes(builder, self.element, left)
        floor = None if self.floor is None else ir.broadcast(builder, self.floor)
        begins = [builder.gep(c, [builder.mul(row, ir.int64(i))]) for i in range(len(sums))]
        adding = builder.icmp_signed("!=", add, ir.int64(0))
        with builder.if_else(adding) as cases:
            for case, adds in zip(cases, (True, False), strict=True):
                with case:
                    for begin, variables in zip(begins, sums, strict=True):
                        for j, (variable, mask) in enumerate(zip(variables, masks, strict=True)):
                            total = builder.load(variable)
                            if adds:
                                total = builder.fadd(total, self.read(begin, j, mask))
                            if floor is not None:
                                total = ir.at_least(builder, total, floor)
                            self.write(total, begin, j, mask)

    def read(self, begin: Any, vector: int, mask: Any) -> Any:
        offset = self.column(vector)
        if mask is None:
            return ir.load(self.builder, begin, offset)
        return ir.load_part(self.builder, mask, begin, offset)

    def write(self, value: Any, begin: Any, vector: int, mask: Any) -> None:
        offset = self.column(vector)
        if mask is None:
            ir.store(self.builder, value, begin, offset)
        else:
            ir.store_part(self.builder, mask, value, begin, offset)

    def column(self, vector: int) -> int:
        """Where in a panel's row a vector begins."""
        return vector * int(ir.lanes_of(self.element))

    def variable(self, value: Any) -> Any:
        place = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, place)
        return place

    def unless_zero(self, flag: Any) -> Any:
        return self.builder.if_then(self.builder.icmp_signed("!=", flag, ir.int64(0)))

    def advance(self, variable: Any, step: Any) -> None:
        """Move a pointer on, such that the compiler cannot know where to.

        Otherwise it works out beforehand how far each row of each unrolled step is from the first,
        and these are more numbers than there are registers.
        """
        there = self.builder.gep(self.builder.load(variable), [step])
        self.builder.store(ir.opaque(self.builder, there), variable)

    @contextlib.contextmanager
    def repeat(self, count: Any, *walks: tuple[Any, Any]) -> Iterator[list[Any]]:
        """A loop of ``count`` turns; each of ``walks`` is a pointer or number, and its step."""
        builder = self.builder
        with builder.if_then(builder.icmp_signed(">", count, ir.int64(0))):
            before = builder.block
            body = builder.append_basic_block("turn")
            builder.branch(body)
            builder.position_at_end(body)
            left = builder.phi(ir.I64)
            left.add_incoming(count, before)
            places = [builder.phi(start.type) for start, _ in walks]
            for place, (start, _) in zip(places, walks, strict=True):
                place.add_incoming(start, before)
            yield places
            fewer = builder.sub(left, ir.int64(1))
            left.add_incoming(fewer, builder.block)
            for place, (_, step) in zip(places, walks, strict=True):
                on = (
                    builder.gep(place, [step])
                    if place.type.is_pointer
                    else builder.add(place, step)
                )
                place.add_incoming(on, builder.block)
            end = builder.append_basic_block("turned")
            builder.cbranch(builder.icmp_signed(">", fewer, ir.int64(0)), body, end)
            builder.position_at_end(end)
