"""Training as a ledger: a row of cells is a step, a column is a number that every step has.

For models with one weight and one bias: all tensors of a step are single numbers. The formulas are
those of the engine's operations, as on any other sheet; only their cells lie differently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from openpyxl.utils.cell import absolute_coordinate

from minnet.errors import WorkbookError, mismatch
from minnet.ops.base import CellWriter
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.explanations import sentence
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.names import a1, column_letters
from minnet.spreadsheet.operands import Cells
from minnet.spreadsheet.passes import Pass
from minnet.spreadsheet.steps import Key, Step, memory, take
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node
from minnet.spreadsheet.xlsx import Rows
from minnet.tensor import Array

FIRST_ROW = 8  # of the steps
RATE_AT = (4, 2)
_BAND_ROW, _NAME_ROW, _WORDS_ROW = 5, 6, 7
_BANDS = {
    FORWARD: "FORWARD  →   the prediction and its loss",
    BACKWARD: "BACKWARD  ←   d = how much the loss changes with it",
    UPDATE: "UPDATE   new = for the next row",
}
_HOW_TO_READ = (
    "A row is a step. Blue numbers may be changed: the learning rate, x, target, the first row's "
    "weights. All other numbers are formulas."
)


class Extra(NamedTuple):
    """A column of the caller's own, at the end of the backward band."""

    title: str
    words: str
    #: From the row's numbers by their columns' titles, and from their cells.
    value: Callable[[Mapping[str, float]], float]
    formula: Callable[[Mapping[str, str]], str]


