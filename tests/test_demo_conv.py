"""The demo ``conv`` beside the lesson's ``conv-example.xlsx``.

The workbook is not part of minnet: the directory that holds it is named by the environment
variable MINNET_LESSON.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from minnet.demos import conv, digits
from minnet.spreadsheet.names import parse_a1
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

LESSON = Path(os.environ.get("MINNET_LESSON", "not given")) / "conv-example.xlsx"


def test_images_grow_to_the_size_of_mnists() -> None:
    """The corners stay, and between two pixels lies what lies between their numbers."""
    small = np.arange(64.0).reshape(1, 8, 8)
    large = conv.enlarge(small)
    assert large.shape == (1, 28, 28, 1)
    digit = large[0, 4:24, 4:24, 0]
    assert np.count_nonzero(large) == np.count_nonzero(digit)
    place = np.linspace(0, 7, 20)
    np.testing.assert_allclose(digit, 8 * place[:, None] + place, atol=1e-12)


def test_conv_learns_and_its_book_is_right(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "conv.xlsx"
    model = conv.run(path)
    data = conv.load()
    assert digits.accuracy_on_test(model, data) >= 0.9

    report = verify_xlsx(path)
    assert report.ok, report.summary()
    book, live = open_book(path), Recalculated(path)
    texts = [content.value for content in book.cells("contents").values()]
    assert all(note in texts for note in conv.NOTES)
    x = live.array(book.names["x"]).reshape(1, 28, 28, 1)
    assert live.array(book.names["target"]).item() == conv.DIGIT
    assert any((x == image).all() for image in data.test_x[data.test_y == conv.DIGIT])
    probabilities = live.array(book.names["loss_softmax"])
    np.testing.assert_allclose(probabilities, model.predict(x), rtol=0, atol=1e-12)

    # Another digit typed into the book, and another filter.
    other, kernel = data.test_x[3:4], model.get_weights()[0]
    live.set_array(book.names["x"], other[0, :, :, 0])
    live.set_array(book.names["conv1_weight"], -kernel.transpose(3, 0, 2, 1).reshape(6, 3))
    live.evaluate()
    model.set_weights([-kernel, *model.get_weights()[1:]])
    found = live.array(book.names["loss_softmax"])
    np.testing.assert_allclose(found, model.predict(other), rtol=0, atol=1e-12)


# -- the lesson's own digit ------------------------------------------------------------------------


def cells(area: str, empty: float | None = None) -> Array:
    """Stored numbers of the lesson's sheet; ``empty`` stands for cells without any."""
    first, _, last = area.partition(":")
    begin, end = parse_a1(first), parse_a1(last or first)
    assert begin is not None and end is not None
    (row, column), (bottom, right) = begin, end
    book = open_book(LESSON)
    if empty is None:
        place = Area(book.sheets[0], row, column, bottom - row + 1, right - column + 1)
        return book.numbers(place, area, formulas=True)
    stored = book.cells(book.sheets[0])
    rows, columns = range(row, bottom + 1), range(column, right + 1)
    values = [[stored[r, c].value if (r, c) in stored else None for c in columns] for r in rows]
    return np.array([[empty if v is None else v for v in line] for line in values], float)


@pytest.mark.skipif(not LESSON.is_file(), reason="the lesson's conv-example.xlsx is not here")
def test_conv_gives_the_lessons_numbers(tmp_path: Path) -> None:
    """Its filters and weights are positive, so that relu changes nothing."""
    model = conv.network(classes=2)
    conv1 = np.stack([cells("AD11:AF13"), cells("AD38:AF40")], -1)[:, :, None]
    first = np.stack([cells("BI11:BK13"), cells("BI15:BK17")], -1)
    second = np.stack([cells("BI38:BK40"), cells("BI42:BK44")], -1)
    # Every second cell is a weight; the 13th column multiplies what lies beside the image.
    tiles = [cells(area, empty=0)[::2, ::2] for area in ("DN4:EL26", "DN33:EL55")]
    assert [t.shape for t in tiles] == [(12, 13)] * 2
    dense = np.stack([t[:, :12] for t in tiles], -1)[..., None]
    zeros = np.zeros_like(dense)
    weights = [conv1, np.zeros(2), np.stack([first, second], -1), np.zeros(2)]
    model.set_weights([*weights, np.concatenate([dense, zeros], -1), np.zeros(2)])

    path = tmp_path / "conv.xlsx"
    digit = cells("A2:AB29")[None, ..., None]
    model.export_xlsx(digit, [0], path, check=False)
    book, live = open_book(path), Recalculated(path)

    def same(name: str, *areas: str) -> None:
        expected = np.concatenate([cells(area, empty=0) for area in areas], 1)
        np.testing.assert_allclose(live.array(book.names[name]), expected, rtol=1e-12, atol=1e-12)

    same("conv1_relu", "AH3:BG28", "AH32:BG57")
    same("conv2_relu", "BM4:CJ27", "BM33:CJ56")
    activation = live.array(book.names["scores_reshape"])[0, 0]
    assert activation == pytest.approx(cells("EN4").item(), rel=1e-12)
    # The column too many is empty only because the digit leaves its right margin free.
    assert not cells("CK4:CK27").any()
