"""The sheets of a model whose every number is live: its training steps, or what it predicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from minnet.errors import NumberError, mismatch
from minnet.ops.base import CellWriter
from minnet.recording import no_grad, training_mode
from minnet.several import as_tensors, each, parts_of
from minnet.spreadsheet.book import NETWORK, Book, Look, StepSheet
from minnet.spreadsheet.check_sheet import CHECK, CheckSheet
from minnet.spreadsheet.draws import Draws
from minnet.spreadsheet.names import DoesNotFit
from minnet.spreadsheet.overview import TRAINING, TrainingSheet
from minnet.spreadsheet.passes import Pass, latest_state, trace_loss, trace_prediction, trace_step
from minnet.spreadsheet.trace import Node, Trace
from minnet.spreadsheet.wishes import Wish
from minnet.tensor import Array, Tensor, wrap

_DRAWN = (
    "The weights are drawn anew at every recalculation (press F9). Stored beside the formulas are "
    "those of the model."
)


class TooLarge(DoesNotFit):
    """More live formulas than are allowed; ``fact`` says so without the advice."""

    def __init__(self, formulas: int, most: int):
        self.formulas = formulas
        self.fact = f"The book needs {formulas:,} live formulas or more, but the limit is {most:,}."
        super().__init__(
            f"{self.fact} Export fewer rows of x, fewer steps or check=False, or allow more: "
            f"max_formulas={formulas:,}."
        )


@dataclass
class LiveSheets:
    """What was added to a book: sheets of passes, other sheets and what they show, facts."""

    steps: list[StepSheet]
    passes: list[Pass]
    others: list[tuple[str, str]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    float32_difference: float | None = None


class LiveTraining:
    """The passes of a model's training steps, then the sheets that show them.

    ``steps``: how many. ``batch_size``: rows of ``x`` for each, in turn; None takes all every time.
    ``x_name``: what the inputs are called.
    """

    def __init__(
        self, model: Any, x: Any, y: Any, steps: int, batch_size: int | None, wish: Wish,
        look: Look, x_name: str = "x",
    ):  # fmt: skip
        x, y = model.prepare(x, y)
        self._source, self._wish, self._look = model, wish, look
        self._x, self._y = each(as_float64, x), each(as_float64, y)
        self._x_name = x_name
        size = len(x) if batch_size is None else batch_size
        starts = range(0, len(x), size)
        self._batches = [
            slice(s, s + size) for s in (starts[k % len(starts)] for k in range(steps))
        ]

    def add_to(self, book: Book, check: bool, most: int) -> LiveSheets:
        """A sheet for each step, and those that check and sum up.

        Raises :class:`TooLarge` for steps of more than ``most`` formulas.
        """
        trained = sum(p.size for p in self._source.trainable_parameters())
        self._require_size(2 * trained, most)  # gradients and new weights alone
        exact = self._source.astype(np.float64)
        # A copy, so that the check sheet draws the dropout masks of the first step again.
        model = exact.astype(np.float64)
        first = self._trace(model, self._batches[0])
        self._require_size(first.least_formulas(), most)
        sheets, passes = self._write_steps(book, model, first)
        done = LiveSheets(sheets, passes)
        if check and first.new:
            CheckSheet(book, sheets[0], lambda *weight: self._nudged(exact, *weight))
            text = "one weight nudged: a finite difference beside backprop's number"
            done.others.append((CHECK, text))
        if len(sheets) > 1:
            TrainingSheet(book).fill(sheets)
            done.others.append((TRAINING, "learning rate and loss of every step, with a chart"))
        done.float32_difference = self._float32_difference(exact, first)
        if done.float32_difference is not None:
            done.facts.append(_about_float32(done.float32_difference))
        if self._wish.live:
            done.facts.append(_DRAWN)
        return done

    def _trace(self, model: Any, batch: slice) -> Pass:
        step = trace_step(model, self._x[batch], self._y[batch], self._x_name)
        require_finite(step)
        return step

    def _write_steps(
        self, book: Book, model: Any, first: Pass
    ) -> tuple[list[StepSheet], list[Pass]]:
        sheets: list[StepSheet] = []
        passes: list[Pass] = []
        for number, batch in enumerate(self._batches, 1):
            step = first if number == 1 else self._trace(model, batch)
            title = NETWORK if number == 1 else f"step {number}"
            links = self._links(step, sheets, batch) if sheets else None
            heading = f"{self._source.name}: training step {number}"
            draws = Draws(model, step) if self._wish.live and number == 1 else None
            pictures = None if self._wish.pictures is None else self._wish.pictures[batch]
            sheets.append(StepSheet(book, title, heading, step, links, self._look, pictures, draws))
            passes.append(step)
            _advance(model, step)
            by_name = {p.name: new for p, new in step.new.items()}
            for parameter in model.parameters():
                if parameter.name in by_name:
                    parameter.data = by_name[parameter.name].value
        for before, after in pairwise(sheets):
            after.link_before(before)
            before.link_after(after)
        return sheets, passes

    def _links(self, step: Pass, sheets: list[StepSheet], batch: slice) -> dict[Node, CellWriter]:
        """A later step reads its weights from the one before, its data from where they stand."""
        before = sheets[-1]
        old = {p.name: p for p in before.step.parameters}
        links = {}
        for parameter in step.parameters:
            source = old[parameter.name]
            links[parameter] = before.reference(before.step.new.get(source, source))
        for state in step.states:
            found = latest_state([(sheet, sheet.step) for sheet in sheets], str(state.name))
            if found is not None:  # else no step so far has looked at it
                links[state] = found[0].reference(found[1])
        same = next((s for s, b in zip(sheets, self._batches) if b == batch), None)
        if same is not None:
            for node, source in zip(step.inputs, same.step.inputs):
                links[node] = same.reference(source)
        return links

    def _nudged(self, exact: Any, name: str, index: tuple[int, ...], shift: float) -> Pass:
        model = exact.astype(np.float64)
        parameter = next(p for p in model.parameters() if p.name == name)
        data = parameter.numpy()
        data[index] += shift
        parameter.data = data
        batch = self._batches[0]
        return trace_loss(model, self._x[batch], self._y[batch], self._x_name)

    def _require_size(self, formulas: int, most: int) -> None:
        """Refuse before the work is done; what is counted here is the least that a sheet needs."""
        if formulas * len(self._batches) > most:
            raise TooLarge(formulas * len(self._batches), most)

    def _float32_difference(self, exact: Any, first: Pass) -> float | None:
        """The largest difference that float32 makes to the loss and the last layer's output."""
        if self._source.dtype == np.float64:
            return None
        rows = self._batches[0]
        x, y = self._x[rows], self._y[rows]
        # A copy draws the same masks as the pass that is shown.
        rough = self._source.astype(self._source.dtype)

        def back(array: Array) -> Tensor:
            return Tensor(array.astype(rough.dtype) if array.dtype.kind == "f" else array)

        with np.errstate(over="ignore", invalid="ignore"), no_grad():
            with training_mode():
                loss, _ = rough.loss_of(each(back, x), each(back, y))
            with Trace(widens=True).watching():
                right = exact.forward(as_tensors(x))
            outputs = zip(parts_of(right), parts_of(rough.forward(each(back, x))), strict=True)
            furthest = [float(np.abs(a.data - b.data).max()) for a, b in outputs]
        furthest.append(abs(float(loss.item()) - float(first.result.value)))
        return max(furthest) if np.isfinite(furthest).all() else float("inf")


