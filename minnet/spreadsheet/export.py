"""``export_xlsx``: a network, or any scalar function, as a workbook that recalculates."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.checks import items, whole
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.files import workbook_name
from minnet.spreadsheet.book import NETWORK, Book, Look, StepSheet
from minnet.spreadsheet.chain import Chain
from minnet.spreadsheet.giant import Giant, Request, is_giant
from minnet.spreadsheet.live import (
    LiveSheets,
    LiveTraining,
    TooLarge,
    live_prediction,
    require_finite,
)
from minnet.spreadsheet.names import DoesNotFit
from minnet.spreadsheet.overview import ContentsSheet
from minnet.spreadsheet.passes import Pass, trace_function
from minnet.spreadsheet.probe import ProbeSheet
from minnet.spreadsheet.wishes import Wish
from minnet.spreadsheet.xlsx import Watch, save
from minnet.tensor import Tensor

MOST_FORMULAS = 50_000


@dataclass
class Export:
    """What was written: the file, its number of live formulas, and the passes it shows.

    ``probes``: the probe sheets, by the names of their layers, of a network too large to show;
    ``live_end``: in words, which of its layers are live with all their numbers; ``chain``: what is
    live before the neuron that ``probe=`` chose.
    """

    path: Path
    formulas: int
    sheets: list[str]
    passes: list[Pass] = field(repr=False)
    float32_difference: float | None = None
    probes: dict[str, ProbeSheet] = field(default_factory=dict, repr=False)
    live_end: str = ""
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
    layout: str = "strips",
    random_weights: str = "values",
    class_names: Sequence[str] | None = None,
    pictures: Sequence[Any] | None = None,
    probe: Sequence[Any] | None = None,
    probe_layers: int | None = None,
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
    It may calculate gradients itself. Where its arguments have no names, they come in order.

    Everything is computed in float64, as a spreadsheet does, from the float32 weights. ``check``
    adds a sheet that compares a gradient with a finite difference. ``max_formulas`` guards against
    books too large to open with pleasure: of a network that needs more, the layers at the end that
    fit are live, and each of the others has a *probe*, a sheet with statistics, pictures and one
    neuron worked out live. ``notes``: paragraphs of your own for the first sheet.

    ``layout`` of the sheets: "strips", a column strip for each layer, or "lesson", one block below
    the other as in fast.ai's ``layers_example``, for chains of dense layers. ``random_weights``
    "live" writes weights as draws of the spreadsheet, new ones at every recalculation, instead of
    the model's, which are stored beside them. ``class_names``: of a classifier, in the order of its
    outputs; by default the model's own, where it has some. ``pictures``: for each row of ``x``, a
    Pillow image or uint8 pixels to be shown with the row's numbers; by default inputs that are
    images are shown themselves.

    ``probe``: a layer's name, and a place in its output, ``("conv3", row, column, channel)``:
    the neuron that is worked out there; by default the most active one. The ``probe_layers`` layers
    before it are live too, as much of them as it sees; None: as many as fit. ``probe`` makes a book
    with probes of any model.
    ``watch`` hears about the file's size and how much of it is written
    (:class:`~minnet.spreadsheet.xlsx.Watch`).

    Raises :class:`~minnet.errors.WorkbookError` where that needs more formulas still, or a function
    does, :class:`~minnet.errors.ArgumentError` for a probe that the model does not have, and the
    errors of the model for data that do not fit it.
    """
    if not isinstance(path, (str, os.PathLike)):
        expected = "path=, the name of a file to write"
        raise ArgumentError(mismatch("export_xlsx", expected, repr(path)))
    path = workbook_name("export_xlsx path", path)
    steps = whole("export_xlsx steps", steps, 1)
    if batch_size is not None:
        whole("batch_size", batch_size, 1)
    wish = Wish(
        path, max_formulas, title, notes, layout, random_weights, class_names, pictures, watch
    )
    if hasattr(subject, "loss_of"):
        if x is None or inputs is not None:
            raise ArgumentError(
                mismatch("export_xlsx of a model", "x and y", "something else", "Pass x and y.")
            )
        if y is None and (steps != 1 or batch_size is not None):
            received = "steps to train without y"
            raise ArgumentError(mismatch("export_xlsx", "x and y", received, "Pass y."))
        _check_probe(probe, probe_layers, layout)
        request = Request(x, y, wish, steps, batch_size, check, probe, probe_layers)
        return _export_model(subject, request)
    if not callable(subject):
        raise ArgumentError(
            mismatch("export_xlsx", "a model or a function of tensors", type(subject).__name__)
        )
    if not isinstance(inputs, Mapping) or x is not None or y is not None or steps != 1:
        raise ArgumentError(
            mismatch(
                "export_xlsx of a function", "inputs={name: array}, and one step", "other arguments"
            )
        )
    wish.require_function()
    return _export_function(subject, inputs, wish)


