"""How cells look: what may be changed is blue on colour, what is computed is black on white."""

from __future__ import annotations

from typing import Any

import numpy as np
from openpyxl import Workbook
from openpyxl.cell.cell import Cell
from openpyxl.formatting.rule import ColorScale, FormatObject, Rule
from openpyxl.styles import Alignment, Border, Color, Font, PatternFill, Side

from minnet.tensor import Array

FONT = "Calibri"
_THIN = Side(style="thin", color="BFBFBF")
_THICK = Side(style="medium", color="7F7F7F")
_BOX = Border(left=_THIN, right=_THIN, top=_THIN, bottom=_THIN)
# Shrunk, a number that has grown stays legible; else it would turn into ###.
_MIDDLE = Alignment(horizontal="center", shrink_to_fit=True)
_RIGHT = Alignment(horizontal="right", shrink_to_fit=True)

_INPUT_BLUE, _GREEN, _YELLOW, _PEACH, _GREY = "0000C0", "E2EFDA", "FFF2CC", "FCE4D6", "F2F2F2"
_NUMBER_FILLS = {
    "input": _GREEN,
    "parameter": _YELLOW,
    "result": None,
    "loss": _PEACH,
    "gradient": None,
    "new": None,
    "helper": _GREY,
}
_BANDS = {"forward": "1F4E79", "backward": "C00000", "update": "548235", "values": "595959"}


def _solid(color: str) -> PatternFill:
    return PatternFill("solid", fgColor=color)


_TEXT_STYLES: dict[str, dict[str, Any]] = {
    "heading": {"font": Font(name=FONT, bold=True, size=14)},
    "note": {"font": Font(name=FONT, italic=True, size=9, color="7F7F7F")},
    "label": {"font": Font(name=FONT, bold=True, size=9)},
    "words": {"font": Font(name=FONT, italic=True, size=8, color="7F7F7F")},
    "sign": {"font": Font(name=FONT, size=10), "alignment": Alignment(horizontal="center")},
    "text": {"font": Font(name=FONT, size=10)},
    "wrapped": {
        "font": Font(name=FONT, size=10),
        "alignment": Alignment(wrap_text=True, vertical="top"),
    },
    "link": {"font": Font(name=FONT, size=10, color="0563C1", underline="single")},
    "strip": {
        "font": Font(name=FONT, bold=True, size=10, color="1F4E79"),
        "border": Border(bottom=Side(style="medium", color="1F4E79")),
    },
    "column": {
        "font": Font(name=FONT, bold=True, size=10),
        "border": Border(bottom=Side(style="medium", color="1F4E79")),
    },
    "number column": {
        "font": Font(name=FONT, bold=True, size=10),
        "border": Border(bottom=Side(style="medium", color="1F4E79")),
        "alignment": Alignment(horizontal="right"),
    },
    "link column": {
        "font": Font(name=FONT, bold=True, size=10, color="0563C1", underline="single"),
        "border": Border(bottom=Side(style="medium", color="1F4E79")),
        "alignment": Alignment(horizontal="right"),
    },
    "knob": {
        "font": Font(name=FONT, bold=True, color=_INPUT_BLUE),
        "fill": _solid(_YELLOW),
        "border": _BOX,
        "alignment": _MIDDLE,
    },
    "reading": {
        "font": Font(name=FONT, bold=True, size=11),
        "fill": _solid(_PEACH),
        "border": _BOX,
        "alignment": _MIDDLE,
        "number_format": "0.0000",
    },
    "verdict": {
        "font": Font(name=FONT, bold=True, size=11),
        "fill": _solid(_PEACH),
        "border": _BOX,
        "alignment": _MIDDLE,
    },
    "small reading": {
        "font": Font(name=FONT, bold=True, size=11),
        "fill": _solid(_PEACH),
        "border": _BOX,
        "alignment": _MIDDLE,
        "number_format": "0.0E+00",
    },
    "precise": {
        "font": Font(name=FONT, bold=True, size=10),
        "border": _BOX,
        "alignment": _MIDDLE,
        "number_format": "0.000000000",
    },
    "knob precise": {
        "font": Font(name=FONT, bold=True, color=_INPUT_BLUE, size=10),
        "fill": _solid(_YELLOW),
        "border": _BOX,
        "alignment": _MIDDLE,
        "number_format": "0.000000000",
    },
    "tiny": {
        "font": Font(name=FONT, bold=True, size=10),
        "border": _BOX,
        "alignment": _MIDDLE,
        "number_format": "0.0E+00",
    },
    "scientific": {
        "font": Font(name=FONT, size=10),
        "number_format": "0.0E+00",
        "alignment": Alignment(horizontal="right"),
    },
    "right": {
        "font": Font(name=FONT, size=10),
        "alignment": Alignment(horizontal="right", shrink_to_fit=True),
    },
    "integer": {
        "font": Font(name=FONT, size=10),
        "number_format": "#,##0",
        "alignment": _RIGHT,
    },
    "edge": {
        "font": Font(name=FONT, bold=True, size=8, color="7F7F7F"),
        "alignment": _MIDDLE,
    },
    "decimal": {
        "font": Font(name=FONT, size=10),
        "number_format": "0.0000",
        "alignment": _RIGHT,
    },
    "percent": {
        "font": Font(name=FONT, size=10),
        "number_format": "0.0%",
        "alignment": _RIGHT,
    },
    **{
        f"band {band}": {
            "font": Font(name=FONT, bold=True, size=11, color="FFFFFF"),
            "fill": _solid(color),
        }
        for band, color in _BANDS.items()
    },
}


