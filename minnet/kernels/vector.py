"""Vectors for kernels: several numbers that are loaded, multiplied and stored at once.

Each function is written twice: as a few lines of NumPy that say what it means, which run when the
JIT is disabled, and as the instructions for the compiler. Arrays are flat and C-contiguous, an
``index`` counts elements, and nothing checks it: a kernel must not read beyond its arrays.

Vectors add, subtract and multiply with ``+ - *``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic, models, overload, register_model

from minnet.kernels import vector_ir as ir

#: Numbers in a vector of float32.
LANES = ir.BYTES // 4


class VectorType(types.Type):
    """Numba's name for a vector of float32 or float64."""

    def __init__(self, element: Any):
        self.element = element
        super().__init__(name=f"vector({element})")


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: VectorType):
        super().__init__(manager, kind, ir.vector_of(manager[kind.element].get_value_type()))


def emitted(meaning: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """Give a Python function the instructions that do the same when it is compiled."""
    return lambda emit: meaning if config.DISABLE_JIT else intrinsic(emit)


def lanes(array: Any) -> int:
    """How many of the array's numbers make a vector; a constant where it is compiled."""
    return int(ir.BYTES // array.dtype.itemsize)


if not config.DISABLE_JIT:

    @overload(lanes, inline="always")
    def _lanes(array):  # Numba wants both signatures alike, annotations included
        count = ir.BYTES * 8 // array.dtype.bitwidth
        return lambda array: count


def _load(array: Any, index: int) -> Any:
    return array[index : index + lanes(array)].copy()


@emitted(_load)
def load(typing: Any, array: Any, index: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.load(builder, ir.pointer(context, builder, signature.args[0], *arguments))

    return VectorType(array.dtype)(array, types.intp), emit


def _store(array: Any, index: int, vector: Any) -> None:
    array[index : index + len(vector)] = vector


@emitted(_store)
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        ir.store(builder, arguments[2], start)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


def _load_part(array: Any, index: int, count: int) -> Any:
    vector = np.zeros(lanes(array), array.dtype)
    count = max(0, min(count, len(vector)))
    vector[:count] = array[index : index + count]
    return vector


@emitted(_load_part)
def load_part(typing: Any, array: Any, index: Any, count: Any) -> Any:
    """The first ``count`` numbers of a vector, and zeros; what lies behind them is not read."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        mask = ir.first_lanes(builder, start.type.pointee, arguments[2])
        return ir.load_part(builder, mask, start)

    return VectorType(array.dtype)(array, types.intp, types.intp), emit


def _store_part(array: Any, index: int, vector: Any, count: int) -> None:
    array[index : index + count] = vector[:count]


@emitted(_store_part)
def store_part(typing: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """Store the first ``count`` numbers of a vector."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        mask = ir.first_lanes(builder, start.type.pointee, arguments[3])
        ir.store_part(builder, mask, arguments[2], start)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), emit


@emitted(_store)
def store_uncached(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Store what will not be read soon: it goes to memory without displacing what is in the cache.

    The place must be a multiple of the vector's size, as an address. Other threads see it after the
    next call of :func:`count_up`, at the latest.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        ir.store_uncached(builder, arguments[2], start)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


def _prefetch(array: Any, index: int) -> None:
    """Nothing that shows, and nothing that could fail: the index may lie outside the array."""


def _fetch(write: bool) -> Any:
    @emitted(_prefetch)
    def fetch(typing: Any, array: Any, index: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            start = ir.pointer(context, builder, signature.args[0], *arguments)
            ir.prefetch(builder, start, 0, locality=3, write=write)
            return context.get_dummy_value()

        return types.void(array, types.intp), emit

    return fetch


#: Bring what is at an index into the cache, for reading or for writing to it soon.
prefetch, prefetch_to_write = _fetch(False), _fetch(True)


def _copy(source: Any, start: int, target: Any, to: int, count: int) -> None:
    target[to : to + count] = source[start : start + count]


@emitted(_copy)
def copy(typing: Any, source: Any, start: Any, target: Any, to: Any, count: Any) -> Any:
    """Copy numbers that follow one another; less code, and so sooner compiled, than a loop."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, size = signature.args, source.dtype.bitwidth // 8
        first = ir.pointer(context, builder, kinds[0], *arguments[:2])
        place = ir.pointer(context, builder, kinds[2], *arguments[2:4])
        cgutils.raw_memcpy(builder, place, first, arguments[4], size)
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, target, index, index), emit


def _clear(target: Any, to: int, count: int) -> None:
    target[to : to + count] = 0


@emitted(_clear)
def clear(typing: Any, target: Any, to: Any, count: Any) -> Any:
    """Set numbers that follow one another to zero."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        size = builder.mul(arguments[2], ir.int64(target.dtype.bitwidth // 8))
        cgutils.memset(builder, place, size, 0)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.intp), emit


def _broadcast(number: Any) -> Any:
    return np.full(ir.BYTES // number.dtype.itemsize, number)


@emitted(_broadcast)
def broadcast(typing: Any, number: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.broadcast(builder, arguments[0])

    return VectorType(number)(number), emit


def _fma(a: Any, b: Any, c: Any) -> Any:
    return a * b + c


@emitted(_fma)
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.multiply_add(builder, *arguments)

    return a(a, b, c), emit


def _at_least(vector: Any, floor: Any) -> Any:
    return np.where(vector < floor, floor, vector)


@emitted(_at_least)
def at_least(typing: Any, vector: Any, floor: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.at_least(builder, *arguments)

    return vector(vector, floor), emit


@emitted(np.maximum)
def maximum(typing: Any, a: Any, b: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.maximum(builder, *arguments)

    return a(a, b), emit


def _arithmetic(instruction: str) -> Any:
    @intrinsic
    def apply(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return a(a, b), emit

    return apply


def _overload(symbol: Callable[..., Any], instruction: str) -> None:
    apply = _arithmetic(instruction)

    @overload(symbol)
    def implement(a, b):
        if isinstance(a, VectorType) and isinstance(b, VectorType):
            return lambda a, b: apply(a, b)
        return None


if not config.DISABLE_JIT:
    _overload(operator.add, "fadd")
    _overload(operator.sub, "fsub")
    _overload(operator.mul, "fmul")


def _count_up(counters: Any, index: int) -> int:
    counters[index] += 1
    return int(counters[index]) - 1


@emitted(_count_up)
def count_up(typing: Any, counters: Any, index: Any) -> Any:
    """Add 1 to a counter and give what it was before; no two threads get the same number."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = ir.pointer(context, builder, signature.args[0], *arguments)
        return builder.atomic_rmw("add", place, ir.int64(1), "monotonic")

    return types.int64(counters, types.intp), emit


def _transpose(source: Any, start: int, step: int, target: Any, to: int, to_step: int) -> None:
    n = lanes(source)
    square = np.array([source[start + i * step : start + i * step + n] for i in range(n)])
    for j in range(n):
        target[to + j * to_step : to + j * to_step + n] = square[:, j]


@emitted(_transpose)
def transpose(
    typing: Any, source: Any, start: Any, step: Any, target: Any, to: Any, to_step: Any
) -> Any:
    """target[to + j·to_step + i] = source[start + i·step + j] for a square of one vector's size."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, start, step, target, to, to_step = arguments
        first = ir.pointer(context, builder, signature.args[0], source, start)
        out = ir.pointer(context, builder, signature.args[3], target, to)
        n = ir.lanes_of(first.type.pointee)
        rows = [ir.load(builder, first, builder.mul(step, ir.int64(i))) for i in range(n)]
        size = 1
        # Swap the two off-diagonal squares of side 1, then 2, then 4 …
        while size < n:
            upper = [i + j if not j & size else n + i + j - size for i, j in _pairs(n, size)]
            lower = [i + j + size if not j & size else n + i + j for i, j in _pairs(n, size)]
            for i in range(n):
                if not i & size:
                    a, b = rows[i], rows[i + size]
                    rows[i] = ir.shuffle(builder, a, b, upper)
                    rows[i + size] = ir.shuffle(builder, a, b, lower)
            size *= 2
        for j, row in enumerate(rows):
            ir.store(builder, row, out, builder.mul(to_step, ir.int64(j)))
        return context.get_dummy_value()

    index = types.intp
    return types.void(source, index, index, target, index, index), emit


def _pairs(n: int, size: int) -> list[tuple[int, int]]:
    """Lanes 0 … n-1 as (start of the square's pair, place in it)."""
    return [(lane - lane % (2 * size), lane % (2 * size)) for lane in range(n)]