def _about_float32(difference: float) -> str:
    if np.isfinite(difference):
        what = "Largest difference between float32 and float64, in outputs and loss"
        return f"{what}: {difference:.2g}."
    return "float32 cannot hold all numbers of the first step; float64, as in this book, can."


def _advance(model: Any, step: Pass) -> None:
    """Take the step that a pass shows, so that the optimizer remembers it."""
    gradients = {p.name: p.gradient for p in step.new}
    found = [gradients.get(p.name) for p in model.trainable_parameters()]
    model.optimizer.step(
        model.trainable_parameters(),
        [None if g is None else wrap(g.value) for g in found],
        float(step.result.value),
    )


def live_prediction(
    model: Any, x: Any, book: Book, wish: Wish, look: Look, most: int, x_name: str = "x"
) -> LiveSheets:
    """A sheet of the forward pass alone, as ``predict`` makes it.

    Raises :class:`TooLarge` for a pass of more than ``most`` formulas.
    """
    exact = model.astype(np.float64)
    step = trace_prediction(exact, each(as_float64, model.prepare_inputs(x)), x_name)
    require_finite(step)
    if step.least_formulas() > most:
        raise TooLarge(step.least_formulas(), most)
    heading, draws = f"{model.name}: prediction", Draws(exact, step) if wish.live else None
    sheet = StepSheet(book, NETWORK, heading, step, None, look, wish.pictures, draws)
    facts = ["No targets, no loss: the book shows the forward pass alone."]
    return LiveSheets([sheet], [step], facts=facts + ([_DRAWN] if wish.live else []))


def require_finite(step: Pass) -> None:
    for node in step.trace.nodes:
        if not np.isfinite(node.value).all():
            what = node.name or (node.op.name if node.op else node.kind)
            where = f"{node.scope.name}, {what}" if node.scope.name else what
            raise NumberError(
                mismatch(
                    f"export: {where}",
                    "finite numbers",
                    f"NaN or infinity in its {node.phase} pass",
                    "Check the data and the weights, or lower the learning rate.",
                )
            )


def as_float64(y: Array) -> Array:
    return y.astype(np.float64) if y.dtype.kind == "f" else y
