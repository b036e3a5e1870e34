"""What a file of weights holds, whatever its format: layers in a row, each with its arrays.

Shapes and dtypes are known when a file is opened. Numbers are read later, and only those that the
model has a place of the same shape for: what a file claims about itself decides nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from minnet.layers import Layer
from minnet.tensor import Array

Shape = tuple[int, ...]
#: Those of a :class:`~minnet.weights.Convention`, as JSON has them.
Settings = dict[str, Any]
#: About how many bytes are read at once.
BLOCK = 1 << 24
#: Compressed arrays are refused that are larger and would grow by more than this factor.
LARGE, GROWTH = 1 << 24, 200

#: Of a number n: all numbers of an array in C order, as arrays of one axis, of n or 2n or 3n ….
Runs = Callable[[int], Iterator[Array]]


def as_it_is(array: Array) -> Array:
    """How an array lies in a file that has it as we do."""
    return array


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, not read yet; ``name`` is the file's.

    ``runs``: its numbers in the file's order. ``as_in_file``: a view of an array of ``shape`` in
    that order, so that numbers go to their places as they are read; none is in memory twice.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    runs: Runs
    as_in_file: Callable[[Array], Array] = as_it_is

    def read(self, dtype: npt.DTypeLike | None = None) -> Array:
        """The array in C order, converted to ``dtype`` unless that is None."""
        array = np.empty(self.shape, self.dtype if dtype is None else dtype)
        if not array.size:
            return array
        rows, done = np.atleast_1d(self.as_in_file(array)), 0
        row = math.prod(rows.shape[1:])
        with np.errstate(over="ignore"):
            for run in self.runs(row):
                new = run.reshape(-1, *rows.shape[1:])
                rows[done : done + len(new)] = new
                done += len(new)
        return array


def from_stream(
    opened: Callable[[], AbstractContextManager[IO[bytes]]], shape: Shape, dtype: np.dtype[Any]
) -> Runs:
    """Of an array whose bytes are all that comes next in a file, once that is ``opened``."""

    def runs(row: int) -> Iterator[Array]:
        count = math.prod(shape)
        block = max(BLOCK // (row * dtype.itemsize), 1) * row
        with opened() as content:
            for start in range(0, count, block):
                size = min(block, count - start) * dtype.itemsize
                numbers = content.read(size)
                if len(numbers) != size:
                    raise ValueError("it ends before its numbers do")
                yield np.frombuffer(numbers, dtype)

    return runs


def from_slices(take: Callable[[slice], Array], shape: Shape, dtype: np.dtype[Any]) -> Runs:
    """Of an array that a library gives by rows; one without axes, whole."""

    def runs(row: int) -> Iterator[Array]:
        own = math.prod(shape[1:])
        step, count = math.lcm(row, own) // own, shape[0] if shape else 1
        step *= max(BLOCK // (step * own * dtype.itemsize), 1)
        for start in range(0, count, step):
            yield np.ascontiguousarray(take(slice(start, min(start + step, count)))).reshape(-1)

    return runs


def from_whole(make: Callable[[], Array]) -> Runs:
    """Of an array that has to be made in one piece."""

    def runs(row: int) -> Iterator[Array]:
        yield np.ascontiguousarray(make()).reshape(-1)

    return runs


def require_numbers(name: str, claimed: int, stored: int) -> None:
    """Raise :class:`ValueError` for an array that claims far more bytes than the file has of it."""
    if claimed > LARGE and claimed > GROWTH * stored:
        raise ValueError(f"{name} claims {claimed:,} bytes, and is made of {stored:,}")


@dataclass
class StoredLayer:
    """A layer in a file; arrays are keyed by our parameters' names, or by nothing but their order.

    ``key``: what a file calls it that counts layers by their kinds, see :func:`kind_keys`.
    """

    name: str
    arrays: dict[str, StoredArray] = field(default_factory=dict)
    key: str = ""
    named_arrays: bool = True


class Match(Enum):
    """How a file's layers find those of a model."""

    NAME = "by name"
    ORDER = "in order"
    KIND = "by kind and number"


@dataclass
class Stored:
    """An open file of weights; ``match``: how its layers find a model's unless they are told.

    ``convention``: what the file itself says of that.
    """

    layers: list[StoredLayer]
    match: Match
    convention: Settings | None = None


class Write(Protocol):
    """How layers' parameters are written; equal ones give the same bytes."""

    def __call__(
        self, file: Path, layers: Sequence[Layer], convention: Settings | None = None
    ) -> None: ...


def note(convention: Settings) -> str:
    """What is written into a file about its arrays, as JSON."""
    return json.dumps({"minnet": {"convention": convention}})


def noted(text: str | bytes) -> Settings | None:
    """The convention in a :func:`note`; None for what others may have written there."""
    try:
        convention = json.loads(text)["minnet"]["convention"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return convention if isinstance(convention, dict) else None


def kind_keys(layers: Sequence[Layer]) -> list[str]:
    """What Keras 3 calls layers in its files: 'dense', 'dense_1', …, counted for each kind.

    Names play no part, since automatic ones differ from one run to the next.
    """
    counts: dict[str, int] = {}
    keys = []
    for layer in layers:
        number = counts[layer.kind] = counts.get(layer.kind, -1) + 1
        keys.append(f"{layer.kind}_{number}" if number else layer.kind)
    return keys


def arrays_of(layers: Sequence[Layer]) -> dict[str, Array]:
    """All parameters, keyed '<layer>/<parameter>', in order."""
    return {
        f"{layer.name}/{name}": parameter.data
        for layer in layers
        for name, parameter in layer.parameters.items()
    }
