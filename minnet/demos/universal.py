"""Any curve from pairs of sigmoids: a network set by hand, with its picture live.

After Michael Nielsen, "Neural Networks and Deep Learning" (2015), chapter 4: a steep sigmoid is a
step, two steps make a bar, and enough bars come as near to a curve as anybody wants.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from openpyxl.chart import Reference, ScatterChart, Series

from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.ops.base import CellWriter
from minnet.sequential import Sequential
from minnet.spreadsheet import Export
from minnet.spreadsheet.book import CONTENTS, NETWORK, Book, StepSheet
from minnet.spreadsheet.names import column_letters
from minnet.spreadsheet.passes import Pass, trace_prediction
from minnet.spreadsheet.trace import Node
from minnet.spreadsheet.xlsx import Rows, save
from minnet.tensor import Array

BARS, STEEPNESS, POINTS = 10, 300.0, 100
CURVE = "0.4+0.3*SIN(7*{x})+0.15*COS(17*{x})"  # of target(), for a cell
_FIRST = 14  # row of the first bar, and of the first point
_TO, _HEIGHT, _WANTED = 3, 4, 5  # columns of the bars; 1 is their number, 2 where they begin
_X, _TARGET, _GIVEN = 7, 8, 9  # columns of the points
_KNOB = (9, 2)

NOTES = [
    "A neuron with a steep sigmoid is a step: 0 on its left, 1 on its right. Two of them, one "
    "added and one taken away, make a bar. Here twenty hidden neurons make ten bars, and the last "
    "layer adds them up: weights set by hand, nothing is learned.",
    "Type other heights or ends below and watch the picture: the network's weights are made of "
    "them. Make the steepness 20 and the steps turn into waves. Type a formula of your own into "
    "the column 'curve', fill it down, and shape the bars after it.",
    "With more bars the network comes as near as you like: that is why networks with one hidden "
    "layer can compute any continuous function (Cybenko 1989). The idea of this picture is Michael "
    "Nielsen's, 'Neural Networks and Deep Learning', chapter 4.",
]


def target(x: Array) -> Array:
    """A curve that no single neuron comes near to."""
    curve: Array = 0.4 + 0.3 * np.sin(7 * x) + 0.15 * np.cos(17 * x)
    return curve


def between(count: int) -> Array:
    """The middles of so many equal parts of 0 to 1, (count, 1)."""
    return (np.arange(count)[:, None] + 0.5) / count


def heights(bars: int) -> Array:
    """The curve in the middle of each bar, (bars,)."""
    return target(between(bars)[:, 0])


def network(bars: int = BARS, steepness: float = STEEPNESS) -> Sequential:
    """1 → two sigmoids for each bar → 1, set so that its output is the bars' heights.

    Neuron 2i steps up where bar i begins, neuron 2i + 1 where it ends, and is taken away.
    """
    layers = [
        Dense(2 * bars, activation="sigmoid", input_dim=1, name="steps"),
        Dense(1, name="sum"),
    ]
    model = Sequential(layers, name="universal", dtype=np.float64)
    ends = np.repeat(np.arange(bars + 1) / bars, 2)[1:-1]
    up_and_down = np.repeat(heights(bars), 2) * np.tile([1.0, -1.0], bars)
    model.set_weights([np.full((1, 2 * bars), steepness), -steepness * ends,
                       up_and_down[:, None], [0.0]])  # fmt: skip
    return model


def error(model: Sequential, x: Array) -> float:
    """The root mean square difference between the network and the curve."""
    return float(np.sqrt(np.mean((model.predict(x) - target(x)) ** 2)))


def _links(step: Pass) -> dict[Node, CellWriter]:
    """The weights as formulas of the bars that they make."""
    steepness = f"{CONTENTS}!$B${_KNOB[0]}"

    def end(neuron: int) -> str:
        column = _TO if neuron % 2 else _TO - 1
        return f"{CONTENTS}!${column_letters(column)}${_FIRST + neuron // 2}"

    def height(neuron: int) -> str:
        sign = "-" if neuron % 2 else ""
        return f"{sign}{CONTENTS}!${column_letters(_HEIGHT)}${_FIRST + neuron // 2}"

    writers: dict[str, CellWriter] = {
        "steps_weight": lambda k: steepness,
        "steps_bias": lambda k: f"-{steepness}*{end(k)}",
        "sum_weight": height,
    }
    return {p: writers[str(p.name)] for p in step.parameters if p.name in writers}


class _BarsSheet:
    """The first sheet: the bars to change, the points of both curves, and their picture."""

    def __init__(self, book: Book, model: Sequential, x: Array):
        self._book, self._x = book, x
        self._rows = Rows()
        self._sheet = book.sheet(CONTENTS, self._rows)
        self._given = model.predict(x)[:, 0]

    def fill(self, network: StepSheet) -> None:
        """Written when it is known where the network's numbers stand."""
        put, style = self._rows.put, self._book.styles.text
        last = _FIRST + len(self._x) - 1
        put(1, 1, "minnet: networks can compute any function", style=style("heading"))
        for row, note in enumerate(NOTES, 3):
            put(row, 1, note, style=style("wrapped"))
            self._sheet.merge_cells(start_row=row, end_row=row, start_column=1, end_column=20)
            self._rows.heights[row] = 15 * math.ceil(len(note) / 230)
        put(7, 1, "the network", style=style("label"))
        self._book.link(CONTENTS, (7, 2), NETWORK, NETWORK)
        put(_KNOB[0], 1, "steepness", style=style("label"))
        put(*_KNOB, STEEPNESS, style=style("knob"))
        put(11, 1, "difference", style=style("label"))
        wanted = target(self._x[:, 0])
        far = float(np.sqrt(np.mean((self._given - wanted) ** 2)))
        areas = (f"{c}{_FIRST}:{c}{last}" for c in map(column_letters, (_TARGET, _GIVEN)))
        put(11, 2, far, f"SQRT(SUMXMY2({','.join(areas)})/{len(self._x)})", style("reading"))
        put(11, 3, "root mean square, between network and curve", style=style("words"))
        self._bars()
        self._points(network, wanted)
        for column in range(1, _GIVEN + 1):
            self._sheet.column_dimensions[column_letters(column)].width = 11 if column != 6 else 3
        self._chart(last)

    def _bars(self) -> None:
        put, styles = self._rows.put, self._book.styles
        heads = ("bar", "from", "to", "height", "curve there")
        for column, head in enumerate(heads, 1):
            put(_FIRST - 1, column, head, style=styles.text("number column"))
        knob, cell = (styles.block(role, "0.00") for role in ("parameter", "result"))
        for bar, height in enumerate(heights(BARS).tolist()):
            row = _FIRST + bar
            put(row, 1, bar + 1, style=styles.text("integer"))
            if bar == 0:
                put(row, 2, 0.0, style=knob)
            else:
                put(row, 2, bar / BARS, f"C{row - 1}", cell)
            put(row, _TO, (bar + 1) / BARS, style=knob)
            put(row, _HEIGHT, height, style=knob)
            middle = (bar / BARS + (bar + 1) / BARS) / 2
            formula = CURVE.format(x=f"((B{row}+C{row})/2)")
            put(row, _WANTED, float(target(np.array(middle))), formula, cell)

    def _points(self, network: StepSheet, wanted: Array) -> None:
        put, styles = self._rows.put, self._book.styles
        for column, head in ((_X, "x"), (_TARGET, "curve"), (_GIVEN, "network")):
            put(_FIRST - 1, column, head, style=styles.text("number column"))
        (x,), given = network.step.inputs, network.reference(network.step.result)
        cell, points = styles.block("result", "0.000"), network.reference(x)
        for k, number in enumerate(self._x[:, 0].tolist()):
            row = _FIRST + k
            put(row, _X, number, points(k), cell)
            put(row, _TARGET, float(wanted[k]), CURVE.format(x=f"G{row}"), cell)
            put(row, _GIVEN, float(self._given[k]), given(k), cell)

    def _chart(self, last: int) -> None:
        chart = ScatterChart()
        chart.title, chart.style = "the curve, and the network", 13
        chart.height, chart.width = 13, 24
        x = self._reference(_X, last)
        for column, title, color, width in (
            (_TARGET, "curve", "8C8C8C", 28_000), (_GIVEN, "network", "C00000", 22_000)
        ):  # fmt: skip
            series = Series(self._reference(column, last), x, title=title)
            series.marker.symbol, series.smooth = "none", False
            series.graphicalProperties.line.solidFill = color
            series.graphicalProperties.line.width = width
            chart.series.append(series)
        # openpyxl hides both axes unless told otherwise.
        chart.x_axis.delete = chart.y_axis.delete = False
        chart.x_axis.scaling.min, chart.x_axis.scaling.max = 0, 1
        chart.x_axis.title, chart.x_axis.number_format, chart.y_axis.number_format = (
            "x",
            "0.0",
            "0.0",
        )
        chart.x_axis.majorGridlines = None
        chart.legend.position = "b"
        self._sheet.add_chart(chart, f"K{_FIRST - 1}")

    def _reference(self, column: int, last: int) -> Any:
        return Reference(self._sheet, min_col=column, min_row=_FIRST, max_row=last)


def run(output: PathLike = "universal.xlsx") -> Sequential:
    """Print how near ever more bars come to the curve, and write ten bars as a live book."""
    path = workbook_path(output)
    x = between(POINTS)
    print("A curve from bars, two sigmoids each, weights set by hand\n")
    print("bars  hidden neurons  difference from the curve")
    for bars in (1, 2, 5, BARS, 20, 50, 100, 200):
        # Steps must be short beside the bars.
        far = error(network(bars, 400.0 * bars), between(2000))
        print(f"{bars:4}{2 * bars:16}{far:27.4f}")

    model, book = network(), Book()
    bars_sheet = _BarsSheet(book, model, x)
    step = trace_prediction(model, x)
    heading = f"{model.name}: {BARS} bars from {2 * BARS} sigmoids"
    sheet = StepSheet(book, NETWORK, heading, step, _links(step))
    bars_sheet.fill(sheet)
    save(book.workbook, book.rows, path)
    formulas = sum(rows.formulas for rows in book.rows.values())
    print("\nTwice the bars, half the difference: as near as you like. See the picture on sheet")
    print("'contents': change a height, or the steepness, and it follows.")
    print_export(Export(path, formulas, list(book.rows), [step]))
    return model
