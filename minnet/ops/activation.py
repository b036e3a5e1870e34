"""Activations: what a unit makes of its weighted sum. (relu, sigmoid and tanh are in pointwise.)

All are safe for large |x|: where an exponential would overflow, it is that of −|x| or min(x, 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from minnet.ops.base import ADDITION, MULTIPLICATION, POWER, Pointwise
from minnet.ops.pointwise import exp, minimum, sigmoid, where

# Klambauer et al. 2017, eq. 14: with these, mean 0 and variance 1 are a fixed point.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# NumPy has no error function; the standard library's is exact to the last digit.
_erfc = np.frompyfunc(math.erfc, 1, 1)


@dataclass(frozen=True)
class LeakyRelu(Pointwise):
    """x where x > 0, else slope·x (Maas et al. 2013); at 0 the derivative is the slope."""

    slope: float

    name = "leaky_relu"
    needs = (POWER,)

    def value(self, x: Any) -> Any:
        return np.where(x > 0, x, self.slope * x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return where(x > 0, g, self.slope * g)

    def formula(self, x: str) -> str:
        return f"IF({x}>0,{x},{self.slope!r}*{x})"

    def words(self, x: str) -> str:
        return f"{x} where {x}>0, else {self.slope:g}*{x}"


@dataclass(frozen=True)
class Elu(Pointwise):
    """scale·x where x > 0, else scale·alpha·(e^x − 1) (Clevert et al. 2016; with scale: selu)."""

    alpha: float
    scale: float

    name = "elu"
    needs = (POWER,)

    def value(self, x: Any) -> Any:
        return self.scale * np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0)))

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        slope = exp(minimum(x, 0)) * (self.scale * self.alpha)
        return where(x > 0, self.scale * g, g * slope)

    def formula(self, x: str) -> str:
        factors = [self.scale, self.scale * self.alpha]
        positive, negative = ("" if f == 1 else f"{f!r}*" for f in factors)
        return f"IF({x}>0,{positive}{x},{negative}(EXP({x})-1))"

    def words(self, x: str) -> str:
        return f"{'elu' if self.scale == 1 else 'selu'}({x})"


class NormalCdf(Pointwise):
    """Φ(x), the probability that a standard normal variable is at most x."""

    name = "normal_cdf"
    binding = ADDITION
    needs = (POWER,)

    def value(self, x: Any) -> Any:
        x = np.asarray(x)
        return (_erfc(x / -math.sqrt(2)) / 2).astype(x.dtype) if x.ndim else _scalar_cdf(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * _normal_density(x)

    def formula(self, x: str) -> str:
        return _cdf_formula(x)

    def words(self, x: str) -> str:
        return f"Φ({x})"


def _cdf_formula(x: str) -> str:
    """Φ(x) by the distribution of x²/2, a gamma's: some programs round NORMSDIST."""
    return f"0.5+IF({x}<0,-0.5,0.5)*GAMMADIST({x}*{x}/2,0.5,1,1)"


def _scalar_cdf(x: Any) -> Any:
    return x.dtype.type(math.erfc(float(x) / -math.sqrt(2)) / 2)


def _normal_density(x: Any) -> Any:
    return exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


class Gelu(Pointwise):
    """x·Φ(x) (Hendrycks & Gimpel 2016), exactly, not by the approximation with tanh."""

    name = "gelu"
    binding = MULTIPLICATION
    needs = (POWER,)

    def value(self, x: Any) -> Any:
        return x * normal_cdf.value(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * (normal_cdf(x) + x * _normal_density(x))

    def formula(self, x: str) -> str:
        return f"{x}*({_cdf_formula(x)})"

    def words(self, x: str) -> str:
        return f"{x}*Φ({x})"


class Softplus(Pointwise):
    """ln(1 + e^x), as max(x, 0) + ln(1 + e^−|x|)."""

    name = "softplus"
    binding = ADDITION

    def value(self, x: Any) -> Any:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * sigmoid(x)

    def formula(self, x: str) -> str:
        return f"MAX({x},0)+LN(1+EXP(-ABS({x})))"

    def words(self, x: str) -> str:
        return f"LN(1+EXP({x}))"


class Swish(Pointwise):
    """x·sigmoid(x) (Ramachandran et al. 2017), also known as silu."""

    name = "swish"
    needs = (POWER,)

    def value(self, x: Any) -> Any:
        return x * sigmoid.value(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        s = sigmoid(x)
        return g * (s + out * (1 - s))

    def formula(self, x: str) -> str:
        return f"IF({x}>=0,{x}/(1+EXP(-({x}))),{x}*EXP({x})/(1+EXP({x})))"

    def words(self, x: str) -> str:
        return f"{x}*sigmoid({x})"


_leaky_relu, _elu = lru_cache(maxsize=64)(LeakyRelu), lru_cache(maxsize=64)(Elu)
normal_cdf, gelu, softplus, swish = NormalCdf(), Gelu(), Softplus(), Swish()


def leaky_relu(x: Any, slope: float = 0.2) -> Any:
    """x where it is positive, else ``slope`` times x."""
    return _leaky_relu(float(slope))(x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where it is positive, else ``alpha`` (e^x − 1), which is never below −alpha."""
    return _elu(float(alpha), 1.0)(x)


def selu(x: Any) -> Any:
    """elu, scaled so that layers of it keep mean 0 and variance 1; for lecun_normal weights."""
    return _elu(SELU_ALPHA, SELU_SCALE)(x)
