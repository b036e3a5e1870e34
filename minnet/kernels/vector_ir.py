"""Instructions for whole vectors, as pieces of LLVM code.

LLVM compiles a vector of any width for any machine: into one register where it has such, into
several or into single numbers where it has not. So the width below is a matter of speed alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, config

Value = Any  # llvmlite's ir.Value, which has no types


def _register_bytes() -> int:
    """The width of this machine's vector registers."""
    override = os.environ.get("MINNET_VECTOR_BYTES")
    if override:
        return int(override)
    if config.CPU_FEATURES is not None:
        features = {f[1:] for f in config.CPU_FEATURES.split(",") if f.startswith("+")}
    else:
        features = {name for name, has in llvmlite.binding.get_host_cpu_features().items() if has}
    if "avx512f" in features:
        return 64
    return 32 if "avx" in features else 16


#: Width of a vector in bytes; the environment variable MINNET_VECTOR_BYTES overrides the machine's.
BYTES = _register_bytes()

BYTE, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def int64(value: int) -> Value:
    return ir.Constant(I64, value)


def lanes_of(element: Any) -> int:
    """How many numbers of an LLVM type ``float`` or ``double`` make a vector."""
    return BYTES // (4 if isinstance(element, ir.FloatType) else 8)


def vector_of(element: Any) -> Any:
    return ir.VectorType(element, lanes_of(element))


def constant(element: Any, value: float) -> Value:
    """A vector with ``value`` in every lane."""
    return ir.Constant(vector_of(element), [ir.Constant(element, float(value))] * lanes_of(element))


def pointer(context: Any, builder: Any, array_type: Any, array: Value, index: Value) -> Value:
    """Where element ``index`` of a contiguous array is; the index is not checked."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def load(builder: Any, start: Value, offset: Value | int = 0) -> Value:
    """The vector ``offset`` elements from the pointer ``start``."""
    return builder.load(_place(builder, start, offset), align=_alignment(start))


def store(builder: Any, value: Value, start: Value, offset: Value | int = 0) -> None:
    builder.store(value, _place(builder, start, offset), align=_alignment(start))


def store_uncached(builder: Any, value: Value, start: Value) -> None:
    """Store to an address that is a multiple of the vector's size, past the cache."""
    instruction = builder.store(value, _place(builder, start, 0), align=BYTES)
    instruction.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))


def first_lanes(builder: Any, element: Any, count: Value) -> Value:
    """The first ``count`` lanes of a vector of so large elements, as a mask; count may be less
    than 0 or more than there are, within 32 bits."""
    lanes = lanes_of(element)
    numbers = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, broadcast(builder, builder.trunc(count, I32), lanes))


def load_part(builder: Any, mask: Value, start: Value, offset: Value | int = 0) -> Value:
    """:func:`load` of the lanes in the mask; the others are 0, and their memory is not read."""
    place = _place(builder, start, offset, mask.type.count)
    kind = place.type.pointee
    signature = ir.FunctionType(kind, [place.type, I32, mask.type, kind])
    name = f"llvm.masked.load.{_suffix(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    align = ir.Constant(I32, _alignment(start))
    return builder.call(function, [place, align, mask, ir.Constant(kind, None)])


def store_part(
    builder: Any, mask: Value, value: Value, start: Value, offset: Value | int = 0
) -> None:
    """:func:`store` of the lanes in the mask; the memory of the others stays as it is.

    Where vectors have 32 bytes or less a masked store takes twenty times as long as a plain one on
    some machines (AMD's), or there is none.
    """
    place = _place(builder, start, offset, mask.type.count)
    kind = place.type.pointee
    if BYTES >= 64:
        signature = ir.FunctionType(ir.VoidType(), [kind, place.type, I32, mask.type])
        name = f"llvm.masked.store.{_suffix(kind)}.p0"
        function = cgutils.get_or_insert_function(builder.module, signature, name)
        builder.call(function, [value, place, ir.Constant(I32, _alignment(start)), mask])
    else:
        bits = builder.bitcast(mask, ir.IntType(kind.count))
        builder.call(_store_first(builder.module, kind), [bits, value, place])


