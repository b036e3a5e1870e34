"""Dropout: training with some of the numbers missing, so that no unit relies on another."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet import random
from minnet.checks import number
from minnet.configs import Config
from minnet.layers.base import Layer, Shape
from minnet.ops.norm import drop
from minnet.program import vouched, worked_out
from minnet.recording import STATE
from minnet.tensor import Array, Tensor, wrap


class Dropout(Layer):
    """Sets each number to 0 with probability ``rate``, in training alone (Srivastava et al. 2014).

    What is left is divided by 1 − rate, so that its expected size stays the same and inference has
    nothing to do. The mask is drawn from the model's generator, or from the shared one that
    ``minnet.seed`` resets.

    Raises :class:`~minnet.errors.ArgumentError` for a rate that is not from 0 to below 1.
    """

    steady = True

    def __init__(self, rate: float, input_shape: Shape | None = None, name: str | None = None):
        super().__init__(input_shape=input_shape, name=name)
        self.rate = number("Dropout", rate, "a rate from 0 to below 1", 0, 1)

    def config(self) -> Config:
        return {**super().config(), "rate": self.rate}

    def call(self, x: Tensor) -> Any:
        if not STATE.training or not self.rate:
            return x
        generator = self._rng or random.generator()
        kept = worked_out(_draw, generator, x.shape, self.rate, x.dtype)
        mask = vouched(wrap(kept).named(f"{self.name}_mask"))
        if STATE.tracer is not None:
            STATE.tracer.announce(mask, "mask")
        return drop(x, mask, self.rate)

    def describe(self) -> str:
        return f"Dropout {self.rate:g}"


def _draw(generator: np.random.Generator, shape: Shape, rate: float, dtype: Any) -> Array:
    """1 for each number that is kept, 0 for the others."""
    # In float32 whatever the dtype, so that float32 and float64 models drop the same numbers.
    return (generator.random(shape, "float32") >= rate).astype(dtype)
