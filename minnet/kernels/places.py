"""Vectors of places: which tap of its window each of several elements came from.

In memory a place is an int32. In registers it is a number of the elements' own type, chosen
together with the element, so that one comparison serves both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba import types

from minnet.kernels import vector_ir as ir
from minnet.kernels.vector import emitted


def _better(best: Any, place: Any, new: Any, tap: Any) -> Any:
    above = ((new > best) | np.isnan(new)) & ~np.isnan(best)
    return np.where(above, new, best), np.where(above, tap, place)


@emitted(_better)
def better(typing: Any, best: Any, place: Any, new: Any, tap: Any) -> Any:
    """``(best, place)``, but ``(new, tap)`` where ``new`` is larger or the first NaN."""
    signature = types.UniTuple(best, 2)(best, place, new, tap)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        best, place, new, tap = arguments
        above = builder.fcmp_unordered(">", new, best)  # true also where one of them is NaN
        above = builder.and_(above, builder.fcmp_ordered("ord", best, best))
        chosen = builder.select(above, new, best), builder.select(above, tap, place)
        return context.make_tuple(builder, signature.return_type, chosen)

    return signature, emit


def _load_whole(array: Any, index: int, like: Any) -> Any:
    return array[index : index + len(like)].astype(like.dtype)


@emitted(_load_whole)
def load_whole(typing: Any, array: Any, index: Any, like: Any) -> Any:
    """Whole numbers from an array of int32, as a vector such as ``like``."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[2].type
        start = _whole(context, builder, signature, arguments, kind.count)
        return builder.sitofp(builder.load(start, align=4), kind)

    return like(array, types.intp, like), emit


def _store_whole(array: Any, index: int, vector: Any) -> None:
    array[index : index + len(vector)] = vector


@emitted(_store_whole)
def store_whole(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Store a vector of whole numbers in an array of int32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = _whole(context, builder, signature, arguments, arguments[2].type.count)
        builder.store(builder.fptosi(arguments[2], start.type.pointee), start, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


def _load_whole_part(array: Any, index: int, like: Any, count: int) -> Any:
    vector = np.zeros_like(like)
    vector[:count] = array[index : index + count]
    return vector


@emitted(_load_whole_part)
def load_whole_part(typing: Any, array: Any, index: Any, like: Any, count: Any) -> Any:
    """The first ``count`` of them, and zeros."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[2].type
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        mask = ir.first_lanes(builder, kind.element, arguments[3])
        return builder.sitofp(ir.load_part(builder, mask, start), kind)

    return like(array, types.intp, like, types.intp), emit


def _store_whole_part(array: Any, index: int, vector: Any, count: int) -> None:
    array[index : index + count] = vector[:count]


@emitted(_store_whole_part)
def store_whole_part(typing: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """Store the first ``count`` of a vector of whole numbers in an array of int32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[2].type
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        mask = ir.first_lanes(builder, kind.element, arguments[3])
        whole = builder.fptosi(arguments[2], llvm.VectorType(ir.I32, kind.count))
        ir.store_part(builder, mask, whole, start)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), emit


def _whole(context: Any, builder: Any, signature: Any, arguments: Any, count: int) -> Any:
    """A pointer to so many int32 from an index on."""
    start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
    return builder.bitcast(start, llvm.VectorType(ir.I32, count).as_pointer())


def _where_equal(a: Any, b: Any, yes: Any, no: Any) -> Any:
    return np.where(a == b, yes, no)


@emitted(_where_equal)
def where_equal(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """``yes`` in the lanes where ``a == b``, ``no`` in the others."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, yes, no = arguments
        return builder.select(builder.fcmp_ordered("==", a, b), yes, no)

    return yes(a, b, yes, no), emit
