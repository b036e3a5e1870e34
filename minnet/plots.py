"""Pictures for files; matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minnet.errors import ArgumentError, mismatch, missing
from minnet.files import PathLike, replacing


def new_figure(purpose: str, width: float, height: float) -> Any:
    """An empty figure of so many inches, for files alone: no window, no global state.

    ``purpose``: what wants to draw, for the error.

    Raises :class:`~minnet.errors.MissingDependencyError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("matplotlib", "plots", purpose) from None
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: PathLike) -> None:
    """Write a figure as PNG, SVG or PDF, by the name's ending.

    Raises :class:`~minnet.errors.ArgumentError` for another ending and
    :class:`~minnet.errors.FileError` where there is no place for the file.
    """
    ending = Path(path).suffix.lower()
    if ending[1:] not in figure.canvas.get_supported_filetypes():
        expected, received = "a .png, .svg or .pdf file", f"the ending {ending!r}"
        raise ArgumentError(mismatch(f"plot {str(path)!r}", expected, received))
    with replacing(path, "a picture") as temporary:
        figure.savefig(temporary, format=ending[1:])
