"""Layers of images: Conv2D, pooling, padding, Flatten; and what runs as one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from minnet import (
    Activation,
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    MaxPooling2D,
    Sequential,
    ZeroPadding2D,
    ops,
)
from minnet.autodiff import grad
from minnet.errors import ArgumentError, ShapeError
from minnet.layers.chain import run_through
from minnet.recording import no_grad
from minnet.tensor import Tensor
from minnet.testing import assert_gradients


def batch(*shape: int, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.random.default_rng(0).normal(size=shape), dtype=dtype)


# -- each layer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_conv2d_is_the_operation(activation: Any, use_bias: bool) -> None:
    layer = Conv2D(
        4, (3, 2), strides=(1, 2), padding="same", dilation_rate=(2, 1), groups=2,
        activation=activation, use_bias=use_bias, bias_initializer="ones", name="c",
    )  # fmt: skip
    x = batch(2, 7, 6, 2)
    out = layer(x)
    assert list(layer.parameters) == ["weight", "bias"][: 1 + use_bias]
    w = layer.parameters["weight"]
    assert (w.name, w.shape) == ("c_weight", (3, 2, 1, 4))
    assert out.shape == (2, 7, 3, 4)
    assert layer.output_shape == (7, 3, 4)
    b = np.ones(4, np.float32) if use_bias else None
    expected = ops.conv2d(x.data, w.data, b, (1, 2), "same", (2, 1), 2)
    np.testing.assert_allclose(layer.scores(x).data, expected, rtol=1e-5, atol=1e-5)
    assert layer.scores(x).name == "c_out"
    functions: dict[Any, Any] = {None: lambda z: z, "relu": ops.relu, "tanh": ops.tanh}
    function = functions[activation]
    np.testing.assert_allclose(out.data, function(expected), rtol=1e-5, atol=1e-5)


def test_glorot_counts_the_receptive_field() -> None:
    layer = Conv2D(32, 5, input_shape=(9, 9, 16))
    layer.set_up((9, 9, 16), np.float32, np.random.default_rng(0))
    limit = np.sqrt(6 / (25 * 16 + 25 * 32))
    largest = np.abs(layer.parameters["weight"].data).max()
    assert 0.99 * limit < largest <= limit


@pytest.mark.parametrize(
    ("layer", "shape", "described"),
    [
        (MaxPooling2D(), (3, 2, 5), "MaxPooling2D 2×2, 7×5×5 → 3×2×5"),
        (MaxPooling2D(3, 2, "same"), (4, 3, 5), "MaxPooling2D 3×3, 7×5×5 → 4×3×5"),
        (AveragePooling2D((2, 5)), (3, 1, 5), "AveragePooling2D 2×5, 7×5×5 → 3×1×5"),
        (GlobalMaxPooling2D(), (5,), "GlobalMaxPooling2D 7×5×5 → 5"),
        (GlobalAveragePooling2D(), (5,), "GlobalAveragePooling2D 7×5×5 → 5"),
        (ZeroPadding2D(), (9, 7, 5), "ZeroPadding2D 7×5×5 → 9×7×5"),
        (ZeroPadding2D(((1, 2), (0, 3))), (10, 8, 5), "ZeroPadding2D 7×5×5 → 10×8×5"),
        (Flatten(), (175,), "Flatten 7×5×5 → 175"),
        (Conv2D(2, 3, activation="relu"), (5, 3, 2), "Conv2D 3×3, 7×5×5 → 5×3×2, relu"),
    ],
)
def test_shapes_and_descriptions(layer: Layer, shape: tuple[int, ...], described: str) -> None:
    out = layer(batch(2, 7, 5, 5))
    assert out.shape == (2, *shape)
    assert layer.output_shape == shape
    assert layer.describe() == described
    assert layer(batch(0, 7, 5, 5)).shape == (0, *shape)


def test_layers_are_the_operations() -> None:
    x = batch(2, 6, 6, 3)
    pairs: list[tuple[Layer, Any]] = [
        (MaxPooling2D(3, 2, 1), ops.max_pool2d(x, 3, 2, 1)),
        (AveragePooling2D(3, 2, "same"), ops.average_pool2d(x, 3, 2, "same")),
        (GlobalMaxPooling2D(), x.data.max((1, 2))),
        (GlobalAveragePooling2D(), x.data.mean((1, 2))),
        (ZeroPadding2D((1, 0)), np.pad(x.data, ((0, 0), (1, 1), (0, 0), (0, 0)))),
        (Flatten(), x.data.reshape(2, -1)),
    ]
    for layer, expected in pairs:
        found = expected.data if isinstance(expected, Tensor) else expected
        np.testing.assert_allclose(layer(x).data, found, rtol=1e-6, atol=1e-7)
        assert layer.parameters == {}


@pytest.mark.parametrize(
    "layer",
    [Conv2D(3, 2, 2, "same"), Conv2D(2, 3, groups=2, activation="tanh"), AveragePooling2D(2, 1)],
)
def test_gradients(layer: Layer) -> None:
    assert_gradients(layer, batch(2, 4, 5, 2, dtype=np.float64).data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Conv2D(0, 3), "Conv2D filters and groups: expected whole numbers above 0"),
        (lambda: Conv2D(2, 0), "Conv2D kernel_size"),
        (lambda: Conv2D(2, 3, strides=(1, 2, 3)), "Conv2D strides"),
        (lambda: Conv2D(2, 3, dilation_rate=1.5), "Conv2D dilation_rate"),
        (lambda: Conv2D(3, 3, groups=2), "filters that 2 groups divide, received 3 filters"),
        (lambda: MaxPooling2D(0), "max_pooling2d pool_size"),
        (lambda: AveragePooling2D(2, -1), "average_pooling2d strides"),
        (lambda: ZeroPadding2D(-1), "padding"),
        (lambda: Conv2D(2, 3, padding="all"), "unknown padding"),
        (lambda: MaxPooling2D(padding="all"), "unknown padding"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            Conv2D(2, 3, name="c"),
            (2, 8),
            r"layer 'c' .* expected images \(height, width",
        ),
        (Conv2D(2, 9, name="c"), (2, 8, 8, 1), "layer 'c' .* at least 9x9 pixels"),
        *(
            (Conv2D(2, 3, padding="same", dilation_rate=rate, name="c"), (2, 8, 8, 1), message)
            for rate, message in ((2**63, "layer 'c' .* at most"), (10**7, "20,000,008x20,000,008"))
        ),
        (Conv2D(2, 3, groups=2, name="c"), (2, 8, 8, 3), "layer 'c'.* 2 groups divide"),
        (MaxPooling2D(9, name="p"), (2, 8, 8, 1), "layer 'p' .* at least 9x9 pixels"),
        (GlobalMaxPooling2D(name="p"), (2, 8, 8), r"layer 'p' .*x\[\.\.\., None"),
    ],
)
def test_images_that_do_not_fit_name_the_layer(
    layer: Layer, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises((ShapeError, ArgumentError), match=message):
        layer(batch(*shape))


def test_other_images_than_it_was_built_for_name_the_layer() -> None:
    layer = Conv2D(2, 3, name="c")
    layer(batch(1, 8, 8, 1))
    with pytest.raises(
        ShapeError, match=r"layer 'c' \(Conv2D 3×3, 8×8×1 → 6×6×2\): expected images"
    ):
        layer(batch(1, 9, 8, 1))


# -- two layers as one -----------------------------------------------------------------------------


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the fused operations that ran since."""
    ran: list[str] = []

    def noting(name: str, original: Any) -> Any:
        def run(self: Any, *arrays: Any) -> Any:
            ran.append(name)
            return original(self, *arrays)

        return run

    for name in ("conv2d_relu", "conv2d_relu_pool", "linear_relu"):
        kind = ops.OPERATIONS[name]
        for method in ("value", "value_and_kept") if kind.keeps else ("value",):
            monkeypatch.setattr(kind, method, noting(name, getattr(kind, method)))
    return ran


