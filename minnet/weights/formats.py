"""How each format is written and opened, by the ending of a file's name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from minnet.errors import FileError, mismatch
from minnet.files import PathLike
from minnet.weights import keras_h5, npz, onnx_layers, safetensors, torch_pth
from minnet.weights.stored import Stored, Write

Opened = Callable[[Path], AbstractContextManager[Stored]]


class Format(NamedTuple):
    """How to write a file and how to open one."""

    write: Write
    opened: Opened


#: Those of our own models and Keras's; the first ending that fits.
FORMATS = {
    ".safetensors": Format(safetensors.write, safetensors.opened),
    ".npz": Format(npz.write, npz.opened),
    ".weights.h5": Format(keras_h5.write_keras3, keras_h5.opened),
    ".h5": Format(keras_h5.write, keras_h5.opened),
    ".hdf5": Format(keras_h5.write, keras_h5.opened),
}
#: Those that are only read, of whole models or with arrays that have to be converted.
FOREIGN: dict[str, Opened] = {
    ".keras": keras_h5.opened_keras,
    ".pth": torch_pth.opened,
    ".pt": torch_pth.opened,
    ".onnx": onnx_layers.opened,
}


def format_of(path: PathLike) -> Format:
    """The format of one of our models' weights.

    Raises :class:`~minnet.errors.FileError` for another ending.
    """
    for ending, found in FORMATS.items():
        if _ends(path, ending):
            return found
    advice = ""
    if any(_ends(path, ending) for ending in FOREIGN):
        advice = "minnet convert makes one of these of a VGG16 in that format."
    expected = f"a name ending in {', '.join(FORMATS)}"
    raise FileError(mismatch(str(path), expected, "another", advice))


def opener_of(path: PathLike) -> Opened:
    """What opens a file of weights, be it ours or from elsewhere.

    Raises :class:`~minnet.errors.FileError` for another ending.
    """
    readers = {ending: found.opened for ending, found in FORMATS.items()} | FOREIGN
    for ending, opened in readers.items():
        if _ends(path, ending):
            return opened
    raise FileError(mismatch(str(path), f"a name ending in {', '.join(readers)}", "another"))


def _ends(path: PathLike, ending: str) -> bool:
    return Path(path).name.lower().endswith(ending)
