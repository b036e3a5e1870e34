"""Tiles of a neuron on a sheet: what it sees, the weights, and the product of both, many times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from openpyxl.worksheet.cell_range import MultiCellRange
from openpyxl.worksheet.worksheet import Worksheet

from minnet.spreadsheet.names import a1
from minnet.spreadsheet.neuron import NOWHERE, SUM, Group, Neuron
from minnet.spreadsheet.style import Styles, colour_scale, number_format
from minnet.spreadsheet.xlsx import Rows
from minnet.tensor import Array

LEFT = 4  # the first column of tiles
_ACROSS = 44  # columns that tiles side by side may take
_MOST_ACROSS = 8


class At(NamedTuple):
    row: int
    column: int


class Tiles:
    """The groups of a neuron from a row of a sheet down; ``last_row`` and ``last_column`` are
    where they end.

    ``inputs``: cells of the inputs by their positions; ``weights``: those of the weights, in the
    order of the groups; ``products``: ranges that hold one number for each group and else no
    numbers.
    """

    def __init__(
        self,
        neuron: Neuron,
        values: Array,
        links: dict[int, str],
        sheet: Worksheet,
        rows: Rows,
        styles: Styles,
        top: int,
    ):
        """``values``: the layer's input row, flat; ``links``: formulas for some positions of it."""
        self._neuron, self._values, self._links = neuron, values, links
        self.groups = neuron.groups
        self._sheet, self._rows, self._styles = sheet, rows, styles
        self.inputs: dict[int, At] = {}
        self.weights: list[At] = []
        self._columns: dict[int, list[int]] = {}  # rows of the products, by column
        self._areas: dict[str, list[str]] = {"result": [], "parameter": []}
        height, width = neuron.groups[0].sources.shape
        weighted = neuron.function == SUM
        self._wide = 2 * width + 4 if weighted else width + 1
        across = max(1, min(_MOST_ACROSS, _ACROSS // self._wide, len(neuron.groups)))
        self._terms = neuron.terms(values) if weighted else []
        self._formats = {
            "result": number_format(values[[p for g in neuron.groups for p in _real(g)]]),
            "product": "0.0000" if max(map(abs, self._terms), default=1) >= 0.05 else "0.0E+00",
        }
        if weighted:
            weights = [w for g in neuron.groups for w in _real_weights(g)]
            self._formats["parameter"] = number_format(_array(weights))
        for k, group in enumerate(neuron.groups):
            down, right = divmod(k, across)
            self._write(group, k, At(top + down * (height + 1), LEFT + right * self._wide))
        self.last_row = top + -(-len(neuron.groups) // across) * (height + 1) - 1
        self.last_column = LEFT + across * self._wide - 2
        self._colour(values)

    @property
    def products(self) -> list[str]:
        """The ranges of the products: one for each column of groups."""
        found = []
        for column, rows in self._columns.items():
            ends = dict.fromkeys((a1(rows[0], column), a1(rows[-1], column)))
            found.append(":".join(ends))
        return found

    @property
    def window(self) -> str:
        """The range of the window, where there is one group alone."""
        return self._areas["result"][0]

    def _write(self, group: Group, number: int, at: At) -> None:
        put, text = self._rows.put, self._styles.text
        put(*at, group.title, style=text("words"))
        first, (height, width) = at.row + 1, group.sources.shape
        cells = [
            (i, j, int(group.sources[i, j]))
            for i in range(height)
            for j in range(width)
            if group.sources[i, j] != NOWHERE
        ]
        for i, j, position in cells:
            self._write_input(At(first + i, at.column + j), position)
        height = 1 + max(i for i, _, _ in cells)  # the last tile may have fewer rows
        left = self._area(first, at.column, height, width)
        self._areas["result"].append(left)
        if group.weights is None:
            return
        column = at.column + width + 1
        look = self._styles.block("parameter", self._formats["parameter"])
        for i, j, _ in cells:
            put(first + i, column + j, float(group.weights[i, j]), style=look)
            self.weights.append(At(first + i, column + j))
        right = self._area(first, column, height, width)
        self._areas["parameter"].append(right)
        middle, end = first + (height - 1) // 2, column + width
        for sign, where in (("×", column - 1), ("=", end)):
            put(middle, where, sign, style=text("sign"))
        one = left == right.replace(a1(first, column), a1(first, at.column)) and ":" not in left
        formula = f"{left}*{right}" if one else f"SUMPRODUCT({left},{right})"
        product = self._styles.block("loss", self._formats["product"])
        put(middle, end + 1, self._terms[number], formula, product)
        self._columns.setdefault(end + 1, []).append(middle)

    def _write_input(self, at: At, position: int) -> None:
        if position < 0:
            self._rows.put(*at, 0.0, style=self._styles.block("helper", "0"))
            return
        link = self._links.get(position)
        look = self._styles.block("input" if link is None else "result", self._formats["result"])
        self._rows.put(*at, float(self._values[position]), link, look)
        self.inputs[position] = at

    @staticmethod
    def _area(row: int, column: int, height: int, width: int) -> str:
        corners = a1(row, column), a1(row + height - 1, column + width - 1)
        return ":".join(dict.fromkeys(corners))

    def _colour(self, values: Array) -> None:
        """One scale of colours for all windows, one for all weights."""
        seen = values[list(self.inputs)] if self.inputs else values[:0]
        weights = _array([w for g in self._neuron.groups for w in _real_weights(g)])
        for role, numbers in (("result", seen), ("parameter", weights)):
            signed = "helper" if numbers.size and numbers.min() < 0 else role
            rule = colour_scale(signed, numbers)
            if rule is not None and self._areas[role]:
                areas = MultiCellRange(" ".join(self._areas[role]))
                self._sheet.conditional_formatting.add(str(areas), rule)


def _real(group: Group) -> list[int]:
    return [int(p) for p in group.sources.reshape(-1) if p >= 0]


def _real_weights(group: Group) -> list[float]:
    if group.weights is None:
        return []
    return [float(w) for w in group.weights[group.sources != NOWHERE]]


def _array(numbers: list[float]) -> Array:
    return np.array(numbers, np.float64)
