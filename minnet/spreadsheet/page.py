"""One sheet of blocks: bars for the bands, names for the strips, titles, numbers and formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from openpyxl.formatting.rule import Rule
from openpyxl.worksheet.hyperlink import Hyperlink
from openpyxl.worksheet.worksheet import Worksheet

from minnet.ops.base import CellWriter
from minnet.spreadsheet.blocks import Block
from minnet.spreadsheet.explanations import explain
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.labels import Labels
from minnet.spreadsheet.layout import Layout, Sign, scope_title
from minnet.spreadsheet.lesson_layout import LessonLayout
from minnet.spreadsheet.names import a1, column_letters
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.style import Styles, colour_scale, number_format
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE, Scope
from minnet.spreadsheet.xlsx import Cell, Rows, require_short

#: The layouts of a page by their names.
LAYOUTS: dict[str, type[Layout] | type[LessonLayout]] = {
    "strips": Layout,
    "lesson": LessonLayout,
}
BAND_TITLES = {
    FORWARD: "FORWARD  →   each block is computed from the blocks to its left",
    BACKWARD: "BACKWARD  ←   d = how much the result changes with each number above; same "
    "columns, computed from the blocks to its right",
    UPDATE: "UPDATE",
}


@dataclass
class _Strip:
    block: Block
    write: CellWriter | None
    style: Callable[[bool, bool], int]  # by whether another tile borders above, on the left

    def styles(self, row: int) -> list[int]:
        """Of the cells of a row of the block."""
        height, width = self.block.tile
        inside, at_edge = (
            self.style(row > 0 and row % height == 0, left) for left in (False, True)
        )
        return [at_edge if j and j % width == 0 else inside for j in range(self.block.width)]


class PageRows(Rows):
    """Rows of blocks, made when they are written: a million formulas never exist at once."""

    def __init__(self) -> None:
        super().__init__()
        self._strips: dict[int, list[_Strip]] = {}

    def put_block(
        self, block: Block, write: CellWriter | None, style: Callable[[bool, bool], int]
    ) -> None:
        strip = _Strip(block, write, style)
        for row in range(block.row, block.row + block.height):
            self._strips.setdefault(row, []).append(strip)
        if write is not None:
            self.formulas += block.node.value.size

    def row_numbers(self) -> Iterator[int]:
        yield from sorted(self._cells.keys() | self._strips.keys())

    def row(self, number: int) -> list[Cell]:
        cells = list(super().row(number))
        for strip in self._strips.get(number, ()):
            block, write = strip.block, strip.write
            positions = block.order[number - block.row]
            values = block.node.value.reshape(-1)[positions].tolist()
            formulas = [None] * len(values) if write is None else map(write, positions.tolist())
            columns = range(block.column, block.column + block.width)
            styles = strip.styles(number - block.row)
            cells += map(Cell, columns, values, formulas, styles)
        return cells


class Page:
    """A plan on a sheet. ``first_row`` leaves room above for what the caller writes."""

    def __init__(
        self,
        sheet: Worksheet,
        rows: PageRows,
        styles: Styles,
        plan: Plan,
        first_row: int,
        layout: str = "strips",
    ):
        self.sheet = sheet
        self.rows = rows
        self.styles = styles
        self.plan = plan
        self.labels = Labels(plan)
        self.layout = LAYOUTS[layout](plan, self.labels, first_row)
        self._names: dict[str, list[Sign]] = {}  # where each layer's name stands

    def write(
        self,
        formulas: Formulas,
        band_titles: dict[str, str] | None = None,
        explained: bool = False,
    ) -> None:
        """Write all blocks; ``explained``: with a note on each, which shows when pointed at."""
        for sign in self._signs({**BAND_TITLES, **(band_titles or {})}):
            self._write_sign(sign)
        for block in self.plan.blocks.values():
            self._write_block(block, formulas)
            if explained:
                (row, column), _ = self.layout.places_of_words(block)
                self.rows.comment(row, column, explain(self.labels, block))
        for column, width in self.layout.widths().items():
            self.sheet.column_dimensions[column_letters(column)].width = width

    def _signs(self, band_titles: Mapping[str, str]) -> Iterable[Sign]:
        return self.layout.signs(band_titles)

    def link_names(self, scope: Scope, target: str) -> None:
        """Make a layer's names on this page lead to a cell of another sheet."""
        for sign in self._names.get(scope.name, ()):
            self.rows.hyperlinks.append(Hyperlink(ref=a1(sign.row, sign.column), location=target))

    def _write_sign(self, sign: Sign) -> None:
        style = self.styles.text(sign.style)
        for column in range(sign.column, sign.column + sign.columns):
            text = sign.text if column == sign.column else None
            self.rows.put(sign.row, column, text, style=style)
        if sign.scope is not None:
            self._names.setdefault(sign.scope.name, []).append(sign)
            if scope_title(sign.scope) not in sign.text:
                self.rows.comment(sign.row, sign.column, scope_title(sign.scope))

    def _write_block(self, block: Block, formulas: Formulas) -> None:
        style = self.styles.text
        title, words = self.layout.places_of_words(block)
        self.rows.put(*title, self._title(block), style=style("label"))
        if words is not None:
            self.rows.put(*words, self._words(block), style=style("words"))
        write = formulas.writer(block)
        if write is not None:
            self._require_short(block, write)
        role = self._role(block)
        # What is read from another sheet, or drawn, is a formula: not for typing over.
        look = "helper" if write is not None and role in ("input", "parameter") else role
        number = partial(self.styles.block, look, self._number_format(block))
        self.rows.put_block(block, write, number)
        rule = self._colours(block, role)
        if rule is not None:
            self.sheet.conditional_formatting.add(self.area(block).replace("$", ""), rule)

    def _require_short(self, block: Block, write: CellWriter) -> None:
        """A few of the block's formulas, before it is too late to show the layer otherwise."""
        last = block.node.value.size - 1
        for position in {0, last // 2, last}:
            where = block.node.scope.name or "the function"
            require_short(write(position), f"{where!r}")

    def _title(self, block: Block) -> str:
        return self.layout.title(block)

    def _words(self, block: Block) -> str:
        return self.labels.words(block.node)

    def _number_format(self, block: Block) -> str:
        return number_format(block.node.value)

    def _colours(self, block: Block, role: str) -> Rule | None:
        return colour_scale(role, block.node.value)

    def _role(self, block: Block) -> str:
        node = block.node
        if node.kind in ("input", "target", "mask", "constant", "seed"):
            return "input"
        if node.kind in ("parameter", "scale", "state"):
            return "parameter"
        if self.labels.is_helper(node):
            return "helper"
        if block.band == UPDATE:
            return "new" if node.name is not None else "helper"
        if block.band == BACKWARD:
            return "gradient" if block.slot.gradient is node else "helper"
        return "loss" if node.value.ndim == 0 else "result"

    def area(self, block: Block) -> str:
        """The block's cells in absolute notation, without the sheet."""
        last = a1(block.row + block.height - 1, block.column + block.width - 1)
        first = a1(block.row, block.column)
        return ":".join(_absolute(cell) for cell in dict.fromkeys((first, last)))


def _absolute(cell: str) -> str:
    letters = cell.rstrip("0123456789")
    return f"${letters}${cell[len(letters) :]}"
