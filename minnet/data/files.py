"""Rows from files: photographs, tables of numbers, NumPy's arrays."""

from __future__ import annotations

import csv
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minnet.data.images import IMAGE_SUFFIXES, as_rgb, decoded
from minnet.data.preparation import to_categorical
from minnet.errors import ArgumentError, FileError, ShapeError, mismatch
from minnet.files import PathLike, require_file
from minnet.losses import CategoricalCrossentropy, Loss
from minnet.tensor import Array

TABLES = (".csv", ".txt")
ARRAYS = (".npy", ".npz")
KNOWN = (*IMAGE_SUFFIXES, *TABLES, *ARRAYS)
Shape = tuple[int, ...]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's names, by the number of channels
#: What a damaged array file makes NumPy's readers raise.
_DAMAGE = (
    ValueError, OSError, EOFError, MemoryError, KeyError, TypeError, SyntaxError, RuntimeError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_rows(files: PathLike | Iterable[PathLike], shape: Shape | None = None) -> Array:
    """The rows of a file, or of several, one after the other: (n, \\*shape).

    ``shape``: that of one row; None leaves the rows as they are in the file. An image is one row of
    shape (height, width, channels), resized to it, with numbers from 0 to 255. A ``.csv`` has a row
    on each line, with or without names on the first. ``.npy`` holds rows or a single one, ``.npz``
    one such array. Rows of as many numbers as ``shape`` has are given that shape. No objects
    (pickles) are loaded.

    Raises :class:`~minnet.errors.FileError` for a file that cannot be read, and
    :class:`~minnet.errors.ShapeError` for rows that do not fit; both name the file.
    :class:`~minnet.errors.ArgumentError` where there is no file at all.
    """
    paths = [Path(files)] if isinstance(files, (str, os.PathLike)) else [*map(Path, files)]
    if not paths:
        raise ArgumentError(mismatch("read_rows", "at least one file", "none"))
    rows = [_shaped(path, _read(path, shape), shape) for path in paths]
    for path, array in zip(paths, rows, strict=True):
        if array.shape[1:] != rows[0].shape[1:]:
            expected = f"rows of shape {rows[0].shape[1:]}, as in {str(paths[0])!r}"
            raise ShapeError(mismatch(str(path), expected, f"{array.shape[1:]}"))
    return np.concatenate(rows)


def read_inputs(model: Any, given: Sequence[str]) -> Any:
    """A model's inputs from files, in the shapes that its first layers take.

    ``given``: files as for :func:`read_rows`; of a model with several inputs ``name=file``, which
    gives a list in the order of ``model.input_names``. Raises what :func:`read_rows` raises, and
    :class:`~minnet.errors.ArgumentError` for an input without a file or a name that is none.
    """
    first = [call.layer for call in model.calls if not call.inputs]
    if len(first) == 1:
        return read_rows(given, first[0].input_shape)
    shapes = {layer.name: layer.input_shape for layer in first}
    files = _by_name("input", model.input_names, given)
    return [read_rows(paths, shapes[name]) for name, paths in files.items()]


def read_targets(model: Any, given: Sequence[str]) -> Any:
    """A model's targets from files, or from numbers between commas: ``3,1,0``, ``labels.csv``.

    ``given`` and errors: as for :func:`read_inputs`, with ``model.output_names``. Numbers of
    classes become one-hot rows where the loss wants those.
    """
    names = getattr(model, "output_names", [""])
    if len(names) == 1:
        return _as_wanted(_target(given), model.loss, model.output_shape)
    found = _by_name("target", names, given).values()
    outputs = zip(found, model.loss.losses, model.output_shape, strict=True)
    return [_as_wanted(_target(texts), loss, shape) for texts, loss, shape in outputs]


def _target(texts: Sequence[str]) -> Array:
    try:
        return np.array([float(number) for text in texts for number in text.split(",")])
    except ValueError:
        return read_rows(texts)


def _as_wanted(y: Array, loss: Loss, output_shape: Shape) -> Array:
    if loss.name == CategoricalCrossentropy.name and y.ndim == len(output_shape):
        with np.errstate(invalid="ignore"):
            labels = y.astype(np.int64)
        if np.array_equal(labels, y):  # else the loss says what it wants
            return to_categorical(labels, output_shape[-1])
    return y


def _by_name(what: str, names: Sequence[str], given: Sequence[str]) -> dict[str, list[str]]:
    """What is given as ``name=file`` by the names, of which each must be there."""
    found: dict[str, list[str]] = {name: [] for name in names}
    for text in given:
        # A name may have the sign too, and be the beginning of another one.
        name = max((n for n in names if text.startswith(f"{n}=")), key=len, default=None)
        if name is None:
            expected = " ".join(f"--{what} {name}=FILE" for name in names)
            raise ArgumentError(mismatch(f"{what}s", expected, repr(text)))
        found[name].append(text[len(name) + 1 :])
    for name, texts in found.items():
        if not texts:
            raise ArgumentError(mismatch(f"{what} {name!r}", f"--{what} {name}=FILE", "none"))
    return found


def _read(path: Path, shape: Shape | None) -> Array:
    kind = path.suffix.lower()
    if kind not in KNOWN:
        expected = f"a name that ends in one of {', '.join(KNOWN)}"
        raise FileError(mismatch(str(path), expected, repr(path.name)))
    require_file(path, "numbers or an image")
    if kind in IMAGE_SUFFIXES:
        return _image(path, shape)
    return _table(path) if kind in TABLES else _arrays(path)


def _image(path: Path, shape: Shape | None) -> Array:
    from PIL.Image import Resampling

    if shape is None or len(shape) not in (2, 3) or (shape[2:] or (1,))[0] not in _MODES:
        expected = f"rows of shape {shape}" if shape else "numbers"
        advice = "An image fits (height, width) or (height, width, channels) alone."
        raise ShapeError(mismatch(str(path), expected, "an image", advice))
    size, mode = (shape[1], shape[0]), _MODES[(shape[2:] or (1,))[0]]

    def convert(image: Any) -> Any:
        opaque = image if mode == "RGBA" else as_rgb(image)
        return opaque.convert(mode).resize(size, Resampling.BILINEAR)

    return decoded(path, convert).astype(np.float32).reshape(1, *shape)


def _table(path: Path) -> Array:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(n, line) for n, line in enumerate(csv.reader(file), 1) if any(line)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(mismatch(str(path), "a table of numbers", f"{error}")) from None
    names = lines[0][1] if lines and not any(map(_is_number, lines[0][1])) else []
    if names:
        del lines[0]
    rows: list[list[float]] = []
    for number, line in lines:
        wrong = next((text for text in line if not _is_number(text)), None)
        if wrong is not None:
            expected, received = "numbers between commas", repr(wrong[:40])
            raise FileError(mismatch(f"{path}, line {number}", expected, received))
        if rows and len(line) != len(rows[0]):
            expected = f"{len(rows[0])} numbers, as before"
            raise FileError(mismatch(f"{path}, line {number}", expected, f"{len(line)}"))
        rows.append([float(text) for text in line])
    if not rows:
        received = f"{','.join(names)[:40]!r} alone" if names else "none"
        raise FileError(mismatch(str(path), "rows of numbers between commas", received))
    return np.array(rows)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def _arrays(path: Path) -> Array:
    try:
        # Mapped, so that a file shorter than it claims is refused before memory is taken.
        mapped = "r" if path.suffix.lower() == ".npy" else None
        loaded = np.load(path, mmap_mode=mapped, allow_pickle=False)  # type: ignore[arg-type]
        if isinstance(loaded, np.ndarray):
            array = np.array(loaded)
        else:
            with loaded:
                if len(loaded.files) != 1:
                    names = ", ".join(loaded.files) or "none"
                    raise FileError(mismatch(str(path), "one array", names))
                array = loaded[loaded.files[0]]
    except FileError:
        raise
    except _DAMAGE as error:
        expected = "an array of numbers"
        raise FileError(mismatch(str(path), expected, f"another file: {error}")) from None
    if array.dtype.kind not in "fiub" or not array.size:
        received = f"dtype {array.dtype}, shape {array.shape}"
        raise FileError(mismatch(str(path), "an array of numbers", received))
    return array


def _shaped(path: Path, array: Array, shape: Shape | None) -> Array:
    """The array as rows of ``shape``."""
    if shape is None:
        # A table of one column is a list of numbers.
        one_column = array.ndim == 2 and array.shape[1] == 1
        return array[:, 0] if one_column else array.reshape(array.shape or (1,))
    if array.shape == shape:
        return array[None]
    if array.shape[1:] == shape:
        return array
    if array.ndim > 1 and array[0].size == np.prod(shape, dtype=int):
        return array.reshape(len(array), *shape)
    expected = f"rows of shape {shape}"
    raise ShapeError(mismatch(str(path), expected, f"an array of shape {array.shape}"))
