"""Images with room around or between their pixels, kernels turned round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minnet.kernels.geometry import Padding, Pair, resolve_padding
from minnet.ops.base import Placement
from minnet.ops.shape import getitem
from minnet.ops.windows import require_images


@dataclass(frozen=True)
class Pad2D(Placement):
    """Rows and columns of zeros around images (n, height, width, channels)."""

    padding: Padding

    name = "pad2d"
    done = "with zeros around"

    def value(self, x: Any) -> Any:
        n, height, width, channels = x.shape
        (top, bottom), (left, right) = self.padding
        out = np.zeros((n, top + height + bottom, left + width + right, channels), x.dtype)
        out[:, top : top + height, left : left + width] = x
        return out

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        (top, _), (left, _) = self.padding
        rows, columns = slice(top, top + x.shape[1]), slice(left, left + x.shape[2])
        return getitem(g, (slice(None), rows, columns))


@dataclass(frozen=True)
class Dilate2D(Placement):
    """Rows and columns of zeros between those of the axes ``first`` and ``first + 1``.

    ``spacing`` is how far apart neighbours then are, vertically and horizontally.
    """

    spacing: Pair
    first: int

    name = "dilate2d"
    done = "with zeros between"

    def value(self, x: Any) -> Any:
        shape = list(x.shape)
        for axis, step in enumerate(self.spacing, self.first):
            shape[axis] = max(0, (shape[axis] - 1) * step + 1)
        out = np.zeros(shape, x.dtype)
        out[self._taken] = x
        return out

    @property
    def _taken(self) -> tuple[slice, ...]:
        return (*(slice(None),) * self.first, *(slice(None, None, s) for s in self.spacing))

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return getitem(g, self._taken)


@dataclass(frozen=True)
class RotateKernel(Placement):
    """A kernel turned by 180 degrees that leads back, from its filters to its channels.

    (kh, kw, channels // groups, filters) gives (kh, kw, filters // groups, channels): sliding it
    over a convolution's gradient gives the gradient of the images. Done twice it is undone.
    """

    groups: int

    name = "rotate_kernel"
    done = "turned by 180°"

    def value(self, w: Any) -> Any:
        kh, kw, inputs, filters = w.shape
        apart = w[::-1, ::-1].reshape(kh, kw, inputs, self.groups, filters // self.groups)
        swapped = apart.transpose(0, 1, 4, 3, 2)
        return swapped.reshape(kh, kw, filters // self.groups, self.groups * inputs)

    def gradient(self, index: int, g: Any, out: Any, w: Any) -> Any:
        return self(g)


pad, dilate = lru_cache(maxsize=1024)(Pad2D), lru_cache(maxsize=1024)(Dilate2D)
rotate_kernel = lru_cache(maxsize=64)(RotateKernel)


def zero_pad2d(x: Any, padding: Any = 1) -> Any:
    """Zeros around images (n, height, width, channels).

    ``padding``: a number for all sides, (vertical, horizontal) or ((top, bottom), (left, right)).

    Raises :class:`~minnet.errors.ArgumentError` for another padding and
    :class:`~minnet.errors.ShapeError` where ``x`` has not four axes.
    """
    require_images(x, "pad2d")
    found = resolve_padding(padding, (1, 1), (1, 1), (1, 1), x.shape[1], x.shape[2])
    return pad(found)(x)
