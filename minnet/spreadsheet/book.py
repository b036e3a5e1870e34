"""The sheets of a workbook that show passes: ``network``, ``step 2``, ``step 3``, …"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from openpyxl import Workbook
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from minnet.errors import WorkbookError
from minnet.ops.base import CellWriter
from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.labels import LOSS, RATE
from minnet.spreadsheet.layout import FIRST_BAND_ROW
from minnet.spreadsheet.names import a1, quote_sheet
from minnet.spreadsheet.operands import Cells
from minnet.spreadsheet.page import Page, PageRows
from minnet.spreadsheet.passes import Pass
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.style import Styles
from minnet.spreadsheet.trace import UPDATE, Node
from minnet.spreadsheet.xlsx import Rows

NETWORK, CONTENTS = "network", "contents"
HOW_TO_READ = (
    "Blue numbers on colour are inputs: change one and everything else recalculates. "
    "Black numbers are formulas: click one to see how it is made."
)
RATE_CELL, RESULT_CELL, ACCURACY_CELL = (3, 3), (3, 6), (3, 9)
MOST_TERMS_OF_ACCURACY = 60  # its formula has one for each prediction


class Book:
    """A workbook in the making: sheets, their rows, styles and names."""

    def __init__(self) -> None:
        self.workbook = Workbook()
        self.rows: dict[str, Rows] = {}
        self._names: set[tuple[str | None, str]] = set()  # by scope, in lower case
        self._first: Worksheet | None = self.workbook.worksheets[0]
        self.styles = Styles(self.workbook)

    def sheet(self, title: str, rows: Rows) -> Worksheet:
        """A new sheet behind those that exist, without grid lines, one page wide in print."""
        if self._first is not None:
            sheet, self._first = self._first, None
            sheet.title = title
        else:
            sheet = self.workbook.create_sheet(title)
        self.rows[title] = rows
        sheet.sheet_view.showGridLines = False
        sheet.page_setup.orientation = "landscape"
        sheet.page_setup.paperSize = 8  # A3
        sheet.page_setup.fitToHeight = 0
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
        return sheet

    def name(self, name: str, sheet: str, cells: str, local: bool = False) -> None:
        """A defined name for absolute cells, of the whole workbook or of its sheet alone."""
        key = sheet if local else None, name.lower()
        if key in self._names:
            raise WorkbookError(
                f"Two tensors would both be named {name!r} in the workbook. Give one of the layers "
                "or tensors another name."
            )
        text = f"{quote_sheet(sheet)}!{cells}"
        self._names.add(key)
        scope = self.workbook[sheet] if local else self.workbook
        scope.defined_names[name] = DefinedName(name, attr_text=text)

    def bar(self, sheet: str, row: int, last: int, band: str, text: str) -> None:
        """A coloured bar with a text across a sheet, up to column ``last``."""
        for column in range(1, last + 1):
            value = text if column == 1 else None
            self.rows[sheet].put(row, column, value, style=self.styles.text(f"band {band}"))

    def strip(self, sheet: str, row: int, column: int, width: int, text: str) -> None:
        """A title above so many columns, underlined."""
        for k in range(width):
            value = None if k else text
            self.rows[sheet].put(row, column + k, value, style=self.styles.text("strip"))

    def link(self, sheet: str, cell: tuple[int, int], text: str, to: str, at: str = "A1") -> None:
        """A cell that leads to another sheet."""
        row, column = cell
        rows = self.rows[sheet]
        rows.put(row, column, text, style=self.styles.text("link"))
        target = f"{quote_sheet(to)}!{at}"
        rows.hyperlinks.append(Hyperlink(ref=a1(row, column), location=target))


class StepSheet:
    """A pass on a sheet of its own, with the learning rate and the result frozen on top."""

    def __init__(
        self,
        book: Book,
        title: str,
        heading: str,
        step: Pass,
        links: Mapping[Node, CellWriter] | None = None,
    ):
        self.book = book
        self.title = title
        self.step = step
        self.rows = PageRows()
        self.sheet = book.sheet(title, self.rows)
        self.plan = Plan(step.trace)
        self.page = Page(self.sheet, self.rows, book.styles, self.plan, FIRST_BAND_ROW)
        self.formulas = Formulas(self.plan, RATE, links)
        self.page.write(self.formulas, {UPDATE: f"UPDATE   {step.rule}"})
        self.page.set_widths()
        self._accuracy = self._measure_accuracy()
        self._write_header(heading)
        self._name_blocks()
        self.sheet.freeze_panes = "A4"
        self.sheet.sheet_view.zoomScale = 90

    def reference(self, node: Node) -> CellWriter:
        """How another sheet refers to a node's cells."""
        return self.formulas.cells_of(self.plan.blocks[node], f"{quote_sheet(self.title)}!").cell

    def block(self, node: Node) -> Block:
        return self.plan.blocks[node]

    def area(self, node: Node) -> str:
        """A node's cells as another sheet refers to them."""
        return f"{quote_sheet(self.title)}!{self.page.area(self.block(node))}"

    def header(self, cell: tuple[int, int]) -> str:
        """A cell of the header as another sheet refers to it."""
        return f"{quote_sheet(self.title)}!{a1(*cell)}"

    @property
    def is_first(self) -> bool:
        return self.title == NETWORK

    def _write_header(self, heading: str) -> None:
        put, style = self.rows.put, self.book.styles.text
        put(1, 1, heading, style=style("heading"))
        put(2, 1, HOW_TO_READ, style=style("note"))
        if self.step.rate is not None:
            changes = self.is_first and self.step.step_rate is not None
            put(3, 1, "base rate" if changes else "learning rate", style=style("label"))
            if not self.is_first:
                rate, formula = self.rate
                look = "knob" if self.step.step_rate is None else _reading(rate)
                put(*RATE_CELL, rate, formula, style(look))
            else:
                put(*RATE_CELL, self.step.rate, style=style("knob"))
                self.book.name(RATE, self.title, "$C$3")
                self._validate_rate()
        if self.step.result.value.size == 1:
            put(3, 5, self.result_label, style=style("label"))
            value = float(self.step.result.value.reshape(-1)[0])
            own = self.formulas.cells_of(self.block(self.step.result)).cell(0)
            put(*RESULT_CELL, value, own, style(_reading(value)))
        elif self.step.result.name == "softmax":
            self._write_class()
        if self._accuracy is not None:
            put(3, 8, "accuracy", style=style("label"))
            put(*ACCURACY_CELL, *self._accuracy, style("reading"))
        self.book.link(self.title, (3, 11), "← contents", CONTENTS)

    def _write_class(self) -> None:
        """What a classifier says about the first row: the class, counted from 0, and how sure."""
        put, style = self.rows.put, self.book.styles.text
        result = self.step.result
        cells = self.formulas.cells_of(self.block(result))
        row, width = result.value.reshape(-1, result.shape[-1])[0], result.shape[-1]
        put(3, 5, "class", style=style("label"))
        put(*RESULT_CELL, int(row.argmax()), f"{_place_of_largest(cells, 0, width)}-1",
            style("verdict"))  # fmt: skip
        put(3, 8, "how sure", style=style("label"))
        put(*ACCURACY_CELL, float(row.max()), f"MAX({cells.area(np.arange(width))})",
            style("reading"))  # fmt: skip

    @property
    def rate(self) -> tuple[float, str]:
        """The learning rate of this very step, and how its own sheet refers to it."""
        node = self.step.step_rate
        if node is None:
            return float(self.step.rate or 0), RATE
        return float(node.value), self.formulas.cells_of(self.block(node)).cell(0)

    @property
    def result_label(self) -> str:
        return "loss" if self.step.rate is not None else "result"

    @property
    def accuracy(self) -> float | None:
        """The share of rows that are predicted right; None for what is not a classifier."""
        return None if self._accuracy is None else self._accuracy[0]

    @property
    def about(self) -> str:
        """One line for the table of contents."""
        if self.step.rate is None:
            passes = "the function's forward and backward pass"
            return "what the model predicts" if self.step.parameters else passes
        start = "the weights as they are" if self.is_first else "the weights of the step before"
        return f"a training step from {start}"

    def _validate_rate(self) -> None:
        rule = DataValidation(
            type="decimal", operator="greaterThan", formula1="0", showErrorMessage=True,
            errorTitle="learning rate", error="The learning rate is a number above 0.",
        )  # fmt: skip
        rule.add("C3")
        self.sheet.add_data_validation(rule)

    def _name_blocks(self) -> None:
        for node, block in self.plan.blocks.items():
            name = self.page.labels.defined_name(node)
            if name is not None:
                self.book.name(name, self.title, self.page.area(block), local=not self.is_first)

    def _measure_accuracy(self) -> tuple[float, str] | None:
        """The share of right predictions, as the metric ``accuracy`` has it, and its formula."""
        target, found = self.step.target, self._probabilities()
        if target is None or found is None:
            return None
        by_output = found.name == "sigmoid"
        count = found.value.size if by_output else len(found.value)
        if count > MOST_TERMS_OF_ACCURACY:
            return None
        cells, truth = (self.formulas.cells_of(self.block(n)) for n in (found, target))
        if by_output:
            right = (found.value >= 0.5) == (target.value.reshape(found.shape) >= 0.5)
            terms = [_same_answer(cells.cell(k), truth.cell(k)) for k in range(count)]
        else:
            targets = target.value.reshape(count, -1)
            one_hot = targets.shape[1] > 1
            right = found.value.argmax(1) == (targets.argmax(1) if one_hot else targets[:, 0])
            width = found.shape[1]
            wanted = [
                _place_of_largest(truth, i, width) if one_hot else f"{truth.cell(i)}+1"
                for i in range(count)
            ]
            terms = [
                f"IF({_place_of_largest(cells, i, width)}={w},1,0)" for i, w in enumerate(wanted)
            ]
        return float(np.mean(right)), f"({'+'.join(terms)})/{count}"

    def _probabilities(self) -> Node | None:
        """The prediction of a classifier: the loss's softmax or sigmoid."""
        for node in self.plan.blocks:
            in_loss = node.scope.name == LOSS and node.value.ndim == 2
            if in_loss and node.name in ("softmax", "sigmoid"):
                return node
        return None


def _reading(value: float) -> str:
    return "reading" if abs(value) >= 1e-3 or value == 0 else "small reading"


def _same_answer(prediction: str, truth: str) -> str:
    # Not (p>=0.5)=(y>=0.5): not every program compares truth values.
    return f"IF({prediction}>=0.5,IF({truth}>=0.5,1,0),IF({truth}>=0.5,0,1))"


def _place_of_largest(cells: Cells, row: int, width: int) -> str:
    area = cells.area(np.arange(row * width, (row + 1) * width))
    return f"MATCH(MAX({area}),{area},0)"
