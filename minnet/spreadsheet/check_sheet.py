"""The ``check`` sheet: nudge one weight, and see backprop's number come out of two losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from openpyxl.worksheet.datavalidation import DataValidation

from minnet.ops.base import CellWriter
from minnet.spreadsheet.book import Book, StepSheet
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.labels import RATE
from minnet.spreadsheet.names import a1, column_letters
from minnet.spreadsheet.page import Page, PageRows
from minnet.spreadsheet.passes import Pass
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import FORWARD, Node

CHECK = "check"
# The error of a central difference is about epsilon²; rounding adds 1e-16 / epsilon. Smaller values
# would show more equal digits, but the last ones would be noise that no two programs agree on.
EPSILON = 1e-3
AGREE = 1e-4  # relative: how near the two numbers come when backprop is right
# The table of weight blocks: a column each for name, rows, columns and the chosen gradient.
_NAME, _ROWS, _COLUMNS, _GRADIENT = 9, 12, 14, 16
_NAME_CHARACTERS = 20  # of a block's name that can be seen
_NOWHERE = "–"  # what a block says of a place that it does not have
_KNOBS = {"weight": "$D$4", "row": "$D$5", "column": "$D$6", "epsilon": "$D$7"}


class _Weights(NamedTuple):
    """A block of weights that can be nudged: its defined name, its node, its gradient's node."""

    name: str
    node: Node
    gradient: Node


def _leaves(step: Pass) -> list[Node]:
    """What a forward pass starts from, in an order of its own."""
    return [*step.inputs, *step.masks, *sorted(step.parameters, key=lambda n: str(n.name))]


