"""Books of networks too large to show: live at the end where they are small, probes before.

The forward pass runs in the model's own precision, layer by layer. Layers at the end that are small
enough are live, with their training step if there are targets; they read what the layers before
gave them as numbers. Every other layer has a probe sheet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, WorkbookError, mismatch, unknown_name
from minnet.layers import Dropout, Flatten, ImagePreprocessing, InputLayer, Reshape
from minnet.sequential import Sequential
from minnet.several import parts_of
from minnet.spreadsheet.activity import BINS, Statistics, activity, gradients
from minnet.spreadsheet.answers import require_names
from minnet.spreadsheet.book import Book, Look
from minnet.spreadsheet.chain import CELLS_PER_FORMULA, Chain, follow
from minnet.spreadsheet.chain_sheet import CHAIN, ChainSheet
from minnet.spreadsheet.giant_contents import GiantContents, Shown, about_live_end, too_large
from minnet.spreadsheet.live import LiveSheets, LiveTraining, TooLarge, live_prediction
from minnet.spreadsheet.names import folded, is_legal_title
from minnet.spreadsheet.neuron import SUM, Neuron, can_show, neuron
from minnet.spreadsheet.probe import ProbeContents, ProbeSheet
from minnet.spreadsheet.wishes import Wish

_SUMMARY = 12  # formulas of a probe's summary, at most
_MOST_TITLE = 31

#: A layer's name and a place in its output: (row, column, channel) or (unit,).
Place = Sequence[Any]


@dataclass
class Request:
    """What to write; see :func:`minnet.export_xlsx`, whose arguments these are."""

    x: Any
    y: Any
    wish: Wish
    steps: int = 1
    batch_size: int | None = None
    check: bool = True
    probe: Place | None = None
    probe_layers: int | None = None


@dataclass
class GiantBook:
    """A book that is ready to be saved, and what is in it."""

    book: Book
    live: LiveSheets | None
    live_end: str = ""  # which layers are live, and why not more of them, in words
    probes: dict[str, ProbeSheet] = field(default_factory=dict)
    chain: Chain | None = None


def is_giant(model: Any, rows: int, training: bool, most: int) -> bool:
    """Whether a book of the whole model would have too many formulas, or cells, by its shapes."""
    moving = (Dropout, InputLayer)  # what may have no formulas
    numbers = sum(math.prod(c.shape) for c in model.calls if not isinstance(c.layer, moving))
    trained = sum(p.size for p in model.trainable_parameters()) if training else 0
    weights = int(sum(p.size for p in model.parameters()))
    formulas = int(rows * numbers + 2 * trained)
    return formulas > most or formulas + weights > CELLS_PER_FORMULA * most


class Giant:
    """Makes the book of a model that is too large; the model is not changed."""

    def __init__(self, model: Any, request: Request, look: Look, why_not_all: str = ""):
        self._model, self._request, self._look = model, request, look
        training = request.y is not None
        if training:
            self._x, self._y = model.prepare(request.x, request.y)
        else:
            self._x, self._y = model.prepare_inputs(request.x), None
        few = CELLS_PER_FORMULA * request.wish.most
        self._stages = activity(model, self._x, training, few)
        self._training = training
        self._probed = self._find_probed()
        self._neurons = self._find_neurons()
        self._titles = self._find_titles()
        self._why_no_chain = ""
        self._no_longer = why_not_all  # why the live end does not begin earlier

    def write(self) -> GiantBook:
        """The sheets of the book.

        Raises :class:`~minnet.spreadsheet.live.TooLarge` where the probes alone are too many
        formulas, :class:`~minnet.errors.ArgumentError` for several steps of layers that change, or
        names that are not one for each class.
        """
        request = self._request
        needed = sum(map(self._formulas_of, range(len(self._stages))))
        if needed > request.wish.most:
            raise TooLarge(needed, request.wish.most)
        found, contents, start = self._with_live_end(request.wish.most - needed)
        if found.live is None and not self._look.own_names:
            require_names(self._look.class_names, self._stages[-1].shape[-1])
        found.live_end = about_live_end(self._stages, start, self._no_longer)
        loss, slopes = self._slopes(start)
        chain = self._write_chain(found, request.wish.most - needed)
        for number in range(len(self._stages)):
            if self._has_sheet(number) and number < start:
                self._write_probe(found, number, chain, slopes)
        contents.fill_giant(
            self._shown(start, slopes), found.live, self._facts(start, loss, found.chain),
            (found.live_end, *request.wish.notes), found.chain, self._look.class_names,
        )  # fmt: skip
        contents.show(self._stages[0], self._stages[-1], self._look.class_names)
        return found

    # -- what there is to show ---------------------------------------------------------------------

    def _find_probed(self) -> int | None:
        if self._request.probe is None:
            return None
        given = tuple(self._request.probe)
        names = [s.name for s in self._stages if can_show(s.layer)]
        if not given or given[0] not in names:
            raise unknown_name("layer to probe", given[0] if given else "", names)
        return next(k for k, s in enumerate(self._stages) if s.name == given[0] and s.layer)

    def _find_neurons(self) -> dict[int, Neuron]:
        found = {}
        for number, stage in enumerate(self._stages):
            if can_show(stage.layer):
                place = None
                if number == self._probed and len(tuple(self._request.probe or ())) > 1:
                    place = _whole_numbers(stage.name, tuple(self._request.probe or ())[1:])
                found[number] = neuron(self._stages, number, place)
        return found

    def _find_titles(self) -> dict[int, str]:
        taken = {"contents", "network", CHAIN, "check", "training", "history"}
        taken |= {f"step {k}" for k in range(self._request.steps + 1)}
        titles = {}
        for number, stage in enumerate(self._stages):
            titles[number] = _title(stage.name, taken)
            taken.add(folded(titles[number]))
        return titles

    def _formulas_of(self, number: int) -> int:
        """Of a stage's probe sheet."""
        if not self._has_sheet(number):
            return 0
        found = self._neurons.get(number)
        if found is None:
            return BINS
        count = BINS + _SUMMARY + (len(found.groups) if found.function == SUM else 0)
        count += 0 if found.scores is None else 2 * len(found.scores)
        if number == self._probed:  # its window may be linked to a chain
            count += sum(g.sources.size for g in found.groups)
        return count

    def _has_sheet(self, number: int) -> bool:
        """Not for what goes in, and not for layers that only rearrange it."""
        layer = self._stages[number].layer
        same = isinstance(layer, (Flatten, Reshape))
        same |= isinstance(layer, Dropout) and not self._training
        return layer is not None and not same

    # -- the live end ------------------------------------------------------------------------------

    def _with_live_end(self, most: int) -> tuple[GiantBook, GiantContents, int]:
        """A book with the sheets of as many last layers as fit, and the first live stage."""
        for start in (*self._starts(most), None):
            book = Book()
            contents = GiantContents(
                book, self._request.wish.title or f"minnet: {self._model.name}"
            )
            if start is None:
                if self._request.steps > 1:
                    raise self._no_steps("layers at the end that are small enough to be live")
                return GiantBook(book, None), contents, len(self._stages)
            try:
                live = self._live(book, start, most)
                written = sum(rows.formulas for rows in book.rows.values())
                if written > most:
                    raise TooLarge(written, most)
                return GiantBook(book, live), contents, start
            except TooLarge:
                self._no_longer = too_large(self._stages[start].name, self._request.wish.most)
            except WorkbookError as error:  # too wide for a sheet, no formula for it
                self._no_longer = str(error)
        raise AssertionError("the loop ends with a return")

    def _starts(self, most: int) -> Iterator[int]:
        """Where the live end may begin, the longest first."""
        stages, rows = self._stages, len(self._x)
        first = len(stages)
        uses: dict[int, int] = {}
        for stage in stages:
            uses[id(stage.layer)] = uses.get(id(stage.layer), 0) + 1
        least = 1 + max(len(parts_of(self._x)) - 1, self._probed or 0)
        while first - 1 > least and stages[first - 1].sources == (first - 2,):
            if uses[id(stages[first - 1].layer)] > 1:
                break
            first -= 1
        if isinstance(getattr(self._model, "output_shape", ()), list):
            return  # several outputs
        for start in range(first, len(stages)):
            layers = [s.layer for s in stages[start:] if s.layer is not None]
            parameters = [p for layer in layers for p in layer.parameters.values()]
            trained = sum(p.size for p in parameters if p.requires_grad and self._training)
            numbers = rows * sum(math.prod(s.shape) for s in stages[start:])
            before = rows * math.prod(stages[start - 1].shape)
            formulas = numbers * (1 + self._training) + 2 * trained
            cells = formulas + before + sum(p.size for p in parameters)
            fits = formulas <= most and cells <= CELLS_PER_FORMULA * most
            if not parameters:
                continue  # the numbers of the layer before, moved about
            if fits and stages[start - 1].rows is not None:
                yield start
            else:
                self._no_longer = too_large(stages[start].name, self._request.wish.most)

    def _live(self, book: Book, start: int, most: int) -> LiveSheets:
        before, request, model = self._stages[start - 1], self._request, self._model
        tail = Sequential(name=model.name, dtype=model.dtype)
        tail._rng = model._rng
        for stage in self._stages[start:]:
            tail.add(stage.layer)  # type: ignore[arg-type]
        name = before.name if before.layer is None else f"{before.name}_out"
        if self._y is None:
            return live_prediction(tail, before.rows, book, request.wish, self._look, most, name)
        tail.optimizer, tail.loss, tail.metrics = model.optimizer, model.loss, model.metrics
        if request.steps > 1 and self._changes(start):
            raise self._no_steps("layers before the live ones that stay as they are")
        training = LiveTraining(
            tail, before.rows, self._y, request.steps, request.batch_size, request.wish,
            self._look, name,
        )  # fmt: skip
        return training.add_to(book, request.check, most)

    def _changes(self, start: int) -> bool:
        """Whether the layers before give something else in the next step."""
        layers = [s.layer for s in self._stages[:start] if s.layer is not None]
        trained = any(p.requires_grad for la in layers for p in la.parameters.values())
        return trained or any(isinstance(la, Dropout) and la.rate for la in layers)

    @staticmethod
    def _no_steps(expected: str) -> ArgumentError:
        where, advice = "export_xlsx of a large model, steps above 1", "Export one step."
        return ArgumentError(mismatch(where, expected, "others", advice))

    # -- the probes --------------------------------------------------------------------------------

    def _slopes(self, start: int) -> tuple[float | None, dict[str, Statistics]]:
        """The loss and the gradients of what is trained, where that is not on a live sheet."""
        if self._y is None:
            return None, {}
        layers = [s.layer for s in self._stages[:start] if s.layer is not None]
        if start < len(self._stages) and not any(
            p.requires_grad for la in layers for p in la.parameters.values()
        ):
            return None, {}
        return gradients(self._model, self._x, self._y)

    def _write_chain(self, found: GiantBook, left: int) -> ChainSheet | None:
        if self._probed is None:
            return None
        left -= sum(rows.formulas for rows in found.book.rows.values())
        target = self._neurons[self._probed]
        source = target.stage.sources[0]
        region = target.region(self._stages[source].shape)
        chain = follow(
            self._stages, source, region, self._request.probe_layers, left, self._training
        )
        if isinstance(chain, str):
            self._why_no_chain = chain
            return None
        found.chain = chain
        return ChainSheet(found.book, chain, target.stage.name, self._titles[self._probed])

    def _write_probe(
        self,
        found: GiantBook,
        number: int,
        chain: ChainSheet | None,
        slopes: dict[str, Statistics],
    ) -> None:
        stage, target = self._stages[number], self._neurons.get(number)
        own = [] if stage.layer is None else [p.name for p in stage.layer.parameters.values()]
        source = self._stages[stage.sources[0]]
        held = ProbeContents(gradients={name: slopes[name] for name in own if name in slopes})
        if target is not None:
            held.neuron = target
            held.inputs = source.row.reshape(-1).astype(np.float64)
        if number == self._probed and target is not None:
            if chain is None:
                held.facts = [f"No chain: {self._why_no_chain}."]
            else:
                region = target.region(source.shape)
                held.links, held.depth = chain.links(source.shape, region), len(chain.chain.layers)
                held.inputs[list(held.links)] = chain.chain.result.value.reshape(-1)  # type: ignore[index]
        layer = source.layer
        held.blue_first = isinstance(layer, ImagePreprocessing) and layer.reverses
        if number == len(self._stages) - 1:
            held.classes = self._look.class_names
        sheet = ProbeSheet(found.book, self._titles[number], stage, held)
        found.probes[stage.name] = sheet

    # -- the first sheet ---------------------------------------------------------------------------

    def _shown(self, start: int, slopes: dict[str, Statistics]) -> list[Shown]:
        found = []
        for number, stage in enumerate(self._stages):
            own = [] if stage.layer is None else stage.layer.parameters.values()
            sizes = [max(abs(d.least), abs(d.most)) for p in own if (d := slopes.get(str(p.name)))]
            title = self._titles[number] if self._has_sheet(number) and number < start else None
            slope = max(sizes) if sizes else None
            found.append(Shown(stage, title, number >= start, slope))
        return found

    def _facts(self, start: int, loss: float | None, chain: Chain | None) -> list[str]:
        facts = [
            f"Probes show the numbers of minnet's {self._model.dtype} pass; their live parts and "
            "the live sheets calculate with them in float64, as spreadsheets do."
        ]
        if loss is not None:
            facts.append(f"The loss is {loss:.6g}; d: statistics of its gradients, as values.")
        if start < len(self._stages):
            before = self._stages[start - 1].name
            facts.append(f"The live layers read what {before!r} gave as numbers.")
        if chain is not None:
            facts.append(f"The chain begins with {chain.layers[0]!r}: {chain.reason}.")
        elif self._why_no_chain:
            facts.append(f"There is no chain: {self._why_no_chain}.")
        return facts


def _whole_numbers(name: str, place: tuple[Any, ...]) -> tuple[int, ...]:
    if not all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in place):
        raise ArgumentError(mismatch(f"probe of {name!r}", "whole numbers", f"{place}"))
    return tuple(int(i) for i in place)


def _title(name: str, taken: set[str]) -> str:
    """A legal title for a sheet, as near to the name as can be."""
    kept = "".join(c if is_legal_title(f"a{c}a") is None else "_" for c in name).strip("' ")
    for number in range(1, 10_000):
        ending = "" if number == 1 else f" {number}"
        cut = kept
        while is_legal_title(cut + ending) is not None and cut:
            cut = cut[:-1]
        title = (cut or "layer") + ending
        if folded(title) not in taken:
            return title
    raise WorkbookError(f"There is no title left for a sheet of layer {name!r}.")