def _store_first(module: Any, kind: Any) -> Value:
    """A function ``(bits, value, place)`` that stores the first lanes of a vector, those with bits.

    A case for each number of lanes: one store for each power of two that it is the sum of.
    """
    name = f"store_first_{_suffix(kind)}"
    if name in module.globals:
        return module.globals[name]
    arguments = [ir.IntType(kind.count), kind, kind.as_pointer()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "internal"
    function.attributes.add("noinline")  # it would be most of the code of some kernels
    bits, value, place = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    end = function.append_basic_block()
    start = builder.bitcast(place, kind.element.as_pointer())
    cases = builder.switch(bits, end)
    for count in range(1, kind.count + 1):
        block = function.append_basic_block()
        cases.add_case(ir.Constant(bits.type, (1 << count) - 1), block)
        builder.position_at_end(block)
        done = 0
        for size in (16, 8, 4, 2, 1):
            if count & size:
                piece = shuffle(builder, value, value, range(done, done + size))
                builder.store(piece, _place(builder, start, done, size), align=_alignment(start))
                done += size
        builder.branch(end)
    builder.position_at_end(end)
    builder.ret_void()
    return function


def _suffix(kind: Any) -> str:
    """What LLVM's functions call a kind of vector in their names: v8f32."""
    numbers = {"float": "f32", "double": "f64", "i32": "i32"}
    return f"v{kind.count}{numbers[str(kind.element)]}"


def _place(builder: Any, start: Value, offset: Value | int, lanes: int | None = None) -> Value:
    if isinstance(offset, int):
        offset = int64(offset)
    element = start.type.pointee
    kind = vector_of(element) if lanes is None else ir.VectorType(element, lanes)
    return builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())


def _alignment(start: Value) -> int:
    return 8 if isinstance(start.type.pointee, ir.DoubleType) else 4


def shuffle(builder: Any, a: Value, b: Value, lanes: Sequence[int]) -> Value:
    """Chosen lanes of ``a`` (counted from 0) and of ``b`` (counted on from there)."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def broadcast(builder: Any, number: Value, lanes: int | None = None) -> Value:
    """A number in every lane, of which there are as many as fit into a register."""
    kind = ir.VectorType(number.type, lanes or lanes_of(number.type))
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(I32, 0))
    return shuffle(builder, first, undefined, [0] * kind.count)


def multiply_add(builder: Any, a: Value, b: Value, c: Value) -> Value:
    """a·b + c, rounded once where the machine can, twice where it cannot."""
    kind = a.type
    name = f"llvm.fmuladd.{_suffix(kind)}"
    signature = ir.FunctionType(kind, [kind] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [a, b, c])


def maximum(builder: Any, a: Value, b: Value) -> Value:
    """The larger, lane by lane; NaN where either is NaN."""
    better = builder.or_(
        builder.fcmp_ordered(">", b, a),
        builder.fcmp_unordered("uno", b, b),
    )
    return builder.select(better, b, a)


def at_least(builder: Any, value: Value, floor: Value) -> Value:
    """``value``, or ``floor`` where that is larger; NaN stays NaN. One instruction on x86."""
    return builder.select(builder.fcmp_ordered("<", value, floor), floor, value)


def prefetch(
    builder: Any, start: Value, offset: Value | int, locality: int = 2, write: bool = False
) -> None:
    """Ask for the cache line ``offset`` elements from ``start``; an address may be invalid."""
    if isinstance(offset, int):
        offset = int64(offset)
    signature = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0")
    place = builder.bitcast(builder.gep(start, [offset]), BYTE.as_pointer())
    numbers = [ir.Constant(I32, number) for number in (int(write), locality, 1)]
    builder.call(function, [place, *numbers])


def opaque(builder: Any, value: Value) -> Value:
    """The same value, about which the compiler knows nothing.

    It cannot work out beforehand, and keep, what is calculated from it, for which there might not
    be enough registers.
    """
    kind = ir.FunctionType(value.type, [value.type])
    return builder.asm(kind, "", "=r,0", [value], False)


def settle(builder: Any, place: Value) -> None:
    """Have all that was written to memory be there, and what is read after this be read from it:
    nothing is kept in registers meanwhile. ``place`` is a variable that this shall hold for."""
    kind = ir.FunctionType(ir.VoidType(), [place.type])
    builder.asm(kind, "", "r,~{memory}", [place], True)
