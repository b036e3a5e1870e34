"""A VGG16's weights from another library's file to one of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

from minnet.files import PathLike, replacing
from minnet.layers import Conv2D, Dense, Layer, Shape
from minnet.layers.preprocessing import convention_of
from minnet.tensor import Array
from minnet.weights import conventions
from minnet.weights.conventions import Convention
from minnet.weights.formats import format_of
from minnet.weights.vgg16 import Vgg16Layer, Vgg16Report, opened_vgg16


def convert(
    path: PathLike,
    out: PathLike,
    convention: str | Convention | None = None,
    preprocessing: str | None = None,
) -> Vgg16Report:
    """Write the VGG16 in one file to another one, with our names and layouts, as float32.

    ``out``: ``.safetensors``, ``.npz``; ``.h5`` or ``.weights.h5``, which Keras loads. All of them
    keep the convention, so that nothing has to be guessed when they are read. ``convention``: see
    :func:`minnet.weights.read_vgg16`. ``preprocessing``: what is done to the net's images, where
    the file does not say it or is wrong: a mode of :func:`minnet.vgg16.preprocess_input`.

    Raises what :func:`minnet.weights.read_vgg16` raises, :class:`~minnet.errors.ArgumentError` for
    an unknown mode, :class:`~minnet.errors.FileError` where ``out`` cannot be written.
    """
    chosen = format_of(out)
    if preprocessing is not None:
        convention_of(preprocessing)
    with opened_vgg16(path, convention) as (stored, report):
        if preprocessing is not None:
            report.convention = replace(report.convention, preprocessing=preprocessing)
            report.reasons.append("images as told")
        layers = [_layer(layer, report) for layer in stored]
    with replacing(out, "weights") as file:
        chosen.write(file, layers, asdict(conventions.ours(report.convention)))
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
        return array.read(layer.dtype)

    return values
