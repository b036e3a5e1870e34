"""safetensors: arrays behind a short header of JSON; nothing in it can be executed.

Arrays are called '<layer>/<parameter>'. The header's one entry of metadata, 'minnet', is JSON that
says in which order they came, and of what a saved model is made (:mod:`minnet.saving`). One entry,
because the library writes several in no fixed order, and equal models are to give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minnet import configs
from minnet.errors import FileError, mismatch, missing
from minnet.layers import Layer
from minnet.tensor import Array
from minnet.weights.stored import (
    Match,
    Settings,
    Stored,
    StoredArray,
    StoredLayer,
    arrays_of,
    from_slices,
)

#: The version of what is below 'minnet'; one that is newer is not read.
VERSION = 1
DTYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BOOL": "?",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U64": "u8", "U32": "u4", "U16": "u2", "U8": "u1",
}  # fmt: skip

Metadata = dict[str, Any]


def write(file: Path, layers: Sequence[Layer], convention: Settings | None = None) -> None:
    """Write the layers' parameters; equal ones give the same bytes."""
    write_with(file, layers, {}, {} if convention is None else {"convention": convention})


def write_with(
    file: Path, layers: Sequence[Layer], others: Mapping[str, Array], metadata: Metadata
) -> None:
    """Write the layers' parameters and other arrays, with more to say about them.

    Raises :class:`OSError` where they cannot be written, and
    :class:`~minnet.errors.MissingDependencyError` without the package safetensors.
    """
    library = require_library()
    # The library copies memory as it lies: a transposed view would be written the wrong way round.
    arrays = {k: np.asarray(a, order="C") for k, a in {**arrays_of(layers), **others}.items()}
    order = [[layer.name, list(layer.parameters)] for layer in layers]
    text = configs.to_json({"version": VERSION, "layers": order, **metadata})
    try:
        library.numpy.save_file(arrays, file, metadata={"minnet": text})
    except library.SafetensorError as error:
        raise OSError(str(error).removeprefix("Error while serializing: ")) from None


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The layers' arrays, while the file is open.

    Raises what :func:`opened_with` raises.
    """
    with opened_with(file) as (arrays, metadata):
        layers: dict[str, StoredLayer] = {}
        for owner, name in places(file, metadata, arrays):
            layer = layers.setdefault(owner, StoredLayer(owner))
            layer.arrays[name] = arrays[f"{owner}/{name}" if owner else name]
        yield Stored(list(layers.values()), Match.NAME, metadata.get("convention"))


@contextmanager
def opened_with(file: Path) -> Iterator[tuple[dict[str, StoredArray], Metadata]]:
    """All arrays by name, while the file is open, and what minnet wrote about them, if it did.

    Raises :class:`~minnet.errors.FileError` for anything but a safetensors file, or one of a newer
    version of minnet.
    """
    library = require_library()
    expected = "a safetensors file"
    try:
        with library.safe_open(file, framework="numpy") as content:
            arrays = {name: _array(file, content, name) for name in content.keys()}  # noqa: SIM118
            yield arrays, _metadata(file, (content.metadata() or {}).get("minnet", "{}"))
    except library.SafetensorError as error:
        raise FileError(
            mismatch(str(file), expected, f"another or a damaged one: {error}")
        ) from None
    except OSError as error:
        raise FileError(mismatch(str(file), expected, str(error))) from None


def _array(file: Path, content: Any, name: str) -> StoredArray:
    about = content.get_slice(name)
    shape = tuple(about.get_shape())
    dtype = np.dtype(DTYPES.get(about.get_dtype(), "V"))  # V: none that NumPy has

    def take(rows: slice) -> Array:
        # Opened anew: what was read of a file that is mapped is in memory until it is closed.
        with require_library().safe_open(file, framework="numpy") as opened:
            taken: Array = opened.get_slice(name)[rows] if shape else opened.get_tensor(name)
            return taken

    return StoredArray(name, shape, dtype, from_slices(take, shape, dtype))


def _metadata(file: Path, text: str) -> Metadata:
    """The JSON of the header's entry, checked to be of a version that is known."""
    try:
        metadata = json.loads(text)
        version = metadata.get("version", VERSION)
    except (ValueError, RecursionError, AttributeError):
        expected = "JSON from minnet in the metadata"
        raise FileError(mismatch(str(file), expected, f"{text:.40}")) from None
    if type(version) is not int or not 1 <= version <= VERSION:
        expected = f"a file of version {VERSION} or older"
        raise FileError(
            mismatch(str(file), expected, f"version {version!r}", "Install a newer minnet.")
        )
    return dict(metadata)


def places(file: Path, metadata: Metadata, arrays: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(layer, parameter) of each array of a layer; by their names if nothing says more."""
    if "layers" not in metadata:
        return [(name.rpartition("/")[0], name.rpartition("/")[2]) for name in arrays]
    try:
        order = [(str(layer), str(name)) for layer, names in metadata["layers"] for name in names]
    except (TypeError, ValueError):
        order = [("", "")]
    if any(f"{layer}/{name}" not in arrays for layer, name in order):
        expected = "a list of the layers' arrays in the metadata"
        raise FileError(mismatch(str(file), expected, "one that does not fit the file"))
    return order


def require_library() -> Any:
    """The package safetensors, which has the name of this module.

    Raises :class:`~minnet.errors.MissingDependencyError` without it.
    """
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        raise missing("safetensors", "safetensors", "A safetensors file") from None
    return safetensors
