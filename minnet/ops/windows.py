"""Windows over images, as operations and layers are told of them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.kernels.geometry import Pair, Window, resolve_padding
from minnet.ops.base import positions
from minnet.tensor import Array

Shape = tuple[int, ...]


def require_images(x: Any, name: str) -> None:
    """Raise :class:`~minnet.errors.ShapeError` unless ``x`` has the four axes of images."""
    if len(x.shape) != 4:
        raise ShapeError(
            mismatch(
                f"operation {name!r}",
                "images (n, height, width, channels)",
                f"shape {x.shape}",
                "One image alone is x[None]; grey images get a channel by x[..., None].",
            )
        )


def pair(where: str, value: Any) -> Pair:
    """Two whole numbers above 0, vertical and horizontal; one stands for both."""
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    try:
        found = tuple(operator.index(n) for n in sides)
    except TypeError:
        found = ()
    if len(found) != 2 or min(found) < 1 or any(isinstance(n, bool) for n in sides):
        expected = "a whole number above 0, or two (vertical, horizontal)"
        raise ArgumentError(mismatch(where, expected, repr(value)))
    return found


def pooling_window(size: Any, strides: Any, padding: Any, height: int, width: int) -> Window:
    """The window of a pooling over images of this height and width; strides None are the size.

    Raises :class:`~minnet.errors.ArgumentError` for anything but whole numbers above 0, or padding
    that a window could disappear in, and :class:`~minnet.errors.ShapeError` where no window fits.
    """
    size = pair("pool size", size)
    strides = size if strides is None else pair("pool strides", strides)
    found = resolve_padding(padding, size, strides, (1, 1), height, width)
    if any(max(sides) >= side for sides, side in zip(found, size)):
        raise ArgumentError(
            mismatch("pool padding", f"less than the window's size, {size}", f"{padding!r}")
        )
    window = Window(size, strides, found)
    window.output_size(height, width)
    return window


def convolution_window(
    size: Any, strides: Any, padding: Any, dilation: Any, height: int, width: int
) -> Window:
    """The window of a convolution over images of this height and width.

    Raises :class:`~minnet.errors.ArgumentError` for anything but whole numbers above 0 or another
    padding and :class:`~minnet.errors.ShapeError` where no window fits.
    """
    size, strides = pair("kernel size", size), pair("strides", strides)
    dilation = pair("dilation", dilation)
    around = resolve_padding(padding, size, strides, dilation, height, width)
    window = Window(size, strides, around, dilation)
    window.output_size(height, width)
    return window


def taps_of(shape: Shape, window: Window) -> Array:
    """For each place of the window the positions of what it sees, (n, *places, channels, taps).

    Taps count row by row; where a tap sees padding stands -1.
    """
    n, height, width, channels = shape
    (top, bottom), (left, right) = window.padding
    padded = np.full((n, top + height + bottom, left + width + right, channels), -1)
    padded[:, top : top + height, left : left + width] = positions(shape)
    views = np.lib.stride_tricks.sliding_window_view(padded, window.reach, (1, 2))
    places = views[:, :: window.strides[0], :: window.strides[1]]
    taps = places[..., :: window.dilation[0], :: window.dilation[1]]
    return taps.reshape(*taps.shape[:4], -1)
