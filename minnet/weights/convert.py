"""A VGG16's weights from another library's file to one of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minnet.files import PathLike, replacing
from minnet.layers import Conv2D, Dense, Layer, Shape
from minnet.tensor import Array
from minnet.weights import conventions, safetensors
from minnet.weights.conventions import Convention
from minnet.weights.formats import FORMATS, format_of
from minnet.weights.vgg16 import Vgg16Layer, Vgg16Report, opened_vgg16


def convert(
    path: PathLike, out: PathLike, convention: str | Convention | None = None
) -> Vgg16Report:
    """Write the VGG16 in one file to another one, with our names and layouts, as float32.

    ``out``: ``.safetensors``, which also keeps which images the net expects; ``.npz``; ``.h5`` or
    ``.weights.h5``, which Keras loads. ``convention``: see :func:`minnet.weights.read_vgg16`, and
    so for what is raised; :class:`~minnet.errors.FileError` also where ``out`` cannot be written.
    """
    chosen = format_of(out)
    with opened_vgg16(path, convention) as (stored, report):
        layers = [_layer(layer, report) for layer in stored]
    with replacing(out, "weights") as file:
        if chosen is FORMATS[".safetensors"]:
            settings = asdict(conventions.ours(report.convention))
            safetensors.write_with(file, layers, {}, {"convention": settings})
        else:
            chosen.write(Path(file), layers)
    return report


def _layer(stored: Vgg16Layer, report: Vgg16Report) -> Layer:
    """A layer of ours with the arrays of the file."""
    *_, taken, filters = stored.kernel.shape
    shape: Shape
    layer: Layer
    if len(stored.kernel.shape) == 4:
        layer, shape = Conv2D(filters, 3, padding="same", name=stored.name), (3, 3, taken)
    else:
        layer, shape = Dense(filters, name=stored.name), (taken,)
    layer.stored = _source(stored, layer, report)
    layer.build(shape)
    return layer


def _source(stored: Vgg16Layer, layer: Layer, report: Vgg16Report) -> Callable[[str, Shape], Array]:
    """What gives a layer its parameters."""

    def values(name: str, shape: Shape) -> Array:
        array = stored.bias if name == "bias" else stored.kernel
        if array.dtype != layer.dtype:
            report.converted.append((f"{stored.name}/{name}", str(array.dtype)))
        return np.asarray(array.read(), layer.dtype, order="C")

    return values
