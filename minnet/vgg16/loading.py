"""Weights of VGG16 from files into the model."""

from __future__ import annotations

from minnet.errors import FileError, mismatch
from minnet.files import PathLike
from minnet.sequential import Sequential
from minnet.tensor import Tensor
from minnet.weights import Vgg16Report, opened_vgg16
from minnet.weights.stored import StoredArray
from minnet.weights.vgg16 import CONVOLUTIONS

FIRST = CONVOLUTIONS[0]


def load(model: Sequential, path: PathLike) -> Vgg16Report:
    """Read a file's arrays, one layer at a time, into the layers of the same names.

    Arrays of dense layers are left in the file by a model that has none.

    Raises :class:`~minnet.errors.FileError` for a file that is no VGG16, or whose arrays are not
    those of this model; the model is then as it was.
    """
    ours = {layer.name: layer for layer in model.layers if layer.parameters}
    with opened_vgg16(path) as (layers, report):
        theirs = {layer.name: layer for layer in layers}
        found: list[tuple[Tensor, StoredArray]] = []
        problems = []
        for name, layer in ours.items():
            if name not in theirs:
                problems.append(f"no {name}")
                continue
            arrays = theirs[name].kernel, theirs[name].bias
            for (key, parameter), array in zip(layer.parameters.items(), arrays, strict=True):
                found.append((parameter, array))
                if array.shape != parameter.shape:
                    shapes = f"{array.shape}, not {parameter.shape}"
                    problems.append(f"{name}/{key} of shape {shapes}")
        if problems:
            advice = "include_top=False takes the convolutions alone, for images of any size."
            if theirs[FIRST].bias.shape != ours[FIRST].parameters["bias"].shape:
                advice = "width= multiplies the numbers of filters; Vgg16 is as wide as its file."
            expected = "the arrays of this VGG16"
            raise FileError(mismatch(str(path), expected, "; ".join(problems), advice))
        for parameter, array in found:
            parameter.data = array.read(parameter.dtype)
    return report
