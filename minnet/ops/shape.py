"""Moving elements about: transpose, reshape, indexing, concatenation, broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minnet.autodiff import sum_to_shape
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.ops.base import CellWriter, Operand, Operation, View, normal_axes, positions
from minnet.tensor import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Transpose(View):
    axes: Shape | None  # None reverses all axes

    name = "transpose"

    def value(self, x: Any) -> Any:
        return x.transpose(self.axes)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        back = None if self.axes is None else tuple(np.argsort(self.axes).tolist())
        return transpose(g, back)

    def words(self, x: str) -> str:
        if self.axes not in (None, (1, 0)):
            return x
        return f"{x}ᵀ" if x.isidentifier() or " " not in x else f"({x})ᵀ"


@dataclass(frozen=True)
class Reshape(View):
    shape: Shape

    name = "reshape"

    def value(self, x: Any) -> Any:
        return np.reshape(x, self.shape)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return reshape(g, x.shape)


@dataclass(frozen=True)
class BroadcastTo(View):
    shape: Shape

    name = "broadcast_to"

    def value(self, x: Any) -> Any:
        return np.broadcast_to(x, self.shape)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return sum_to_shape(g, x.shape)


@dataclass(frozen=True)
class Concatenate(View):
    axis: int

    name = "concatenate"

    def value(self, *parts: Any) -> Any:
        return np.concatenate(parts, axis=self.axis)

    def gradient(self, index: int, g: Any, out: Any, *parts: Any) -> Any:
        start = sum(p.shape[self.axis] for p in parts[:index])
        stop = start + parts[index].shape[self.axis]
        return getitem(g, (slice(None),) * self.axis + (slice(start, stop),))

    def words(self, *names: str) -> str:
        return f"[{', '.join(names)}]"


class GetItem(View):
    """``x[key]``, with slices, numbers, boolean or integer arrays as NumPy has them."""

    name = "getitem"

    def __init__(self, key: Any):
        self.key = key

    def value(self, x: Any) -> Any:
        return np.asarray(x)[self.key]

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return Scatter(self.key, x.shape)(g)

    def words(self, x: str) -> str:
        return f"part of {x}"


class Scatter(Operation):
    """The gradient of indexing: what was taken from a place goes back to it, repeats add up."""

    name = "scatter"

    def __init__(self, key: Any, shape: Shape):
        self.key = key
        self.shape = shape

    def value(self, g: Any) -> Any:
        g = np.asarray(g)
        place = self._places().reshape(-1)
        size = int(np.prod(self.shape, dtype=np.int64))
        # bincount adds repeats without a Python loop, in float64.
        total = np.bincount(place, weights=g.reshape(-1), minlength=size)
        return total.astype(g.dtype).reshape(self.shape)

    def _places(self) -> Any:
        return np.asarray(positions(self.shape)[self.key])

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return getitem(g, self.key)

    def words(self, x: str) -> str:
        return f"{x} put back"

    def cells(self, shape: Shape, g: Operand) -> CellWriter:
        landing: dict[int, list[int]] = {}
        for source, place in enumerate(self._places().reshape(-1)):
            landing.setdefault(int(place), []).append(source)

        def write(k: int) -> str:
            cells = [g.cell(source) for source in landing.get(k, ())]
            if len(cells) < 2:
                return cells[0] if cells else "0"
            return f"SUM({','.join(cells)})"

        return write


class StopGradient(View):
    """The same numbers as a constant: no gradient flows back through it."""

    name = "stop_gradient"
    differentiable = False

    def value(self, x: Any) -> Any:
        return np.asarray(x)


_transpose, _reshape = lru_cache(maxsize=1024)(Transpose), lru_cache(maxsize=1024)(Reshape)
_broadcast_to = lru_cache(maxsize=1024)(BroadcastTo)
stop_gradient = StopGradient()


def transpose(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """Permute the axes; without ``axes`` reverse them."""
    if axes is not None:
        axes = (axes,) if isinstance(axes, int) else tuple(int(a) for a in axes)
        if normal_axes(axes, x.ndim, "transpose") != tuple(range(x.ndim)):
            raise ShapeError(mismatch("operation 'transpose'", f"{x.ndim} axes", f"axes={axes}"))
        axes = tuple(a % x.ndim for a in axes)
    return _transpose(axes)(x)


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """The same elements in C order under a new shape; one length may be -1."""
    wanted = (shape,) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    full = wanted
    if -1 in wanted:
        known = math.prod([n for n in wanted if n != -1])
        full = tuple(x.size // known if n == -1 and known else n for n in wanted)
    fits = math.prod(full) == x.size
    if not fits or any(n < 0 for n in full) or wanted.count(-1) > 1:
        raise ShapeError(
            mismatch("operation 'reshape'", f"a shape of {x.size} elements", f"{wanted}")
        )
    return _reshape(full)(x)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """Repeat along axes of length 1 (and new leading axes) until the shape is reached."""
    target = tuple(int(n) for n in shape)
    try:
        np.broadcast_shapes(x.shape, target)
        fits = np.broadcast_shapes(x.shape, target) == target
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            mismatch(
                "operation 'broadcast_to'", f"a shape that stretches to {target}", f"{x.shape}"
            )
        )
    return _broadcast_to(target)(x)


def getitem(x: Any, key: Any) -> Any:
    """``x[key]``; tensors inside the key are taken as plain arrays."""
    parts = key if isinstance(key, tuple) else (key,)
    # Copies: the backward pass needs the key as it is now.
    plain = tuple(np.array(p) if isinstance(p, (Tensor, np.ndarray)) else p for p in parts)
    try:
        return GetItem(plain if isinstance(key, tuple) else plain[0])(x)
    except IndexError as error:
        raise ShapeError(
            mismatch("indexing", f"a key that fits shape {x.shape}", f"{error}")
        ) from None


def concatenate(parts: Sequence[Any], axis: int = 0) -> Any:
    """Join along an existing axis."""
    if not len(parts):
        raise ArgumentError(mismatch("concatenate", "at least one tensor", "an empty list"))
    (axis,) = normal_axes(axis, parts[0].ndim, "concatenate")
    first = parts[0].shape
    for p in parts[1:]:
        if p.shape[:axis] + p.shape[axis + 1 :] != first[:axis] + first[axis + 1 :]:
            raise ShapeError(
                mismatch(
                    f"concatenate along axis {axis}", f"shapes like {first}", f"shape {p.shape}"
                )
            )
    return Concatenate(axis)(*parts)
