"""Normalization: numbers of mean 0 and variance 1, and the mask of dropout."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minnet.ops import reduce
from minnet.ops.base import MULTIPLICATION, POWER, Composite, Pointwise, normal_axes
from minnet.ops.pointwise import sqrt


@dataclass(frozen=True)
class Normalize(Composite):
    """(x − mean)/√(variance + epsilon), with the mean and variance over some axes.

    The mean and the variance depend on x as well, which is why its gradient has three terms
    (Ioffe & Szegedy 2015, section 3).
    """

    axes: tuple[int, ...]
    epsilon: float

    name = "normalize"
    keeps = True  # the result and 1/√(variance + epsilon)

    def value(self, x: Any) -> Any:
        return self.value_and_kept(x)[0]

    def value_and_kept(self, x: Any) -> tuple[Any, Any]:
        centred = x - x.mean(self.axes, keepdims=True)
        variance = (centred * centred).mean(self.axes, keepdims=True)
        factor = 1 / np.sqrt(variance + self.epsilon)
        centred *= factor
        return centred, (centred, factor)

    def gradient_from_kept(self, index: int, g: Any, kept: Any, x: Any) -> Any:
        out, factor = kept
        found = g - g.mean(self.axes, keepdims=True)
        found -= out * (g * out).mean(self.axes, keepdims=True)
        found *= factor
        return found

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        deviation = sqrt(reduce.variance(x, self.axes, True) + self.epsilon)
        common = reduce.mean(g, self.axes, True)
        along = reduce.mean(g * out, self.axes, True)
        return (g - common - out * along) / deviation

    def steps(self, x: Any) -> Any:
        mean = reduce.mean(x, self.axes, True).named("mean")
        variance = reduce.variance(x, self.axes, True).named("variance")
        return (x - mean) / sqrt(variance + self.epsilon).named("deviation")


@dataclass(frozen=True)
class Drop(Pointwise):
    """x where the mask is 1, scaled up by 1/(1 − rate) to keep its expected size; 0 where it is 0.

    Inverted dropout (Srivastava et al. 2014, section 10): scaled in training, so that nothing needs
    to be done when it is over.
    """

    rate: float

    name = "drop"
    binding = MULTIPLICATION
    needs = (MULTIPLICATION, POWER)

    def value(self, x: Any, mask: Any) -> Any:
        return x * mask / (1 - self.rate)

    def gradient(self, index: int, g: Any, out: Any, x: Any, mask: Any) -> Any:
        return drop(g, mask if index == 0 else x, self.rate)

    def formula(self, x: str, mask: str) -> str:
        return f"{x}*{mask}/{1 - self.rate!r}"

    def words(self, x: str, mask: str) -> str:
        return f"{x}*{mask}/{1 - self.rate:g}"


_normalize, _drop = lru_cache(maxsize=256)(Normalize), lru_cache(maxsize=64)(Drop)


def normalize(x: Any, axis: Any = -1, epsilon: float = 1e-3) -> Any:
    """x with mean 0 and variance 1 (nearly: see epsilon) along the given axis or axes."""
    axes = normal_axes(axis, x.ndim, "normalize")
    reduce.not_empty(x, axes, "normalize")
    return _normalize(axes, float(epsilon))(x)


def drop(x: Any, mask: Any, rate: float) -> Any:
    """x·mask/(1 − rate) for a mask of zeros and ones that broadcasts with x; rate is below 1."""
    return _drop(float(rate))(x, mask)