def _check_probe(probe: Sequence[Any] | None, layers: Any, layout: str) -> None:
    if probe is not None:
        items("probe", probe, "a layer's name and a place, ('conv3', row, column, channel)")
        if layout != "strips":
            expected, received = "layout='strips' with probe=", f"layout={layout!r}"
            raise ArgumentError(mismatch("export_xlsx", expected, received))
    if probe is None and layers is not None:
        expected, received = "probe=, with probe_layers", "probe_layers alone"
        raise ArgumentError(mismatch("export_xlsx", expected, received))
    if layers is not None:
        whole("probe_layers", layers, 0)


def _export_model(model: Any, request: Request) -> Export:
    """Training steps, or what is predicted where there are no targets; as probes if too large."""
    x, y, wish = request.x, request.y, request.wish
    rows = len(model.prepare_inputs(x) if y is None else model.prepare(x, y)[0])
    look, why = wish.look(model, rows), ""
    if request.probe is None and not is_giant(model, rows, y is not None, wish.most):
        try:
            return _export_live(model, request, look)
        except DoesNotFit as error:
            counted = error.formulas if isinstance(error, TooLarge) else 0
            if request.steps > 1 and counted <= request.steps * wish.most:
                raise  # each of the steps may fit
            why = "" if counted else str(error)
    giant = Giant(model, request, look, why).write()
    done = _save(giant.book, wish, giant.live or LiveSheets([], []))
    done.probes, done.live_end, done.chain = giant.probes, giant.live_end, giant.chain
    return done


def _export_live(model: Any, request: Request, look: Look) -> Export:
    """The whole model, live."""
    book, wish = Book(), request.wish
    contents = ContentsSheet(book, wish.title or f"minnet: {model.name}")
    if request.y is None:
        live = live_prediction(model, request.x, book, wish, look, wish.most)
    else:
        training = LiveTraining(
            model, request.x, request.y, request.steps, request.batch_size, wish, look
        )
        live = training.add_to(book, request.check, wish.most)
    contents.fill(live.steps, live.others, live.facts, wish.notes, look)
    return _save(book, wish, live)


def _export_function(fn: Callable[..., Any], inputs: Mapping[str, Any], wish: Wish) -> Export:
    arrays = {}
    for name, value in inputs.items():
        if not isinstance(name, str):
            expected = "inputs= by names of arguments"
            raise ArgumentError(mismatch("export_xlsx of a function", expected, repr(name)))
        try:
            array = np.asarray(value.data if isinstance(value, Tensor) else value)
        except ValueError:
            where, expected = f"input {name!r}", "rows of one length"
            raise ShapeError(mismatch(where, expected, "rows of several")) from None
        if array.dtype.kind not in "fiub":
            raise ArgumentError(mismatch(f"input {name!r}", "numbers", f"dtype {array.dtype}"))
        # Python numbers are meant as real numbers; an integer array may be labels or indices.
        whole = array.dtype.kind in "iu" and isinstance(value, (np.ndarray, Tensor))
        arrays[name] = array if whole or array.dtype == bool else array.astype(np.float64)
    step = trace_function(fn, arrays)
    require_finite(step)
    book = Book()
    name = getattr(fn, "__name__", "function").replace("<lambda>", "function")
    title = wish.title or f"minnet: {name}"
    contents = ContentsSheet(book, title)
    sheet = StepSheet(book, NETWORK, title, step)
    contents.fill([sheet], [], [], wish.notes)
    return _save(book, wish, LiveSheets([sheet], [step]))


def _save(book: Book, wish: Wish, live: LiveSheets) -> Export:
    formulas = sum(rows.formulas for rows in book.rows.values())
    if formulas > wish.most:
        raise TooLarge(formulas, wish.most)
    save(book.workbook, book.rows, wish.path, wish.watch)
    return Export(wish.path, formulas, list(book.rows), live.passes, live.float32_difference)
