"""``export_xlsx``: a network, or any scalar function, as a workbook that recalculates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.checks import whole
from minnet.errors import ArgumentError, mismatch
from minnet.spreadsheet.book import NETWORK, Book, StepSheet
from minnet.spreadsheet.chain import Chain
from minnet.spreadsheet.giant import Giant, Request, is_giant
from minnet.spreadsheet.live import (
    LiveSheets,
    LiveTraining,
    TooLarge,
    live_prediction,
    require_finite,
)
from minnet.spreadsheet.overview import ContentsSheet
from minnet.spreadsheet.passes import Pass, trace_function
from minnet.spreadsheet.probe import ProbeSheet
from minnet.spreadsheet.xlsx import Watch, save
from minnet.tensor import Tensor

MOST_FORMULAS = 50_000


@dataclass
class Export:
    """What was written: the file, its number of live formulas, and the passes it shows.

    ``probes``: the probe sheets, by the names of their layers, of a network too large to show;
    ``chain``: what is live before the neuron that ``probe=`` chose.
    """

    path: Path
    formulas: int
    sheets: list[str]
    passes: list[Pass] = field(repr=False)
    float32_difference: float | None = None
    probes: dict[str, ProbeSheet] = field(default_factory=dict, repr=False)
    chain: Chain | None = field(default=None, repr=False)


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
    probe: Sequence[Any] | None = None,
    probe_layers: int | None = None,
    classes: Sequence[str] = (),
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
    adds a sheet that compares a gradient with a finite difference. ``notes``: paragraphs of your
    own for the first sheet.

    Of a model that would need more than ``max_formulas`` the last layers are live, as many as fit,
    and every other layer has a sheet with statistics, pictures and one neuron worked out live from
    its window: the most active one, or ``probe=("block3_conv1", row, column, channel)``. For that
    one the ``probe_layers`` layers before it are live too, as much of them as it sees; None: as
    many as fit. ``probe`` makes such a book of any model. ``classes``: names of the outputs.
    ``watch`` hears about the file's size and how much of it is written
    (:class:`~minnet.spreadsheet.xlsx.Watch`).

    Raises :class:`~minnet.errors.WorkbookError` where that needs more formulas still, or a function
    does, :class:`~minnet.errors.ArgumentError` for a probe that the model does not have, and the
    errors of the model for data that do not fit it.
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
        if y is None and (steps != 1 or batch_size is not None):
            received = "steps to train without y"
            raise ArgumentError(mismatch("export_xlsx", "x and y", received, "Pass y."))
        if probe_layers is not None:
            _check_depth(probe, probe_layers)
        request = Request(
            x, y, max_formulas, steps, batch_size, check, title, notes, probe, probe_layers, classes
        )
        return _export_model(subject, request, Path(path), watch)
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


def _check_depth(probe: Sequence[Any] | None, layers: Any) -> None:
    if probe is None:
        expected, received = "probe=, with probe_layers", "probe_layers alone"
        raise ArgumentError(mismatch("export_xlsx", expected, received))
    whole("probe_layers", layers, 0)


def _export_model(model: Any, request: Request, path: Path, watch: Watch | None) -> Export:
    """Training steps, or what is predicted where there are no targets; as probes if too large."""
    x, y, most = request.x, request.y, request.most
    rows = len(model.prepare_inputs(x) if y is None else model.prepare(x, y)[0])
    if request.probe is None and not is_giant(model, rows, y is not None, most):
        try:
            return _export_live(model, request, path, watch)
        except TooLarge:
            if request.steps > 1:  # each of them would fit
                raise
    giant = Giant(model, request).write()
    live = giant.live or LiveSheets([], [])
    done = _save(giant.book, path, live.passes, most, watch, live.float32_difference)
    done.probes, done.chain = giant.probes, giant.chain
    return done


def _export_live(model: Any, request: Request, path: Path, watch: Watch | None) -> Export:
    """The whole model, live."""
    book, most = Book(), request.most
    contents = ContentsSheet(book, request.title or f"minnet: {model.name}")
    if request.y is None:
        live = live_prediction(model, request.x, book, most)
    else:
        training = LiveTraining(model, request.x, request.y, request.steps, request.batch_size)
        live = training.add_to(book, request.check, most)
    contents.fill(live.steps, live.others, live.facts, request.notes)
    return _save(book, path, live.passes, most, watch, live.float32_difference)


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
    require_finite(step)
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
        raise TooLarge(formulas, most)
    save(book.workbook, book.rows, path, watch)
    return Export(path, formulas, list(book.rows), passes, difference)
