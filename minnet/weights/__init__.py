"""Weights in files: one reader and writer for each format, one way from a file into layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from minnet.errors import ArgumentError, FileError, mismatch
from minnet.files import PathLike, replacing, require_file
from minnet.layers import Layer
from minnet.weights import keras_h5, npz, safetensors
from minnet.weights.match import load_into
from minnet.weights.report import LoadReport
from minnet.weights.stored import Match, Stored

__all__ = ["LoadReport", "load", "save"]


class Format(NamedTuple):
    """How to write a file and how to open one."""

    write: Callable[[Path, Sequence[Layer]], None]
    opened: Callable[[Path], AbstractContextManager[Stored]]


#: By the ending of the file's name; the first that fits.
FORMATS = {
    ".safetensors": Format(safetensors.write, safetensors.opened),
    ".npz": Format(npz.write, npz.opened),
    ".weights.h5": Format(keras_h5.write_keras3, keras_h5.opened),
    ".h5": Format(keras_h5.write, keras_h5.opened),
    ".hdf5": Format(keras_h5.write, keras_h5.opened),
}


def save(layers: Sequence[Layer], path: PathLike) -> None:
    """See :meth:`minnet.model.Model.save_weights`."""
    chosen = _format(path)
    with replacing(path, "weights") as file:
        chosen.write(file, layers)


def load(
    layers: Sequence[Layer],
    path: PathLike,
    strict: bool = True,
    by_name: bool | None = None,
    print_fn: Callable[[str], Any] = print,
) -> LoadReport:
    """See :meth:`minnet.model.Model.load_weights`."""
    chosen, file = _format(path), require_file(path, "weights")
    if not any(layer.parameters for layer in layers):
        advice = "Give the first layer its input_shape, or call model.build(shape)."
        raise ArgumentError(mismatch(str(file), "a model with weights", "one without", advice))
    with chosen.opened(file) as stored:
        match = stored.match
        if by_name is not None:
            match = Match.NAME if by_name else Match.ORDER
        report = load_into(layers, stored, str(file), strict, match)
    if not report.is_complete:
        print_fn(str(report))
    return report


def _format(path: PathLike) -> Format:
    name = Path(path).name.lower()
    for ending, found in FORMATS.items():
        if name.endswith(ending):
            return found
    raise FileError(mismatch(str(path), f"a name ending in {', '.join(FORMATS)}", "another"))
