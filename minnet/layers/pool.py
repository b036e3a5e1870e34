"""Pooling layers: smaller images, or one number for each channel of an image."""

from __future__ import annotations

from typing import Any

from minnet.configs import Config
from minnet.kernels.geometry import Window
from minnet.layers.base import Shape, short
from minnet.layers.image import ImageLayer, known_padding
from minnet.ops.pool import (
    average_pooling,
    global_average_pool2d,
    global_max_pool2d,
    max_pooling,
)
from minnet.ops.windows import pair, pooling_window
from minnet.tensor import Tensor


class _Pooling2D(ImageLayer):
    """``pool_size`` and ``strides``: one number, or (vertical, horizontal); strides are the size
    unless given. ``padding``: 'valid' (none), 'same' (as many places as pixels, divided by the
    strides), one number, (vertical, horizontal) or ((top, bottom), (left, right)).

    Raises :class:`~minnet.errors.ArgumentError` for other arguments, and
    :class:`~minnet.errors.ShapeError`, when built, for images smaller than the window.
    """

    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        input_shape: Shape | None = None,
        name: str | None = None,
    ):
        super().__init__(input_shape=input_shape, name=name)
        self.pool_size = pair(f"{self.kind} pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair(f"{self.kind} strides", strides)
        self.padding = known_padding(padding)
        self._operation: Any = None  # set by ``build``

    def config(self) -> Config:
        return {
            **super().config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        window = pooling_window(self.pool_size, self.strides, self.padding, height, width)
        self._operation = self.operation(window)
        return *window.output_size(height, width), channels

    @property
    def window(self) -> Window:
        """How the window slides over the images, once the layer is built."""
        window: Window = self._operation.window
        return window

    def operation(self, window: Window) -> Any:
        """What is done to the images."""
        raise NotImplementedError(f"{type(self).__name__}.operation")

    def call(self, x: Tensor) -> Any:
        return self._operation(x)

    def describe(self) -> str:
        rows, columns = self.pool_size
        shapes = f"{short(self.input_shape)} → {short(self.output_shape)}"
        return f"{type(self).__name__} {rows}×{columns}, {shapes}"


class MaxPooling2D(_Pooling2D):
    __doc__ = f"The largest number of each channel in each window.\n\n    {_Pooling2D.__doc__}"

    steady = True

    @property
    def halves(self) -> bool:
        """Whether this is the most usual pooling: windows of 2x2 side by side, no padding."""
        return self.pool_size == self.strides == (2, 2) and self.padding == "valid"

    def operation(self, window: Window) -> Any:
        return max_pooling(window)


class AveragePooling2D(_Pooling2D):
    __doc__ = (
        "The mean of each channel in each window; padding is left out of it.\n\n    "
        f"{_Pooling2D.__doc__}"
    )

    steady = True

    def operation(self, window: Window) -> Any:
        return average_pooling(window, False)


class GlobalMaxPooling2D(ImageLayer):
    """The largest number of each channel: (height, width, channels) to (channels,)."""

    steady = True

    def __init__(self, input_shape: Shape | None = None, name: str | None = None):
        super().__init__(input_shape=input_shape, name=name)

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        return (channels,)

    def call(self, x: Tensor) -> Any:
        return global_max_pool2d(x)


class GlobalAveragePooling2D(ImageLayer):
    """The mean of each channel: (height, width, channels) to (channels,)."""

    steady = True

    def __init__(self, input_shape: Shape | None = None, name: str | None = None):
        super().__init__(input_shape=input_shape, name=name)

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        return (channels,)

    def call(self, x: Tensor) -> Any:
        return global_average_pool2d(x)