def small(*between: Layer) -> Sequential:
    model = Sequential(
        [
            Conv2D(3, 3, activation="relu", input_shape=(8, 8, 2)),
            *(between or [MaxPooling2D()]),
            Flatten(),
            Dense(4, "relu"),
            Dense(2, "softmax"),
        ],
        seed=0,
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def layer_by_layer(model: Sequential, x: Tensor) -> Any:
    with no_grad():
        for layer in model.layers:
            x = layer(x)
    return x.data


def test_predict_joins_convolution_and_pooling(fused: list[str]) -> None:
    model, x = small(), batch(3, 8, 8, 2)
    expected = layer_by_layer(model, x)
    fused.clear()
    np.testing.assert_allclose(model.predict(x.data), expected, rtol=1e-5)
    assert fused == ["conv2d_relu_pool", "linear_relu"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_joined_layers_have_the_gradients_of_single_ones(
    fused: list[str], size: tuple[int, int], dtype: Any
) -> None:
    layers = Conv2D(3, 3, activation="relu", padding="same"), MaxPooling2D()
    x = Tensor(batch(3, *size, 2, dtype=dtype), requires_grad=True)
    single = layers[1](layers[0](x))
    joined = run_through(layers, x)
    assert fused == ["conv2d_relu", "conv2d_relu_pool"]
    np.testing.assert_array_equal(joined.data, single.data)
    wanted = [x, *layers[0].parameters.values()]
    weights = np.random.default_rng(1).uniform(-1, 1, joined.shape).astype(dtype)
    exact = {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    for ours, theirs in zip(grad(joined, wanted, weights), grad(single, wanted, weights)):
        np.testing.assert_allclose(ours.data, theirs.data, **exact)


def test_training_joins_layers_too(fused: list[str]) -> None:
    model, x = small(), batch(3, 8, 8, 2)
    model.train_on_batch(x.data, np.array([0, 1, 0]))
    assert fused == ["conv2d_relu_pool", "linear_relu"]
    fused.clear()
    model.layers[0].trainable = False
    model.train_on_batch(x.data, np.array([0, 1, 0]))
    assert fused == ["conv2d_relu_pool", "linear_relu"]
    assert run_through(model.layers[:2], x).kept is None, "a frozen base is inference"
    x.requires_grad = True
    assert run_through(model.layers[:2], x).kept is not None


class Doubling(MaxPooling2D):
    def call(self, x: Tensor) -> Any:
        return 2 * super().call(x)


@pytest.mark.parametrize(
    "between",
    [MaxPooling2D(3, 2), MaxPooling2D(2, 1), MaxPooling2D(2, 2, "same"), Activation("tanh"),
     AveragePooling2D(), Doubling()],
    ids=lambda layer: layer.describe(),
)  # fmt: skip
def test_only_what_is_known_is_joined(between: Layer, fused: list[str]) -> None:
    model, x = small(copy.deepcopy(between)), batch(3, 8, 8, 2)
    np.testing.assert_allclose(model.predict(x.data), layer_by_layer(model, x), rtol=1e-5)
    assert "conv2d_relu_pool" not in fused


def test_joined_layers_keep_their_errors() -> None:
    model = small()
    model.layers[0].name = "first"
    with no_grad(), pytest.raises(ShapeError, match="layer 'first'"):
        model(batch(1, 8, 7, 2))


def test_a_model_of_images_learns_and_copies() -> None:
    x = np.zeros((40, 6, 6, 1), np.float32)
    y = np.arange(40) % 2
    rows = np.random.default_rng(0).integers(0, 6, 40)
    for image, label, k in zip(x, y, rows, strict=True):  # horizontal or vertical lines
        image[(slice(None), k) if label else k] = 1
    model = Sequential(
        [Conv2D(4, 3, activation="relu", input_shape=(6, 6, 1)), MaxPooling2D(), Flatten(),
         Dense(2, "softmax")], seed=1,
    )  # fmt: skip
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.lr = 0.3
    history = model.fit(x, y, epochs=30, batch_size=10, verbose=0)
    assert history.history["accuracy"][-1] == 1
    double = model.astype(np.float64)
    np.testing.assert_allclose(double.predict(x), model.predict(x), atol=1e-5)
    assert double.predict(x).dtype == np.float64
