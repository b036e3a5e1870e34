"""Layers: a calculation together with the parameters it learns; import them from here."""

from minnet.layers.base import (
    ACTIVATIONS,
    Function,
    Layer,
    Shape,
    get_activation,
    scope,
)
from minnet.layers.chain import run_through
from minnet.layers.conv import Conv2D
from minnet.layers.dense import Activation, Dense
from minnet.layers.image import Flatten, ZeroPadding2D
from minnet.layers.pool import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "AveragePooling2D",
    "Conv2D",
    "Dense",
    "Flatten",
    "Function",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Layer",
    "MaxPooling2D",
    "Shape",
    "ZeroPadding2D",
    "get_activation",
    "run_through",
    "scope",
]
