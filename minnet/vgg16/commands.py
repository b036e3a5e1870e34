"""What the command line does with a saved model and image files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from minnet.data import load_image
from minnet.files import replacing
from minnet.vgg16.lesson import Vgg16
from minnet.vgg16.names import likeliest

Row = tuple[str, int, str, float]
HEADER = ("file", "place", "class", "probability")


def predict(
    model: Path, images: Sequence[Path], top: int, table: Path | None
) -> Iterator[list[str]]:
    """The ``top`` likeliest classes of each image, as columns of text; or written to ``table``.

    Raises what :meth:`Vgg16.load` and :func:`minnet.data.load_image` raise.
    """
    vgg = Vgg16.load(model)
    rows = _rows(vgg, images, top)
    if table is None:
        yield from ([file, f"{place}", name, f"{value:.4f}"] for file, place, name, value in rows)
        return
    with replacing(table, "a table") as file, file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(HEADER)
        writer.writerows(rows)


def _rows(vgg: Vgg16, images: Sequence[Path], top: int) -> Iterator[Row]:
    for path in images:
        image = load_image(path, vgg.size, vgg.resize)
        (probabilities,) = vgg.predict(image[None])
        for place, k in enumerate(likeliest(probabilities, top), 1):
            yield str(path), place, vgg.classes[k], float(probabilities[k])
