"""The tile: the small matrix product, held in registers, that all larger ones are made of.

A product C = A·B costs one multiply-add for each row, column and step of the inner sum, and a core
can start two vectors of them per cycle, if their operands are at hand. Taken straight from the
definition each multiply-add would need two numbers from memory, which is far too slow. So a *tile*
of C, up to 6 rows by one *panel* of 2 vectors, stays in 12 registers while the inner sum runs:

    for k in range(depth):                     B's row k: 2 vectors, loaded once, used by 6 rows
        for i in range(6):                     A's element (i, k): loaded once, in every lane,
            tile[i] += A[i, k] * B[k, :]       used by 2 vectors

That is 8 loads for 12 vector multiply-adds, and 12 independent sums hide the 4 cycles that each
multiply-add takes. More rows or wider panels do not fit into 16 registers. (AVX-512 has 32 of them,
and tiles of up to 12 rows. Where a register holds only 4 numbers, as on arm64, there are 32, too,
and a panel has 4 vectors.)

Larger products walk over tiles so that what a tile reads is near: a panel of B, *packed* (its rows
one after the other, ``[depth][panel]``), stays in the first-level cache while the rows of A pass
by. A's elements are taken one at a time, so A may lie in memory in any order: by rows, by columns,
or as the pixels of an image. Convolutions use that with *taps*: the inner sum becomes a sum over
taps of sums over ``depth``, and a table says how far from A's start each tap begins. A convolution
has a tap for each row of its kernel (within which pixels and channels follow one another) or for
each of its elements, and the gradient of its kernel one for each row of the images.

Rows are split evenly: 8 rows are tiles of 4 and 4, not of 6 and 2, as small tiles waste time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba.core import config
from numba.extending import overload
from numba.np.numpy_support import as_dtype

from minnet.kernels import codes
from minnet.kernels.jit import inlined, shared
from minnet.kernels.tile import MOST_ROWS, ROWS, VECTORS, tile
from minnet.kernels.vector_ir import BYTES

#: How wide a panel is, as the kernels take it: a tuple with one item for each vector. A tuple's
#: length is part of its type, so it is known to the compiler.
WIDE, NARROW = (0,) * VECTORS, (0,) * (VECTORS // 2)


def panel_of(dtype: npt.DTypeLike, width: tuple[int, ...] = WIDE) -> int:
    """The width of a panel: how many columns of B are packed side by side.

    Of bytes it is how many they take: those of float32 numbers as :mod:`minnet.kernels.codes`.
    """
    dtype = np.dtype(dtype)
    each, size = (codes.SIZE, 4) if dtype == np.uint8 else (1, dtype.itemsize)
    return each * len(width) * BYTES // size


def width_for(columns: int, dtype: npt.DTypeLike) -> tuple[int, ...]:
    """``NARROW`` if a matrix with so many columns fits into half a panel, else ``WIDE``."""
    return NARROW if columns <= panel_of(dtype, NARROW) else WIDE


def filled(columns: int, dtype: npt.DTypeLike, width: tuple[int, ...] | None = None) -> int:
    """How many columns the panels of a matrix have, those included that are empty."""
    size = panel_of(dtype, width or width_for(columns, dtype))
    return -(-columns // size) * size


def panel(array: Any) -> int:
    """:func:`panel_of` the array's dtype for a whole panel; a constant where it is compiled."""
    return panel_of(array.dtype)


if not config.DISABLE_JIT:

    @overload(panel, inline="always")
    def _panel(array):
        width = panel_of(as_dtype(array.dtype))
        return lambda array: width


