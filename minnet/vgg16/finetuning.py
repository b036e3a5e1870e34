"""From a folder of photographs and a file of weights to a model: what the command line does."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minnet.callbacks import LambdaCallback, ProgressBar
from minnet.checks import positive
from minnet.data import ImageFolder
from minnet.errors import FileError, NumberError, mismatch
from minnet.features import Features
from minnet.files import PathLike, replacing
from minnet.vgg16.lesson import Vgg16

#: The lesson's folders: each has a directory for each class.
TRAIN, VALID = "train", "valid"
LISTING = "files.csv"


class Stage(NamedTuple):
    """How a part of the model is trained."""

    epochs: int
    lr: float
    batch_size: int


HEAD = Stage(epochs=12, lr=1e-3, batch_size=64)
#: A hundredth of the head's rate: what the layers have learned is worth keeping.
UNFROZEN = Stage(epochs=1, lr=1e-5, batch_size=16)
BATCH = 8  # images that go through the frozen layers at once


def finetune(
    vgg: Vgg16,
    directory: PathLike,
    cache: PathLike,
    head: Stage = HEAD,
    start: str | None = None,
    unfrozen: Stage = UNFROZEN,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Train a new head for the classes of a folder; then all layers from ``start`` on.

    ``directory``: with 'train' and 'valid', which have a directory of images for each class.
    ``cache``: a directory for the features on which the head is trained. ``keep``: called with the
    head trained, and after each epoch of the other layers, which may take an hour.

    Raises :class:`~minnet.errors.FileError` for another folder,
    :class:`~minnet.errors.NumberError`, instead of keeping it, for a model whose loss is not
    finite, and what :meth:`Vgg16.fit_features` raises.
    """
    for stage in (head, unfrozen):  # what is wrong is said now, and not after an hour
        positive("fine-tuning's learning rate", stage.lr)
    if start is not None:
        vgg.model.place_of(start)
    train, valid = (_batches(vgg, Path(directory) / name) for name in (TRAIN, VALID))
    if len(train.classes) < 2:
        expected, received = "directories of at least two classes", ", ".join(train.classes)
        raise FileError(mismatch(str(train.directory), expected, f"{received} alone"))
    if valid.classes != train.classes:
        expected, received = ", ".join(train.classes), ", ".join(valid.classes)
        raise FileError(mismatch(str(valid.directory), f"the directories {expected}", received))
    vgg.finetune(train)
    vgg.compile(head.lr)
    history = vgg.fit_features(train, valid, head.epochs, cache, batch_size=head.batch_size)
    _require_finite({name: values[-1] for name, values in history.history.items()}, head.lr)
    keep()
    if start is not None:
        vgg.unfreeze(start)
        vgg.compile(unfrozen.lr)
        batches = _batches(vgg, train.directory, unfrozen.batch_size, shuffle=True)

        def after(epoch: int, logs: dict[str, float]) -> None:
            _require_finite(logs, unfrozen.lr)
            keep()

        watching = [ProgressBar(unit="images"), LambdaCallback(on_epoch_end=after)]
        vgg.fit(batches, valid, unfrozen.epochs, callbacks=watching)


def _require_finite(logs: dict[str, float], lr: float) -> None:
    """Raise :class:`~minnet.errors.NumberError` for a model that is not worth keeping.

    What the last step of an epoch did, validation alone shows.
    """
    lost = ", ".join(f"{name} {value}" for name, value in logs.items() if not math.isfinite(value))
    if lost:
        advice = f"Lower the learning rate (now {lr:g})."
        raise NumberError(mismatch("fine-tuning", "finite numbers after an epoch", lost, advice))


def features(
    vgg: Vgg16, directory: PathLike, cache: PathLike, upto: str | None = None
) -> dict[Path, Features]:
    """The features of a folder, or of its 'train' and 'valid', by the directory of the images.

    ``upto``: the layer whose outputs they are; if None, the last one that :func:`finetune` freezes.
    Beside each array in the cache, 'files.csv' says which row is which file, of which class.

    Raises what :meth:`minnet.Sequential.features` raises.
    """
    root = Path(directory)
    parts = [root / name for name in (TRAIN, VALID) if (root / name).is_dir()]
    given = [_batches(vgg, part) for part in parts or [root]]
    if upto is None:
        vgg.finetune(given[0])
    base = vgg.frozen() if upto is None else vgg.model.upto(upto)
    found = {}
    for batches in given:
        found[batches.directory] = kept = base.features(batches, cache)
        listing = Path(str(kept.x.filename)).with_name(LISTING)
        with replacing(listing, "a list of files") as file:
            _write_listing(file, batches)
    return found


def _write_listing(path: Path, batches: ImageFolder) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "class"])
        names = [batches.classes[k] for k in batches.labels]
        rows.writerows(zip(batches.files, names))


def _batches(
    vgg: Vgg16, directory: Path, batch_size: int = BATCH, shuffle: bool = False
) -> ImageFolder:
    """The images of a folder, of which each class has some."""
    batches = vgg.get_batches(directory, shuffle, batch_size)
    present = set(batches.labels.tolist())
    empty = [name for k, name in enumerate(batches.classes) if k not in present]
    if empty:
        where, received = str(directory), f"none in {', '.join(empty)}"
        advice = "Put some there, or remove the directory."
        raise FileError(mismatch(where, "images in each directory", received, advice))
    return batches
