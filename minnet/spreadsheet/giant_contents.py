"""The first sheet of a book with probes: what went in, what came out, what of it is live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minnet.spreadsheet.activity import Stage
from minnet.spreadsheet.book import CONTENTS, NETWORK
from minnet.spreadsheet.chain import CELLS_PER_FORMULA, Chain
from minnet.spreadsheet.chain_sheet import CHAIN
from minnet.spreadsheet.live import LiveSheets
from minnet.spreadsheet.mosaic import photograph
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.overview import ContentsSheet
from minnet.spreadsheet.pictures import place_picture

TOP = 5  # classes that are named
_PICTURES = 11  # the column at the right of the table
_GUIDE = (
    "The book does not show every number of the network. Its layers are live where they are small, "
    "at the end; each of the others has a probe sheet: statistics, a histogram, a picture of all "
    "its numbers, and one neuron that is worked out live from its window.",
    "A neuron is what its window sees × its weights, summed, plus a bias, through the activation. "
    "Beside it stands what minnet says, and the difference, which is rounding.",
    "Blue numbers on colour are inputs: change one and watch what is live. Black numbers are "
    "formulas. Statistics, pictures and histograms are values: they do not follow.",
)
_GUIDE_TO_LIVE = (
    "The live sheets read from left to right: a strip of columns is a layer. From top to bottom: "
    "FORWARD, and with targets BACKWARD (how much the loss changes with each number) and UPDATE."
)


class Shown(NamedTuple):
    """A stage in the table: its probe sheet's title, if any; whether it is live; the largest size
    of its parameters' gradients, if known."""

    stage: Stage
    title: str | None
    live: bool
    slope: float | None


def about_live_end(stages: Sequence[Stage], start: int, no_longer: str) -> str:
    """Which layers are live with all their numbers, those from ``start`` on, and why not more."""
    live = [repr(stage.name) for stage in stages[start:]]
    text = "No layer is live with all its numbers."
    if live:
        ends = " to ".join(dict.fromkeys((live[0], live[-1])))
        text = f"Live with all their numbers: {len(live)} of {len(stages) - 1} layers, {ends}."
    return f"{text} {no_longer}".rstrip()


def too_large(name: str, most: int) -> str:
    """Why the layers from this one on are not live."""
    return (
        f"From {name!r} on it would be too much: a book has at most {most:,} live formulas "
        f"(max_formulas) and {CELLS_PER_FORMULA * most:,} cells."
    )


class GiantContents(ContentsSheet):
    """``contents`` of a book with probes."""

    def fill_giant(
        self,
        stages: Sequence[Shown],
        live: LiveSheets | None,
        facts: Sequence[str],
        notes: Sequence[str],
        chain: Chain | None,
        classes: Sequence[str],
    ) -> None:
        """Written last, when it is known what there is. ``classes``: names of the outputs."""
        guide = _GUIDE if live is None else (*_GUIDE, _GUIDE_TO_LIVE)
        row = self._paragraphs(3, (*guide, *notes)) + 1
        self._predicted_row = row
        self._table(row + TOP + 3, stages, live)
        row += TOP + 3 + len(stages) + 2
        sheets = [] if live is None else [*((s.title, s.about) for s in live.steps), *live.others]
        if chain is not None:
            text = f"what the probed neuron sees, live from {chain.layers[0]!r} on"
            sheets.append((CHAIN, text))
        if sheets:
            row = self._sheets(row, sheets) + 1
        row = self._counted(row, [*(live.facts if live else ()), *facts])
        if classes:
            self._classes(row + 1, classes)

    def _table(self, row: int, stages: Sequence[Shown], live: LiveSheets | None) -> None:
        put, style = self.rows.put, self._book.styles.text
        heads = ("layer", "kind", "output shape", "parameters", "shown as", "mean", "std", "zeros")
        slopes = any(s.slope is not None for s in stages)
        for column, head in enumerate((*heads, "largest |d|") if slopes else heads, 1):
            put(row, column, head, style=style("column" if column <= 3 else "number column"))
        for shown in stages:
            row += 1
            stage, found = shown.stage, shown.stage.statistics
            layer = stage.layer
            if shown.title is not None:
                self._book.link(CONTENTS, (row, 1), stage.name, shown.title)
            put(row, 2, "input" if layer is None else layer.describe(), style=style("text"))
            put(row, 3, " × ".join(map(str, stage.shape)), style=style("text"))
            own = [] if layer is None else layer.parameters.values()
            put(row, 4, sum(p.size for p in own), style=style("integer"))
            if shown.slope is not None:
                put(row, 9, shown.slope, style=style("scientific"))
            if shown.live and live is not None and self._is_live(row, stage, live):
                put(row, 5, "live", style=style("right"))
                continue
            if shown.title is None:
                put(row, 1, stage.name, style=style("text"))
            kind = "probe" if shown.title else "value" if layer is None else "rearranged"
            put(row, 5, kind, style=style("right"))
            put(row, 6, found.mean, style=style("decimal"))
            put(row, 7, found.std, style=style("decimal"))
            put(row, 8, found.zeros, style=style("percent"))

    def _is_live(self, row: int, stage: Stage, live: LiveSheets) -> bool:
        """Write the live statistics of a stage that has a strip on ``network``."""
        network = live.steps[0]
        strip = next((s for s in network.page.layout.strips if s.scope.name == stage.name), None)
        if strip is None:
            return False
        blocks = [
            b
            for b in network.plan.blocks.values()
            if b.slot.scope is strip.scope and b.node is b.slot
        ]
        last = blocks[-1]
        self._book.link(CONTENTS, (row, 1), stage.name, NETWORK, a1(last.row, strip.first))
        if last.node.value.dtype != bool:
            self._statistics(row, last.node.value.astype(float), network.area(last.node))
        return True

    def show(self, first: Stage, last: Stage, classes: Sequence[str]) -> None:
        """What went in as a picture, where it is an image, and the likeliest classes."""
        put, style = self.rows.put, self._book.styles.text
        row = self._predicted_row
        ending = None if last.layer is None else last.layer.activation_name
        if len(first.shape) == 3 and first.shape[2] in (1, 3):
            picture, words = photograph(first.row)
            self._book.strip(CONTENTS, 1, _PICTURES, 6, "the first row of the data")
            place_picture(self._sheet, picture, 3, _PICTURES, 320, 420)
            put(2, _PICTURES, words, style=style("words"))
        if ending != "softmax" or len(last.shape) != 1:
            put(row, 1, "what minnet says: the last layer's largest numbers", style=style("label"))
        else:
            put(row, 1, "what minnet says about the first row", style=style("label"))
        put(row + 1, 1, "place", style=style("column"))
        put(row + 1, 2, "class" if classes else "unit, counted from 0", style=style("column"))
        put(row + 1, 3, "probability" if ending == "softmax" else "value", style=style("column"))
        flat = last.row.reshape(-1).astype(np.float64)
        for place, k in enumerate(np.argsort(-flat, kind="stable")[:TOP].tolist()):
            at = row + 2 + place
            put(at, 1, f"{place + 1}.", style=style("text"))
            named = len(last.shape) == 1 and k < len(classes)
            index = ", ".join(str(int(i)) for i in np.unravel_index(k, last.shape))
            put(at, 2, f"{classes[k]} ({index})" if named else index, style=style("text"))
            look = "percent" if ending == "softmax" else "decimal"
            put(at, 3, float(flat[k]), style=style(look))
