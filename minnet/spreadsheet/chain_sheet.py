"""The sheet of a chain: the layers before a probed neuron, as much of them as it sees, live."""

from __future__ import annotations

import numpy as np

from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.chain import Chain
from minnet.spreadsheet.formulas import Formulas
from minnet.spreadsheet.labels import RATE
from minnet.spreadsheet.names import quote_sheet
from minnet.spreadsheet.page import Page, PageRows
from minnet.spreadsheet.trace import FORWARD

CHAIN = "chain"
_ABOUT = (
    "Only what the neuron's window sees, layer by layer. Of images the channels stand one below "
    "the other for each row of pixels, so that a window in all channels is one rectangle of cells; "
    "filters stand side by side in the same order."
)


class ChainSheet:
    """A chain's blocks from left to right, and how other sheets refer to its end."""

    def __init__(self, book: Book, chain: Chain, probed: str, to: str):
        """``probed``: the layer at the chain's end; ``to``: the title of its sheet."""
        self.chain = chain
        self.rows = PageRows()
        self.sheet = book.sheet(CHAIN, self.rows)
        put, style = self.rows.put, book.styles.text
        layers = "layer" if len(chain.layers) == 1 else f"{len(chain.layers)} layers"
        put(1, 1, f"What a neuron of {probed} sees: the {layers} before it, live",
            style=style("heading"))  # fmt: skip
        put(2, 1, _ABOUT, style=style("note"))
        put(3, 1, f"It goes back as far as {chain.layers[0]!r}: {chain.reason}.",
            style=style("note"))  # fmt: skip
        book.link(CHAIN, (4, 1), "← contents", CONTENTS)
        book.link(CHAIN, (4, 4), f"→ {probed}", to)
        self.page = Page(self.sheet, self.rows, book.styles, chain.plan, 5)
        self._formulas = Formulas(chain.plan, RATE)
        text = "FORWARD  →   the last block is what the neuron's window holds"
        self.page.write(self._formulas, {FORWARD: text}, explained=True)
        for node, block in chain.plan.blocks.items():
            name = self.page.labels.defined_name(node)
            if name is not None:
                book.name(name, CHAIN, self.page.area(block), local=True)
        self.sheet.freeze_panes = "A5"
        self.sheet.sheet_view.zoomScale = 90

    def links(self, shape: tuple[int, ...], region: tuple[np.ndarray, ...]) -> dict[int, str]:
        """Formulas for the positions, in rows of this shape, of what the chain gives."""
        result = self.chain.result
        cells = self._formulas.cells_of(self.chain.plan.blocks[result], f"{quote_sheet(CHAIN)}!")
        flat = np.ravel_multi_index(np.ix_(*region), shape).reshape(-1).tolist()
        return {position: cells.cell(k) for k, position in enumerate(flat)}
