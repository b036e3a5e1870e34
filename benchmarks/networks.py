"""The networks that are timed, each described once; :mod:`peers` builds the same elsewhere.

Weights are in Keras's layouts: kernels (height, width, in, out), dense weights (in, out), rows
flattened in the order height, width, channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minnet

Array = np.ndarray


@dataclass(frozen=True)
class Conv:
    """A convolution with relu."""

    filters: int
    size: int = 3
    padding: str = "same"


@dataclass(frozen=True)
class Pool:
    """The maximum of each 2 x 2."""


@dataclass(frozen=True)
class Dense:
    """A dense layer with relu, or as the network's last one without."""

    units: int


Part = Conv | Pool | Dense


@dataclass(frozen=True)
class Network:
    """Convolutions and pools, then dense layers, on images of one shape."""

    input_shape: tuple[int, int, int]
    parts: tuple[Part, ...]

    def shapes(self) -> Iterator[tuple[Part, tuple[int, ...]]]:
        """Each part with the shape of the rows that it reads, which dense layers read flat."""
        shape: tuple[int, ...] = self.input_shape
        for part in self.parts:
            yield part, shape
            if isinstance(part, Dense):
                shape = (part.units,)
            elif isinstance(part, Pool):
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
            else:
                less = 0 if part.padding == "same" else part.size - 1
                shape = (shape[0] - less, shape[1] - less, part.filters)

    def kernels(self) -> Iterator[tuple[int, ...]]:
        """The shape of each part's weights; the last number is that of the biases, too."""
        for part, shape in self.shapes():
            if isinstance(part, Conv):
                yield part.size, part.size, shape[-1], part.filters
            elif isinstance(part, Dense):
                yield math.prod(shape), part.units

    def count(self) -> int:
        """The number of weights and biases."""
        return sum(math.prod(kernel) + kernel[-1] for kernel in self.kernels())

    def images(self, rows: int, seed: int = 1) -> Array:
        """Random images, float32 (rows, height, width, channels)."""
        rng = np.random.default_rng(seed)
        return rng.standard_normal((rows, *self.input_shape), dtype=np.float32)

    def labels(self, rows: int, seed: int = 2) -> Array:
        """Random classes, int64 (rows,)."""
        return np.random.default_rng(seed).integers(0, self.classes, rows)

    @property
    def classes(self) -> int:
        last = self.parts[-1]
        assert isinstance(last, Dense)
        return last.units


def vgg16(classes: int = 1000) -> Network:
    """Simonyan & Zisserman 2015, configuration D."""
    parts: list[Part] = []
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        parts += [Conv(filters)] * count + [Pool()]
    parts += [Dense(4096), Dense(4096), Dense(classes)]
    return Network((224, 224, 3), tuple(parts))


def lenet(first: int, second: int, hidden: int) -> Network:
    """Two 5 x 5 convolutions with pools and two dense layers, as LeCun et al. 1998 with relu."""
    convolutions = (Conv(first, 5, "valid"), Pool(), Conv(second, 5, "valid"), Pool())
    return Network((28, 28, 1), (*convolutions, Dense(hidden), Dense(10)))


def digits() -> Network:
    """A network for the 8 x 8 digits of the demo."""
    return Network((8, 8, 1), (Conv(8), Pool(), Conv(16), Pool(), Dense(10)))


def random_weights(network: Network, seed: int = 0) -> list[Array]:
    """Kernel and bias of each part that has them, float32; He's scale keeps numbers near 1."""
    rng = np.random.default_rng(seed)
    weights = []
    for kernel in network.kernels():
        drawn = rng.standard_normal(kernel, dtype=np.float32)
        drawn *= math.sqrt(2 / math.prod(kernel[:-1]))
        weights += [drawn, 0.05 * rng.standard_normal(kernel[-1], dtype=np.float32)]
    return weights


def minnet_model(network: Network, weights: Sequence[Array] | None, ending: str) -> Any:
    """The network in minnet; without weights it starts from random ones.

    ``ending``: the last layer's activation. Layers are named as in Keras's VGG16: block1_conv1, …
    """
    layers: list[Any] = []
    block = number = 1
    for part, shape in network.shapes():
        if isinstance(part, Conv):
            layer = minnet.Conv2D(
                part.filters,
                part.size,
                padding=part.padding,
                activation="relu",
                input_shape=None if layers else network.input_shape,
                name=f"block{block}_conv{number}",
            )
            number += 1
        elif isinstance(part, Pool):
            layer = minnet.MaxPooling2D(2, name=f"block{block}_pool")
            block, number = block + 1, 1
        else:
            if len(shape) == 3:
                layers.append(minnet.Flatten(name="flatten"))
            activation = ending if part is network.parts[-1] else "relu"
            layer = minnet.Dense(part.units, activation=activation)
        layers.append(layer)
    model = minnet.Sequential(layers, seed=0)
    if weights is not None:
        model.set_weights(weights)
    return model
