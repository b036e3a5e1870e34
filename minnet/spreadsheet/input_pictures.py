"""The inputs of a pass as a person sees them: a picture beside, or below, the cells of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openpyxl.worksheet.worksheet import Worksheet

from minnet.spreadsheet.blocks import IMAGES, Block
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.pictures import as_image, as_pixels, put_picture
from minnet.spreadsheet.xlsx import Rows

LARGEST = 150  # pixels, of a side
_ROW = 20  # pixels of a sheet's row; a column of a page has 53
_COLUMNS, _ROWS = 3, 8  # that a picture takes
SMALLEST_IMAGE = 5  # pixels of a side: smaller ones say nothing as a picture
MOST = 20  # on a sheet


class InputPictures:
    """Pictures of the rows of an input; none where it has no images and none are given.

    ``given``: Pillow images or uint8 pixels, one for each row. Without them, inputs that are images
    of 1 or 3 channels are shown themselves, from black for their least number to white.

    Raises :class:`~minnet.errors.ArgumentError` for what is no picture.
    """

    def __init__(self, block: Block, given: Sequence[Any] | None):
        self._block = block
        self._tiles = block.lies == IMAGES
        most = MOST if self._tiles else min(MOST, max(1, block.width // _COLUMNS))
        pictures = _images_of(block) if given is None else given
        self._pictures = [as_image(picture) for picture in pictures[:most]]
        if self._pictures and self._tiles:
            block.beside = 1 + _COLUMNS
        elif self._pictures:
            block.below = 1 + _ROWS

    def put(self, sheet: Worksheet, rows: Rows, words: int) -> None:
        """Put them on the sheet, once the block has its place; ``words``: the style of captions."""
        block = self._block
        for number, picture in enumerate(self._pictures):
            if self._tiles:
                height = block.tile[0]
                at = block.row + number * height, block.column + block.width + 1
                most = min(LARGEST, height * _ROW)
            else:
                at = block.row + block.height + 1, block.column + number * _COLUMNS
                most = LARGEST
                rows.put(at[0] - 1, at[1], f"row {number + 1}", style=words)
            put_picture(sheet, a1(*at), picture, _fitted(picture, most))


def _images_of(block: Block) -> list[Any]:
    value = block.node.value
    shown = block.lies == IMAGES and value.dtype.kind == "f" and value.shape[3] in (1, 3)
    if not shown or min(value.shape[1:3]) < SMALLEST_IMAGE:
        return []
    return [as_pixels(image) for image in value[:MOST]]


def _fitted(picture: Any, height: int) -> tuple[int, int]:
    """The size at which a picture is shown: small ones a whole number of times as large."""
    own = picture.size
    times = min(LARGEST / own[0], height / own[1])
    times = int(times) if times > 1 else times
    return max(1, round(own[0] * times)), max(1, round(own[1] * times))
