"""Fully connected layers, and activations on their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minnet import initializers, regularizers
from minnet.configs import Config
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.layers.activations import Function, activation_config, get_activation
from minnet.layers.base import Layer, Shape, as_shape, short
from minnet.ops.matmul import linear, linear_relu, matmul
from minnet.ops.shape import reshape
from minnet.recording import STATE
from minnet.tensor import Tensor


class Dense(Layer):
    """activation(x·w + b): every unit reads every number of the last axis.

    ``units``: the number of outputs. The weights are (in, units), the bias (units,); further axes
    of the input are kept: (n, t, in) gives (n, t, units). ``activation``: a name or a function of a
    tensor. ``input_dim=3`` is short for ``input_shape=(3,)``.

    Raises :class:`~minnet.errors.ArgumentError` for units below 1 or an unknown activation or
    initializer.
    """

    steady = True

    def __init__(
        self,
        units: int,
        activation: str | Function | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        input_dim: int | None = None,
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        if input_dim is not None:
            if input_shape is not None and tuple(input_shape) != (input_dim,):
                raise ArgumentError(
                    mismatch("Dense", "input_dim or input_shape", f"{input_dim} and {input_shape}")
                )
            input_shape = (input_dim,)
        super().__init__(input_shape=input_shape, name=name)
        (self.units,) = as_shape("Dense units", (units,))
        self.activation_name, self.activation = get_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)

    def config(self) -> Config:
        return {
            **super().config(),
            "units": self.units,
            "activation": activation_config(self.activation_name, self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.to_config(self.kernel_initializer),
            "bias_initializer": initializers.to_config(self.bias_initializer),
            "kernel_regularizer": regularizers.to_config(self.kernel_regularizer),
            "bias_regularizer": regularizers.to_config(self.bias_regularizer),
        }

    def build(self, input_shape: Shape) -> Shape:
        if not input_shape:
            raise ShapeError(mismatch("Dense", "rows with at least one axis", "single numbers"))
        self.add_parameter(
            "weight",
            (input_shape[-1], self.units),
            self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.add_parameter(
                "bias", (self.units,), self.bias_initializer, regularizer=self.bias_regularizer
            )
        return (*input_shape[:-1], self.units)

    def logits(self, x: Tensor) -> Any:
        """x·w + b."""
        out = self._weigh(x, linear)
        out.name = f"{self.name}_out"
        return out

    def _weigh(self, x: Tensor, function: Callable[..., Any]) -> Any:
        """``function`` of the rows, the weight and the bias; the product alone without a bias."""
        flat = x if x.ndim == 2 else reshape(x, (-1, x.shape[-1]))
        parameters = self.parameters
        if self.use_bias:
            out = function(flat, parameters["weight"], parameters["bias"])
        else:
            out = matmul(flat, parameters["weight"])
        return out if x.ndim == 2 else reshape(out, (*x.shape[:-1], self.units))

    def call(self, x: Tensor) -> Any:
        if self.activation_name == "relu" and self.use_bias and STATE.tracer is None:
            return self._weigh(x, linear_relu)
        out = self.logits(x)
        return out if self.activation is None else self.activation(out)

    def describe(self) -> str:
        ending = "" if self.activation is None else f", {self.activation_name}"
        output = (self.units,) if self.output_shape is None else self.output_shape
        return f"Dense {short(self.input_shape)} → {short(output)}{ending}"


class Activation(Layer):
    """A function applied to each row: one of :data:`ACTIVATIONS` by name, or one of your own.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """

    steady = True

    def __init__(
        self, activation: str | Function, input_shape: Shape | None = None, name: str | None = None
    ):
        super().__init__(input_shape=input_shape, name=name)
        self.activation_name, self.activation = get_activation(activation)

    def config(self) -> Config:
        activation = activation_config(self.activation_name, self.activation)
        return {**super().config(), "activation": activation}

    def logits(self, x: Tensor) -> Any:
        """The input itself."""
        return x

    def call(self, x: Tensor) -> Any:
        return x if self.activation is None else self.activation(x)

    def describe(self) -> str:
        return str(self.activation_name)
