"""The contract of layers, Dense and Activation, and layers of one's own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from minnet import layers, random
from minnet.errors import ArgumentError, DtypeError, NumberError, ShapeError
from minnet.layers import Activation, Dense, Layer
from minnet.ops.loss import softmax
from minnet.ops.pointwise import sigmoid
from minnet.recording import STATE
from minnet.tensor import Tensor


def batch(*shape: int, dtype: Any = np.float32) -> Tensor:
    return Tensor(np.random.default_rng(0).normal(size=shape), dtype=dtype)


class Scale(Layer):
    """A layer as a user writes it."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("factor", input_shape, "ones")
        return input_shape

    def call(self, x: Tensor) -> Any:
        return x * self.parameters["factor"]


# -- Dense -----------------------------------------------------------------------------------------


def test_dense_is_x_times_w_plus_b() -> None:
    dense = Dense(4, bias_initializer="ones")
    x = batch(5, 3)
    out = dense(x)
    w, b = dense.parameters["weight"], dense.parameters["bias"]
    assert (w.shape, b.shape) == ((3, 4), (4,))
    assert w.requires_grad and b.requires_grad
    np.testing.assert_allclose(out.data, x.data @ w.data + 1, rtol=1e-6)
    assert (dense.input_shape, dense.output_shape) == ((3,), (4,))


def test_dense_without_bias() -> None:
    dense = Dense(4, use_bias=False)
    x = batch(5, 3)
    np.testing.assert_allclose(dense(x).data, x.data @ dense.parameters["weight"].data, rtol=1e-6)
    assert list(dense.parameters) == ["weight"]


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_keeps_further_axes(use_bias: bool) -> None:
    dense = Dense(4, "tanh", use_bias=use_bias)
    x = batch(2, 5, 3)
    out = dense(x)
    assert out.shape == (2, 5, 4)
    assert dense.output_shape == (5, 4)
    np.testing.assert_allclose(out.data[1], np.tanh(x.data[1] @ dense.parameters["weight"].data))


def test_dense_logits_come_before_the_activation() -> None:
    dense = Dense(4, "softmax")
    x = batch(2, 3)
    np.testing.assert_array_equal(dense(x).data, softmax(dense.scores(x)).data)
    assert dense.scores(x).name == "dense_out"


def test_dense_in_float64() -> None:
    dense = Dense(2)
    assert dense(batch(1, 3, dtype=np.float64)).dtype == np.float64
    assert {p.dtype for p in dense.parameters.values()} == {np.dtype(np.float64)}
    with pytest.raises(DtypeError, match="one dtype"):
        dense(batch(1, 3))


def test_names_follow_the_layer() -> None:
    dense = Dense(2, name="fc")
    dense(batch(1, 3))
    assert [p.name for p in dense.parameters.values()] == ["fc_weight", "fc_bias"]
    dense.name = "head"
    assert [p.name for p in dense.parameters.values()] == ["head_weight", "head_bias"]


def test_descriptions() -> None:
    dense = Dense(4, "relu", input_dim=3)
    assert dense.describe() == "Dense 3 → 4, relu"
    assert Dense(4).describe() == "Dense ? → 4"
    dense = Dense(4)
    dense(batch(1, 2, 3))
    assert dense.describe() == "Dense 2×3 → 2×4"
    assert Activation("relu").describe() == "relu"
    scale = Scale()
    scale(batch(1, 3))
    assert scale.describe() == "Scale 3 → 3"


@pytest.mark.parametrize("units", [0, -1, 2.5, "4", True, None])
def test_units_must_be_a_whole_number_above_0(units: Any) -> None:
    with pytest.raises(ArgumentError, match="Dense units: expected whole numbers above 0"):
        Dense(units)


def test_input_dim_is_short_for_input_shape() -> None:
    assert Dense(1, input_dim=3).input_shape == Dense(1, input_shape=(3,)).input_shape == (3,)
    with pytest.raises(ArgumentError, match="input_dim or input_shape"):
        Dense(1, input_dim=3, input_shape=(4,))
    with pytest.raises(ArgumentError, match="dense: expected whole numbers above 0 in a tuple"):
        Dense(1, input_shape=3)  # type: ignore[arg-type]


def test_wrong_width_names_the_layer() -> None:
    dense = Dense(4, name="fc1")
    dense(batch(2, 3))
    with pytest.raises(
        ShapeError, match=r"layer 'fc1' \(Dense 3 → 4\), called with shape \(2, 5\)"
    ):
        dense(batch(2, 5))


def test_dense_needs_an_axis() -> None:
    with pytest.raises(ShapeError, match="layer 'dense'.*at least one axis"):
        Dense(1)(batch(2))


# -- activations -----------------------------------------------------------------------------------


def elu_of(z: Any, alpha: float = 1.0) -> Any:
    return np.where(z > 0, z, alpha * (np.exp(np.minimum(z, 0)) - 1))


