"""Pictures in a workbook: what a program that opens it finds."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from PIL import Image

from minnet.errors import ArgumentError
from minnet.spreadsheet.pictures import as_pixels, put_picture
from minnet.spreadsheet.xlsx import Rows, save

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def in_a_book(path: Path, picture: Any, size: Any = None) -> tuple[Any, Any]:
    """The picture as openpyxl finds it: its drawing, its pixels."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    put_picture(sheet, "C5", picture, size)
    save(book, {sheet.title: Rows()}, path)
    (found,) = openpyxl.load_workbook(path).worksheets[0]._images
    return found, np.asarray(Image.open(BytesIO(found._data())))


def test_pixels_arrive_as_they_are(tmp_path: Path) -> None:
    for picture in (PHOTO, Image.fromarray(PHOTO)):
        drawing, pixels = in_a_book(tmp_path / "book.xlsx", picture)
        np.testing.assert_array_equal(pixels, PHOTO)
        at = drawing.anchor._from
        assert (at.row, at.col) == (4, 2)
        assert (drawing.anchor.ext.width, drawing.anchor.ext.height) == (9 * 9525, 6 * 9525)


def test_a_small_picture_is_enlarged_in_squares(tmp_path: Path) -> None:
    digit = PHOTO[:, :, :1]
    drawing, pixels = in_a_book(tmp_path / "book.xlsx", digit, (90, 63))
    assert (drawing.anchor.ext.width, drawing.anchor.ext.height) == (90 * 9525, 63 * 9525)
    np.testing.assert_array_equal(pixels, digit[:, :, 0].repeat(10, 0).repeat(10, 1))


def test_other_kinds_of_images_are_shown_in_colour(tmp_path: Path) -> None:
    _, pixels = in_a_book(tmp_path / "book.xlsx", Image.fromarray(PHOTO).convert("CMYK"))
    assert pixels.shape == PHOTO.shape


@pytest.mark.parametrize(
    "picture", [PHOTO[0, 0], PHOTO[:, :, :2], PHOTO / 255, PHOTO[:0], PHOTO[None], "photo.png"]
)
def test_what_is_no_picture(picture: Any) -> None:
    with pytest.raises(ArgumentError, match="a picture: expected an image, or uint8 pixels"):
        put_picture(openpyxl.Workbook().worksheets[0], "A1", picture)


def test_a_picture_of_no_size() -> None:
    with pytest.raises(ArgumentError, match="a size of 1 pixel or more"):
        put_picture(openpyxl.Workbook().worksheets[0], "A1", PHOTO, (0, 5))


def test_numbers_of_any_range_as_pixels() -> None:
    numbers = np.array([[-1e308, 0.0], [1e308, 1e308]])
    np.testing.assert_array_equal(as_pixels(numbers), [[0, 128], [255, 255]])
    np.testing.assert_array_equal(as_pixels(np.full((2, 2, 3), 7.0)), np.zeros((2, 2, 3)))
    assert as_pixels(np.ones((4, 5, 2))).shape == (4, 5)
    with pytest.raises(ArgumentError, match=r"shape \(3,\)"):
        as_pixels(np.ones(3))
