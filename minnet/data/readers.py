"""Handwritten digits from local files: MNIST, and scikit-learn's small ones.

An IDX file (LeCun, Cortes & Burges, "The MNIST database") begins with two zero bytes, a byte for
the type of its numbers and a byte for the number of axes; then come the axes' lengths, four bytes
each, and the numbers; the highest byte always first. It may be compressed with gzip.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile

import numpy as np

from minnet.errors import FileError, mismatch, missing
from minnet.files import PathLike, require_file
from minnet.tensor import Array

Labelled = tuple[Array, Array]

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 8
LARGEST = 2**31  # bytes of numbers that are read from one file
_NAMES = {
    "images": ("{}-images-idx3-ubyte", "{}-images.idx3-ubyte"),
    "labels": ("{}-labels-idx1-ubyte", "{}-labels.idx1-ubyte"),
}
_NPZ = "mnist.npz"


def read_idx(path: PathLike) -> Array:
    """The array in an IDX file, compressed with gzip or not, in this machine's byte order.

    Raises :class:`~minnet.errors.FileError`, naming the file, where it cannot be read, is no IDX
    file, is damaged, or does not have the size that its beginning promises.
    """
    file = require_file(path, "an IDX array")
    with file.open("rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not compressed:
            return _read_idx(file, raw)
        try:
            with gzip.open(raw) as unpacked:
                return _read_idx(file, unpacked)  # type: ignore[arg-type]
        except (OSError, EOFError, zlib.error) as error:
            raise FileError(mismatch(str(file), "a whole gzip file", str(error))) from None


def _read_idx(path: Path, file: BinaryIO) -> Array:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _IDX_TYPES:
        advice = "Is it an HTML page, or another format?"
        expected = "an IDX file, which begins with 00 00, a type and the number of axes"
        raise FileError(mismatch(str(path), expected, start.hex(" ") or "an empty file", advice))
    dtype, axes = np.dtype(_IDX_TYPES[start[2]]), start[3]
    lengths = file.read(4 * axes)
    if not 1 <= axes <= _MOST_AXES or len(lengths) < 4 * axes:
        expected = f"1 to {_MOST_AXES} axes and their lengths"
        raise FileError(mismatch(str(path), expected, f"{axes} axes, {len(lengths)} bytes"))
    shape = tuple(int(n) for n in np.frombuffer(lengths, ">u4"))
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST:
        received = f"{size:,} for shape {shape}"
        raise FileError(mismatch(str(path), f"at most {LARGEST:,} bytes of numbers", received))
    content = file.read(size + 1)
    if len(content) != size:
        received = f"{len(content):,}" if len(content) < size else "more"
        expected = f"{size:,} bytes for shape {shape}"
        raise FileError(mismatch(str(path), expected, received, "Copy or download it again."))
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def load_mnist(directory: PathLike) -> tuple[Labelled, Labelled]:
    """MNIST, or anything of its form, from a directory: ``(x, y), (test_x, test_y)``.

    Images are uint8 (n, 28, 28), labels uint8 (n,). The directory has the four IDX files under
    their usual names (train-images-idx3-ubyte, t10k-labels-idx1-ubyte, …), with or without .gz, or
    Keras's mnist.npz. Nothing is downloaded.

    Raises :class:`~minnet.errors.FileError` where a file is missing or not what it should be.
    """
    place = Path(directory)
    if (place / _NPZ).is_file():
        return _mnist_from_npz(place / _NPZ)
    train, test = (
        _labelled(place, *(_find(place, kind, part) for kind in ("images", "labels")))
        for part in ("train", "t10k")
    )
    return train, test


def _find(place: Path, kind: str, part: str) -> Path:
    names = [name.format(part) + ending for name in _NAMES[kind] for ending in ("", ".gz")]
    for name in names:
        if (place / name).is_file():
            return place / name
    expected = f"{names[0]} or {names[1]}, or {_NPZ}"
    received = "no such file" if place.is_dir() else "no such directory"
    raise FileError(mismatch(f"MNIST in {place}", expected, received))


def _labelled(place: Path, images: Path, labels: Path) -> Labelled:
    return _checked(place, read_idx(images), read_idx(labels))


def _mnist_from_npz(path: Path) -> tuple[Labelled, Labelled]:
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        # Without pickles, which could run anything.
        with np.load(path, allow_pickle=False) as stored:
            x, y, test_x, test_y = (stored[name] for name in names)
    except (OSError, ValueError, KeyError, EOFError, zlib.error, BadZipFile) as error:
        expected = f"arrays {', '.join(names)}"
        raise FileError(mismatch(str(path), expected, str(error))) from None
    return _checked(path, x, y), _checked(path, test_x, test_y)


def _checked(where: Path, images: Array, labels: Array) -> Labelled:
    right = (
        images.dtype == labels.dtype == np.uint8
        and images.ndim == 3
        and images.shape[1:] == (28, 28)
        and labels.shape == images.shape[:1]
    )
    if not right:
        expected = "uint8 images (n, 28, 28) and labels (n,)"
        received = f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape}"
        raise FileError(mismatch(f"MNIST in {where}", expected, received))
    if labels.size and labels.max() > 9:
        raise FileError(mismatch(f"MNIST in {where}", "labels from 0 to 9", str(labels.max())))
    return images, labels


def load_digits() -> tuple[Labelled, Labelled]:
    """Scikit-learn's 1,797 digits: ``(x, y), (test_x, test_y)``; every fifth is for the test.

    Images are uint8 (n, 8, 8) from 0 to 16, labels uint8 (n,).

    Raises :class:`~minnet.errors.MissingDependencyError` without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        raise missing("scikit-learn", "digits", "Reading its digits") from None
    data = load()
    x, y = data.images.astype(np.uint8), data.target.astype(np.uint8)
    test = np.arange(len(x)) % 5 == 0
    return (x[~test], y[~test]), (x[test], y[test])
