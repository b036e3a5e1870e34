"""A training step as a board: every block of cells where the caller wants it.

The bands, the titles, the colours and the formulas are those of any other sheet
(:mod:`minnet.spreadsheet.page`); only the places differ. So a table may have what it is made of
along its sides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from openpyxl.formatting.rule import Rule
from openpyxl.utils.cell import absolute_coordinate

from minnet.errors import WorkbookError, mismatch
from minnet.ops.base import CellWriter
from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.layout import Sign
from minnet.spreadsheet.names import a1, column_letters, quote_sheet
from minnet.spreadsheet.page import Page, PageRows
from minnet.spreadsheet.steps import Step, memory, take
from minnet.spreadsheet.style import Styles, colour_scale
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Node
from minnet.tensor import Array

RATE_AT, READING_AT = (3, 3), (3, 9)
_FIRST_ROW = 5
_WIDTH = 5.5
#: Rows from the band's bar, and columns, of a block's first number, by (band, title).
Places = Mapping[tuple[str, str], tuple[int, int]]


class _Placed(Page):
    """A page whose blocks stand where they are told to."""

    def __init__(
        self,
        sheet: Any,
        rows: PageRows,
        styles: Styles,
        taken: Step,
        places: Places,
        blank: Collection[str],
    ):
        super().__init__(sheet, rows, styles, taken.plan, _FIRST_ROW)
        self._blank = blank
        self.bars: dict[str, int] = {}
        row = _FIRST_ROW
        for band in (FORWARD, BACKWARD, UPDATE):
            self.bars[band] = lowest = row
            for block in taken.plan.blocks.values():
                if block.band == band:
                    down, block.column = places[band, taken.labels.short(block.node)]
                    block.row = row + down
                    lowest = max(lowest, block.row + block.height)
            row = lowest + 1
        self.last_column = max(b.column + b.width for b in taken.plan.blocks.values())

    def _number_format(self, block: Block) -> str:
        digits = super()._number_format(block)
        return f"{digits};-{digits};" if self.labels.short(block.node) in self._blank else digits

    def _colours(self, block: Block, role: str) -> Rule | None:
        """What is to be reproduced looks like what reproduces it."""
        role = "result" if block.node.kind == "target" else role
        return colour_scale(role, block.node.value)

    def _title(self, block: Block) -> str:
        """A column of names has no room for its shape beside the next block's title."""
        return self.labels.short(block.node) if _is_names(block) else super()._title(block)

    def _words(self, block: Block) -> str:
        """Nor for an explanation."""
        return "" if _is_names(block) else super()._words(block)

    def _signs(self, band_titles: Mapping[str, str]) -> Iterable[Sign]:
        width = self.last_column - 1
        return [Sign(row, 1, width, band_titles[b], f"band {b}") for b, row in self.bars.items()]


def _is_names(block: Block) -> bool:
    return block.node.kind == "input" and block.width == 1


class Board:
    """A sheet with a step of a compiled float64 model, which takes it too.

    ``blank``: titles of blocks that show nothing in place of 0. ``before``: boards of the steps
    before, whose new weights this one reads.

    Raises :class:`~minnet.errors.WorkbookError` for a block that ``places`` says nothing of.
    """

    def __init__(
        self,
        book: Book,
        title: str,
        heading: str,
        model: Any,
        x: Array,
        y: Array,
        places: Places,
        blank: Collection[str] = (),
        before: Sequence[Board] = (),
    ):
        self.title, self._book = title, book
        self.rows = PageRows()
        self._sheet = book.sheet(title, self.rows)
        self.taken = take(model, x, y, as_written=True)
        self._require_places(places)
        self._page = _Placed(self._sheet, self.rows, book.styles, self.taken, places, blank)
        links = self._links(before) if before else {}
        rate = absolute_coordinate(a1(*RATE_AT))
        formulas = Formulas(self.taken.plan, rate, links)
        texts = {UPDATE: f"UPDATE   {self.taken.step.rule}"}
        self._page.write(formulas, texts, explained=True)
        for block in self.taken.blocks.values():
            name = self.taken.labels.defined_name(block.node)
            if name is not None:
                book.name(name, title, self._page.area(block), local=True)
        self._write_head(heading, before[0] if before else None)

    def at(self, band: str, title: str) -> tuple[int, int]:
        """Row and column of a block's first number."""
        block = self._block(band, title)
        return block.row, block.column

    def area(self, band: str, title: str) -> str:
        """A block's cells as another sheet refers to them."""
        return f"{quote_sheet(self.title)}!{self._page.area(self._block(band, title))}"

    def put(self, row: int, column: int, value: Any, formula: str | None, style: str) -> None:
        """A cell of the caller's own, in a style of texts."""
        self.rows.put(row, column, value, formula, self._book.styles.text(style))

    def _block(self, band: str, title: str) -> Block:
        return next(b for k, b in self.taken.blocks.items() if (k[0], k[2]) == (band, title))

    def _require_places(self, places: Places) -> None:
        for band, _, title in self.taken.blocks:
            if (band, title) not in places:
                where = f"board {self.title!r}"
                raise WorkbookError(mismatch(where, f"a place for {title!r} ({band})", "none"))

    def _links(self, before: Sequence[Board]) -> dict[Node, CellWriter]:
        titles = {id(board.taken): board for board in before}

        def reference(taken: Step, node: Node) -> CellWriter:
            board = titles[id(taken)]
            sheet = f"{quote_sheet(board.title)}!"
            return Formulas(taken.plan, "").cells_of(taken.plan.blocks[node], sheet).cell

        links = memory(self.taken, [board.taken for board in before], reference)
        first = before[0].taken
        for node, source in zip(self.taken.step.inputs, first.step.inputs, strict=True):
            links[node] = reference(first, source)
        return links

    def _write_head(self, heading: str, first: Board | None) -> None:
        put = self.put
        put(1, 1, heading, None, "heading")
        put(3, 1, "learning rate", None, "label")
        if first is None:
            put(*RATE_AT, self.taken.step.rate, None, "knob")
            self._book.validate_rate(self.title, a1(*RATE_AT))
        else:
            formula = f"{quote_sheet(first.title)}!{a1(*RATE_AT)}"
            put(*RATE_AT, self.taken.step.rate, formula, "knob")
        self._book.link(self.title, (3, 13), "← contents", CONTENTS)
        for column in range(1, self._page.last_column + 1):
            self._sheet.column_dimensions[column_letters(column)].width = _WIDTH
        self._sheet.freeze_panes = "A4"
        self._sheet.sheet_view.zoomScale = 90
