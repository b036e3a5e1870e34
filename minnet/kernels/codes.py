"""Numbers of three bytes: whole numbers that one factor for many of them makes float32 numbers of.

A float32 number has 24 bits for its digits and 8 that say where they belong. Numbers that are about
equally large can share that place. Then a *code* of 24 bits and a common factor are as good: their
product is less than 2⁻²⁴ of the largest of these numbers away from what it stands for (as a root
mean square; 2⁻²² at most). That saves a quarter of the memory, and of the time to read it.

A code is stored lowest byte first. To be multiplied, it becomes the upper three bytes of four, a
whole number that is 2⁸ times as large, and converts to float32 exactly; factors make up for that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir as llvm
from numba import types
from numba.core import cgutils

from minnet.kernels import vector_ir as ir
from minnet.kernels.vector import LANES, emitted
from minnet.tensor import Array

SIZE = 3  # bytes of a code
#: The largest code, but for a few: what is rounded must not become larger than 24 bits hold.
LARGEST = (1 << 23) - 4
SHIFT = 1 << 8
#: Bytes behind the last code that are read, and not used.
BEHIND = ir.BYTES // 4

_FLOATS = llvm.VectorType(llvm.FloatType(), LANES)
_WHOLE = llvm.VectorType(ir.I32, LANES)


def decoded(codes: Array, places: Any) -> Array:
    """The codes that begin at these places, times 2⁸, as float32."""
    parts = [codes[places + i].astype(np.int32) << 8 * (i + 1) for i in range(SIZE)]
    return (parts[0] | parts[1] | parts[2]).astype(np.float32)


def load(builder: Any, start: Any, offset: int) -> Any:
    """The vector of codes, times 2⁸, that begins ``offset`` codes after the pointer ``start``."""
    place = builder.gep(start, [ir.int64(SIZE * offset)])
    kind = llvm.VectorType(start.type.pointee, ir.BYTES)
    given = builder.load(builder.bitcast(place, kind.as_pointer()), align=1)
    zero = ir.BYTES  # in the vector of zeros, the first of which it is
    lanes = [(zero, *range(SIZE * lane, SIZE * (lane + 1))) for lane in range(LANES)]
    places = [byte for lane in lanes for byte in lane]
    moved = ir.shuffle(builder, given, llvm.Constant(kind, None), places)
    return builder.sitofp(builder.bitcast(moved, _WHOLE), _FLOATS)


def _store(codes: Array, index: int, vector: Array) -> None:
    four = np.rint(vector).astype("<i4").view(np.uint8).reshape(-1, 4)
    codes[index : index + SIZE * len(vector)] = four[:, :SIZE].reshape(-1)


@emitted(_store)
def store(typing: Any, codes: Any, index: Any, vector: Any) -> Any:
    """Round a vector of float32, none beyond ±``LARGEST``, and store it as codes from a byte on."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = ir.pointer(context, builder, signature.args[0], *arguments[:2])
        kind = llvm.VectorType(start.type.pointee, ir.BYTES)
        name = f"llvm.rint.v{LANES}f32"
        rint = cgutils.get_or_insert_function(
            builder.module, llvm.FunctionType(_FLOATS, [_FLOATS]), name
        )
        rounded = builder.fptosi(builder.call(rint, [arguments[2]]), _WHOLE)
        four = builder.bitcast(rounded, kind)
        lanes = [range(4 * lane, 4 * lane + SIZE) for lane in range(LANES)]
        three = ir.shuffle(builder, four, four, [byte for lane in lanes for byte in lane])
        builder.store(three, builder.bitcast(start, three.type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(codes, types.intp, vector), emit
