"""The sheets of a workbook that show passes: ``network``, ``step 2``, ``step 3``, …"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openpyxl import Workbook
from openpyxl.utils.cell import absolute_coordinate
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

from minnet.errors import WorkbookError
from minnet.ops.base import CellWriter
from minnet.spreadsheet.answers import Answers, Reading, answers_of
from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.draws import Draws
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.input_pictures import InputPictures
from minnet.spreadsheet.labels import RATE
from minnet.spreadsheet.layout import FIRST_BAND_ROW
from minnet.spreadsheet.names import a1, column_letters, folded, quote_sheet, table_name
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
#: Columns of "class" and "how sure" with their values: where the loss would be, or after it all.
CLASS_COLUMNS, LATER_CLASS_COLUMNS = (5, 6, 8, 9), (13, 15, 17, 18)
MOST_ANSWERS = 100  # rows
ANSWER_WIDTH = 14.0  # characters
COLUMNS_OF_A_PAGE = 60  # that can still be read on paper
#: A column of the table of answers: its title, what it is in words, and its cells by their rows.
AnswerColumn = tuple[str, str, Callable[[int], Reading]]


class Book:
    """A workbook in the making: sheets, their rows, styles and names."""

    def __init__(self) -> None:
        self.workbook = Workbook()
        self.rows: dict[str, Rows] = {}
        self._names: set[tuple[str | None, str]] = set()  # by scope, folded
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
        sheet.page_margins = PageMargins(0.4, 0.4, 0.5, 0.5)
        sheet.oddFooter.center.text = "&A, page &P of &N"
        sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
        return sheet

    def name(self, name: str, sheet: str, cells: str, local: bool = False) -> None:
        """A defined name for absolute cells, of the whole workbook or of its sheet alone."""
        key = sheet if local else None, folded(name)
        if key in self._names:
            raise WorkbookError(
                f"Two tensors would both be named {name!r} in the workbook. Give one of the layers "
                "or tensors another name."
            )
        text = f"{quote_sheet(sheet)}!{cells}"
        self._names.add(key)
        scope = self.workbook[sheet] if local else self.workbook
        scope.defined_names[name] = DefinedName(name, attr_text=text)

    def validate_rate(self, sheet: str, cell: str) -> None:
        """Let a cell take a learning rate only."""
        rule = DataValidation(
            type="decimal", operator="greaterThan", formula1="0", showErrorMessage=True,
            errorTitle="learning rate", error="The learning rate is a number above 0.",
        )  # fmt: skip
        rule.add(cell)
        self.workbook[sheet].add_data_validation(rule)

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

    def link(
        self,
        sheet: str,
        cell: tuple[int, int],
        text: str,
        to: str,
        at: str = "A1",
        style: str = "link",
    ) -> None:
        """A cell that leads to another sheet."""
        row, column = cell
        rows = self.rows[sheet]
        rows.put(row, column, text, style=self.styles.text(style))
        target = f"{quote_sheet(to)}!{at}"
        rows.hyperlinks.append(Hyperlink(ref=a1(row, column), location=target))


@dataclass(frozen=True)
class Look:
    """What the caller chose about the sheets that show passes."""

    layout: str = "strips"
    class_names: Sequence[str] = ()
    own_names: bool = False  # the model's: left out where it is no classifier


PLAIN = Look()


class StepSheet:
    """A pass on a sheet of its own, with the learning rate and the result frozen on top."""

    def __init__(
        self,
        book: Book,
        title: str,
        heading: str,
        step: Pass,
        links: Mapping[Node, CellWriter] | None = None,
        look: Look = PLAIN,
        pictures: Sequence[Any] | None = None,
        draws: Draws | None = None,
    ):
        """``links``: where leaves are read from other sheets. ``pictures``: one for each row.

        ``draws``: the weights that are drawn at random.
        """
        self.book = book
        self.title = title
        self.step = step
        self.rows = PageRows()
        self.sheet = book.sheet(title, self.rows)
        self.plan = Plan(step.trace)
        inputs = [self.block(node) for node in step.inputs if node.kind == "input"]
        shown = [InputPictures(inputs[0], pictures)] if inputs else []
        self.page = Page(self.sheet, self.rows, book.styles, self.plan, FIRST_BAND_ROW, look.layout)
        for picture in shown:
            picture.put(self.sheet, self.rows, book.styles.text("words"))
        self.formulas = Formulas(self.plan, RATE, links)
        if draws is not None:
            drawn = draws.links(self.plan, self.formulas)
            self.formulas = Formulas(self.plan, RATE, {**(links or {}), **drawn})
        rule = {UPDATE: f"UPDATE   {step.rule}"}
        self._answers = answers_of(step, self.plan, self.formulas, look.class_names, look.own_names)
        self._accuracy = None if self._answers is None else self._answers.accuracy()
        columns = self._answer_columns()
        beside = self.page.layout.reserve(len(columns)) if columns else 0
        self.page.write(self.formulas, rule, explained=self.is_first)
        self._write_header(heading)
        self._write_answers(beside, columns)
        self._name_blocks()
        self.sheet.freeze_panes = "A4"
        self._fit_page()

    def _fit_page(self) -> None:
        """As many pages side by side as it takes to read them; the header on each of them."""
        columns = self.page.layout.last_column
        self.sheet.page_setup.fitToWidth = math.ceil(columns / COLUMNS_OF_A_PAGE)
        self.sheet.print_title_rows = "1:3"
        self.sheet.sheet_view.zoomScale = 90 if columns <= COLUMNS_OF_A_PAGE else 70

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
    def classifies(self) -> bool:
        """Whether the pass is that of a classifier."""
        return self._answers is not None

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
                put(*RATE_CELL, rate, formula, style(_reading(rate)))
            else:
                put(*RATE_CELL, self.step.rate, style=style("knob"))
                self.book.name(RATE, self.title, "$C$3")
                self.book.validate_rate(self.title, "C3")
        if self.step.result.value.size == 1:
            put(3, 5, self.result_label, style=style("label"))
            value = float(self.step.result.value.reshape(-1)[0])
            own = self.formulas.cells_of(self.block(self.step.result)).cell(0)
            put(*RESULT_CELL, value, own, style(_reading(value)))
        if self._answers is not None and self._answers.single:
            self._write_class(self._answers, self.step.result.value.size > 1)
        if self._accuracy is not None:
            put(3, 8, "accuracy", style=style("label"))
            put(*ACCURACY_CELL, *self._accuracy, style("reading"))
        self.book.link(self.title, (3, 11), "← contents", CONTENTS)

    def _write_class(self, answers: Answers, in_front: bool) -> None:
        """What a classifier says about the first row: the class, and how sure it is."""
        put, style = self.rows.put, self.book.styles.text
        a, b, c, d = CLASS_COLUMNS if in_front else LATER_CLASS_COLUMNS
        put(3, a, "class" if answers.rows == 1 else "row 1: class", style=style("label"))
        put(3, b, *answers.answer(0), style("verdict"))
        put(3, c, "how sure", style=style("label"))
        put(3, d, *answers.sureness(0), style("reading"))

    def link_before(self, other: StepSheet) -> None:
        """A way back to the step before this one."""
        self.book.link(self.title, (3, 20), f"← {other.title}", other.title)

    def link_after(self, other: StepSheet) -> None:
        """A way on to the step after this one."""
        self.book.link(self.title, (3, 22), f"{other.title} →", other.title)

    def _answer_columns(self) -> list[AnswerColumn]:
        """For each row of a classifier: the class, how sure, and what was right."""
        answers = self._answers
        if answers is None or not answers.single or answers.rows > MOST_ANSWERS:
            return []
        columns: list[AnswerColumn] = [
            ("class", "the largest in its row", answers.answer),
            ("how sure", "its probability", answers.sureness),
        ]
        if answers.has_targets:
            columns.append(("target", "the right class", answers.wanted))
        return columns

    def _write_answers(self, first: int, columns: Sequence[AnswerColumn]) -> None:
        """At the end of the forward pass, from column ``first``."""
        answers = self._answers
        if answers is None or not columns:
            return
        put, style = self.rows.put, self.book.styles.text
        top = self.block(answers.found).row
        self.book.strip(self.title, top - 3, first, len(columns), "answers")
        for column, (title, words, read) in enumerate(columns, first):
            put(top - 2, column, title, style=style("label"))
            put(top - 1, column, words, style=style("words"))
            look = style("reading" if title == "how sure" else "verdict")
            for row in range(answers.rows):
                put(top + row, column, *read(row), look)
            self.sheet.column_dimensions[column_letters(column)].width = ANSWER_WIDTH

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

    def _name_blocks(self) -> None:
        for node, block in self.plan.blocks.items():
            name = self.page.labels.defined_name(node)
            if name is not None:
                self.book.name(name, self.title, self.page.area(block), local=not self.is_first)
            if self.is_first and self.page.labels.is_table(node):
                # A square one looks the same either way to those who read it back.
                title, _ = self.page.layout.places_of_words(block)
                cell = absolute_coordinate(a1(*title))
                self.book.name(table_name(str(node.name)), self.title, cell)


def _reading(value: float) -> str:
    return "reading" if abs(value) >= 1e-3 or value == 0 else "small reading"