class CheckSheet:
    """Two forward passes with one weight moved up and down, and what their losses say."""

    def __init__(
        self,
        book: Book,
        network: StepSheet,
        nudged: Callable[[str, tuple[int, ...], float], Pass],
    ):
        """``nudged(parameter name, index, shift)`` runs the forward pass with one weight moved."""
        self._book, self._network = book, network
        self._weights = [
            _Weights(str(network.page.labels.defined_name(node)), node, node.gradient)
            for node in network.step.parameters
            if node.gradient is not None
        ]
        self.rows = PageRows()
        self._sheet = book.sheet(CHECK, self.rows)
        # Begin with the weight that the loss feels most.
        self._chosen = max(self._weights, key=lambda w: float(np.abs(w.gradient.value).max()))
        position = int(np.abs(self._chosen.gradient.value).argmax())
        self._place = network.block(self._chosen.node).places()[position].tolist()
        self._backprop = float(self._chosen.gradient.value.reshape(-1)[position])
        index = tuple(int(i) for i in np.unravel_index(position, self._chosen.node.shape))
        first_row = max(15, 6 + len(self._weights)) + 1
        self._results: list[tuple[float, str]] = []
        for sign, word in ((1, "plus"), (-1, "minus")):
            step = nudged(str(self._chosen.node.name), index, sign * EPSILON)
            first_row = self._write_pass(step, first_row, sign, word)
        self._write_knobs()
        self._write_table()

    def _write_pass(self, step: Pass, first_row: int, sign: int, word: str) -> int:
        plan = Plan(step.trace, forward_only=True)
        page = Page(self._sheet, self.rows, self._book.styles, plan, first_row)
        links = {
            node: self._link(own, sign)
            for node, own in zip(_leaves(step), _leaves(self._network.step), strict=True)
            if node in plan.blocks
        }
        formulas = Formulas(plan, RATE, links)
        page.write(formulas, {FORWARD: f"FORWARD with the chosen weight {word} epsilon"})
        cell = formulas.cells_of(plan.blocks[step.result]).cell(0)
        self._results.append((float(step.result.value), cell))
        return page.layout.last_row + 3

    def _link(self, source: Node, sign: int) -> CellWriter:
        """The network's number, moved by epsilon if it is the chosen one."""
        reference = self._network.reference(source)
        name = next((w.name for w in self._weights if w.node is source), None)
        if name is None:
            return reference
        block = self._network.block(source)
        places = (block.places() + 1).tolist()
        operator = "+" if sign > 0 else "-"

        def write(k: int) -> str:
            row, column = places[k]
            at = f"{_KNOBS['row']}={row},{_KNOBS['column']}={column}"
            chosen = f'AND({_KNOBS["weight"]}="{name}",{at})'
            return f"{reference(k)}{operator}IF({chosen},{_KNOBS['epsilon']},0)"

        return write

    def _write_knobs(self) -> None:
        put, style = self.rows.put, self._book.styles.text
        put(1, 1, "Is backprop right? Nudge a weight and see.", style=style("heading"))
        put(
            2, 1,
            "Choose a weight block, a row and a column of it. The two passes below run with that "
            "weight a little larger and a little smaller.",
            style=style("note"),
        )  # fmt: skip
        row, column = self._place
        knobs: tuple[tuple[str, str | float], ...] = (
            ("weight block", self._chosen.name),
            ("row", row + 1),
            ("column", column + 1),
            ("epsilon", EPSILON),
        )
        for r, (label, value) in enumerate(knobs, 4):
            put(r, 1, label, style=style("label"))
            put(r, 4, value, style=style("knob"))
        (up, up_cell), (down, down_cell) = self._results
        slope = (up - down) / (2 * EPSILON)
        names, gradients = self._column(_NAME), self._column(_GRADIENT)
        # A single block needs no looking up; of a one-cell range not every program can do it.
        chosen = f"INDEX({gradients},MATCH($D$4,{names},0))" if ":" in gradients else gradients
        readings: tuple[tuple[str, float | str, str], ...] = (
            ("loss, weight + epsilon", up, up_cell),
            ("loss, weight − epsilon", down, down_cell),
            ("(difference) / (2 × epsilon)", slope, "(D9-D10)/(2*$D$7)"),
            ("backprop's gradient", self._backprop, chosen),
            ("verdict", *self._verdict(slope)),
        )
        for r, (label, reading, formula) in enumerate(readings, 9):
            put(r, 1, label, style=style("label"))
            put(r, 4, reading, formula, style("verdict" if label == "verdict" else "precise"))
        choices = DataValidation(type="list", formula1=names, allow_blank=False)
        choices.add("D4")
        self._sheet.add_data_validation(choices)
        self._sheet.column_dimensions["D"].width = 22
        self._sheet.freeze_panes = "A4"

    def _verdict(self, slope: float) -> tuple[str, str]:
        """Whether the finite difference in D11 and backprop's number in D12 agree."""
        largest = f"MAX(ABS(D11),ABS(D12),{AGREE})"
        agree = f'IF(ABS(D11-D12)<={AGREE}*{largest},"they agree","they differ")'
        near = abs(slope - self._backprop) <= AGREE * max(abs(slope), abs(self._backprop), AGREE)
        verdict = "they agree" if near else "they differ"
        return verdict, f'IF(D12="{_NOWHERE}","{_NOWHERE}",{agree})'

    def _write_table(self) -> None:
        """For each block of weights its size, and the gradient at the chosen row and column."""
        put, style = self.rows.put, self._book.styles.text
        heads = {_NAME: "weight blocks", _ROWS: "rows", _COLUMNS: "columns"}
        heads[_GRADIENT] = "gradient at the chosen place"
        for column in range(_NAME, _GRADIENT + 4):
            put(4, column, heads.get(column), style=style("column"))
        row, column = self._place
        for r, (name, _, gradient) in enumerate(self._weights, 5):
            lying = self._network.block(gradient)
            inside = row < lying.height and column < lying.width
            flat = gradient.value.reshape(-1)
            value = float(flat[lying.order[row, column]]) if inside else _NOWHERE
            put(r, _NAME, name, style=style("text"))
            if len(name) > _NAME_CHARACTERS:
                self.rows.comment(r, _NAME, name)
            put(r, _ROWS, lying.height, style=style("integer"))
            put(r, _COLUMNS, lying.width, style=style("integer"))
            area = self._network.area(gradient)
            # INDEX wants a range: a single cell is not one to every spreadsheet program.
            chosen = f"INDEX({area},$D$5,$D$6)" if ":" in area else area
            inside_it = f"AND($D$5<={a1(r, _ROWS)},$D$6<={a1(r, _COLUMNS)})"
            formula = f'IF({inside_it},{chosen},"{_NOWHERE}")'
            put(r, _GRADIENT, value, formula, style("decimal"))

    def _column(self, column: int) -> str:
        """A column of the table as an absolute range."""
        letters = column_letters(column)
        cells = (f"${letters}$5", f"${letters}${4 + len(self._weights)}")
        return ":".join(dict.fromkeys(cells))
