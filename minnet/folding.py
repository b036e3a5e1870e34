"""Batch normalization as a part of the layer before it: the same outputs with fewer steps."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.functional import Functional
from minnet.layers import BatchNormalization, Conv2D, Dense, Layer
from minnet.model import Model
from minnet.sequential import Sequential


def fold_batch_normalization(model: Model) -> Model:
    """A copy of the model, for inference, without the batch normalizations that can be left out.

    A convolution or a dense layer and a batch normalization that follows it are two linear maps one
    after the other: with f = gamma/√(moving variance + epsilon), the weights w·f and the bias
    (b − moving mean)·f + beta are both in one. It is done where the first layer has no activation
    and nothing else uses what it gives; other batch normalizations stay. The model is not changed.

    Raises :class:`~minnet.errors.ArgumentError` for a model that is not built, or of another kind.
    """
    model.output_shape  # noqa: B018 - raises where it is unknown
    copy: Any = model.astype(model.dtype)
    if isinstance(copy, Functional):
        _fold_graph(copy)
    elif isinstance(copy, Sequential):
        kept: list[Layer] = []
        for layer in copy.layers:
            if isinstance(layer, BatchNormalization) and kept and _takes_one(kept[-1]):
                _fold(layer, kept[-1])
            else:
                kept.append(layer)
        copy.layers = kept
    else:
        received = type(model).__name__
        raise ArgumentError(mismatch("folding", "a Sequential or a minnet.Model", received))
    return copy  # type: ignore[no-any-return]


def _fold_graph(model: Functional) -> None:
    calls = Counter(call.layer for call in model.calls)
    k = 0
    while k < len(model.calls):
        layer, inputs, _ = model.calls[k]
        if isinstance(layer, BatchNormalization) and calls[layer] == 1:
            (source,) = inputs
            before = model.calls[source].layer
            if _takes_one(before) and calls[before] == 1 and model.graph.users(source) == [k]:
                _fold(layer, before)
                model.graph = model.graph.without(k)
                continue  # the next call has this number now
        k += 1
    model.layers = model.graph.layers


def _takes_one(layer: Layer) -> bool:
    """Whether a layer is linear, so that a factor and a summand for each output can join it."""
    return type(layer) in (Conv2D, Dense) and layer.activation_name == "linear"


def _fold(normalization: BatchNormalization, layer: Any) -> None:
    def exact(name: str, other: float) -> Any:
        parameter = normalization.parameters.get(name)
        return other if parameter is None else parameter.data.astype(np.float64)

    variance = exact("moving_variance", 1.0)
    factor = exact("gamma", 1.0) / np.sqrt(variance + normalization.epsilon)
    if not layer.use_bias:
        layer.use_bias = True
        layer.add_parameter("bias", factor.shape, "zeros")
    weight, bias = layer.parameters["weight"], layer.parameters["bias"]
    weight.data = (weight.data * factor).astype(layer.dtype)
    moved = (bias.data - exact("moving_mean", 0.0)) * factor + exact("beta", 0.0)
    bias.data = moved.astype(layer.dtype)
