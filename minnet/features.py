"""What a model makes of a data set, calculated once and kept on disk.

Fine-tuning runs the same images through the same frozen layers in every epoch. Their output, once
stored, turns training the layers behind them into a matter of seconds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from minnet import configs
from minnet.data import Batches
from minnet.errors import ArgumentError, FileError, mismatch
from minnet.files import PathLike, replacing
from minnet.progress import Progress
from minnet.tensor import Array

if TYPE_CHECKING:
    from minnet.sequential import Sequential

#: Changes whenever equal inputs may give other features than before.
VERSION = 1
#: Settings of layers that change nothing about what comes out of them.
IRRELEVANT = {"name", "trainable", "lr_multiplier"}
ARRAY, DONE = "features.npy", "done.json"


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
    directory = Path(cache) / _key(model, ordered)
    store = _Store(directory, (batches.rows, *model.output_shape), model.dtype)
    if store.done < batches.rows:
        _calculate(model, ordered, store, verbose)
    return Features(store.finished(), batches.targets)


def _calculate(model: Sequential, batches: Batches, store: _Store, verbose: int) -> None:
    progress = Progress(batches.rows, 1, verbose, unit="images")
    first = store.done // batches.batch_size
    store.done = first * batches.batch_size  # a batch that another size has cut is made again
    progress.begin(0, "features", store.done)
    try:
        for batch in batches.epoch(0, first):
            x = batch[0] if isinstance(batch, tuple) else batch
            store.add(model.predict(x, batches.batch_size))
            progress.update(store.done, dict)
        progress.end({})
    finally:
        progress.close()


def _key(model: Sequential, batches: Batches) -> str:
    """Changes with the weights, the architecture, preprocessing with it, and the data."""
    digest = hashlib.sha256()
    layers = [configs.of_object(layer) for layer in model.layers]
    for layer in layers:
        layer["config"] = {k: v for k, v in layer["config"].items() if k not in IRRELEVANT}
    settings = {"version": VERSION, "layers": layers, "dtype": str(model.dtype)}
    digest.update(configs.to_json(settings).encode())
    for parameter in model.parameters():
        digest.update(np.ascontiguousarray(parameter.data).data)
    for part in batches.fingerprint():
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:32]


def _reserve(file: BinaryIO, size: int) -> None:
    """Make an open file this long; a full disk is an error now, not a crash at a later write."""
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


class _Store:
    """Rows of an array on disk, written in order; ``done`` of them are there, whatever happens.

    How many is noted after the rows themselves have reached the disk, so that a process that was
    killed leaves at most rows that are calculated again.
    """

    def __init__(self, directory: Path, shape: tuple[int, ...], dtype: np.dtype[Any]):
        self._directory, self._shape, self._dtype = directory, shape, dtype
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            expected, received = "a directory for features", error.strerror or str(error)
            raise FileError(mismatch(str(directory), expected, received)) from None
        self.done = self._noted()
        if not self.done:
            with replacing(directory / ARRAY, "features") as file, file.open("wb") as out:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                _reserve(out, out.tell() + math.prod(shape) * dtype.itemsize)
        self._array = self._opened("r+")

    def _noted(self) -> int:
        """The rows that are there; 0 for anything that does not fit."""
        with suppress(OSError, EOFError, ValueError, TypeError, KeyError):
            done = json.loads((self._directory / DONE).read_bytes())["rows"]
            if type(done) is int and 0 < done <= self._shape[0] and self._opened("r") is not None:
                return done
        return 0

    def _opened(self, mode: Any) -> Any:
        array = np.load(self._directory / ARRAY, mmap_mode=mode)
        if array.shape != self._shape or array.dtype != self._dtype:
            raise ValueError("another array")
        return array

    def add(self, rows: Array) -> None:
        """Write the next rows."""
        self._array[self.done : self.done + len(rows)] = rows
        self._array.flush()
        self.done += len(rows)
        with replacing(self._directory / DONE, "progress") as file:
            file.write_text(json.dumps({"rows": self.done}))

    def finished(self) -> Any:
        """All rows, read-only."""
        return self._opened("r")