def sigmoid_of(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


BY_NAME: dict[str, Any] = {
    "elu": elu_of,
    "exp": np.exp,
    "gelu": lambda z: z * (1 + np.vectorize(math.erf)(z / math.sqrt(2))) / 2,
    "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "selu": lambda z: 1.0507009873554805 * elu_of(z, 1.6732632423543772),
    "sigmoid": sigmoid_of,
    "silu": lambda z: z * sigmoid_of(z),
    "softmax": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "swish": lambda z: z * sigmoid_of(z),
    "tanh": np.tanh,
}


@pytest.mark.parametrize(("name", "expected"), BY_NAME.items())
def test_activations(name: str, expected: Any) -> None:
    x = batch(3, 4, dtype=np.float64)
    layer = Activation(name.title())
    np.testing.assert_allclose(layer(x).data, expected(x.data), rtol=1e-12)
    assert layer.activation_name == name
    assert layer.scores(x) is x
    assert layer.parameters == {}
    assert layer.output_shape == (4,)


def test_every_activation_is_tested() -> None:
    assert set(layers.ACTIVATIONS) == set(BY_NAME)


def test_activation_may_be_a_function() -> None:
    def square(x: Tensor) -> Any:
        return x * x

    x = batch(2, 3)
    np.testing.assert_array_equal(Activation(square)(x).data, x.data**2)
    assert Dense(2, square).describe() == "Dense ? → 2, square"
    assert Activation(sigmoid).activation_name == "sigmoid"


def test_someone_elses_softmax_is_not_ours() -> None:
    def softmax(x: Tensor) -> Any:
        return x

    assert layers.get_activation(softmax) == ("custom softmax", softmax)


def test_unknown_activation_is_answered_with_the_nearest() -> None:
    with pytest.raises(ArgumentError, match="unknown activation: .*Did you mean 'sigmoid'"):
        Dense(1, "sigmoïd")


# -- layers of one's own ---------------------------------------------------------------------------


def test_own_layer_learns() -> None:
    scale = Scale()
    x = batch(4, 3)
    scale(x).sum().backward()
    grad = scale.parameters["factor"].grad
    assert grad is not None
    np.testing.assert_allclose(grad.data, x.data.sum(0), rtol=1e-6)
    assert scale.parameters["factor"].name == "scale_factor"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Conv2D", "conv2d"), ("MyLayer", "my_layer"), ("MaxPooling2D", "max_pooling2d")],
)
def test_kind_is_the_class_name_in_lower_case(name: str, kind: str) -> None:
    assert type(name, (Layer,), {})().kind == kind


def test_a_numpy_error_names_the_layer_and_keeps_its_cause() -> None:
    class Broken(Layer):
        def call(self, x: Tensor) -> Any:
            return Tensor(x.data @ np.ones((7, 2)))

    with pytest.raises(ShapeError, match=r"layer 'broken' \(Broken 3 → 3\), called with") as caught:
        Broken()(batch(2, 3))
    assert isinstance(caught.value.__cause__, ValueError)


def test_errors_of_another_kind_pass_unchanged() -> None:
    error = NumberError("mine")

    class Strict(Layer):
        def call(self, x: Tensor) -> Any:
            raise error

    with pytest.raises(NumberError, match="^mine$") as caught:
        Strict()(batch(2, 3))
    assert caught.value is error


@pytest.mark.parametrize(
    ("result", "received"),
    [
        (np.ones((2, 3)), "ndarray"),
        (None, "NoneType"),
        (Tensor(np.ones((2, 4))), r"shape \(2, 4\)"),
    ],
)
def test_call_must_give_a_tensor_of_the_promised_shape(result: Any, received: str) -> None:
    class Odd(Layer):
        def call(self, x: Tensor) -> Any:
            return result

    with pytest.raises(
        ShapeError, match=rf"layer 'odd' .*shape \(3,\) from call, received {received}"
    ):
        Odd()(batch(2, 3))


def test_build_must_give_a_shape() -> None:
    class Forgetful(Layer):
        def build(self, input_shape: tuple[int, ...]) -> Any:
            return None

    with pytest.raises(ArgumentError, match=r"forgetful\.build: expected .*, received None"):
        Forgetful()(batch(2, 3))


def test_errors_in_build_name_the_layer() -> None:
    class Broken(Layer):
        def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
            self.add_parameter("w", (2,), lambda shape, dtype, rng: np.ones(3))
            return input_shape

    with pytest.raises(ShapeError, match=r"layer 'broken' .*built for rows of shape \(3,\): .*'w'"):
        Broken()(batch(2, 3))


def test_a_layer_without_call_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Layer\.call"):
        Layer()(batch(2, 3))


# -- trainable, random, traced ---------------------------------------------------------------------


def test_trainable_switches_gradients_on_and_off() -> None:
    dense = Dense(2, input_dim=3)
    dense.trainable = False
    dense.set_up((3,), np.float32, None)
    assert not any(p.requires_grad for p in dense.parameters.values())
    assert dense(batch(1, 3)).op is None
    dense.trainable = True
    assert all(p.requires_grad for p in dense.parameters.values())
    assert not Scale(trainable=False).trainable


def test_weights_come_from_the_shared_generator() -> None:
    weights = []
    for _ in range(2):
        random.seed(3)
        dense = Dense(2)
        dense(batch(1, 3))
        weights.append(dense.parameters["weight"].data)
    np.testing.assert_array_equal(weights[0], weights[1])


def test_a_tracer_sees_the_layers_scope() -> None:
    class Scopes:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str]] = []

        @contextmanager
        def scope(self, name: str, description: str) -> Iterator[None]:
            self.seen.append((name, description))
            yield

        def admit(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return inputs

        def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
            return out

    tracer: Any = Scopes()
    dense = Dense(2, name="fc")
    x = batch(1, 3)
    STATE.tracer = tracer
    try:
        dense(x)
        dense.scores(x)
    finally:
        STATE.tracer = None
    assert tracer.seen == [("fc", "Dense 3 → 2")] * 2