class Ledger:
    """A sheet on which a compiled float64 model takes one step a row; the model takes them too.

    ``x``, ``y``: (n, 1) each, an epoch; step k reads row k mod n.

    Raises :class:`~minnet.errors.WorkbookError` for a model with tensors of more than one number.
    """

    def __init__(
        self,
        book: Book,
        title: str,
        heading: str,
        model: Any,
        x: Array,
        y: Array,
        epochs: int,
        extras: Sequence[Extra] = (),
    ):
        self.title = title
        self.rows = Rows()
        self._book, self._extras, self._size = book, extras, len(x)
        self._sheet = book.sheet(title, self.rows)
        self._steps = [self._take(model, x, y, k) for k in range(epochs * len(x))]
        self._columns = self._find_columns()
        self._digits = {key: self._number_format(key) for key in self._columns}
        self._write_head(heading, self._steps[0].step)
        self._name_columns()
        for number in range(len(self._steps)):
            self._write_step(number)

    def column(self, title: str) -> str:
        """The letters of the column with this title."""
        found = [c for key, c in self._columns.items() if key[-1] == title]
        return column_letters(found[0])

    def area(self, title: str, epoch: int) -> str:
        """The cells of a column in an epoch, counted from 0."""
        letters, first = self.column(title), FIRST_ROW + epoch * self._size
        return f"${letters}${first}:${letters}${first + self._size - 1}"

    def losses(self, epoch: int) -> list[float]:
        """The losses of an epoch's steps."""
        steps = self._steps[epoch * self._size : (epoch + 1) * self._size]
        return [float(s.step.result.value) for s in steps]

    def _take(self, model: Any, x: Array, y: Array, number: int) -> Step:
        row = number % self._size
        taken = take(model, x[row : row + 1], y[row : row + 1])
        for (_, _, title), block in taken.blocks.items():
            if block.node.value.size != 1:
                where = f"a ledger of {model.name!r}, {title}"
                raise WorkbookError(mismatch(where, "one number", f"shape {block.node.shape}"))
        return taken

    def _find_columns(self) -> dict[Key, int]:
        """A column for all that some step has: steps after the first may remember more."""
        keys = list(dict.fromkeys(key for step in self._steps for key in step.blocks))
        extras = [(BACKWARD, "", extra.title) for extra in self._extras]
        ordered = [key for band in _BANDS for key in (*keys, *extras) if key[0] == band]
        return {key: column for column, key in enumerate(ordered, 1)}

    def _number_format(self, key: Key) -> str:
        """Of a column: the same for all its rows."""
        found = [s.blocks[key].node.value for s in self._steps if key in s.blocks]
        largest = max([float(abs(value).max()) for value in found] or [1.0])
        return "0.0000" if largest >= 0.01 or largest == 0 else "0.0E+00"

    def _write_head(self, heading: str, step: Pass) -> None:
        put, style = self.rows.put, self._book.styles.text
        put(1, 1, heading, style=style("heading"))
        put(2, 1, _HOW_TO_READ, style=style("note"))
        put(3, 1, step.rule, style=style("note"))
        put(4, 1, "learning rate", style=style("label"))
        put(*RATE_AT, step.rate, style=style("knob"))
        self._book.validate_rate(self.title, a1(*RATE_AT))
        self._book.link(self.title, (4, 4), "← contents", CONTENTS)
        words: dict[Key, str] = {}
        for taken in self._steps:
            words = {k: taken.labels.words(b.node) for k, b in taken.blocks.items()} | words
        words |= {(BACKWARD, "", extra.title): extra.words for extra in self._extras}
        seen: set[str] = set()
        for key, column in self._columns.items():
            text = None if key[0] in seen else _BANDS[key[0]]
            seen.add(key[0])
            put(_BAND_ROW, column, text, style=style(f"band {key[0]}"))
            put(_NAME_ROW, column, key[-1], style=style("label"))
            put(_WORDS_ROW, column, words[key], style=style("words"))
            width = max(10, min(30, 0.85 * len(words[key])))
            self._sheet.column_dimensions[column_letters(column)].width = width
        self._sheet.freeze_panes = a1(FIRST_ROW, 1)

    def _name_columns(self) -> None:
        """Names for all steps of a tensor, by which books are compared, and notes that explain."""
        for key, column in self._columns.items():
            having = [number for number, step in enumerate(self._steps) if key in step.blocks]
            if not having:
                continue  # the caller's own
            taken, letters = self._steps[having[0]], column_letters(column)
            block, first, last = taken.blocks[key], having[0], having[-1]
            self.rows.comment(_NAME_ROW, column, sentence(taken.labels, block))
            name = taken.labels.defined_name(block.node)
            if name is not None and last - first + 1 == len(having):  # an area without gaps
                cells = f"${letters}${FIRST_ROW + first}:${letters}${FIRST_ROW + last}"
                self._book.name(name, self.title, cells, local=True)

    def _write_step(self, number: int) -> None:
        taken, row = self._steps[number], FIRST_ROW + number
        for key, block in taken.blocks.items():
            block.row, block.column = row, self._columns[key]
        rate = absolute_coordinate(a1(*RATE_AT))
        formulas = Formulas(taken.plan, rate, self._links(number))
        values: dict[str, float] = {}
        cells: dict[str, str] = {}
        for key, block in taken.blocks.items():
            value = float(block.node.value.reshape(-1)[0])
            write = formulas.writer(block)
            values[key[-1]], cells[key[-1]] = value, a1(row, block.column)
            role = "input" if write is None else "gradient" if key[0] == BACKWARD else "result"
            # An epoch begins below a thick line.
            digits = "0" if block.node.op is None and value.is_integer() else self._digits[key]
            style = self._book.styles.block(role, digits, above=self._begins(number))
            self.rows.put(row, block.column, value, None if write is None else write(0), style)
        for extra in self._extras:
            column = self._columns[BACKWARD, "", extra.title]
            style = self._book.styles.block("helper", "0.0000", above=self._begins(number))
            self.rows.put(row, column, extra.value(values), extra.formula(cells), style)

    def _begins(self, number: int) -> bool:
        return number % self._size == 0 and number > 0

    def _links(self, number: int) -> dict[Node, CellWriter]:
        """Weights and memory come from the row above, data from the first epoch's rows."""
        if number == 0:
            return {}
        taken = self._steps[number]
        links = memory(taken, self._steps[:number], _cell_of)
        same = self._steps[number % self._size]
        if same is not taken:
            for node, source in zip(taken.step.inputs, same.step.inputs):
                links[node] = _cell_of(same, source)
        first = next(b for k, b in self._steps[0].blocks.items() if b.node.kind == "seed")
        seed = next(b.node for b in taken.blocks.values() if b.node.kind == "seed")
        links[seed] = Cells(first.local_addresses() + first.origin).cell
        return links


def _cell_of(taken: Step, node: Node) -> CellWriter:
    block = taken.plan.blocks[node]
    return Cells(block.local_addresses() + block.origin).cell
