"""Many elements into one: sum, mean, variance, max."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minnet.errors import ShapeError, mismatch
from minnet.ops.base import (
    MULTIPLICATION,
    CellWriter,
    Operand,
    Operation,
    normal_axes,
    positions,
)
from minnet.ops.pointwise import where
from minnet.ops.shape import broadcast_to, reshape
from minnet.tensor import Array

Axes = tuple[int, ...] | None

# Any, because NumPy's type stubs do not know keepdims as a variable.
_add_reduce: Any = np.add.reduce
_maximum_reduce: Any = np.maximum.reduce


@dataclass(frozen=True)
class _Reduction(Operation):
    axis: Axes
    keepdims: bool

    reads_ranges = (0,)

    def spread(self, g: Any, shape: tuple[int, ...]) -> Any:
        """One number per group, back to every element of the group."""
        kept = kept_shape(shape, self.axis)
        return broadcast_to(g if g.shape == kept else reshape(g, kept), shape)

    def formula(self, area: str) -> str:
        raise NotImplementedError(f"{type(self).__name__}.formula")

    def words(self, x: str) -> str:
        lines = {None: "", (0,): "column ", (1,): "row "}
        if self.axis in lines:
            return f"{lines[self.axis]}{self.name}({x})"
        return f"{self.name}({x}) over axes {self.axis}"

    def cells(self, shape: tuple[int, ...], x: Operand) -> CellWriter:
        groups = groups_of(x.shape, self.axis)
        return lambda k: self.formula(x.area(groups[k]))


def kept_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """The shape with the reduced axes as ones."""
    if axis is None:
        return (1,) * len(shape)
    return tuple(1 if i in axis else n for i, n in enumerate(shape))


def groups_of(shape: tuple[int, ...], axis: Axes) -> Array:
    """Positions of the elements: one row for each group that is reduced to one number."""
    axes = normal_axes(axis, len(shape), "reduction")
    kept = [i for i in range(len(shape)) if i not in axes]
    groups = 1
    for i in kept:
        groups *= shape[i]
    return positions(shape).transpose(*kept, *axes).reshape(groups, -1)


class Sum(_Reduction):
    name = "sum"

    def value(self, x: Any) -> Any:
        return _add_reduce(x, axis=self.axis, keepdims=self.keepdims)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return self.spread(g, x.shape)

    def formula(self, area: str) -> str:
        return f"SUM({area})"


class Mean(_Reduction):
    name = "mean"

    def value(self, x: Any) -> Any:
        return _add_reduce(x, axis=self.axis, keepdims=self.keepdims) / self._count(x.shape)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return self.spread(g / self._count(x.shape), x.shape)

    def _count(self, shape: tuple[int, ...]) -> int:
        count = 1
        for i, n in enumerate(shape):
            if self.axis is None or i in self.axis:
                count *= n
        return count

    def formula(self, area: str) -> str:
        return f"AVERAGE({area})"


class Variance(Mean):
    """The mean square distance from the mean: of all numbers there are, not of a sample."""

    name = "variance"
    binding = MULTIPLICATION

    def value(self, x: Any) -> Any:
        centred = x - _add_reduce(x, axis=self.axis, keepdims=True) / self._count(x.shape)
        return super().value(centred * centred)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        centred = x - _mean(self.axis, True)(x)
        return self.spread(g * (2 / self._count(x.shape)), x.shape) * centred

    def formula(self, area: str) -> str:
        if "," in area:  # a mean for each of the ranges would make it too long
            return f"VARP({area})"
        # Some programs' VARP leaves little where the mean is large beside the spread.
        return f"SUMPRODUCT(({area}-AVERAGE({area}))^2)/COUNT({area})"


class Max(_Reduction):
    """The largest; among equals the gradient goes to the first in C order only."""

    name = "max"

    def value(self, x: Any) -> Any:
        return _maximum_reduce(x, axis=self.axis, keepdims=self.keepdims)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return where(_first_maximum(self.axis)(x), self.spread(g, x.shape), 0)

    def formula(self, area: str) -> str:
        return f"MAX({area})"


@dataclass(frozen=True)
class FirstMaximum(Operation):
    """TRUE at the first maximum of each group, as ``argmax`` finds it."""

    axis: Axes

    name = "first_maximum"
    differentiable = False
    reads_ranges = (0,)

    def value(self, x: Any) -> Any:
        x = np.asarray(x)
        groups = groups_of(x.shape, self.axis)
        found = np.zeros(x.size, bool)
        if groups.size:
            best = x.reshape(-1)[groups].argmax(axis=1)
            found[groups[np.arange(len(groups)), best]] = True
        return found.reshape(x.shape)

    def words(self, x: str) -> str:
        return f"first maximum of {x}"

    def cells(self, shape: tuple[int, ...], x: Operand) -> CellWriter:
        place = {}
        for group in groups_of(x.shape, self.axis):
            for earlier, position in enumerate(group):
                place[int(position)] = (group, group[:earlier])

        def write(k: int) -> str:
            group, earlier = place[k]
            largest = f"{x.cell(k)}=MAX({x.area(group)})"
            if not len(earlier):
                return largest
            return f"AND({largest},{x.cell(k)}>MAX({x.area(earlier)}))"

        return write


_sum, _mean, _variance, _max = (lru_cache(maxsize=1024)(c) for c in (Sum, Mean, Variance, Max))
_first_maximum = lru_cache(maxsize=1024)(FirstMaximum)


def _axes(x: Any, axis: Any, name: str) -> Axes:
    return None if axis is None else normal_axes(axis, x.ndim, name)


def not_empty(x: Any, axes: Axes, name: str) -> None:
    if any(n == 0 for i, n in enumerate(x.shape) if axes is None or i in axes):
        where_ = f"operation {name!r}"
        raise ShapeError(mismatch(where_, "at least one element", f"shape {x.shape}"))


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over all elements, or over the given axis or axes."""
    return _sum(_axes(x, axis, "sum"), keepdims)(x)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The average over all elements, or over the given axis or axes."""
    axes = _axes(x, axis, "mean")
    not_empty(x, axes, "mean")
    return _mean(axes, keepdims)(x)


def variance(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The variance (divided by n) over all elements, or over the given axis or axes."""
    axes = _axes(x, axis, "variance")
    not_empty(x, axes, "variance")
    return _variance(axes, keepdims)(x)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest element, overall or over the given axis or axes; the first of equals counts."""
    axes = _axes(x, axis, "max")
    not_empty(x, axes, "max")
    return _max(axes, keepdims)(x)
