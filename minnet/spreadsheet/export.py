"""``export_xlsx``: a network, or any scalar function, as a workbook that recalculates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.errors import ArgumentError, NumberError, WorkbookError, mismatch
from minnet.ops.base import CellWriter
from minnet.recording import no_grad, training_mode
from minnet.several import as_tensors, each, parts_of
from minnet.spreadsheet.book import NETWORK, Book, StepSheet
from minnet.spreadsheet.check_sheet import CHECK, CheckSheet
from minnet.spreadsheet.overview import TRAINING, ContentsSheet, TrainingSheet
from minnet.spreadsheet.passes import (
    Pass,
    latest_state,
    trace_function,
    trace_loss,
    trace_prediction,
    trace_step,
)
from minnet.spreadsheet.trace import Node
from minnet.spreadsheet.xlsx import Watch, save
from minnet.tensor import Array, Tensor, wrap

MOST_FORMULAS = 50_000


@dataclass
class Export:
    """What was written: the file, its number of live formulas, and the passes it shows."""

    path: Path
    formulas: int
    sheets: list[str]
    passes: list[Pass] = field(repr=False)
    float32_difference: float | None = None


def export_xlsx(
    subject: Any,
    x: npt.ArrayLike | None = None,
    y: npt.ArrayLike | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    steps: int = 1,
    batch_size: int | None = None,
    check: bool = True,
    max_formulas: int = MOST_FORMULAS,
    title: str | None = None,
    notes: Sequence[str] = (),
    watch: Watch | None = None,
) -> Export:
    """Write a workbook in which every number of a pass is a live formula.

    ``subject`` is a compiled model, exported with a batch ``x`` (rows, …) and its targets ``y``:
    forward, loss, backward and the optimizer's update. ``steps`` unrolls that many training steps,
    one sheet each; with ``batch_size`` they take the rows of ``x`` in turn, as an epoch without
    shuffling does, otherwise all of ``x`` every time. The model itself is not changed. Without
    ``y`` the book shows what the model predicts, for which it need not be compiled.

    Or ``subject`` is a function of tensors with one number as its result, and ``inputs`` names its
    arguments: ``export_xlsx(lambda a, b: (a * b).sum(), inputs={"a": …, "b": …}, path="f.xlsx")``.

    Everything is computed in float64, as a spreadsheet does, from the float32 weights. ``check``
    adds a sheet that compares a gradient with a finite difference. ``max_formulas`` guards against
    books too large to open with pleasure. ``notes``: paragraphs of your own for the first sheet.
    ``watch`` hears about the file's size and how much of it is written
    (:class:`~minnet.spreadsheet.xlsx.Watch`).

    Raises :class:`~minnet.errors.WorkbookError` for a pass larger than that, and the errors of the
    model for data that do not fit it.
    """
    if path is None:
        raise ArgumentError(mismatch("export_xlsx", "path=", "none", "Say where to write."))
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ArgumentError(mismatch("export_xlsx", "steps of 1 or more", repr(steps)))
    if hasattr(subject, "loss_of"):
        if x is None or inputs is not None:
            raise ArgumentError(
                mismatch("export_xlsx of a model", "x and y", "something else", "Pass x and y.")
            )
        if y is None:
            if steps != 1 or batch_size is not None:
                received = "steps to train without y"
                raise ArgumentError(mismatch("export_xlsx", "x and y", received, "Pass y."))
            return _export_prediction(subject, x, Path(path), max_formulas, title, watch)
        plan = _ModelExport(subject, x, y, steps, batch_size)
        return plan.write(Path(path), check, max_formulas, title, notes, watch)
    if not callable(subject):
        raise ArgumentError(
            mismatch("export_xlsx", "a model or a function of tensors", type(subject).__name__)
        )
    if inputs is None or x is not None or y is not None or steps != 1:
        raise ArgumentError(
            mismatch(
                "export_xlsx of a function", "inputs={name: array}, and one step", "other arguments"
            )
        )
    return _export_function(subject, inputs, Path(path), max_formulas, title, notes, watch)


class _ModelExport:
    """The passes of a model's training steps, then the sheets that show them."""

    def __init__(self, model: Any, x: Any, y: Any, steps: int, batch_size: int | None):
        x, y = model.prepare(x, y)
        self._source = model
        self._exact = model.astype(np.float64)
        self._x, self._y = each(_as_float64, x), each(_as_float64, y)
        size = len(x) if batch_size is None else batch_size
        if size < 1:
            raise ArgumentError(mismatch("export_xlsx", "batch_size of 1 or more", repr(size)))
        starts = range(0, len(x), size)
        self._batches = [
            slice(s, s + size) for s in (starts[k % len(starts)] for k in range(steps))
        ]

    def write(
        self,
        path: Path,
        check: bool,
        max_formulas: int,
        title: str | None,
        notes: Sequence[str],
        watch: Watch | None,
    ) -> Export:
        trained = sum(p.size for p in self._exact.trainable_parameters())
        self._require_size(2 * trained, max_formulas)  # gradients and new weights alone
        # A copy, so that the check sheet draws the dropout masks of the first step again.
        model = self._exact.astype(np.float64)
        first = self._trace(model, self._batches[0])
        self._require_size(first.least_formulas(), max_formulas)
        book = Book()
        contents = ContentsSheet(book, title or f"minnet: {self._source.name}")
        sheets, passes = self._write_steps(book, model, first)
        others = []
        if check and first.new:
            CheckSheet(book, sheets[0], self._nudged)
            others.append(
                (CHECK, "one weight nudged: a finite difference beside backprop's number")
            )
        if len(sheets) > 1:
            TrainingSheet(book).fill(sheets)
            others.append((TRAINING, "learning rate and loss of every step, with a chart"))
        difference = self._float32_difference(first)
        contents.fill(sheets, others, _facts(difference), notes)
        return _save(book, path, passes, max_formulas, watch, difference)

    def _trace(self, model: Any, batch: slice) -> Pass:
        step = trace_step(model, self._x[batch], self._y[batch])
        _require_finite(step)
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
            sheets.append(StepSheet(book, title, heading, step, links))
            passes.append(step)
            _advance(model, step)
            by_name = {p.name: new for p, new in step.new.items()}
            for parameter in model.parameters():
                if parameter.name in by_name:
                    parameter.data = by_name[parameter.name].value
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

    def _nudged(self, name: str, index: tuple[int, ...], shift: float) -> Pass:
        model = self._exact.astype(np.float64)
        parameter = next(p for p in model.parameters() if p.name == name)
        data = parameter.numpy()
        data[index] += shift
        parameter.data = data
        batch = self._batches[0]
        return trace_loss(model, self._x[batch], self._y[batch])

    def _require_size(self, formulas: int, most: int) -> None:
        """Refuse before the work is done; what is counted here is the least that a sheet needs."""
        if formulas * len(self._batches) > most:
            raise too_large(formulas * len(self._batches), most)

    def _float32_difference(self, first: Pass) -> float | None:
        """The largest difference that float32 makes to the loss and the last layer's output."""
        if self._source.dtype == np.float64:
            return None
        rows = self._batches[0]
        x, y = self._x[rows], self._y[rows]
        # A copy draws the same masks as the pass that is shown.
        rough = self._source.astype(self._source.dtype)

        def back(array: Array) -> Tensor:
            return Tensor(array.astype(rough.dtype) if array.dtype.kind == "f" else array)

        with no_grad(), training_mode():
            loss, _ = rough.loss_of(each(back, x), each(back, y))
        with no_grad():
            exact = self._exact.forward(as_tensors(x))
            outputs = zip(parts_of(exact), parts_of(rough.forward(each(back, x))), strict=True)
            furthest = [float(np.abs(a.data - b.data).max()) for a, b in outputs]
        return max(*furthest, abs(float(loss.item()) - float(first.result.value)))


