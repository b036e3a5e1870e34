"""VGG16: thirteen convolutions of 3×3 in five blocks, then three dense layers.

The network is configuration D of K. Simonyan, A. Zisserman, "Very deep convolutional networks for
large-scale image recognition", 2014.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.checks import items, number, whole
from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike
from minnet.layers import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    ImagePreprocessing,
    Layer,
    MaxPooling2D,
    Shape,
)
from minnet.sequential import Sequential
from minnet.vgg16.loading import load
from minnet.vgg16.official import located
from minnet.weights.vgg16 import top_names

#: (filters, convolutions) of each block; a 2×2 max-pooling ends it.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
#: Units of the first two dense layers.
UNITS = 4096
#: The smallest images of which five poolings leave anything.
SMALLEST = 2 ** len(BLOCKS)


def VGG16(
    weights: PathLike | None = None,
    include_top: bool = True,
    classes: int = 1000,
    input_shape: Shape | None = (224, 224, 3),
    *,
    preprocessing: str | None = None,
    dropout: float = 0.0,
    width: float = 1.0,
    units: Sequence[int] | None = None,
    dtype: npt.DTypeLike = np.float32,
    seed: int | None = None,
) -> Sequential:
    """VGG16, with Keras's names of layers: images (height, width, 3) to probabilities (classes,).

    ``weights``: a file of converted weights; 'imagenet', those that Keras publishes, which are
    downloaded if they are not there yet; or None to draw them. ``include_top``: with the dense
    layers; without, the output is that of 'block5_pool', (height // 32, width // 32, 512), and
    images may have any size from 32 on; the weights of dense layers in the file are left there.
    ``input_shape``: of one image; None, without weights, leaves it to the first batch.

    ``preprocessing``: 'caffe', 'torch' or 'rescale' puts :class:`~minnet.layers.ImagePreprocessing`
    first, so that the model takes pixels 0 … 255, red first; None expects them preprocessed.
    ``dropout``: the rate after each dense layer but the last, 0.5 in the paper; 0 leaves the layers
    out, as Keras does. ``width``: multiplies all numbers of filters and units (the alpha of
    MobileNets), for small nets to try things with. ``units``: of 'fc1', 'fc2', …, as many dense
    layers as there are before the last; None is two of 4096 · ``width``. ``dtype`` and
    ``seed`` as for :class:`minnet.Sequential`.

    Raises :class:`~minnet.errors.FileError` where the weights cannot be read or downloaded or are
    not this network's, naming each array, and :class:`~minnet.errors.ArgumentError` for arguments
    out of range or images below 32 × 32.
    """
    weights = located(weights, include_top)
    factor = number("VGG16 width", width, "a number above 0", 0, above=True)
    shape = _checked(input_shape, weights)
    layers = list(_layers(preprocessing, factor))
    if include_top:
        known = [_scaled(UNITS, factor)] * 2 if units is None else units
        items("VGG16 units", known, "a list of whole numbers, one for each dense layer")
        hidden = [whole("VGG16 units", count, 1) for count in known]
        layers += _top(hidden, whole("VGG16 classes", classes, 1), dropout)
    model = Sequential(name="vgg16", dtype=dtype, seed=seed)
    for layer in layers:
        if weights is not None:
            # Drawing 138 million numbers that are replaced takes seconds; zeros take no memory
            # until something is written to them.
            layer.stored = lambda _, shape: np.zeros(shape, dtype)
        model.add(layer)
    if shape is not None:
        model.build(shape)
    if weights is not None:
        for layer in layers:
            layer.stored = None
        load(model, weights)
    return model


def _checked(input_shape: Any, weights: Any) -> Shape | None:
    if input_shape is None:
        if weights is None:
            return None
        raise ArgumentError(mismatch("VGG16", "input_shape with weights", "None"))
    shape = tuple(input_shape) if isinstance(input_shape, Iterable) else ()
    whole_numbers = all(isinstance(n, (int, np.integer)) for n in shape)
    large = len(shape) == 3 and whole_numbers and min(shape[:2]) >= SMALLEST
    if not large:
        expected = f"input_shape (height, width, channels), both at least {SMALLEST}"
        raise ArgumentError(mismatch("VGG16", expected, repr(input_shape)))
    return tuple(map(int, shape))


def _layers(preprocessing: str | None, width: float) -> Iterator[Layer]:
    if preprocessing is not None:
        yield ImagePreprocessing(preprocessing, name="preprocessing")
    for number_, (filters, convolutions) in enumerate(BLOCKS, 1):
        for k in range(1, convolutions + 1):
            name = f"block{number_}_conv{k}"
            count = _scaled(filters, width)
            yield Conv2D(count, 3, padding="same", activation="relu", name=name)
        yield MaxPooling2D(2, 2, name=f"block{number_}_pool")


def _top(units: Sequence[int], classes: int, dropout: float) -> Iterator[Layer]:
    *names, last = top_names(len(units))
    yield Flatten(name="flatten")
    for name, count in zip(names, units):
        yield Dense(count, "relu", name=name)
        if dropout:
            yield Dropout(dropout, name=f"{name}_dropout")
    yield Dense(classes, "softmax", name=last)


def _scaled(count: int, width: float) -> int:
    return max(1, round(count * width))
