"""One neuron of a probe sheet, live: tiles, their sum, what follows, and what minnet says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from openpyxl.utils.cell import absolute_coordinate
from openpyxl.worksheet.worksheet import Worksheet

from minnet.spreadsheet.book import Book
from minnet.spreadsheet.names import a1, probe_name
from minnet.spreadsheet.neuron import AVERAGE, SUM, Neuron
from minnet.spreadsheet.style import number_format
from minnet.spreadsheet.tiles import LEFT, Tiles
from minnet.spreadsheet.xlsx import Rows
from minnet.tensor import Array

#: What the engine's rounding may make of a sum, relative to the sizes of all that is added, or to
#: the layer's largest number if that is larger; for each layer that is live.
ROUNDING = {"float32": 1e-5, "float64": 1e-12}
_SUMS = {SUM: "sum of the products", AVERAGE: "mean of the window"}


class WorkedOut:
    """A neuron from row ``top`` of a sheet down; the bar in that row is the caller's.

    ``value`` is what its formulas give, ``cell`` where; ``verdict`` compares it with what minnet
    says, and is empty where that cannot be. ``depth``: how many layers before it are
    live too, on another sheet.
    """

    def __init__(
        self,
        book: Book,
        sheet: Worksheet,
        rows: Rows,
        neuron: Neuron,
        inputs: Array,
        links: Mapping[int, str],
        top: int,
        depth: int,
        classes: Sequence[str],
    ):
        self._book, self._title, self._rows = book, sheet.title, rows
        self._neuron, self._classes, self.inputs = neuron, classes, inputs
        self.verdict = ""
        self._row = top + 2
        self._softmax = 0.0, ""
        weighted = neuron.function == SUM
        text = "what it sees × its weights = product" if weighted else "what it sees"
        book.strip(sheet.title, top + 1, 1, 2, "the neuron")
        self.tiles = Tiles(neuron, inputs, dict(links), sheet, rows, book.styles, top + 2)
        self.last_column = max(self.tiles.last_column, LEFT + 12)
        book.strip(sheet.title, top + 1, LEFT, self.last_column - LEFT + 1, text)
        for axis, place in neuron.where:
            self._line(axis, place, look="integer")
        self.value, self.cell = self._write_sum(inputs)
        if neuron.scores is not None:
            self.value, self.cell = self._write_softmax(neuron.scores)
        self._compare(inputs, depth)
        book.name(probe_name(neuron.stage.name), sheet.title, absolute_coordinate(self.cell))

    @property
    def heading(self) -> str:
        """For the bar above it."""
        place = ", ".join(f"{axis} {at}" for axis, at in self._neuron.where)
        return f"ONE NEURON, LIVE   {place} (counted from 0), in the first row of the data"

    def _line(
        self, label: str, value: float | str, formula: str | None = None, look: str = "precise"
    ) -> str:
        """A line of the summary; gives its cell."""
        style = self._book.styles.text
        self._rows.put(self._row, 1, label, style=style("text"))
        self._rows.put(self._row, 2, value, formula, style(look))
        self._row += 1
        return a1(self._row - 1, 2)

    def _write_sum(self, inputs: Array) -> tuple[float, str]:
        """Up to the activation: the value and its cell."""
        neuron = self._neuron
        terms = neuron.terms(inputs)
        if neuron.function != SUM:
            label = _SUMS.get(neuron.function, "largest of the window")
            return terms[0], self._line(label, terms[0], f"{neuron.function}({self.tiles.window})")
        value = math.fsum(terms)
        cell = self._line(_SUMS[SUM], value, f"SUM({','.join(self.tiles.products)})")
        if neuron.bias is not None:
            bias = self._line("bias", neuron.bias, look="knob precise")
            value += neuron.bias
            cell = self._line("z = sum + bias", value, f"{cell}+{bias}")
        name, op = neuron.activation
        if op is not None:
            value = float(np.asarray(op.value(np.array([value])))[0])
            cell = self._line(f"{name}(z)", value, op.formula(cell))
        return value, cell

    def _write_softmax(self, scores: Array) -> tuple[float, str]:
        """The competitors' scores below the tiles, and the neuron's share of all."""
        unit = self._neuron.place[-1]
        own = a1(self._row - 1, 2)
        scores = scores.copy()
        scores[unit] = float(self._rows.row(self._row - 1)[-1].value or 0.0)
        top = self.tiles.last_row + 3
        first, last = top + 2, top + 1 + len(scores)
        z, e = (f"{a1(first, LEFT + k)}:{a1(last, LEFT + k)}" for k in (1, 2))
        largest, powers = float(scores.max()), np.exp(scores - scores.max())
        most = self._line("largest score of all units", largest, f"MAX({z})")
        total = self._line("sum of e^(score − largest)", float(powers.sum()), f"SUM({e})")
        text = (
            f"the scores of all units, and the shares that softmax makes of them; only unit {unit} "
            "is live, the others' scores are numbers that do not follow"
        )
        self._book.strip(self._title, top, LEFT, self.last_column - LEFT + 1, text)
        put, style = self._rows.put, self._book.styles
        heads = ("unit", "score z", "e^(z−max)", "share", *(["name"] if self._classes else []))
        for k, head in enumerate(heads):
            put(top + 1, LEFT + k, head, style=style.text("words"))
        fixed, whole = absolute_coordinate(most), absolute_coordinate(total)
        other = style.block("input", number_format(scores))
        mine, result = style.block("loss", number_format(scores)), style.block("result", "0.0E+00")
        share = style.block("result", "0.00%")
        for k, score in enumerate(scores.tolist()):
            row = first + k
            at = a1(row, LEFT + 1)
            put(row, LEFT, k, style=style.block("helper", "0"))
            put(row, LEFT + 1, score, own if k == unit else None, mine if k == unit else other)
            put(row, LEFT + 2, float(powers[k]), f"EXP({at}-{fixed})", result)
            part = float(powers[k] / powers.sum())
            put(row, LEFT + 3, part, f"{a1(row, LEFT + 2)}/{whole}", share)
            if k < len(self._classes):
                put(row, LEFT + 4, self._classes[k], style=style.text("text"))
        value = float(powers[unit] / powers.sum())
        return value, self._line("softmax: its share", value, a1(first + unit, LEFT + 3))

    def _compare(self, inputs: Array, depth: int) -> None:
        neuron, name = self._neuron, self._neuron.activation[0]
        if name not in ("linear", "softmax") and neuron.activation[1] is None:
            self._line(f"{name}(z)", "not worked out here", look="words")
            return
        says = self._line("minnet says", neuron.says, look="precise")
        size = max(neuron.size(inputs), abs(neuron.stage.statistics.most)) or 1.0
        scale = self._line("size to compare with", size, look="decimal")
        # Relative: the last digits of a small difference of large numbers are noise.
        far = (self.value - neuron.says) / size
        formula = f"({self.cell}-{says})/{scale}"
        difference = self._line("difference, relative", far, formula, "tiny")
        bound = ROUNDING[str(neuron.stage.row.dtype)] * (1 + depth)
        limit = self._line("rounding may be up to", bound, look="tiny")
        within, beyond = "within rounding", "a number was changed"
        self.verdict = within if abs(far) <= bound else beyond
        self._line(
            "verdict",
            self.verdict,
            f'IF(ABS({difference})<={limit},"{within}","{beyond}")',
            "verdict",
        )
