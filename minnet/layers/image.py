"""What layers of images have in common, and those that only move pixels."""

from __future__ import annotations

import math
from typing import Any

from minnet.configs import Config
from minnet.errors import ShapeError, mismatch
from minnet.kernels.geometry import resolve_padding
from minnet.layers.activations import Function
from minnet.layers.base import Layer, Shape
from minnet.ops.pad import pad
from minnet.ops.pool import flatten
from minnet.tensor import Tensor


def known_padding(padding: Any) -> Any:
    """The padding as it was given, lists as tuples; it may depend on images not known yet.

    Raises :class:`~minnet.errors.ArgumentError` where it is none for any images.
    """
    found = resolve_padding(padding, (1, 1), (1, 1), (1, 1), 1, 1)
    return found if isinstance(padding, (list, tuple)) else padding


class ImageLayer(Layer):
    """A layer whose rows are images (height, width, channels), of one size."""

    def build(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(
                mismatch(
                    type(self).__name__,
                    "images (height, width, channels)",
                    f"rows of shape {input_shape}",
                    "Grey images get a channel by x[..., None].",
                )
            )
        return self.build_for_images(*input_shape)

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        """``build`` for images of this shape."""
        raise NotImplementedError(f"{type(self).__name__}.build_for_images")

    def _run(self, function: Function, x: Tensor, output_shape: Shape | None = None) -> Tensor:
        if self.input_shape is not None and x.shape[1:] != self.input_shape:
            raise ShapeError(
                mismatch(
                    f"layer {self.name!r} ({self.describe()})",
                    f"images of shape {self.input_shape}",
                    f"shape {x.shape}",
                )
            )
        return super()._run(function, x, output_shape)


class ZeroPadding2D(ImageLayer):
    """Zeros around images.

    ``padding``: one number for all sides, (vertical, horizontal) or ((top, bottom), (left, right)).

    Raises :class:`~minnet.errors.ArgumentError` for another padding.
    """

    steady = True

    def __init__(self, padding: Any = 1, input_shape: Shape | None = None, name: str | None = None):
        super().__init__(input_shape=input_shape, name=name)
        self.padding = resolve_padding(padding, (1, 1), (1, 1), (1, 1), 1, 1)
        self._operation = pad(self.padding)

    def config(self) -> Config:
        return {**super().config(), "padding": self.padding}

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        vertical, horizontal = self.padding
        return height + sum(vertical), width + sum(horizontal), channels

    def call(self, x: Tensor) -> Any:
        return self._operation(x)


class Flatten(Layer):
    """Each row as one vector: (height, width, channels) to (height x width x channels,)."""

    steady = True

    def __init__(self, input_shape: Shape | None = None, name: str | None = None):
        super().__init__(input_shape=input_shape, name=name)

    def build(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def call(self, x: Tensor) -> Any:
        return flatten(x)
