"""Keras's HDF5 files, in both layouts, read and written as Keras does.

- The older one (``.h5``, ``.hdf5``): attribute 'layer_names' lists the layers in order, attribute
  'weight_names' of each layer's group its arrays in order. A whole model of Keras 2 has the same
  below 'model_weights'.
- That of Keras 3 (``.weights.h5``): ``layers/<kind>[_<number>]/vars/<position>``, the layers
  counted for each kind, since HDF5 keeps no order. A whole model (``.keras``) is a zip with one.

Both have Keras's order of arrays within a layer, and so have our layers: kernel, bias; gamma, beta,
moving mean, moving variance.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from minnet.errors import FileError, MinnetError, mismatch, missing
from minnet.layers import Layer
from minnet.weights.hdf5_heaps import require_sound_heaps
from minnet.weights.stored import (
    Match,
    Settings,
    Stored,
    StoredArray,
    StoredLayer,
    from_slices,
    kind_keys,
    note,
    noted,
    require_numbers,
)

#: HDF5 keeps no longer attribute; longer lists are cut into name0, name1, ….
LONGEST_ATTRIBUTE = 64_512
#: The attribute that says what the file's net expects.
NOTE = "minnet"
KERAS_NAMES = {"weight": "kernel"}
#: What h5py raises about a damaged file.
_DAMAGE = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, AttributeError,
    zipfile.BadZipFile, struct.error,
)  # fmt: skip


def write(file: Path, layers: Sequence[Layer], convention: Settings | None = None) -> None:
    """Write the layers' parameters in the older layout; equal ones give the same bytes.

    ``convention`` becomes an attribute, which Keras passes over.
    """
    with _created(file, convention) as root:
        _write_names(root, "layer_names", [layer.name for layer in layers])
        root.attrs["backend"], root.attrs["keras_version"] = b"minnet", b"2.15.0"
        for layer in layers:
            group = root.require_group(layer.name)
            arrays = {
                f"{layer.name}/{KERAS_NAMES.get(name, name)}:0": parameter.data
                for name, parameter in layer.parameters.items()
            }
            _write_names(group, "weight_names", list(arrays))
            for name, array in arrays.items():
                group[name] = array


def write_keras3(file: Path, layers: Sequence[Layer], convention: Settings | None = None) -> None:
    """The same in the layout of Keras 3."""
    with _created(file, convention) as root:
        for layer, key in zip(layers, kind_keys(layers), strict=True):
            group = root.create_group(f"layers/{key}/vars")
            group.attrs["name"] = layer.name
            for position, parameter in enumerate(layer.parameters.values()):
                group[str(position)] = parameter.data


@contextmanager
def _created(file: Path, convention: Settings | None) -> Iterator[Any]:
    """A new file, written by Python: on a full disk HDF5's own writing ends the whole process."""
    with file.open("w+b") as out, _library().File(out, "w") as root:
        if convention is not None:
            root.attrs[NOTE] = note(convention)
        yield root


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The layers' arrays, while the file is open; links and arrays outside of it are refused.

    Raises :class:`~minnet.errors.FileError` for anything but Keras's weights.
    """
    library = _library()
    with _damage_told(file), file.open("rb") as content:
        require_sound_heaps(content)
    with _damage_told(file), library.File(file, "r") as root:
        stored = _layers(root, str(file))
        yield replace(stored, convention=noted(root.attrs.get(NOTE, "")))


@contextmanager
def opened_keras(file: Path) -> Iterator[Stored]:
    """The same of a whole model of Keras 3, whose other parts are left aside."""
    with _damage_told(file), file.open("rb") as content:
        with zipfile.ZipFile(content) as archive:
            member = archive.getinfo("model.weights.h5")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError("model.weights.h5 is compressed")
        content.seek(member.header_offset + 26)
        start = member.header_offset + 30 + sum(struct.unpack("<HH", content.read(4)))
        part = _Part(content, start, member.file_size)
        require_sound_heaps(io.BufferedReader(part))
        with _library().File(part, "r") as root:
            yield _layers(root, str(file))


class _Part(io.RawIOBase):
    """A file within a file."""

    def __init__(self, content: IO[bytes], start: int, size: int):
        self._content, self._start, self._size, self._position = content, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._content.seek(self._start + self._position)
        wanted = max(min(len(buffer), self._size - self._position), 0)
        read: int = self._content.readinto(memoryview(buffer)[:wanted])  # type: ignore[attr-defined]
        self._position += read
        return read


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    try:
        yield
    except MinnetError:
        raise
    except _DAMAGE as error:
        expected = "an HDF5 file with Keras's weights"
        raise FileError(mismatch(str(file), expected, f"a damaged one: {error}")) from None


def _layers(root: Any, file: str) -> Stored:
    if "model_weights" in root:
        root = _inside(root, "model_weights")
    if "layer_names" in root.attrs or "layer_names0" in root.attrs:
        names = _read_names(root, "layer_names")
        return Stored([_older_layer(root, name) for name in names], Match.ORDER)
    for container in ("layers", "_layer_checkpoint_dependencies"):
        if container in root:
            group = _inside(root, container)
            keys = sorted(group, key=_kind_and_number)
            return Stored([_keras3_layer(group, key) for key in keys], Match.KIND)
    expected = "Keras's weights: attribute 'layer_names' or group 'layers'"
    raise FileError(mismatch(file, expected, f"{', '.join(list(root)[:20]) or 'nothing'}"))


def _older_layer(root: Any, name: str) -> StoredLayer:
    group = _inside(root, name)
    arrays = {title: _array(group, title) for title in _read_names(group, "weight_names")}
    return StoredLayer(name, arrays, named_arrays=False)


def _kind_and_number(key: str) -> tuple[str, int]:
    """('dense', 10) of 'dense_10', ('dense', 0) of 'dense'."""
    kind, number = re.fullmatch(r"(.*?)(?:_(\d{1,9}))?", key, re.DOTALL).groups()  # type: ignore[union-attr]
    return kind, int(number or 0)


def _keras3_layer(root: Any, key: str) -> StoredLayer:
    group = _inside(root, key)
    if "vars" not in group:
        return StoredLayer(key)
    variables = _inside(group, "vars")
    arrays = {title: _array(variables, title) for title in sorted(variables, key=int)}
    name = _text(variables.attrs.get("name", key))
    return StoredLayer(name, arrays, key, named_arrays=False)


def _inside(group: Any, path: str) -> Any:
    """What is at this path, every step of which is an ordinary one within the file."""
    library = _library()
    for part in path.split("/"):
        if not isinstance(group, library.Group) or part not in group:
            raise KeyError(f"nothing at {path!r}")
        if group.get(part, getlink=True, getclass=True) is not library.HardLink:
            raise ValueError(f"{path!r} is a link")
        group = group[part]
    return group


def _array(group: Any, path: str) -> StoredArray:
    data = _inside(group, path)
    if not isinstance(data, _library().Dataset) or data.shape is None:
        raise ValueError(f"{path!r} is no array")
    if data.external or data.is_virtual:
        raise ValueError(f"{path!r} has its numbers in another file")
    require_numbers(path, data.nbytes, data.id.get_storage_size())
    runs = from_slices(lambda rows: data[rows] if data.shape else data[()], data.shape, data.dtype)
    return StoredArray(data.name.lstrip("/"), data.shape, data.dtype, runs)


def _write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    encoded = np.array([name.encode() for name in names], dtype=np.bytes_)
    parts = 1
    while any(part.nbytes > LONGEST_ATTRIBUTE for part in np.array_split(encoded, parts)):
        parts += 1
    if parts == 1:
        group.attrs[attribute] = encoded if names else np.zeros(0)
        return
    for number, part in enumerate(np.array_split(encoded, parts)):
        group.attrs[f"{attribute}{number}"] = part


def _read_names(group: Any, attribute: str) -> list[str]:
    if attribute in group.attrs:
        return [_text(name) for name in np.atleast_1d(group.attrs[attribute])]
    names: list[str] = []
    number = 0
    while f"{attribute}{number}" in group.attrs:
        names += [_text(name) for name in np.atleast_1d(group.attrs[f"{attribute}{number}"])]
        number += 1
    return names


def _text(name: Any) -> str:
    if not isinstance(name, (str, bytes)):
        raise ValueError(f"a name is {type(name).__name__}")
    return name.decode() if isinstance(name, bytes) else str(name)


def _library() -> Any:
    try:
        import h5py
    except ImportError:
        raise missing("h5py", "h5", "An .h5 file") from None
    return h5py
