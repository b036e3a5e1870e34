"""What a model makes of a data set, calculated once and kept on disk.

Fine-tuning runs the same images through the same frozen layers in every epoch. Their output, once
stored, turns training the layers behind them into a matter of seconds.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minnet import configs
from minnet.data import Batches
from minnet.errors import ArgumentError, FileError, mismatch
from minnet.files import PathLike, replacing
from minnet.layers import Shape
from minnet.progress import Progress
from minnet.tensor import Array

if TYPE_CHECKING:
    from minnet.sequential import Sequential

#: Changes whenever equal inputs may give other features than before.
VERSION = 2
#: Settings of layers that change nothing about what comes out of them.
IRRELEVANT = {"name", "trainable", "lr_multiplier"}
ARRAY = "features.npy"
#: Bytes of the digest of a row of the inputs.
DIGEST = 16


class Features(NamedTuple):
    """``x``: (rows, *output_shape), on disk, read-only; ``y``: the targets, None without."""

    x: np.memmap[Any, np.dtype[Any]]
    y: Any


def features(model: Sequential, batches: Batches, cache: PathLike, verbose: int = 1) -> Features:
    """See :meth:`minnet.Sequential.features`."""
    if not isinstance(batches, Batches):
        expected = "minnet.data.Batches or ImageFolder"
        raise ArgumentError(mismatch("features", expected, type(batches).__name__))
    if batches.transform is not None:
        advice = "Features of images that change in each epoch cannot be kept."
        raise ArgumentError(mismatch("features", "batches without transform", "one", advice))
    ordered = copy.copy(batches)
    ordered.shuffle = False
    shared, *rows = (hashlib.sha256(part).digest() for part in batches.fingerprint())
    wanted = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)[:, :DIGEST]
    name = hashlib.sha256(wanted.tobytes()).hexdigest()[:DIGEST]
    directory = Path(cache) / _key(model, shared) / name
    try:
        store = _Store(directory, wanted, model.output_shape, model.dtype)
    except OSError as error:
        expected, received = "a directory for features", error.strerror or str(error)
        raise FileError(mismatch(str(directory), expected, received)) from None
    if store.missing.size:
        store.take_over(batches.batch_size)
    if store.missing.size:
        _calculate(model, ordered, store, verbose)
    return Features(store.finished(), batches.targets)


def _calculate(model: Sequential, batches: Batches, store: _Store, verbose: int) -> None:
    """Calculate the rows that are missing: all that can be read, before any other is an error.

    So nobody comes back after a night to a photograph that was damaged, and the next day to
    another one.
    """
    missing = store.missing
    unreadable: dict[int, str] = {}
    problem: FileError | None = None
    progress = Progress(batches.rows, 1, verbose, unit="images")
    progress.begin(0, "features", batches.rows - len(missing))
    try:
        while missing.size:
            try:
                _fill(model, batches, store, missing, progress)
                break
            except FileError as error:
                known, unreadable = unreadable, batches.unreadable(store.missing)
                if unreadable == known:  # it is something else
                    raise
                progress.close()
                problem = _problem(error, list(unreadable.values()))
                warnings.warn(f"{problem} The others are calculated first.", stacklevel=4)
                missing = np.setdiff1d(store.missing, list(unreadable))
        if problem is not None:
            raise problem
        progress.end({})
    finally:
        progress.close()


def _problem(error: FileError, files: list[str]) -> FileError:
    """The error for files that cannot be read, of which the first one gave ``error``."""
    if len(files) == 1:
        return error
    advice = "Replace these files, or leave them out."
    received = f"{len(files):,} that cannot: {', '.join(files)}"
    return FileError(mismatch("features", "images that can be read", received, advice))


def _fill(
    model: Sequential, batches: Batches, store: _Store, missing: Array, progress: Progress
) -> None:
    done = batches.rows - len(missing)
    for batch in batches.of(missing):
        x = batch[0] if isinstance(batch, tuple) else batch
        places, missing = missing[: len(x)], missing[len(x) :]
        store.put(places, model.predict(x, batches.batch_size))
        done += len(x)
        progress.update(done, dict)


def _key(model: Sequential, shared: bytes) -> str:
    """Changes with the weights, the architecture, preprocessing with it, and how data are read."""
    digest = hashlib.sha256(shared)
    layers = [configs.of_object(layer) for layer in model.layers]
    for layer in layers:
        layer["config"] = {k: v for k, v in layer["config"].items() if k not in IRRELEVANT}
    settings = {"version": VERSION, "layers": layers, "dtype": str(model.dtype)}
    digest.update(configs.to_json(settings).encode())
    for parameter in model.parameters():
        digest.update(np.ascontiguousarray(parameter.data).data)
    return digest.hexdigest()[:32]


def _reserve(file: IO[bytes], size: int) -> None:
    """Make an open file this long; a full disk is an error now, not a crash at a later write."""
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


class _Kept(NamedTuple):
    """An array's file: its rows, and behind them, where NumPy does not look, whose they are.

    ``digests``: (rows, DIGEST) uint8, of the inputs that the rows were calculated from, zeros
    before that is done. Being in one file, the two cannot be of different calculations.
    """

    rows: Any
    digests: Any

    def lacks(self, wanted: Array) -> Array:
        """The places of the rows that are not there."""
        places: Array = np.flatnonzero((self.digests != wanted).any(1))
        return places


def _opened(path: Path, mode: Any, row: Shape, dtype: np.dtype[Any]) -> _Kept | None:
    """The array with rows of this shape and dtype; None for anything else, or nothing."""
    if not path.is_file():
        return None
    with path.open("rb" if mode == "r" else "r+b") as file:
        try:
            np.lib.format.read_magic(file)
            shape, by_columns, found = np.lib.format.read_array_header_1_0(file)
        except ValueError:
            return None
        start = file.tell()
        end = start + math.prod(shape) * dtype.itemsize
        fits = shape[1:] == row and found == dtype and not by_columns
        if not fits or os.fstat(file.fileno()).st_size != end + shape[0] * DIGEST:
            return None
        rows = np.memmap(file, dtype, mode, start, shape)
        return _Kept(rows, np.memmap(file, np.uint8, mode, end, (shape[0], DIGEST)))


class _Store:
    """Rows of an array on disk, of which some are there, whatever happens.

    The digest of a row is written after the row itself has reached the disk, so that a process
    that was killed leaves at most rows that are calculated again. Two processes may fill the same
    array: what one writes twice is the same.
    """

    def __init__(self, directory: Path, wanted: Array, row: Shape, dtype: np.dtype[Any]):
        self._path, self._wanted, self._row, self._dtype = directory / ARRAY, wanted, row, dtype
        kept = self._open("r")
        if kept is None:
            directory.mkdir(parents=True, exist_ok=True)
            self._create()
        if kept is None or kept.lacks(wanted).size:
            kept = self._open("r+")
        if kept is None:
            raise OSError("another program changes it")
        self._kept = kept

    def _open(self, mode: str) -> _Kept | None:
        kept = _opened(self._path, mode, self._row, self._dtype)
        return kept if kept and len(kept.rows) == len(self._wanted) else None

    def _create(self) -> None:
        shape = (len(self._wanted), *self._row)
        with replacing(self._path, "features") as file, file.open("wb") as out:
            header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            rows = math.prod(shape) * self._dtype.itemsize
            _reserve(out, out.tell() + rows + self._wanted.size)

    @property
    def missing(self) -> Array:
        """The places of the rows that are not there yet, int64 (n,)."""
        return self._kept.lacks(self._wanted)

    def put(self, places: Array, rows: Array) -> None:
        """Write the rows of these places."""
        self._kept.rows[places] = rows
        self._kept.rows.flush()
        self._kept.digests[places] = self._wanted[places]
        self._kept.digests.flush()

    def take_over(self, at_once: int) -> None:
        """Write the rows that the same model gave for the same inputs among others."""
        for kept in self._others():
            theirs = {digest.tobytes(): k for k, digest in enumerate(kept.digests)}
            missing = self.missing
            places = [theirs.get(digest.tobytes(), -1) for digest in self._wanted[missing]]
            for start in range(0, len(missing), at_once):
                part = np.array(places[start : start + at_once])
                there = part >= 0
                if there.any():
                    self.put(missing[start : start + at_once][there], kept.rows[part[there]])

    def _others(self) -> Iterator[_Kept]:
        for path in sorted(self._path.parent.parent.glob(f"*/{ARRAY}")):
            kept = _opened(path, "r", self._row, self._dtype)
            if path != self._path and kept is not None:
                yield kept

    def finished(self) -> Any:
        """All rows, read-only."""
        rows = self._kept.rows.view()
        rows.flags.writeable = False
        return rows
