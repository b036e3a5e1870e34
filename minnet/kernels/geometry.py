"""Where a window stands as it slides over an image: size, strides, padding, dilation.

Plain whole numbers, shared by convolution and pooling. Vertical comes before horizontal everywhere:
``(height, width)``.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from minnet.errors import ArgumentError, ShapeError, mismatch, unknown_name
from minnet.tensor import Array

Pair = tuple[int, int]
#: ``((top, bottom), (left, right))``: how many rows and columns stand around an image.
Padding = tuple[Pair, Pair]

NO_PADDING: Padding = ((0, 0), (0, 0))
MOST_PIXELS = 1 << 40  # of an image with its padding; places in it fit into 64 bits


@dataclass(frozen=True)
class Window:
    """A window of ``size`` taps that steps by ``strides`` over an image with ``padding`` around it.

    ``dilation`` is the distance between neighbouring taps; 1 means that they touch. Raises
    :class:`~minnet.errors.ArgumentError` where a size, stride or dilation is below 1 or a padding
    below 0.
    """

    size: Pair
    strides: Pair = (1, 1)
    padding: Padding = NO_PADDING
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        for name in ("size", "strides", "dilation"):
            _check_pair(name, getattr(self, name), 1)
        for side in self.padding:
            _check_pair("padding", side, 0)

    @property
    def reach(self) -> Pair:
        """How many rows and columns the window covers, the gaps between its taps included."""
        (kh, kw), (dh, dw) = self.size, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1

    def output_size(self, height: int, width: int) -> Pair:
        """How many places the window has, down and across an image.

        Raises :class:`~minnet.errors.ShapeError` where the padded image is smaller than the window,
        or larger than any memory.
        """
        (top, bottom), (left, right) = self.padding
        tall, wide = self.reach
        rows, columns = height + top + bottom, width + left + right
        if rows < tall or columns < wide:
            expected = f"an image of at least {tall}x{wide} pixels, padding included"
            received = f"{height}x{width} pixels with padding {self.padding}"
            advice = "Use a smaller window, padding='same', or larger images."
            raise self._misfit(expected, received, advice)
        if rows * columns > MOST_PIXELS:
            expected = f"an image of at most {MOST_PIXELS:,} pixels, padding included"
            raise self._misfit(expected, f"{rows:,}x{columns:,}")
        return (rows - tall) // self.strides[0] + 1, (columns - wide) // self.strides[1] + 1

    def _misfit(self, expected: str, received: str, advice: str = "") -> ShapeError:
        where = f"window {self.size[0]}x{self.size[1]} with dilation {self.dilation}"
        return ShapeError(mismatch(where, expected, received, advice))


def remainders(
    size: int, stride: int, dilation: int, padding: int, length: int
) -> list[tuple[int, list[int], int, int]]:
    """Along one axis, for each remainder that has taps: (remainder, taps, first place in g, step).

    The taps are those that meet elements of g, in the order of these; ``step`` is the distance
    from one of these elements to the next.
    """
    found = []
    for start in range(min(stride, length)):
        meets = {
            (start + padding - tap * dilation) // stride: tap
            for tap in range(size)
            if (start + padding - tap * dilation) % stride == 0
        }
        if meets:
            places = sorted(meets)
            step = places[1] - places[0] if len(places) > 1 else 1
            found.append((start, [meets[place] for place in places], places[0], step))
    return found


def resolve_padding(
    padding: Any, size: Pair, strides: Pair, dilation: Pair, height: int, width: int
) -> Padding:
    """Padding in any of its spellings as ``((top, bottom), (left, right))``.

    ``padding`` is ``'valid'`` (none), ``'same'`` (TensorFlow's rule: the output has
    ``ceil(side / stride)`` places, and where the padding is odd the bottom and right get one more),
    one number for all sides, ``(vertical, horizontal)`` or ``((top, bottom), (left, right))``. Only
    ``'same'`` looks at the image's ``height`` and ``width``. Raises
    :class:`~minnet.errors.ArgumentError` for anything else.
    """
    if isinstance(padding, str):
        if padding == "valid":
            return NO_PADDING
        if padding == "same":
            return (
                _same(size[0], strides[0], dilation[0], height),
                _same(size[1], strides[1], dilation[1], width),
            )
        raise unknown_name("padding", padding, ("same", "valid"))
    sides = (padding, padding) if not isinstance(padding, (tuple, list)) else tuple(padding)
    if len(sides) == 2:
        try:
            vertical, horizontal = (_two_sides(side) for side in sides)
        except TypeError:
            pass
        else:
            return vertical, horizontal
    raise ArgumentError(
        mismatch(
            "padding",
            "'valid', 'same', a whole number, (vertical, horizontal) or "
            "((top, bottom), (left, right))",
            repr(padding),
        )
    )


def _same(size: int, stride: int, dilation: int, side: int) -> Pair:
    places = -(-side // stride)
    total = max((places - 1) * stride + (size - 1) * dilation + 1 - side, 0)
    return total // 2, total - total // 2


def _two_sides(side: Any) -> Pair:
    """One number for both sides, or a number for each; TypeError where it is neither."""
    before, after = side if isinstance(side, (tuple, list)) and len(side) == 2 else (side, side)
    pair = operator.index(before), operator.index(after)
    _check_pair("padding", pair, 0)
    return pair


def _check_pair(name: str, pair: Pair, least: int) -> None:
    if min(pair) < least:
        raise ArgumentError(mismatch(f"a window's {name}", f"at least {least}", f"{pair}"))


# -- for loops over places and taps ----------------------------------------------------------------


class Plan(NamedTuple):
    """How a window slides over images of one size, in tables.

    Where there is padding not all taps of a window are inside the image. Those that are form a
    rectangle, so two tables tell all: for each row of places, which row of the image the first tap
    inside sees, which tap that is, and how many there are; and the same for columns.
    """

    places: Pair  # down and across
    rows: Array  # (places down, 3), whole numbers
    columns: Array  # (places across, 3)
    #: The images' height, width and channels; how many taps a row of the window has; and how many
    #: elements in memory lie between a tap and the one below it, and the one on its right.
    sizes: tuple[int, int, int, int, int, int]
    jumps: Array  # (taps,): elements from the first tap to each tap, row by row
    tiled: bool  # every pixel is seen exactly once
    fours: bool  # every window has 2x2 taps, all inside the image


@lru_cache(maxsize=1024)
def plan(window: Window, height: int, width: int, channels: int) -> Plan:
    """How the window slides over images ``(n, height, width, channels)``.

    Raises :class:`~minnet.errors.ShapeError` where it does not fit into them.
    """
    places = window.output_size(height, width)
    rows, rows_tiled = _line(window, 0, places[0], height)
    columns, columns_tiled = _line(window, 1, places[1], width)
    down, across = window.dilation[0] * width * channels, window.dilation[1] * channels
    jumps = (np.arange(window.size[0])[:, None] * down + np.arange(window.size[1]) * across).ravel()
    for table in (rows, columns, jumps):
        table.setflags(write=False)
    sizes = height, width, channels, window.size[1], down, across
    inside = rows[:, 2].min(initial=2), columns[:, 2].min(initial=2)
    fours = window.size == inside == (2, 2)
    return Plan(places, rows, columns, sizes, jumps, rows_tiled and columns_tiled, fours)


def _line(window: Window, axis: int, places: int, side: int) -> tuple[Array, bool]:
    """The table of an axis, and whether each row (or column) of the image is seen exactly once."""
    taps = np.arange(window.size[axis]) * window.dilation[axis]
    start = np.arange(places) * window.strides[axis] - window.padding[axis][0]
    seen = start[:, None] + taps
    inside = (seen >= 0) & (seen < side)
    first = inside.argmax(axis=1)
    table = np.stack([start + taps[first], first, inside.sum(axis=1)], axis=1)
    return table, np.array_equal(np.sort(seen[inside]), np.arange(side))
