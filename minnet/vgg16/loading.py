"""Weights of VGG16 from files into the model."""

from __future__ import annotations

from collections.abc import Sequence

from minnet import weights
from minnet.errors import FileError, mismatch
from minnet.files import PathLike
from minnet.sequential import Sequential
from minnet.weights import LoadReport


def load(model: Sequential, path: PathLike, ignored: Sequence[str] = ()) -> LoadReport:
    """Read the file's arrays into the model; those of layers ``ignored`` may be left over.

    Raises :class:`~minnet.errors.FileError`, with the report, where anything else is left over,
    missing or of another shape.
    """
    report = weights.load(model.layers, path, strict=False, print_fn=lambda text: None)
    report.unexpected = [
        name for name in report.unexpected if not set(name.split("/")) & set(ignored)
    ]
    if not report.is_complete:
        parts = [f"{words}: {', '.join(names)}" for words, names in report.differences()]
        advice = "include_top=False takes the convolutions alone, whatever the classes."
        error = FileError(
            mismatch(str(path), "the arrays of this VGG16", f"arrays {'; '.join(parts)}", advice)
        )
        error.report = report
        raise error
    return report
