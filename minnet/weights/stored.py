"""What a file of weights holds, whatever its format: layers in a row, each with its arrays.

Shapes and dtypes are known when a file is opened. Numbers are read later, and only those that the
model has a place of the same shape for: what a file claims about itself decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from minnet.layers import Layer
from minnet.tensor import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, not read yet; ``name`` is the file's."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[], Array]


@dataclass
class StoredLayer:
    """A layer in a file; arrays are keyed by our parameters' names, or by nothing but their order.

    ``key``: what a file calls it that counts layers by their kinds, see :func:`kind_keys`.
    """

    name: str
    arrays: dict[str, StoredArray] = field(default_factory=dict)
    key: str = ""
    named_arrays: bool = True


class Match(Enum):
    """How a file's layers find those of a model."""

    NAME = "by name"
    ORDER = "in order"
    KIND = "by kind and number"


@dataclass
class Stored:
    """An open file of weights; ``match``: how its layers find a model's unless they are told.

    ``convention``: the settings of a :class:`~minnet.weights.Convention`, if the file has them.
    """

    layers: list[StoredLayer]
    match: Match
    convention: dict[str, Any] | None = None


def kind_keys(layers: Sequence[Layer]) -> list[str]:
    """What Keras 3 calls layers in its files: 'dense', 'dense_1', …, counted for each kind.

    Names play no part, since automatic ones differ from one run to the next.
    """
    counts: dict[str, int] = {}
    keys = []
    for layer in layers:
        number = counts[layer.kind] = counts.get(layer.kind, -1) + 1
        keys.append(f"{layer.kind}_{number}" if number else layer.kind)
    return keys


def arrays_of(layers: Sequence[Layer]) -> dict[str, Array]:
    """All parameters, keyed '<layer>/<parameter>', in order."""
    return {
        f"{layer.name}/{name}": parameter.data
        for layer in layers
        for name, parameter in layer.parameters.items()
    }
