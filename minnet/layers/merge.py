"""Layers that are called with several tensors and give one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minnet.configs import Config
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.layers.base import Layer, Shape, Shapes, as_shape
from minnet.ops.matmul import dot_rows, matmul
from minnet.ops.pointwise import maximum, sqrt
from minnet.ops.reduce import sum as sum_along
from minnet.ops.shape import concatenate, reshape, transpose
from minnet.tensor import Tensor


class Merge(Layer):
    """The contract: ``build_for`` is given the rows' shapes, ``call`` the tensors, as lists."""

    takes_several = True
    #: How many tensors it takes at least, and at most.
    least: int = 2
    most: float = math.inf

    def __init__(self, input_shape: Sequence[Shape] | None = None, name: str | None = None):
        super().__init__(name=name)
        if input_shape is not None:
            self.input_shape = tuple(as_shape(self.kind, shape) for shape in input_shape)

    def build(self, input_shape: Shapes) -> Shape:
        shapes = [shape for shape in input_shape if isinstance(shape, tuple)]
        if len(shapes) != len(input_shape) or not self.least <= len(shapes) <= self.most:
            count = f"{self.least} tensors" if self.most == self.least else "several tensors"
            advice = "Call it with a list, and make the model by minnet.Model(inputs, outputs)."
            received = f"rows of shape {input_shape}"
            raise ShapeError(mismatch(type(self).__name__, count, received, advice))
        return self.build_for(shapes)

    def build_for(self, shapes: list[Shape]) -> Shape:
        """``build`` for rows of these shapes."""
        raise NotImplementedError(f"{type(self).__name__}.build_for")

    def axis_in(self, axis: int, shape: Shape) -> int:
        """An axis of a batch as an axis of a row; the batch axis, 0, is none of a row's.

        Raises :class:`~minnet.errors.ArgumentError` for an axis that rows do not have.
        """
        ndim = len(shape) + 1
        if not -ndim < axis < ndim or axis == 0:
            kind, expected = type(self).__name__, f"an axis from 1 to {ndim - 1}, or -1"
            received = f"{axis} for rows of shape {shape}"
            raise ArgumentError(mismatch(kind, expected, received, "Axis 0 holds the rows."))
        return axis % ndim - 1


class Add(Merge):
    """The sum of tensors of one shape: x plus what a branch makes of x (He et al. 2016)."""

    steady = True

    def build_for(self, shapes: list[Shape]) -> Shape:
        if len(set(shapes)) > 1:
            received = " and ".join(map(str, dict.fromkeys(shapes)))
            raise ShapeError(mismatch("Add", "rows of one shape", received))
        return shapes[0]

    def call(self, x: Any) -> Any:
        total = x[0]
        for part in x[1:]:
            total = total + part
        return total

    def describe(self) -> str:
        return "Add"


class Concatenate(Merge):
    """Tensors side by side along an axis; axis 0 would be the batch's, -1 is the features'.

    Raises :class:`~minnet.errors.ShapeError`, when built, where other axes differ.
    """

    steady = True

    def __init__(
        self,
        axis: int = -1,
        input_shape: Sequence[Shape] | None = None,
        name: str | None = None,
    ):
        super().__init__(input_shape, name)
        self.axis = axis

    def config(self) -> Config:
        return {**super().config(), "axis": self.axis}

    def build_for(self, shapes: list[Shape]) -> Shape:
        axis = self.axis_in(self.axis, shapes[0])
        others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
        if len(others) > 1 or len({len(shape) for shape in shapes}) > 1:
            received = " and ".join(map(str, shapes))
            expected = f"rows that differ in axis {self.axis} alone"
            raise ShapeError(mismatch("Concatenate", expected, received))
        length = sum(shape[axis] for shape in shapes)
        return *shapes[0][:axis], length, *shapes[0][axis + 1 :]

    def call(self, x: Any) -> Any:
        return concatenate(x, self.axis)

    def describe(self) -> str:
        return f"Concatenate along axis {self.axis}"


class Dot(Merge):
    """Sums of products of two tensors, row by row, along an axis of each (``axes``: one number, or
    one for each): (n, d) and (n, d) along axis 1 give (n, 1), (n, a, d) and (n, b, d) along axis 2
    give (n, a, b).

    ``normalize``: first make the vectors' lengths 1; the result is then the cosine between them.

    Raises :class:`~minnet.errors.ShapeError`, when built, where the axes' lengths differ.
    """

    steady = True

    most = 2

    def __init__(
        self,
        axes: int | Sequence[int],
        normalize: bool = False,
        input_shape: Sequence[Shape] | None = None,
        name: str | None = None,
    ):
        super().__init__(input_shape, name)
        pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(pair) != 2 or not all(isinstance(axis, int) for axis in pair):
            raise ArgumentError(mismatch("Dot", "axes as one number or two", repr(axes)))
        self.axes, self.normalize = pair, normalize

    def config(self) -> Config:
        return {**super().config(), "axes": list(self.axes), "normalize": self.normalize}

    def build_for(self, shapes: list[Shape]) -> Shape:
        a, b = (self.axis_in(axis, shape) for axis, shape in zip(self.axes, shapes, strict=True))
        first, second = shapes
        if first[a] != second[b]:
            received = f"{first[a]} of {first} and {second[b]} of {second}"
            raise ShapeError(mismatch("Dot", "axes of one length", received))
        return (*first[:a], *first[a + 1 :], *second[:b], *second[b + 1 :]) or (1,)

    def call(self, x: Any) -> Any:
        if x[0].ndim == x[1].ndim == 2:
            return dot_rows(*(self._directions(part, 1) for part in x))
        first, second = (self._lines(part, axis) for part, axis in zip(x, self.axes, strict=True))
        out = matmul(first, transpose(second, (0, 2, 1)))
        return reshape(out, (x[0].shape[0], *(self.output_shape or ())))

    def _lines(self, x: Tensor, axis: int) -> Any:
        """(n, vectors, their length)."""
        axis %= x.ndim
        order = (*(i for i in range(x.ndim) if i != axis), axis)
        turned = x if axis == x.ndim - 1 else transpose(x, order)
        return self._directions(reshape(turned, (x.shape[0], -1, x.shape[axis])), 2)

    def _directions(self, x: Any, axis: int) -> Any:
        """The vectors along an axis, of length 1 if so wished."""
        if not self.normalize:
            return x
        # As far from a division by 0 as in Keras.
        return x / sqrt(maximum(sum_along(x * x, axis, True), 1e-12))

    def describe(self) -> str:
        return "Cosine" if self.normalize else "Dot product"
