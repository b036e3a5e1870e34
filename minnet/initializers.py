"""The numbers that weights start from.

An initializer is called with ``(shape, dtype, rng)`` and gives an array of that shape and dtype.
Numbers are drawn in float64 and rounded, so that a float32 and a float64 model of one seed start
alike.

The scaled ones depend on how many numbers a unit reads (fan in) and feeds (fan out): see
:func:`fans`. Normal draws are not truncated, as in the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet import configs
from minnet.errors import unknown_name
from minnet.tensor import Array

Shape = tuple[int, ...]
Initializer = Callable[[Shape, npt.DTypeLike, np.random.Generator], Array]


def fans(shape: Shape) -> tuple[int, int]:
    """Fan in and fan out of a weight array.

    Dense weights are (in, out). Convolution kernels are (height, width, in, out), where a unit
    reads height x width x in numbers (He et al. 2015, section 2.2) and a number is read by
    height x width x out units. A vector counts as both, a single number as 1.
    """
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


class Described:
    """An initializer whose settings are its fields."""

    def config(self) -> configs.Config:
        """The keyword arguments that make an equal initializer."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @classmethod
    def from_config(cls, config: configs.Config) -> Any:
        """An equal initializer from what :meth:`config` gave."""
        return cls(**config)


@dataclass(frozen=True)
class Scaled(Described):
    """Mean 0 and variance ``gain`` / fan, where fan is the fan in or the mean of in and out."""

    gain: float
    average: bool  # over fan in and fan out (Glorot & Bengio); False: fan in alone
    gaussian: bool

    def __call__(self, shape: Shape, dtype: npt.DTypeLike, rng: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        fan = (fan_in + fan_out) / 2 if self.average else fan_in
        deviation = math.sqrt(self.gain / max(1.0, fan))
        if self.gaussian:
            return Normal(deviation)(shape, dtype, rng)
        # A uniform variable on [-a, a] has variance a^2 / 3.
        return Uniform(math.sqrt(3) * deviation)(shape, dtype, rng)


@dataclass(frozen=True)
class Normal(Described):
    """Mean 0, the given standard deviation."""

    stddev: float = 0.05

    def __call__(self, shape: Shape, dtype: npt.DTypeLike, rng: np.random.Generator) -> Array:
        return (rng.standard_normal(shape) * self.stddev).astype(dtype)


@dataclass(frozen=True)
class Uniform(Described):
    """Evenly between -limit and limit."""

    limit: float = 0.05

    def __call__(self, shape: Shape, dtype: npt.DTypeLike, rng: np.random.Generator) -> Array:
        return rng.uniform(-self.limit, self.limit, shape).astype(dtype)


@dataclass(frozen=True)
class Constant(Described):
    """The same number everywhere."""

    value: float

    def __call__(self, shape: Shape, dtype: npt.DTypeLike, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value, dtype)


#: Xavier, Glorot & Bengio 2010: eq. 16 is the uniform one, limit sqrt(6 / (fan in + fan out)).
glorot_uniform = Scaled(1.0, average=True, gaussian=False)
#: The same variance, 2 / (fan in + fan out) (eq. 12), normally distributed.
glorot_normal = Scaled(1.0, average=True, gaussian=True)
#: He et al. 2015, for layers followed by relu: variance 2 / fan in (eq. 10).
he_uniform = Scaled(2.0, average=False, gaussian=False)
he_normal = Scaled(2.0, average=False, gaussian=True)
#: LeCun et al. 1998, *Efficient BackProp*, eq. 16: variance 1 / fan in.
lecun_uniform = Scaled(1.0, average=False, gaussian=False)
lecun_normal = Scaled(1.0, average=False, gaussian=True)
normal = Normal()
uniform = Uniform()
zeros = Constant(0.0)
ones = Constant(1.0)

INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "xavier_uniform": glorot_uniform,
    "xavier_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "lecun_uniform": lecun_uniform,
    "lecun_normal": lecun_normal,
    "normal": normal,
    "uniform": uniform,
    "zeros": zeros,
    "ones": ones,
}
KINDS = {kind.__name__: kind for kind in (Constant, Normal, Scaled, Uniform)}


def to_config(initializer: Initializer) -> Any:
    """An initializer as JSON holds it: its name, or its class and settings; see :func:`get`."""
    for name, known in INITIALIZERS.items():
        if known == initializer:
            return name
    return configs.of_function(initializer)


def get(initializer: str | configs.Config | Initializer) -> Initializer:
    """The initializer of this name or these settings; a callable is given back as it is.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if callable(initializer):
        return initializer
    if isinstance(initializer, dict):
        return configs.build("initializer", initializer, KINDS)  # type: ignore[no-any-return]
    try:
        return INITIALIZERS[str(initializer).lower()]
    except KeyError:
        raise unknown_name("initializer", initializer, INITIALIZERS) from None
