"""Pictures and charts in the cells' background: placed by cell, sized in pixels."""

from __future__ import annotations

import io

from openpyxl.chart import BarChart, Reference
from openpyxl.drawing.image import Image
from openpyxl.worksheet.worksheet import Worksheet

from minnet.spreadsheet.names import a1


def place_picture(
    sheet: Worksheet, png: bytes, row: int, column: int, height: int = 0, width: int = 0
) -> tuple[int, int]:
    """Put a picture on a sheet, made smaller to fit into so many pixels; gives its size there."""
    image = Image(io.BytesIO(png))
    factor = min(1.0, (height or image.height) / image.height, (width or image.width) / image.width)
    image.width, image.height = round(image.width * factor), round(image.height * factor)
    sheet.add_image(image, a1(row, column))
    return image.width, image.height


def place_histogram(sheet: Worksheet, at: str, values: Reference, edges: Reference) -> None:
    """Bars without gaps of how many numbers lie in each bin."""
    chart = BarChart()
    chart.add_data(values)
    chart.set_categories(edges)
    chart.legend = None
    chart.gapWidth = 5
    chart.height, chart.width = 12.2, 14.5  # centimetres
    chart.title = "share of the numbers, by size"
    chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl hides both unless told otherwise
    chart.x_axis.number_format = "0.##"
    chart.y_axis.number_format = "0%"
    chart.x_axis.tickLblPos = "low"
    series = chart.series[0]
    series.graphicalProperties.solidFill = "C55A11"
    sheet.add_chart(chart, at)
