"""What the command line does with a saved model and image files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from minnet.data import load_image
from minnet.errors import ArgumentError, mismatch
from minnet.files import replacing
from minnet.loading import is_model
from minnet.vgg16.lesson import Vgg16
from minnet.vgg16.names import likeliest

Row = tuple[str, int, str, float]
HEADER = ("file", "place", "class", "probability")


def predict(
    model: Path,
    images: Sequence[Path],
    top: int,
    table: Path | None,
    preprocessing: str | None = None,
) -> Iterator[list[str]]:
    """The ``top`` likeliest classes of each image, as columns of text; or written to ``table``.

    ``model``: what :meth:`Vgg16.save` wrote, or weights in any format, with the ``preprocessing``
    that they expect where the file does not say it.

    Raises what :class:`Vgg16`, :meth:`Vgg16.load` and :func:`minnet.data.load_image` raise.
    """
    vgg = _opened(model, preprocessing)
    rows = _rows(vgg, images, top)
    if table is None:
        yield from ([file, f"{place}", name, f"{value:.4f}"] for file, place, name, value in rows)
        return
    with replacing(table, "a table") as file, file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(HEADER)
        writer.writerows(rows)


def _opened(model: Path, preprocessing: str | None) -> Vgg16:
    if is_model(model):
        if preprocessing is not None:
            expected, received = "no preprocessing for a model that has its own", preprocessing
            raise ArgumentError(mismatch(str(model), expected, received))
        return Vgg16.load(model)
    options: dict[str, Any] = {} if preprocessing is None else {"preprocessing": preprocessing}
    return Vgg16(model, **options)


def _rows(vgg: Vgg16, images: Sequence[Path], top: int) -> Iterator[Row]:
    for path in images:
        image = load_image(path, vgg.size, vgg.resize)
        (probabilities,) = vgg.predict(image[None])
        for place, k in enumerate(likeliest(probabilities, top), 1):
            yield str(path), place, vgg.classes[k], float(probabilities[k])
