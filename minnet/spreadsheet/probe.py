"""A sheet for a layer that is too large to show: what it is like, and one of its numbers, live."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from openpyxl.chart import Reference
from openpyxl.utils.cell import absolute_coordinate

from minnet.layers import Conv2D
from minnet.spreadsheet.activity import BINS, Stage, Statistics
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.layout import COLUMN_WIDTH
from minnet.spreadsheet.mosaic import WIDEST, filter_tiles, grid, mosaic
from minnet.spreadsheet.names import SHARES, a1, column_letters, probe_name
from minnet.spreadsheet.neuron import Neuron
from minnet.spreadsheet.pictures import place_histogram, place_picture
from minnet.spreadsheet.style import number_format
from minnet.spreadsheet.tiles import LEFT
from minnet.spreadsheet.worked_out import WorkedOut
from minnet.spreadsheet.xlsx import Rows
from minnet.tensor import Array

_LABEL_WIDTH, _VALUE_WIDTH = 27, 14
_PIXELS = 53  # of a column, so that pictures know how many they cover
_TOP = 4  # the first bar; below it the histogram, which is as high as the pictures
_PICTURE_HEIGHT = (BINS + 1) * 20  # pixels
_NEURON = _TOP + BINS + 5


@dataclass
class ProbeContents:
    """What is on a probe sheet besides the layer's own numbers.

    ``neuron``: taken apart, with ``inputs``, the row that its layer saw (flat, float64), and
    ``links``, formulas for those positions of it that are calculated on another sheet.
    ``gradients``: by the names of the layer's parameters. ``facts``: lines of text. ``blue_first``:
    the layer sees channels in the order blue, green, red. ``classes``: names of the outputs.
    """

    neuron: Neuron | None = None
    inputs: Array | None = None
    links: Mapping[int, str] = field(default_factory=dict)
    depth: int = 0  # layers before it that are live
    gradients: Mapping[str, Statistics] = field(default_factory=dict)
    facts: Sequence[str] = ()
    blue_first: bool = False
    classes: Sequence[str] = ()


class ProbeSheet:
    """The sheet of one stage; ``worked_out`` is its live part, None where there is none."""

    def __init__(self, book: Book, title: str, stage: Stage, held: ProbeContents):
        self._book, self.title, self.stage, self._held = book, title, stage, held
        self.neuron = held.neuron
        self.rows = Rows()
        self.sheet = book.sheet(title, self.rows)
        self.worked_out: WorkedOut | None = None
        put, style = self.rows.put, book.styles.text
        put(1, 1, heading(stage), style=style("heading"))
        put(2, 1, self._about(), style=style("note"))
        book.link(title, (3, 1), "← contents", CONTENTS)
        self._write_statistics(_TOP + 1)
        self._write_histogram(_TOP + 1)
        last = self._write_pictures(_TOP + 1)
        if held.neuron is not None and held.inputs is not None:
            self.worked_out = WorkedOut(
                book, self.sheet, self.rows, held.neuron, held.inputs, held.links, _NEURON,
                held.depth, held.classes,
            )  # fmt: skip
            last = max(last, self.worked_out.last_column)
            book.bar(title, _NEURON, last, "forward", self.worked_out.heading)
        text = "THE LAYER   numbers as minnet calculated them; the pictures show the first row"
        book.bar(title, _TOP, last, "values", text)
        self._set_widths(last)
        self.sheet.freeze_panes = "A4"
        self.sheet.sheet_view.zoomScale = 90

    def _about(self) -> str:
        size = math.prod(self.stage.shape)
        text = (
            f"{size:,} numbers for each row of data: the layer as a whole, in figures and pictures."
        )
        if self._held.neuron is None:
            return text
        return f"{text} One is worked out below, live: change a blue number and watch."

    def _write_statistics(self, top: int) -> None:
        put, style, found = self.rows.put, self._book.styles.text, self.stage.statistics
        self._book.strip(self.title, top, 1, 2, "all its numbers")
        layer = self.stage.layer
        parameters = 0 if layer is None else sum(p.size for p in layer.parameters.values())
        lines: list[tuple[str, float | str, str]] = [
            ("shape of a row", " × ".join(map(str, self.stage.shape)), "right"),
            ("weights and biases", parameters, "integer"),
            ("smallest", found.least, _digits(found.least)),
            ("largest", found.most, _digits(found.most)),
            ("mean", found.mean, _digits(found.mean)),
            ("standard deviation", found.std, _digits(found.std)),
            ("zeros", found.zeros, "percent"),
        ]
        for name, d in self._held.gradients.items():
            own = f"d {name.removeprefix(f'{self.stage.name}_')}"
            size = max(abs(d.least), abs(d.most))
            lines += [
                (f"{own}: largest size", size, _digits(size)),
                (f"{own}: mean", d.mean, _digits(d.mean)),
                (f"{own}: standard deviation", d.std, _digits(d.std)),
                (f"{own}: zeros", d.zeros, "percent"),
            ]
        for row, (label, value, look) in enumerate(lines, top + 1):
            put(row, 1, label, style=style("text"))
            put(row, 2, value, style=style(look))
        for row, fact in enumerate(self._held.facts, top + len(lines) + 2):
            put(row, 1, fact, style=style("words"))

    def _write_histogram(self, top: int) -> None:
        put, style, found = self.rows.put, self._book.styles, self.stage.statistics
        self._book.strip(self.title, top, LEFT, 4, "histogram")
        for column, head in enumerate(("from", "to", "count", "share"), LEFT):
            put(top + 1, column, head, style=style.text("words"))
        first, last = top + 2, top + 1 + BINS
        ends = (absolute_coordinate(a1(row, LEFT + 2)) for row in (first, last))
        all_of_them, total = ":".join(ends), int(found.counts.sum())
        edge_format = number_format(found.edges)
        edges_look = style.block("helper", edge_format)
        for k, row in enumerate(range(first, last + 1)):
            for column, edge in ((LEFT, found.edges[k]), (LEFT + 1, found.edges[k + 1])):
                put(row, column, float(edge), style=edges_look)
            count = int(found.counts[k])
            put(row, LEFT + 2, count, style=style.block("helper", "#,##0"))
            formula = f"{a1(row, LEFT + 2)}/SUM({all_of_them})"
            put(row, LEFT + 3, count / total, formula, style.block("result", "0.0%"))
        ends = (absolute_coordinate(a1(row, LEFT + 3)) for row in (first, last))
        self._book.name(probe_name(self.stage.name, SHARES), self.title, ":".join(ends))
        shares = Reference(self.sheet, min_col=LEFT + 3, min_row=first, max_row=last)
        edges = Reference(self.sheet, min_col=LEFT, min_row=first, max_row=last)
        place_histogram(self.sheet, a1(top + 1, LEFT + 5), shares, edges, edge_format)

    def _write_pictures(self, top: int) -> int:
        """All channels, and filters of three channels in colour; gives the last column."""
        row, column = self.stage.row, LEFT + 17
        images = row if row.ndim == 3 else grid(row.reshape(-1))
        what = "all channels" if row.ndim == 3 else "all numbers in turn"
        ends = "; blue is below 0" if images.min() < 0 else ""
        column = self._place(
            mosaic(images), top, column, f"{what}: white is 0, the darker the larger{ends}"
        )
        layer = self.stage.layer
        if isinstance(layer, Conv2D) and layer.parameters["weight"].shape[2] == 3:
            kernel = layer.parameters["weight"].data.astype(np.float64)
            tiles = filter_tiles(kernel, self._held.blue_first)
            order = "blue, green, red" if self._held.blue_first else "red, green, blue"
            text = f"its filters in colour: channels are {order}; grey is 0"
            column = self._place(tiles, top, column, text)
        return column - 2

    def _place(self, png: bytes, top: int, column: int, text: str) -> int:
        """A picture under its title; gives the column of the next one."""
        width, _ = place_picture(self.sheet, png, top + 1, column, _PICTURE_HEIGHT, WIDEST)
        taken = max(9, math.ceil(width / _PIXELS))
        self._book.strip(self.title, top, column, taken, text)
        return column + taken + 1

    def _set_widths(self, last: int) -> None:
        widths = dict.fromkeys(range(1, last + 1), COLUMN_WIDTH)
        widths |= {1: _LABEL_WIDTH, 2: _VALUE_WIDTH, 3: 3}
        for column, width in widths.items():
            self.sheet.column_dimensions[column_letters(column)].width = width


def _digits(value: float) -> str:
    """The style that shows some four digits of a number."""
    return "decimal" if value == 0 or 1e-2 <= abs(value) < 1e6 else "scientific"


def heading(stage: Stage) -> str:
    """A layer's name and what it does."""
    return stage.name if stage.layer is None else f"{stage.name} · {stage.layer.describe()}"