class Styles:
    """Style numbers of one workbook, each made once."""

    def __init__(self, workbook: Workbook):
        # openpyxl registers styles through cells; this one stays out of the sheet's cell table.
        self._sheet = workbook.worksheets[0]
        self._known: dict[Any, int] = {}

    def text(self, name: str) -> int:
        return self._number(name, _TEXT_STYLES[name])

    def block(self, role: str, number_format: str, above: bool = False, left: bool = False) -> int:
        """A number in a block; ``above`` and ``left`` say where another tile of it borders."""
        key = role, number_format, above, left
        if key in self._known:
            return self._known[key]
        attributes: dict[str, Any] = {
            "font": Font(
                name=FONT, size=9, color=_INPUT_BLUE if role in ("input", "parameter") else "000000"
            ),
            "border": Border(_THICK if left else _THIN, _THIN, _THICK if above else _THIN, _THIN),
            "alignment": _MIDDLE,
            "number_format": number_format,
        }
        if _NUMBER_FILLS[role]:
            attributes["fill"] = _solid(str(_NUMBER_FILLS[role]))
        return self._number(key, attributes)

    def _number(self, key: Any, attributes: dict[str, Any]) -> int:
        if key not in self._known:
            cell = Cell(self._sheet, row=1, column=1)
            for name, value in attributes.items():
                setattr(cell, name, value)
            self._known[key] = int(cell.style_id)
        return self._known[key]


_POWERS = "0.0E+00;-0.0E+00;0"  # nothing is 0, not 0.0E+00


def number_format(values: Array) -> str:
    """Two digits that mean something, in a narrow column."""
    finite = np.abs(values[np.isfinite(values)].astype(float))
    largest = float(finite.max()) if finite.size else 0.0
    if largest < 1e5 and bool(np.all(finite == np.round(finite))) and finite.size:
        return "0"
    for limit, text in (
        (1e5, _POWERS),
        (1e3, "0"),
        (1e2, "0.0"),
        (0.05, "0.00"),
        (5e-3, "0.000"),
    ):
        if largest >= limit:
            return text
    return _POWERS


def colour_scale(role: str, values: Array) -> Rule | None:
    """Blue–white–red about 0 for weights and gradients, white to orange for activations."""
    if values.size < 2 or not np.isfinite(values).all() or values.dtype == bool:
        return None
    if role in ("parameter", "gradient", "new", "helper"):
        largest = float(np.abs(values).max()) or 1.0
        stops = [(-largest, "FF8EB4E3"), (0.0, "FFFFFFFF"), (largest, "FFF7A9A8")]
        return _scale([("num", v, c) for v, c in stops])
    if role == "result":
        return _scale([("min", None, "FFFCFCFF"), ("max", None, "FFFBC28F")])
    if role == "input" and values.size > 16 and values.min() >= 0:  # looks like pixels
        return _scale([("min", None, "FFFCFCFF"), ("max", None, "FF8C8C8C")])
    return None


def _scale(stops: list[tuple[str, float | None, str]]) -> Rule:
    # openpyxl's own ColorScaleRule would write a missing value as the text "None".
    points = [FormatObject(type=kind, val=value) for kind, value, _ in stops]
    colors = [Color(rgb=color) for _, _, color in stops]
    return Rule(type="colorScale", colorScale=ColorScale(cfvo=points, color=colors))
