"""What is done to an image's pixels before a net that others have trained sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minnet.configs import Config
from minnet.errors import ShapeError, mismatch, unknown_name
from minnet.layers.base import Shape
from minnet.layers.image import ImageLayer
from minnet.tensor import Array, Tensor


class Convention(NamedTuple):
    """How pixels from 0 to 255, in the order red, green, blue, become a net's input."""

    #: Whether the net takes blue, green, red.
    reverse: bool
    #: What pixels are divided by, before anything else.
    scale: float
    #: Per channel, in the net's order.
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: 'caffe': the VGG authors' own, means of ImageNet's pixels (Simonyan & Zisserman 2014), as in
#: Keras's files. 'torch': torchvision's, means and deviations of pixels between 0 and 1.
#: 'rescale': pixels between 0 and 1, as many train their own nets.
CONVENTIONS = {
    "caffe": Convention(True, 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "torch": Convention(False, 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "rescale": Convention(False, 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def convention_of(name: str) -> Convention:
    """The convention of this name.

    Raises :class:`~minnet.errors.ArgumentError` for another name.
    """
    if name not in CONVENTIONS:
        raise unknown_name("preprocessing", name, CONVENTIONS)
    return CONVENTIONS[name]


def _apply(x: Any, convention: Convention, dtype: npt.DTypeLike) -> Any:
    """The input for a net, of pixels (…, 3): arrays or tensors."""
    if convention.reverse:
        x = x[..., ::-1]
    if convention.scale != 1:
        x = x / convention.scale
    if any(convention.mean):
        x = x - np.array(convention.mean, dtype)
    return x if set(convention.std) == {1.0} else x / np.array(convention.std, dtype)


def preprocess_input(x: npt.ArrayLike, mode: str = "caffe") -> Array:
    """Pixels 0 … 255, RGB, (…, 3), as a VGG16's input of the same shape.

    ``mode``: 'caffe', in the order blue, green, red, minus [103.939, 116.779, 123.68], for weights
    that come from Caffe or Keras; 'torch', between 0 and 1, minus [0.485, 0.456, 0.406], divided by
    [0.229, 0.224, 0.225], for torchvision's; 'rescale', between 0 and 1, as many train nets of
    their own. float64 stays float64; all else becomes float32.

    Raises :class:`~minnet.errors.ArgumentError` for another mode and
    :class:`~minnet.errors.ShapeError` unless there are three channels, the last axis.
    """
    convention, pixels = convention_of(mode), np.asarray(x)
    if not pixels.ndim or pixels.shape[-1] != 3:
        expected, received = "pixels (…, 3)", f"an array of shape {pixels.shape}"
        raise ShapeError(mismatch("preprocess_input", expected, received))
    dtype = pixels.dtype if pixels.dtype == np.float64 else np.dtype(np.float32)
    return np.asarray(_apply(pixels.astype(dtype, copy=False), convention, dtype))


class ImagePreprocessing(ImageLayer):
    """:func:`preprocess_input` as a model's first layer: (height, width, 3) to the same.

    A model that begins with it takes pixels as files have them, red first, and when it is saved
    nobody has to remember by which convention its weights were trained.

    Raises :class:`~minnet.errors.ArgumentError` for another mode, and
    :class:`~minnet.errors.ShapeError`, when built, unless images have three channels.
    """

    def __init__(
        self, mode: str = "caffe", input_shape: Shape | None = None, name: str | None = None
    ):
        super().__init__(input_shape=input_shape, name=name)
        self.mode, self._convention = mode, convention_of(mode)

    def config(self) -> Config:
        return {**super().config(), "mode": self.mode}

    @property
    def reverses(self) -> bool:
        """Whether what it gives is blue, green, red."""
        return self._convention.reverse

    def build_for_images(self, height: int, width: int, channels: int) -> Shape:
        if channels != 3:
            advice = "Grey images are repeated: x.repeat(3, -1)."
            raise ShapeError(mismatch("ImagePreprocessing", "3 channels", f"{channels}", advice))
        return height, width, channels

    def call(self, x: Tensor) -> Any:
        return _apply(x, self._convention, self.dtype)

    def describe(self) -> str:
        return f"ImagePreprocessing {self.mode}"
