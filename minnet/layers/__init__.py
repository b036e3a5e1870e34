"""Layers: a calculation together with the parameters it learns; import them from here."""

from minnet.layers.activations import ACTIVATIONS, Function, get_activation
from minnet.layers.base import Layer, Shape, scope
from minnet.layers.chain import run_through
from minnet.layers.conv import Conv2D
from minnet.layers.dense import Activation, Dense
from minnet.layers.dropout import Dropout
from minnet.layers.embedding import Embedding
from minnet.layers.image import Flatten, ZeroPadding2D
from minnet.layers.input import Input, InputLayer
from minnet.layers.merge import Add, Concatenate, Dot
from minnet.layers.normalization import BatchNormalization, LayerNormalization
from minnet.layers.pool import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from minnet.layers.preprocessing import ImagePreprocessing
from minnet.layers.reshape import Lambda, Reshape
from minnet.layers.symbol import Symbol

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Dense",
    "Dot",
    "Dropout",
    "Embedding",
    "Flatten",
    "Function",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "ImagePreprocessing",
    "Input",
    "InputLayer",
    "Lambda",
    "Layer",
    "LayerNormalization",
    "MaxPooling2D",
    "Reshape",
    "Shape",
    "Symbol",
    "ZeroPadding2D",
    "get_activation",
    "run_through",
    "scope",
]
