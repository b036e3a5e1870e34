"""The convolutional layer."""

from __future__ import annotations

from typing import Any

from minnet import initializers, regularizers
from minnet.configs import Config
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.kernels.geometry import Window
from minnet.layers.activations import Function, activation_config, get_activation
from minnet.layers.base import Layer, Shape, as_shape, short
from minnet.layers.image import ImageLayer, known_padding
from minnet.layers.pool import MaxPooling2D
from minnet.ops.conv import convolution
from minnet.ops.conv_relu import convolution_relu, convolution_relu_pool
from minnet.ops.windows import convolution_window, pair
from minnet.recording import STATE
from minnet.tensor import Tensor


class Conv2D(ImageLayer):
    """activation(filters slid over the images + bias): (height, width, channels) to (…, filters).

    ``filters``: how many; ``kernel_size``, ``strides``, ``dilation_rate``: one number, or
    (vertical, horizontal). ``padding``: 'valid' (none), 'same' (as many places as pixels, divided
    by the strides), one number, (vertical, horizontal) or ((top, bottom), (left, right)). With
    ``groups``, each part of the filters sees its part of the channels alone; as many groups as
    channels make a depthwise convolution. The weights are (kh, kw, channels // groups, filters),
    the bias (filters,). ``activation``: a name or a function of a tensor.

    Raises :class:`~minnet.errors.ArgumentError` for numbers below 1, groups that do not divide the
    filters, an unknown padding, activation or initializer; :class:`~minnet.errors.ShapeError`, when
    built, for images that are smaller than the filters.
    """

    steady = True

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: str | Function | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        super().__init__(input_shape=input_shape, name=name)
        self.filters, self.groups = as_shape("Conv2D filters and groups", (filters, groups))
        self.kernel_size = pair("Conv2D kernel_size", kernel_size)
        self.strides = pair("Conv2D strides", strides)
        self.dilation_rate = pair("Conv2D dilation_rate", dilation_rate)
        self.padding = known_padding(padding)
        self.activation_name, self.activation = get_activation(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        #: The convolution alone, with relu, with relu and a pooling that halves; set by ``build``.
        self._operations: tuple[Any, Any, Any] = (None, None, None)
        if self.filters % self.groups:
            expected = f"filters that {self.groups} groups divide"
            raise ArgumentError(mismatch("Conv2D", expected, f"{self.filters} filters"))

    def config(self) -> Config:
        return {
            **super().config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activation_config(self.activation_name, self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.to_config(self.kernel_initializer),
            "bias_initializer": initializers.to_config(self.bias_initializer),
            "kernel_regularizer": regularizers.to_config(self.kernel_regularizer),
            "bias_regularizer": regularizers.to_config(self.bias_regularizer),
        }

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        if channels % self.groups:
            expected = f"images with channels that {self.groups} groups divide"
            raise ShapeError(mismatch("Conv2D", expected, f"{channels} channels"))
        window = convolution_window(
            self.kernel_size, self.strides, self.padding, self.dilation_rate, height, width
        )
        kinds = convolution, convolution_relu, convolution_relu_pool
        plain, with_relu, pooled = (kind(window, self.groups) for kind in kinds)
        self._operations = plain, with_relu, pooled
        kernel = (*self.kernel_size, channels // self.groups, self.filters)
        self.add_parameter(
            "weight", kernel, self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        if self.use_bias:
            self.add_parameter(
                "bias", (self.filters,), self.bias_initializer, regularizer=self.bias_regularizer
            )
        return *window.output_size(height, width), self.filters

    @property
    def window(self) -> Window:
        """How the filters slide over the images, once the layer is built."""
        window: Window = self._operations[0].window
        return window

    def logits(self, x: Tensor) -> Any:
        """The convolution and the bias."""
        out = self._operations[0](x, *self.parameters.values())
        out.name = f"{self.name}_out"
        return out

    def call(self, x: Tensor) -> Any:
        if self.activation_name == "relu" and STATE.tracer is None:
            return self._operations[1](x, *self.parameters.values())
        out = self.logits(x)
        return out if self.activation is None else self.activation(out)

    def _pooled(self, x: Tensor) -> Any:
        return self._operations[2](x, *self.parameters.values())

    def joined(self, following: Layer) -> Function | None:
        """The convolution with relu and a max-pooling 2x2: one operation does all of it."""
        pooled = following.output_shape
        halves = type(following) is MaxPooling2D and following.halves
        mine = type(self) is Conv2D and self.activation_name == "relu"
        if not (halves and mine) or pooled is None:
            return None
        return lambda x: self._run(self._pooled, x, pooled)

    def describe(self) -> str:
        rows, columns = self.kernel_size
        ending = "" if self.activation is None else f", {self.activation_name}"
        output = (self.filters,) if self.output_shape is None else self.output_shape
        return f"Conv2D {rows}×{columns}, {short(self.input_shape)} → {short(output)}{ending}"
