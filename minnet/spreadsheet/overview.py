"""The sheets about the passes: ``contents``, and ``training`` where there are several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from openpyxl.chart import LineChart, Reference

from minnet.spreadsheet.answers import CLASS_NAMES
from minnet.spreadsheet.blocks import FILTERS, IMAGES, Block
from minnet.spreadsheet.book import (
    ACCURACY_CELL,
    CONTENTS,
    NETWORK,
    PLAIN,
    RATE_CELL,
    RESULT_CELL,
    Book,
    Look,
    StepSheet,
)
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.trace import Scope
from minnet.spreadsheet.xlsx import Rows
from minnet.tensor import Array

TRAINING = "training"
_NOTHING, _NOTHING_TEXT = 1e-12, "1E-12"  # what is nearer to 0 counts as 0
_GUIDE = (
    "Blue numbers on colour are inputs: data, weights, the learning rate. Change one and watch. "
    "Black numbers are formulas: click one to see where it comes from.",
    "Weights lie one row per neuron, the bias at the row's end. Colours run from blue (negative) "
    "over white to red (positive); activations from white to orange.",
    "Point at a block's name to read what the block is. Click a layer's name to come here and, in "
    "the table below, to go there.",
    "Every tensor has a name (see Formulas › Name Manager): layer_weight, layer_weight_grad, "
    "layer_weight_new, …; minnet reads edited weights back by these names.",
)
_ABOUT_LAYOUT = {
    "strips": "Each sheet reads from left to right: a strip of columns is a layer. From top to "
    "bottom it has bands of rows: FORWARD computes the loss, BACKWARD how much the loss changes "
    "with each number, UPDATE the new weights. A tensor's gradient stands straight below it, its "
    "new value below that.",
    "lesson": "Each sheet reads from top to bottom: the inputs, layer after layer, the loss. To "
    "the right of a block stands its gradient: how much the loss changes with each of its numbers. "
    "Below all of them stand the new weights.",
}
_ABOUT_IMAGES = (
    "Images lie as tiles: a row of tiles for each sample, a tile for each channel. A kernel has a "
    "row of tiles for each filter. “images ∗ kernel” slides it over them: each number is the sum "
    "over the channels of SUMPRODUCT(window, tile of the filter)."
)
_NAME_WIDTH, _WIDEST_NAME = 26, 70  # characters of the column of layers


class ContentsSheet:
    """The first sheet: how to read the book, its layers, its sheets."""

    def __init__(self, book: Book, title: str):
        self._book = book
        self.rows = Rows()
        self._rows_of: dict[int, Scope] = {}  # of the table of layers
        self._sheet = book.sheet(CONTENTS, self.rows)
        self.rows.put(1, 1, title, style=book.styles.text("heading"))
        for column, width in zip("ABCDEFGHIJ", (_NAME_WIDTH, 42, 14, 12, 11, 11, 11, 11, 11, 11)):
            self._sheet.column_dimensions[column].width = width

    def fill(
        self,
        steps: Sequence[StepSheet],
        others: Sequence[tuple[str, str]],
        facts: list[str],
        notes: Sequence[str] = (),
        look: Look = PLAIN,
    ) -> None:
        """Written last, when it is known what there is. ``others``: sheets and what they are.

        ``notes``: the author's own paragraphs, below those that tell how to read the book.
        """
        about_images = (_ABOUT_IMAGES,) if _has_images(steps[0]) else ()
        texts = (_ABOUT_LAYOUT[look.layout], *_GUIDE, *about_images, *notes)
        row = self._paragraphs(3, texts) + 1
        row = self._layers(row, steps[0]) + 1
        row = self._sheets(row, [*((s.title, s.about) for s in steps), *others]) + 1
        row = self._counted(row, facts)
        if look.class_names and steps[0].classifies:
            self._classes(row + 1, look.class_names)
        for row, scope in self._rows_of.items():
            for sheet in steps:
                sheet.page.link_names(scope, f"{CONTENTS}!{a1(row, 1)}")

    def _paragraphs(self, row: int, texts: Sequence[str]) -> int:
        """Texts across the sheet, each a row; gives the next row."""
        for row, text in enumerate(texts, row):  # noqa: B020 - goes on from there
            self.rows.put(row, 1, text, style=self._book.styles.text("wrapped"))
            self._sheet.merge_cells(start_row=row, end_row=row, start_column=1, end_column=9)
            self.rows.heights[row] = 15 if len(text) < 165 else 29
        return row + 1

    def _sheets(self, row: int, sheets: Sequence[tuple[str, str]]) -> int:
        """A table of sheets and what they show; gives the next row."""
        put, style = self.rows.put, self._book.styles.text
        for column, head in enumerate(("sheet", "what it shows"), 1):
            put(row, column, head, style=style("column"))
        for title, text in sheets:
            row += 1
            self._book.link(CONTENTS, (row, 1), title, title)
            put(row, 2, text, style=style("text"))
        return row + 1

    def _counted(self, row: int, facts: Sequence[str]) -> int:
        """How many formulas the book has, and other facts; gives the next row."""
        live = sum(rows.formulas for rows in self._book.rows.values())
        counted = f"{live:,} live formulas, each with its value as minnet computed it in float64."
        for number, fact in enumerate((counted, *facts), row):
            self.rows.put(number, 1, fact, style=self._book.styles.text("note"))
        return row + 1 + len(facts)

    def _classes(self, row: int, names: Sequence[str]) -> None:
        """The names of the classes, from which the sheets take them."""
        put, style = self.rows.put, self._book.styles.text
        put(row, 1, "class", style=style("column"))
        put(row, 2, "number", style=style("column"))
        for number, name in enumerate(names):
            put(row + 1 + number, 1, str(name), style=style("text"))
            put(row + 1 + number, 2, str(number), style=style("text"))
        self._book.name(CLASS_NAMES, CONTENTS, f"$A${row + 1}:$A${row + len(names)}")

    def _layers(self, row: int, network: StepSheet) -> int:
        put, style = self.rows.put, self._book.styles.text
        heads = ("layer", "kind", "output shape", "parameters", "formulas", "mean", "std", "zeros")
        for column, head in enumerate(heads, 1):
            put(row, column, head, style=style("column" if column <= 3 else "number column"))
        strips = network.page.layout.strips
        longest = max(len(strip.scope.name) for strip in strips)
        width = min(_WIDEST_NAME, max(_NAME_WIDTH, longest + 2))
        self._sheet.column_dimensions["A"].width = width
        for strip in strips:
            row += 1
            self._rows_of[row] = strip.scope
            blocks = [b for b in network.plan.blocks.values() if b.slot.scope is strip.scope]
            shown = [b for b in blocks if b.node is b.slot]
            last = shown[-1]
            self._book.link(
                CONTENTS, (row, 1), strip.scope.name, NETWORK, a1(last.row, strip.first)
            )
            values = last.node.value.astype(float)
            put(row, 2, _kind(strip.scope), style=style("text"))
            put(row, 3, " × ".join(map(str, last.node.shape)) or "1 number", style=style("text"))
            parameters = sum(b.node.value.size for b in shown if b.node.kind == "parameter")
            put(row, 4, parameters, style=style("integer"))
            put(row, 5, sum(map(_formulas, blocks)), style=style("integer"))
            if last.node.value.dtype == bool:
                continue  # TRUE and FALSE have no mean to a spreadsheet
            self._statistics(row, values, network.area(last.node))
        return row + 1

    def _statistics(self, row: int, values: Array, area: str) -> None:
        """Mean, standard deviation and share of zeros of an area, live."""
        put, style = self.rows.put, self._book.styles.text
        put(row, 6, float(values.mean()), f"AVERAGE({area})", style("decimal"))
        # Not VARP, of which some programs leave little where the mean is large beside the spread.
        spread = f"SQRT(SUMPRODUCT(({area}-{a1(row, 6)})^2)/{values.size})"
        put(row, 7, float(np.std(values)), spread, style("decimal"))
        # Not =0, which some programs say of numbers that are merely small, and others do not.
        zeros = float((np.abs(values) < _NOTHING).mean())
        count = f"SUMPRODUCT(({area}<{_NOTHING_TEXT})*({area}>-{_NOTHING_TEXT}))/{values.size}"
        put(row, 8, zeros, count, style("percent"))


def _has_images(sheet: StepSheet) -> bool:
    return any(block.lies in (IMAGES, FILTERS) for block in sheet.plan.blocks.values())


def _kind(scope: Scope) -> str:
    return scope.description or scope.name


def _formulas(block: Block) -> int:
    return 0 if block.node.op is None else block.node.value.size


class TrainingSheet:
    """One row per step: its learning rate, loss and accuracy, and the loss as a chart."""

    def __init__(self, book: Book):
        self._book = book
        self.rows = Rows()
        self._sheet = book.sheet(TRAINING, self.rows)

    def fill(self, steps: Sequence[StepSheet]) -> None:
        put, style = self.rows.put, self._book.styles.text
        put(1, 1, "Training, live: each step starts from the weights of the one before",
            style=style("heading"))  # fmt: skip
        put(
            2,
            1,
            f"Change the learning rate on sheet '{NETWORK}': all steps follow.",
            style=style("note"),
        )
        accurate = all(s.accuracy is not None for s in steps)
        heads = ("step", "learning rate", "loss") + (("accuracy",) if accurate else ())
        for column, head in enumerate(heads, 1):
            put(4, column, head, style=style("column" if column == 1 else "number column"))
        for number, step in enumerate(steps, 1):
            row = 4 + number
            self._book.link(TRAINING, (row, 1), str(number), step.title)
            rate, cell = step.rate
            if step.step.step_rate is None:
                cell = step.header(RATE_CELL)
            else:
                cell = step.reference(step.step.step_rate)(0)
            put(row, 2, rate, cell, style("decimal"))
            loss = float(step.step.result.value)
            put(row, 3, loss, step.header(RESULT_CELL), style("decimal"))
            if accurate:
                put(row, 4, step.accuracy, step.header(ACCURACY_CELL), style("percent"))
        for letter in "ABCD":
            self._sheet.column_dimensions[letter].width = 14
        self._chart(len(steps))

    def _chart(self, steps: int) -> None:
        chart = LineChart()
        chart.title = "loss by step"
        chart.height, chart.width = 9, 18
        last = 4 + steps
        losses = Reference(self._sheet, min_col=3, min_row=4, max_row=last)
        chart.add_data(losses, titles_from_data=True)
        chart.set_categories(Reference(self._sheet, min_col=1, min_row=5, max_row=last))
        # openpyxl hides both axes unless told otherwise.
        chart.x_axis.delete = chart.y_axis.delete = False
        chart.x_axis.title, chart.y_axis.title = "step", "loss"
        chart.legend = None
        chart.series[0].smooth = False
        chart.series[0].marker.symbol = "circle" if steps <= 40 else "none"
        self._sheet.add_chart(chart, "F4")
        self._sheet.freeze_panes = "A5"