@shared
def multiply_rows(
    a, a_start, a_row, a_step, rows, b, b_start, c, c_start, c_row, depth, add
):  # fmt: skip
    """C = A·B, or C += A·B if ``add``, for any number of rows and one packed panel of B.

    Element (i, k) of A is ``a[a_start + i * a_row + k * a_step]``, row k of B begins at
    ``b[b_start + k * panel]``, row i of C at ``c[c_start + i * c_row]``. An array of bytes as B has
    the numbers as codes (:mod:`minnet.kernels.codes`), of which C is 2⁸ times too large then. It is
    assumed that what follows the panel in ``b`` will be needed next: it is fetched meanwhile,
    little by little.
    """
    width = panel(b)
    blocks = (rows + ROWS - 1) // ROWS
    step = (width + blocks - 1) // max(blocks, 1)
    fetch = b_start + depth * width
    for i in range(blocks):
        count = rows // (blocks - i)
        product_rows(
            WIDE, count, 1, depth, a, (a_start, a_row, a_step), None, (0, 1),
            b, (b_start, 0, 0, width, fetch, step), c, (c_start, c_row, add), None, (0, 0), None,
        )  # fmt: skip
        rows -= count
        a_start += count * a_row
        c_start += count * c_row
        fetch += depth * step


@shared
def product_rows(
    width, rows, panels, depth, a, a_at, taps, tap_range, b, b_at, c, c_at, bias, bias_at, floor
):
    """C = Σ over taps of A·B, for any number of rows and of panels, with what is done at the end.

    ``width``       ``WIDE`` for a whole panel of columns, ``NARROW`` for half of one.
    ``a_at``        (start, row, step): element (i, k) of A in tap t is
                    ``a[start + taps[t] + i * row + k * step]``.
    ``tap_range``   (first, count) of the entries of the int64 array ``taps``. Without a table
                    (``taps`` is None) there is one tap, at A's start.
    ``b_at``        (start, panel, jump, step): row k of B for panel j and the t-th of these taps
                    begins at ``b[start + j * panel + t * jump + k * step]``. With two more
                    numbers, (…, fetch, step), ``b[fetch + k * step]`` is brought into the cache.
    ``c_at``        (start, row, add): row i of C begins at ``c[start + i * row]``; with ``add`` the
                    product is added to what is there, one row after the other, so that rows may
                    overlap. With one more number, (…, columns), C has only so many columns, and
                    what panels have beyond them is not written.
    ``bias_at``     (start, use): unless ``use`` is 0, the panels that begin at ``bias[start]`` are
                    added to every row. ``bias`` may be None.
    ``floor``       at last, what is less is replaced by this number; None: nothing is.
    """
    _tiles(
        width, rows, panels, depth, a, a_at, taps, tap_range, b, b_at, c, c_at, bias, bias_at, floor
    )


@shared
def product_lines(
    width, rows, lines, panels, depth, a, a_at, taps, tap_range, b, b_at, c, c_at, bias, bias_at,
    floor
):  # fmt: skip
    """Several products such as :func:`product_rows` makes, since a call of it takes as long as a
    short one.

    ``lines``: (count, a, c): so many of them; A and C each begin so far after the ones before.
    """
    for line in range(lines[0]):
        _tiles(
            width, rows, panels, depth, a, (a_at[0] + line * lines[1], *a_at[1:]), taps, tap_range,
            b, b_at, c, (c_at[0] + line * lines[2], *c_at[1:]), bias, bias_at, floor
        )  # fmt: skip


@inlined
def _tiles(
    width, rows, panels, depth, a, a_at, taps, tap_range, b, b_at, c, c_at, bias, bias_at, floor
):
    most = MOST_ROWS[len(width)]
    blocks = (rows + most - 1) // most
    size = rows // max(blocks, 1)
    larger = rows - blocks * size  # so many blocks have one row more
    start, row, step = a_at
    c_start, c_row, rest = c_at[0], c_at[1], c_at[2:]
    for i in range(blocks):
        count = size + 1 if i < larger else size
        tile(
            width, count, panels, depth, a, (start, row, step), taps, tap_range,
            b, b_at, c, (c_start, c_row, *rest), bias, bias_at, floor,
        )  # fmt: skip
        start += count * row
        c_start += count * c_row
