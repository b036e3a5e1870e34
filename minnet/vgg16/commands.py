"""What the command line does with a saved model and image files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minnet.data import load_image
from minnet.errors import ArgumentError, FileError, mismatch
from minnet.files import replacing
from minnet.loading import is_model, load_model
from minnet.progress import Progress
from minnet.vgg16.lesson import Vgg16
from minnet.vgg16.names import likeliest

Row = tuple[str, int, str, float]
HEADER = ("file", "place", "class", "probability")


def predict(
    model: Path,
    images: Sequence[Path],
    top: int,
    table: Path | None,
    preprocessing: str | None,
    report: Callable[[FileError], None],
) -> Iterator[list[str]]:
    """The ``top`` likeliest classes of each image, as columns of text; or written to ``table``.

    ``model``: what :meth:`Vgg16.save` wrote, or weights in any format, with the ``preprocessing``
    that they expect where the file does not say it. ``report``: is told of an image that cannot be
    read, as one among many should not be the end of all. Unless lines appear on a terminal, a bar
    on stderr shows how far it is.

    Raises what :class:`Vgg16` and :meth:`Vgg16.load` raise, and
    :class:`~minnet.errors.FileError` where there is not one image for the table.
    """
    vgg = opened(model, preprocessing)
    progress = Progress(len(images), 1, 1, sys.stderr, unit="images")
    if table is None:
        if sys.stdout.isatty():
            progress = Progress(len(images), 1, 0)
        for title, place, name, value in _rows(vgg, images, top, report, progress):
            yield [title, f"{place}", name, f"{value:.4f}"]
        return
    with (
        replacing(table, "a table") as file,
        # A file's name may be bytes that are no UTF-8.
        file.open("w", newline="", encoding="utf-8", errors="surrogateescape") as out,
    ):
        writer = csv.writer(out)
        writer.writerow(HEADER)
        written = 0
        for row in _rows(vgg, images, top, report, progress):
            writer.writerow(row)
            written += 1
        if not written:
            expected, received = "an image that can be read", "none"
            raise FileError(mismatch(str(table), expected, received))


def any_model(path: Path, preprocessing: str | None = None) -> Any:
    """A saved model of whatever kind, or a VGG16 with the weights of a file in any format.

    Raises what :func:`minnet.load_model` and :func:`opened` raise.
    """
    return load_model(path) if is_model(path) else opened(path, preprocessing).model


def opened(
    path: Path, preprocessing: str | None = None, size: tuple[int, int] | None = None
) -> Vgg16:
    """What :meth:`Vgg16.save` wrote, or weights in any format; None leaves it to the file.

    Raises what :class:`Vgg16` and :meth:`Vgg16.load` raise, and
    :class:`~minnet.errors.ArgumentError` for settings of a model that has others.
    """
    if not is_model(path):
        options: dict[str, Any] = {} if preprocessing is None else {"preprocessing": preprocessing}
        return Vgg16(path, size=size, **options)
    vgg = Vgg16.load(path)
    if preprocessing is not None:
        expected, received = "no preprocessing for a model that has its own", preprocessing
        raise ArgumentError(mismatch(str(path), expected, received))
    if size not in (None, vgg.size):
        expected = "images of {} × {}, as this model has learned".format(*vgg.size)
        received, advice = "{} × {}".format(*size), "Leave the size out."
        raise ArgumentError(mismatch(str(path), expected, received, advice))
    return vgg


def _rows(
    vgg: Vgg16,
    images: Sequence[Path],
    top: int,
    report: Callable[[FileError], None],
    progress: Progress,
) -> Iterator[Row]:
    names = vgg.classes
    progress.begin(0, "predictions")
    predicted = 0
    for done, path in enumerate(images, 1):
        try:
            image = load_image(path, vgg.size, vgg.resize)
        except FileError as error:
            progress.close()
            report(error)
            continue
        (probabilities,) = vgg.predict(image[None])
        predicted += 1
        progress.update(done, dict)
        for place, k in enumerate(likeliest(probabilities, top), 1):
            yield str(path), place, names[k], float(probabilities[k])
    if predicted:
        progress.end({})
