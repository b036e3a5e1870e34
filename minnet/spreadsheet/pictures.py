"""Pictures on a sheet: the photograph, the digit, the tensor that the cells beside it hold; and
histograms."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from openpyxl.chart import BarChart, Reference
from openpyxl.drawing.image import Image as SheetImage
from openpyxl.worksheet.worksheet import Worksheet

from minnet.errors import ArgumentError, mismatch
from minnet.spreadsheet.names import a1
from minnet.tensor import Array

Size = tuple[int, int]


def put_picture(sheet: Worksheet, cell: str, picture: Any, size: Size | None = None) -> None:
    """Place a picture as PNG with its upper left corner in that of ``cell``.

    ``picture``: as for :func:`as_image`. ``size``: (width, height) on the sheet, in pixels of 96 to
    the inch; None takes the picture's own. A picture that is shown larger is enlarged here, in
    squares, because spreadsheet programs would blur it.

    Raises :class:`~minnet.errors.ArgumentError` for what is no picture.
    """
    from PIL import Image

    image = as_image(picture)
    if image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    width, height = image.size if size is None else size
    if min(width, height) < 1:
        raise ArgumentError(mismatch("a picture", "a size of 1 pixel or more", f"{size}"))
    times = min(width // image.width, height // image.height)
    if times > 1:
        enlarged = image.width * times, image.height * times
        image = image.resize(enlarged, Image.Resampling.NEAREST)
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    _place(sheet, cell, SheetImage(file), (width, height))


def as_image(picture: Any) -> Any:
    """A Pillow image: of one, or of uint8 pixels (height, width), (height, width, 1 or 3).

    Raises :class:`~minnet.errors.ArgumentError` for what is no picture.
    """
    from PIL import Image

    return picture if isinstance(picture, Image.Image) else Image.fromarray(_checked(picture))


def place_picture(
    sheet: Worksheet, png: bytes, row: int, column: int, height: int, width: int
) -> Size:
    """Place a PNG as it is, shown smaller where it is larger than so many pixels.

    Gives its (width, height) on the sheet.
    """
    image = SheetImage(BytesIO(png))
    factor = min(1.0, height / image.height, width / image.width)
    size = round(image.width * factor), round(image.height * factor)
    _place(sheet, a1(row, column), image, size)
    return size


def _place(sheet: Worksheet, cell: str, image: SheetImage, size: Size) -> None:
    image.width, image.height = size
    sheet.add_image(image, cell)


def as_pixels(values: Array) -> Array:
    """uint8 pixels of numbers of any range: their least is black, their largest white.

    ``values`` is (height, width) or (height, width, channels); with other than 3 channels, their
    mean is shown.

    Raises :class:`~minnet.errors.ArgumentError` for other shapes.
    """
    values = np.asarray(values, np.float64)
    if values.ndim not in (2, 3) or not values.size:
        expected = "an image (height, width) or (height, width, channels)"
        raise ArgumentError(mismatch("as_pixels", expected, f"shape {values.shape}"))
    if values.ndim == 3 and values.shape[2] != 3:
        values = values.mean(2)
    values = values / (np.abs(values).max() or 1.0)  # differences of large numbers could overflow
    least, span = values.min(), np.ptp(values)
    pixels: Array = np.rint((values - least) / (span or 1.0) * 255).astype(np.uint8)
    return pixels


def place_histogram(
    sheet: Worksheet, at: str, values: Reference, edges: Reference, edge_format: str
) -> None:
    """Bars without gaps of how many numbers lie in each bin."""
    chart = BarChart()
    chart.add_data(values)
    chart.set_categories(edges)
    chart.legend = None
    chart.gapWidth = 5
    chart.height, chart.width = 12.2, 14.5  # centimetres
    chart.title = "share of the numbers, by size"
    chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl hides both unless told otherwise
    chart.x_axis.number_format = edge_format
    chart.y_axis.number_format = "0%"
    chart.x_axis.tickLblPos = "low"
    series = chart.series[0]
    series.graphicalProperties.solidFill = "C55A11"
    sheet.add_chart(chart, at)


def _checked(pixels: Any) -> Array:
    """Pixels as Pillow takes them."""
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    channels = array.shape[2:] in ((), (3,)) and array.ndim in (2, 3)
    if array.dtype != np.uint8 or not channels or not array.size:
        expected = "an image, or uint8 pixels (height, width) or (height, width, 1 or 3)"
        received = f"{array.dtype} of shape {array.shape}"
        raise ArgumentError(mismatch("a picture", expected, received))
    return np.ascontiguousarray(array)
