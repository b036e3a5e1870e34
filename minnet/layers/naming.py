"""Names of layers, different ones within a model."""

from __future__ import annotations

import itertools
from collections.abc import Set

from minnet.errors import ArgumentError, mismatch
from minnet.layers.base import Layer


def name_among(layer: Layer, taken: Set[str], where: str) -> None:
    """Name a nameless layer after its kind and the lowest free number: 'dense_1'.

    Raises :class:`~minnet.errors.ArgumentError` where a layer's own name is taken.
    """
    if not layer.is_named:
        kind = layer.kind
        layer.name = next(n for k in itertools.count(1) if (n := f"{kind}_{k}") not in taken)
    elif layer.name in taken:
        advice = "Assign another to layer.name; one layer cannot be added twice."
        raise ArgumentError(mismatch(where, "a new name", f"a second {layer.name!r}", advice))
