"""Models of many kinds for the tests of saving, and what makes two of them equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minnet
from minnet import initializers
from minnet.layers import Layer
from minnet.regularizers import L1L2
from minnet.tensor import Tensor

ACTIVATIONS = ["linear", "relu", "tanh", "sigmoid"]
INITIALIZERS = ["he_normal", "zeros", initializers.Normal(0.25), initializers.Uniform(2.0)]


class Scale(Layer):
    """A layer as a user writes it, with an argument of its own."""

    def __init__(self, times: float = 1.0, **options: Any):
        super().__init__(**options)
        self.times = times

    def config(self) -> dict[str, Any]:
        return {**super().config(), "times": self.times}

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("factor", input_shape, "normal")
        return input_shape

    def call(self, x: Tensor) -> Any:
        return x * self.parameters["factor"] * self.times


def dense(draw: Any) -> Layer:
    return minnet.Dense(
        draw(st.integers(1, 4)),
        draw(st.sampled_from(ACTIVATIONS)),
        use_bias=draw(st.booleans()),
        kernel_regularizer=draw(st.sampled_from([None, "l1", L1L2(0.5, 0.25)])),
        kernel_initializer=draw(st.sampled_from(INITIALIZERS)),
    )


def convolution(draw: Any) -> Layer:
    return minnet.Conv2D(
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 2, (1, 2)])),
        strides=draw(st.sampled_from([1, (2, 1)])),
        padding=draw(st.sampled_from(["same", 1, (1, 0), ((1, 1), (0, 1))])),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        use_bias=draw(st.booleans()),
    )


def pooling(draw: Any) -> Layer:
    kind = draw(st.sampled_from([minnet.MaxPooling2D, minnet.AveragePooling2D]))
    return kind(2, strides=draw(st.sampled_from([None, 1])), padding="same")


def normalization(draw: Any) -> Layer:
    kind = draw(st.sampled_from([minnet.BatchNormalization, minnet.LayerNormalization]))
    return kind(epsilon=0.5, center=draw(st.booleans()), scale=draw(st.booleans()))


IMAGE_LAYERS: list[Callable[[Any], Layer]] = [
    convolution,
    pooling,
    normalization,
    lambda draw: minnet.ZeroPadding2D(draw(st.sampled_from([1, (0, 1)]))),
    lambda draw: Scale(draw(st.sampled_from([0.5, 2]))),
]
ENDS = [minnet.Flatten, minnet.GlobalAveragePooling2D, minnet.GlobalMaxPooling2D]


@st.composite
def models(draw: Any, custom: bool = True) -> minnet.Sequential:
    """Built models of images or of plain rows, some compiled. ``custom``: some layers are new."""
    images = draw(st.booleans())
    layers: list[Layer] = []
    if images:
        kinds = IMAGE_LAYERS if custom else IMAGE_LAYERS[:-1]
        layers = [make(draw) for make in draw(st.lists(st.sampled_from(kinds), max_size=3))]
        layers.append(draw(st.sampled_from(ENDS))())
    layers += [dense(draw) for _ in range(draw(st.integers(0 if images else 1, 3)))]
    if draw(st.booleans()):
        layers += [minnet.Dropout(0.5), normalization(draw)]
    if draw(st.booleans()):
        layers.append(minnet.Activation(draw(st.sampled_from(ACTIVATIONS))))
    for layer in layers:
        layer.trainable = draw(st.booleans())
    dtype = draw(st.sampled_from(["float32", "float64"]))
    seed = draw(st.sampled_from([None, 3]))
    model = minnet.Sequential(layers, dtype=dtype, seed=seed)
    model.build((6, 5, 2) if images else (draw(st.integers(1, 4)),))
    if draw(st.booleans()):
        model.compile("sgd", draw(st.sampled_from(["mse", "binary_crossentropy"])), ["accuracy"])
    return model


def inputs(model: minnet.Sequential, rows: int = 3) -> np.ndarray:
    shape = model.layers[0].input_shape
    return np.random.default_rng(0).normal(size=(rows, *shape)).astype(model.dtype)


def assert_same_weights(one: Any, other: Any) -> None:
    """The same arrays, bit for bit."""
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def branched() -> Any:
    """Two inputs, one of them indices, a layer that is used twice, two outputs."""
    numbers, words = minnet.Input((4,), name="numbers"), minnet.Input((3,), "int", name="words")
    shared = minnet.Dense(5, "relu", kernel_regularizer="l2", name="shared")
    embedded = minnet.Flatten()(minnet.Embedding(7, 2)(words))
    both = minnet.Concatenate()([shared(numbers), shared(minnet.Dense(4)(embedded))])
    hidden = minnet.Dropout(0.25)(minnet.BatchNormalization()(both))
    size, kind = minnet.Dense(1, name="size"), minnet.Dense(3, "softmax", name="kind")
    return minnet.Model([numbers, words], [size(hidden), kind(hidden)], seed=4)


def branched_data(rows: int = 12) -> tuple[Any, Any]:
    """Inputs and targets for :func:`branched`."""
    rng = np.random.default_rng(5)
    x = {
        "numbers": rng.normal(size=(rows, 4)).astype(np.float32),
        "words": rng.integers(0, 7, (rows, 3)),
    }
    y = {"size": rng.normal(size=(rows, 1)), "kind": rng.integers(0, 3, rows)}
    return x, y
