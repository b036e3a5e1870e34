"""What ImageNet's thousand classes are called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minnet.checks import whole
from minnet.errors import FileError, ShapeError, mismatch
from minnet.files import PathLike, require_file

CLASSES = 1000
#: Keras's list, {"0": ["n01440764", "tench"], …}, and where Keras keeps it once it is downloaded.
CLASS_INDEX = "imagenet_class_index.json"
KERAS_CACHE = Path("~/.keras/models")


class ImageNetClass(NamedTuple):
    """``wnid``: WordNet's number of it."""

    wnid: str
    name: str


class Decoded(NamedTuple):
    """A guess: which class, and how probable it is."""

    wnid: str
    name: str
    probability: float


def imagenet_classes(path: PathLike | None = None) -> list[ImageNetClass]:
    """The classes in the order of the models' outputs.

    ``path``: the file ``imagenet_class_index.json``, or the directory that it is in; None looks in
    the working directory and in Keras's cache, ``~/.keras/models``.

    Raises :class:`~minnet.errors.FileError`, saying where to get it, where there is none, and
    where it is not such a list.
    """
    if path is None:
        places = [Path(CLASS_INDEX), KERAS_CACHE.expanduser() / CLASS_INDEX]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            advice = (
                "Put it there; it is published with Keras's models, as "
                f"storage.googleapis.com/download.tensorflow.org/data/{CLASS_INDEX}."
            )
            where = " or ".join(map(str, places))
            expected = f"the names of ImageNet's classes in {where}"
            raise FileError(mismatch(CLASS_INDEX, expected, "no such file", advice))
    file = Path(path)
    return list(_read(file / CLASS_INDEX if file.is_dir() else file))


@lru_cache(maxsize=4)
def _read(file: Path) -> tuple[ImageNetClass, ...]:
    content = require_file(file, "the names of ImageNet's classes").read_bytes()
    try:
        index = json.loads(content)
        classes = tuple(ImageNetClass(*map(str, index[str(k)])) for k in range(CLASSES))
        complete = len(index) == CLASSES
    except (ValueError, KeyError, TypeError, RecursionError):
        complete = False
    if not complete:
        expected = f'{CLASSES} entries such as "0": ["n01440764", "tench"]'
        raise FileError(mismatch(str(file), expected, "something else"))
    return classes


def decode_predictions(
    predictions: npt.ArrayLike, top: int = 5, classes: Sequence[ImageNetClass] | None = None
) -> list[list[Decoded]]:
    """The ``top`` most probable classes of each row, the likeliest first.

    ``predictions``: probabilities (n, 1000). ``classes``: from :func:`imagenet_classes`, which is
    asked if None.

    Raises :class:`~minnet.errors.ShapeError` for other predictions and
    :class:`~minnet.errors.FileError` where the names are not at hand.
    """
    rows = np.asarray(predictions)
    if rows.ndim != 2 or rows.shape[1] != CLASSES:
        expected, received = f"predictions (n, {CLASSES})", f"an array of shape {rows.shape}"
        raise ShapeError(mismatch("decode_predictions", expected, received))
    known = imagenet_classes() if classes is None else classes
    count = whole("top", top, 1)
    return [[Decoded(*known[k], float(row[k])) for k in likeliest(row, count)] for row in rows]


def likeliest(row: np.ndarray, count: int) -> list[int]:
    """The places of the ``count`` largest numbers, the largest first; of equal ones the first."""
    order: list[int] = np.argsort(-row, kind="stable")[:count].tolist()
    return order
