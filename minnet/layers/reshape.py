"""Layers that rearrange rows, and layers made of a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minnet import configs
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.layers.base import Layer, Shape, Shapes, as_shape, short
from minnet.ops.shape import reshape
from minnet.recording import STATE, no_grad
from minnet.tensor import Tensor, wrap


class Reshape(Layer):
    """The same numbers in C order under another shape; one length of ``target_shape`` may be -1.

    Raises :class:`~minnet.errors.ShapeError`, when built, for rows of another size.
    """

    steady = True

    def __init__(
        self,
        target_shape: Sequence[int],
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        super().__init__(input_shape=input_shape, name=name)
        self.target_shape = tuple(target_shape)
        # With 1 in the place of -1 it is an ordinary shape.
        as_shape("Reshape", tuple(1 if n == -1 else n for n in self.target_shape))
        if self.target_shape.count(-1) > 1:
            raise ArgumentError(mismatch("Reshape", "at most one -1", f"{self.target_shape}"))

    def config(self) -> configs.Config:
        return {**super().config(), "target_shape": list(self.target_shape)}

    def build(self, input_shape: Shape) -> Shape:
        size, known = math.prod(input_shape), -math.prod(self.target_shape)
        whole = known > 0 and size % known == 0
        shape = tuple(size // known if n == -1 and whole else n for n in self.target_shape)
        if math.prod(shape) != size:
            expected = f"rows of a size that fits {self.target_shape}"
            raise ShapeError(mismatch("Reshape", expected, f"{input_shape}"))
        return shape

    def call(self, x: Tensor) -> Any:
        return reshape(x, (x.shape[0], *(self.output_shape or ())))

    def describe(self) -> str:
        return f"Reshape {short(self.input_shape)} → {short(self.output_shape)}"


class Lambda(Layer):
    """A function of a tensor, or of a list of them, written in minnet's operations.

    The shape that it gives is found by trying it on a row of zeros.

    Raises :class:`~minnet.errors.ArgumentError` for what is not a function, or one that does not
    give a tensor.
    """

    takes_several = None

    def __init__(
        self, function: Callable[[Any], Any], input_shape: Any = None, name: str | None = None
    ):
        super().__init__(name=name)
        if not callable(function):
            raise ArgumentError(mismatch("Lambda", "a function of a tensor", repr(function)))
        self.function = function
        if input_shape is not None:
            several = bool(input_shape) and isinstance(input_shape[0], (tuple, list))
            shapes = [as_shape("Lambda", s) for s in (input_shape if several else [input_shape])]
            self.input_shape = tuple(shapes) if several else shapes[0]

    def config(self) -> configs.Config:
        return {**super().config(), "function": configs.of_function(self.function)}

    def build(self, input_shape: Shapes) -> Shape:
        several = bool(input_shape) and isinstance(input_shape[0], tuple)
        rows = [
            wrap(np.zeros((1, *shape), self.dtype))
            for shape in (input_shape if several else [input_shape])
        ]
        before, STATE.tracer = STATE.tracer, None
        try:
            with no_grad(), np.errstate(all="ignore"):
                out = self.function(rows if several else rows[0])
        finally:
            STATE.tracer = before
        if not isinstance(out, Tensor) or not out.ndim or out.shape[0] != 1:
            received = f"shape {out.shape}" if isinstance(out, Tensor) else type(out).__name__
            expected = "a function that gives a Tensor with the rows that it was given"
            raise ArgumentError(mismatch(f"layer {self.name!r}", expected, received))
        return out.shape[1:]

    def call(self, x: Any) -> Any:
        return self.function(x)

    def describe(self) -> str:
        name = getattr(self.function, "__name__", "a function")
        return "Lambda" if name == "<lambda>" else f"Lambda {name}"
