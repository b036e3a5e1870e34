"""Symbols: tensors without numbers, for saying how layers hang together before there are data."""

from __future__ import annotations

from typing import Any

import numpy as np


class Symbol:
    """What a layer will give. Calling a layer with it gives the next one.

    ``shape``: of one row. ``layer`` and ``inputs``: what it comes from; an input of a model comes
    from an :class:`~minnet.layers.input.InputLayer` and has none.
    """

    __slots__ = ("dtype", "inputs", "layer", "shape")

    def __init__(
        self, layer: Any, inputs: tuple[Symbol, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
    ):
        self.layer = layer
        self.inputs = inputs
        self.shape = shape
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"<Symbol of layer {self.layer.name!r}, rows of shape {self.shape}>"
