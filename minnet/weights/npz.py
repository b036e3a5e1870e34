"""NumPy's .npz: a zip of arrays, here called '<layer>/<parameter>'."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from minnet.errors import FileError, MinnetError, mismatch
from minnet.layers import Layer
from minnet.weights.stored import (
    Match,
    Settings,
    Stored,
    StoredArray,
    StoredLayer,
    arrays_of,
    from_stream,
    from_whole,
    note,
    noted,
    require_numbers,
)

#: What a damaged zip, or one that is none, makes Python's and NumPy's readers raise.
_DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, KeyError, TypeError, SyntaxError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def write(file: Path, layers: Sequence[Layer], convention: Settings | None = None) -> None:
    """Write the layers' parameters; equal ones give the same bytes.

    ``convention`` becomes the zip's comment, which NumPy passes over.
    """
    with file.open("wb") as out:  # an open file keeps its name, where a path gets an ending
        np.savez(out, **arrays_of(layers))  # type: ignore[arg-type]
    if convention is not None:
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = note(convention).encode()


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The file's arrays, while it is open; objects (pickles) are refused.

    Raises :class:`~minnet.errors.FileError` for anything but a zip of plain arrays.
    """
    try:
        whole = file.stat().st_size
        with zipfile.ZipFile(file) as archive:
            _require_end(file, len(archive.comment))
            layers: dict[str, StoredLayer] = {}
            for member in archive.infolist():
                title = member.filename.removesuffix(".npy")
                owner, _, name = title.rpartition("/")
                layer = layers.setdefault(owner, StoredLayer(owner))
                layer.arrays[name] = _array(archive, member, title, whole)
            yield Stored(list(layers.values()), Match.NAME, noted(archive.comment))
    except MinnetError:
        raise
    except _DAMAGE as error:
        expected = "an .npz file with plain arrays"
        raise FileError(mismatch(str(file), expected, f"a damaged one: {error}")) from None


def _require_end(file: Path, comment: int) -> None:
    """Raise :class:`ValueError` where the zip's comment, the last thing in the file, is cut off.

    Python takes what there is of it, and nobody would miss the convention.
    """
    with file.open("rb") as content:
        content.seek(-comment - 2, os.SEEK_END)
        claimed = int.from_bytes(content.read(2), "little")
    if claimed != comment:
        raise ValueError(f"{claimed} bytes at its end should be a comment, {comment} are")


def _array(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, title: str, whole: int
) -> StoredArray:
    with archive.open(member) as content:
        header, columns, dtype = _header(content)
        size = member.file_size - content.tell()
    shape = tuple(int(n) for n in header)
    if dtype.kind not in "fiub":
        raise ValueError(f"{title} has dtype {dtype}")
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{title} is {shape} of {dtype}, and has {size:,} bytes")
    require_numbers(title, size, min(member.compress_size, whole))

    @contextmanager
    def numbers() -> Iterator[IO[bytes]]:
        with archive.open(member) as content:
            _header(content)
            yield content

    if not columns:
        return StoredArray(title, shape, dtype, from_stream(numbers, shape, dtype))
    turned = StoredArray(title, shape[::-1], dtype, from_stream(numbers, shape[::-1], dtype))
    return StoredArray(title, shape, dtype, from_whole(lambda: turned.read().T))


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The array's shape, whether its numbers come column by column, its dtype."""
    shape, columns, dtype = _HEADERS[npy.read_magic(content)](content)
    return shape, columns, np.dtype(dtype)
