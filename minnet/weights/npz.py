"""NumPy's .npz: a zip of arrays, here called '<layer>/<parameter>'."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from minnet.errors import FileError, MinnetError, mismatch
from minnet.layers import Layer
from minnet.tensor import Array
from minnet.weights.stored import Match, Stored, StoredArray, StoredLayer, arrays_of

#: What a damaged zip, or one that is none, makes Python's and NumPy's readers raise.
_DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, KeyError, TypeError, SyntaxError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def write(file: Path, layers: Sequence[Layer]) -> None:
    """Write the layers' parameters; equal ones give the same bytes."""
    with file.open("wb") as out:  # an open file keeps its name, where a path gets an ending
        np.savez(out, **arrays_of(layers))  # type: ignore[arg-type]


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The file's arrays, while it is open; objects (pickles) are refused.

    Raises :class:`~minnet.errors.FileError` for anything but a zip of plain arrays.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            layers: dict[str, StoredLayer] = {}
            for member in archive.infolist():
                title = member.filename.removesuffix(".npy")
                owner, _, name = title.rpartition("/")
                layer = layers.setdefault(owner, StoredLayer(owner))
                layer.arrays[name] = _array(archive, member, title)
            yield Stored(list(layers.values()), Match.NAME)
    except MinnetError:
        raise
    except _DAMAGE as error:
        expected = "an .npz file with plain arrays"
        raise FileError(mismatch(str(file), expected, f"a damaged one: {error}")) from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, title: str) -> StoredArray:
    with archive.open(member) as content:
        shape, _, dtype = _HEADERS[npy.read_magic(content)](content)
    if dtype.kind not in "fiub":
        raise ValueError(f"{title} has dtype {dtype}")

    def read() -> Array:
        with archive.open(member) as content:
            array: Array = npy.read_array(content, allow_pickle=False)
            return array

    return StoredArray(title, tuple(int(n) for n in shape), np.dtype(dtype), read)
