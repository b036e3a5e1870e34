"""Where data come into a net that is not a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.errors import ArgumentError, mismatch
from minnet.layers.base import Layer, Shape, as_shape, short
from minnet.layers.symbol import Symbol
from minnet.tensor import DEFAULT_DTYPE, Tensor


class InputLayer(Layer):
    """Where data come in; made by :func:`Input`. ``dtype``: float32, float64, or 'int' for indices.

    Raises :class:`~minnet.errors.ArgumentError` for another dtype.
    """

    steady = True

    def __init__(
        self, input_shape: Shape, dtype: npt.DTypeLike = DEFAULT_DTYPE, name: str | None = None
    ):
        super().__init__(input_shape=as_shape("Input", input_shape), name=name)
        self.dtype = np.dtype(np.int64 if np.dtype(dtype).kind in "iu" else dtype)
        if self.dtype not in (np.float32, np.float64, np.int64):
            expected = "dtype float32, float64 or int"
            raise ArgumentError(mismatch("Input", expected, f"{self.dtype}"))
        self.takes_indices = self.dtype.kind == "i"
        self.output_shape = self.input_shape

    @property
    def kind(self) -> str:
        return "input"

    def config(self) -> Any:
        return {**super().config(), "dtype": self.dtype.name}

    def call(self, x: Tensor) -> Any:
        return x

    def symbol(self) -> Symbol:
        """What other layers are called with."""
        return Symbol(self, (), self.input_shape, self.dtype)

    def describe(self) -> str:
        return f"Input {short(self.input_shape)}"


def Input(
    shape: Sequence[int], dtype: npt.DTypeLike = DEFAULT_DTYPE, name: str | None = None
) -> Symbol:
    """An input of a model to be: rows of this shape. Call layers with it, then ``minnet.Model``.

    ``dtype``: float32 or float64 decides about the model's weights; 'int' is for indices.

    Raises :class:`~minnet.errors.ArgumentError` for another dtype, or what is not a shape.
    """
    return InputLayer(tuple(shape), dtype, name).symbol()
