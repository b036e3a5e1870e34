"""PyTorch's state dicts (``.pth``, ``.pt``), read without PyTorch and without executing anything.

- Since version 1.6 a zip: 'data.pkl' describes the tensors, 'data/<key>' are the numbers, and all
  lie below one directory.
- Before, pickles in a row: a magic number, a version, the machine, the tensors, the keys of the
  numbers; then for each key a count and the numbers.

Format: torch/serialization.py, ``_save`` and ``_legacy_save``.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from minnet.errors import FileError, MinnetError, mismatch
from minnet.tensor import Array
from minnet.weights import pickled
from minnet.weights.pickled import PickledTensor
from minnet.weights.stored import (
    Match,
    Stored,
    StoredArray,
    StoredLayer,
    from_stream,
    from_whole,
)

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
#: The pickles are read into memory; VGG16's have 10 KB.
LARGEST_PICKLE = 16 << 20
#: Where training programs put the state dict among other things.
WRAPPERS = ("state_dict", "model_state_dict", "model")

#: What damaged files make the readers raise.
_DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, KeyError, TypeError, MemoryError, IndexError,
    OverflowError, RecursionError, NotImplementedError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip

#: Opens the file where a tensor's storage begins.
Numbers = Callable[[PickledTensor], AbstractContextManager[IO[bytes]]]


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The layers' arrays, while the file is open, called as in the state dict.

    Raises :class:`~minnet.errors.FileError` for anything but a state dict.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                yield _stored(*_from_zip(archive, file.stat().st_size))
        else:
            with file.open("rb") as content:
                yield _stored(*_from_pickles(content))
    except MinnetError:
        raise
    except _DAMAGE as error:
        expected = "a state dict of PyTorch"
        received = f"one that is damaged or of another kind: {error}"
        advice = "In PyTorch, torch.save(model.state_dict(), path) writes one."
        raise FileError(mismatch(str(file), expected, received, advice)) from None


def _from_zip(archive: zipfile.ZipFile, size: int) -> tuple[Any, Numbers]:
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip without data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise ValueError("a TorchScript program")
    if members[pickles[0]].file_size > LARGEST_PICKLE:
        raise ValueError(f"data.pkl is larger than {LARGEST_PICKLE} bytes")
    order = members.get(f"{root}byteorder")
    if order is not None and order.file_size <= 8 and archive.read(order) != b"little":
        raise ValueError("numbers with their bytes the other way round")

    def numbers(tensor: PickledTensor) -> AbstractContextManager[IO[bytes]]:
        return archive.open(member_of(tensor))

    def member_of(tensor: PickledTensor) -> zipfile.ZipInfo:
        info = members[f"{root}data/{tensor.storage.key}"]
        expected = tensor.storage.length * np.dtype(tensor.storage.dtype).itemsize
        packed = info.compress_type != zipfile.ZIP_STORED or expected > size
        if info.file_size != expected or packed:
            raise ValueError(f"{info.filename} has {info.file_size} bytes in place of {expected}")
        return info

    state = pickled.load(io.BytesIO(archive.read(pickles[0])))
    for _, tensor in _tensors(state):
        member_of(tensor)
    return state, numbers


def _from_pickles(content: IO[bytes]) -> tuple[Any, Numbers]:
    size = os.fstat(content.fileno()).st_size
    head = io.BytesIO(content.read(LARGEST_PICKLE))
    if pickled.load(head) != MAGIC:
        raise ValueError("no zip, and not PyTorch's magic number")
    version, machine, state, keys = (pickled.load(head) for _ in range(4))
    if type(version) is not int or version != VERSION:
        raise ValueError("another version of the format")
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise ValueError("numbers with their bytes the other way round")
    pickled.require_keys(keys)
    storages = {tensor.storage.key: tensor.storage for _, tensor in _tensors(state)}
    starts, position = {}, head.tell()
    for key in keys:
        content.seek(position)
        (length,) = struct.unpack("<q", content.read(8))
        known = storages.get(str(key))
        if known is None or length != known.length:
            raise ValueError(f"storage {key} has {length} numbers, which no tensor is made of")
        starts[known.key] = position + 8
        position += 8 + length * np.dtype(known.dtype).itemsize
    if position > size or starts.keys() != storages.keys():
        raise ValueError("the file ends before its numbers do")

    @contextmanager
    def numbers(tensor: PickledTensor) -> Iterator[IO[bytes]]:
        content.seek(starts[tensor.storage.key])
        yield content

    return state, numbers


def _stored(state: Any, numbers: Numbers) -> Stored:
    layers: dict[str, StoredLayer] = {}
    for title, tensor in _tensors(state):
        owner, _, name = title.rpartition(".")
        layer = layers.setdefault(owner, StoredLayer(owner))
        layer.arrays[name] = _array(title, tensor, numbers)
    return Stored(list(layers.values()), Match.NAME)


def _tensors(state: Any) -> list[tuple[str, PickledTensor]]:
    """The names and tensors of a state dict, or of one that is wrapped."""
    for wrapper in WRAPPERS:
        if type(state) is dict and type(state.get(wrapper)) is dict:
            state = state[wrapper]
    if type(state) is not dict or not state:
        raise ValueError("no dictionary of tensors")
    others = [str(name) for name, value in state.items() if type(value) is not PickledTensor]
    if others:
        raise ValueError(f"a dictionary with more than tensors: {', '.join(others[:5]):.200}")
    # DataParallel puts one more name before all of them.
    return [(str(name).removeprefix("module."), tensor) for name, tensor in state.items()]


def _array(title: str, tensor: PickledTensor, numbers: Numbers) -> StoredArray:
    """The tensor, whose numbers were made sure to be in the file."""
    shape, dtype = tensor.shape, np.dtype(tensor.storage.dtype)
    count = math.prod(shape)
    last = sum((n - 1) * step for n, step in zip(shape, tensor.strides)) if count else 0
    if count > tensor.storage.length or tensor.offset + last >= max(tensor.storage.length, 1):
        received = f"{shape} of {tensor.storage.length} numbers"
        raise ValueError(f"{title} does not fit the numbers it is made of: {received}")

    @contextmanager
    def here() -> Iterator[IO[bytes]]:
        with numbers(tensor) as content:
            content.seek(tensor.offset * dtype.itemsize, os.SEEK_CUR)
            yield content

    # Of axes with one row the step is of no account.
    steps = [step for n, step in zip(shape, tensor.strides) if n != 1]
    lengths = [n for n in shape if n != 1]
    if steps == [math.prod(lengths[axis + 1 :]) for axis in range(len(lengths))]:
        return StoredArray(title, shape, dtype, from_stream(here, shape, dtype))
    extent = (last + 1,)
    part = StoredArray(title, extent, dtype, from_stream(here, extent, dtype))

    def strided() -> Array:
        numbers, bytes_ = part.read(), [step * dtype.itemsize for step in tensor.strides]
        return np.lib.stride_tricks.as_strided(numbers, shape, bytes_, writeable=False)

    return StoredArray(title, shape, dtype, from_whole(strided))