def _advance(model: Any, step: Pass) -> None:
    """Take the step that a pass shows, so that the optimizer remembers it."""
    gradients = {p.name: p.gradient for p in step.new}
    found = [gradients.get(p.name) for p in model.trainable_parameters()]
    model.optimizer.step(
        model.trainable_parameters(),
        [None if g is None else wrap(g.value) for g in found],
        float(step.result.value),
    )


def _export_prediction(
    model: Any, x: Any, path: Path, most: int, title: str | None, watch: Watch | None
) -> Export:
    """The forward pass alone, as ``predict`` makes it."""
    inputs = model.prepare_inputs(x)
    step = trace_prediction(model.astype(np.float64), each(_as_float64, inputs))
    _require_finite(step)
    if step.least_formulas() > most:
        raise too_large(step.least_formulas(), most)
    book = Book()
    contents = ContentsSheet(book, title or f"minnet: {model.name}")
    sheet = StepSheet(book, NETWORK, f"{model.name}: prediction", step)
    contents.fill([sheet], [], ["No targets, no loss: the book shows the forward pass alone."])
    return _save(book, path, [step], most, watch)


def _export_function(
    fn: Callable[..., Any],
    inputs: Mapping[str, Any],
    path: Path,
    most: int,
    title: str | None,
    notes: Sequence[str],
    watch: Watch | None,
) -> Export:
    arrays = {}
    for name, value in inputs.items():
        array = np.asarray(value.data if isinstance(value, Tensor) else value)
        if array.dtype.kind not in "fiub":
            raise ArgumentError(mismatch(f"input {name!r}", "numbers", f"dtype {array.dtype}"))
        # Python numbers are meant as real numbers; an integer array may be labels or indices.
        whole = array.dtype.kind in "iu" and isinstance(value, (np.ndarray, Tensor))
        arrays[name] = array if whole or array.dtype == bool else array.astype(np.float64)
    step = trace_function(fn, arrays)
    _require_finite(step)
    book = Book()
    name = title or f"minnet: {getattr(fn, '__name__', 'function').replace('<lambda>', 'function')}"
    contents = ContentsSheet(book, name)
    sheet = StepSheet(book, NETWORK, name, step)
    contents.fill([sheet], [], [], notes)
    return _save(book, path, [step], most, watch)


def _save(
    book: Book,
    path: Path,
    passes: list[Pass],
    most: int,
    watch: Watch | None,
    difference: float | None = None,
) -> Export:
    formulas = sum(rows.formulas for rows in book.rows.values())
    if formulas > most:
        raise too_large(formulas, most)
    save(book.workbook, book.rows, path, watch)
    return Export(path, formulas, list(book.rows), passes, difference)


def too_large(formulas: int, most: int) -> WorkbookError:
    return WorkbookError(
        f"The book needs {formulas:,} live formulas or more, but the limit is {most:,}. Export "
        f"fewer rows of x, fewer steps or check=False, or allow more: max_formulas={formulas:,}."
    )


def _require_finite(step: Pass) -> None:
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


def _facts(difference: float | None) -> list[str]:
    if difference is None:
        return []
    return [
        f"Largest difference between float32 and float64, in outputs and loss: {difference:.2g}."
    ]


def _as_float64(y: Array) -> Array:
    return y.astype(np.float64) if y.dtype.kind == "f" else y
