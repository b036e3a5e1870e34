"""Reading a workbook back after a person has edited it: weights, inputs, learning rate.

Only named areas are read, so rows and columns may have been inserted and sheets renamed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minnet.errors import ArgumentError, WorkbookError, mismatch
from minnet.spreadsheet.blocks import IMAGES, NORMAL, arrange, parameter_orientations
from minnet.spreadsheet.labels import RATE
from minnet.spreadsheet.names import SHARES, legal_name, probe_name, table_name
from minnet.spreadsheet.reader import Area, Book, open_book
from minnet.tensor import Array


class Change(NamedTuple):
    """How a weight of the workbook differs from the model's: in ``differing`` of ``size`` numbers,
    most of all at ``place`` in the array, from ``before`` to ``after``."""

    name: str
    differing: int
    size: int
    place: tuple[int, ...]
    before: float
    after: float


@dataclass
class ReadBack:
    """What a workbook held: the inputs, the learning rate, and which weights differed, how far.

    ``weights`` were read; ``probed`` belong to layers of which the book has a probe sheet alone,
    and were left as they are.
    """

    inputs: dict[str, Array] = field(default_factory=dict)
    learning_rate: float | None = None
    weights: list[str] = field(default_factory=list)
    probed: list[str] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """The names of the weights that differed."""
        return [change.name for change in self.changes]


def read_xlsx(path: str | os.PathLike[str], model: Any) -> ReadBack:
    """Load weights and learning rate from a workbook of ``model`` into it; give back the inputs.

    All or nothing: the model is changed only after every weight has been found, has the model's
    shape and holds nothing but numbers, none too large for its dtype. Inputs come as float64 arrays
    ``x`` and ``target``: images as (n, height, width, channels), others in two dimensions, as they
    lie on the sheet.

    Raises :class:`~minnet.errors.WorkbookError` for a file that is not a workbook, a name that is
    missing or leads nowhere, an area of another shape, and for text, a formula or an empty cell
    where a number belongs. Weights of layers that have a probe sheet alone stay as they are
    (``probed``).
    """
    if not hasattr(model, "parameters"):
        raise ArgumentError(mismatch(f"reading {path}", "a model", repr(model)))
    book = open_book(path)
    found = ReadBack()
    parameters = model.parameters()
    if not parameters:
        raise WorkbookError(
            mismatch(
                f"reading {path}",
                "a model with weights to fill",
                "one without",
                "Build it first: give the first layer input_shape=….",
            )
        )
    found.probed = _probed(book, model)
    parameters = [p for p in parameters if p.name not in found.probed]
    weights = [_weight(book, p) for p in parameters]
    rate = book.named(RATE, "the learning rate")
    if rate is not None:
        found.learning_rate = float(book.numbers(rate, "the learning rate")[0, 0])
        if not found.learning_rate > 0:
            raise WorkbookError(
                mismatch(f"{path}: {RATE}", "a number above 0", f"{found.learning_rate:g}")
            )
    for name, shape in _inputs_of(model):
        area = book.named(legal_name(name), f"the input {name!r}")
        if area is not None:
            numbers = book.numbers(area, f"the input {name!r}")
            found.inputs[name] = _images(numbers, shape)
    for parameter, array in zip(parameters, weights):
        found.weights.append(parameter.name)
        if not np.array_equal(array, parameter.data):
            found.changes.append(_change(parameter, array))
            parameter.data = array
    if found.learning_rate is not None:
        model.optimizer.base_lr = found.learning_rate
    return found


def _probed(book: Book, model: Any) -> list[str]:
    """The weights of layers that were too large to show: they are not in the book as a whole."""
    layers = [
        layer
        for layer in model.layers
        if book.named(probe_name(layer.name, SHARES), f"the probe of layer {layer.name!r}")
    ]
    names = [str(p.name) for layer in layers for p in layer.parameters.values()]
    return [name for name in names if not book.named(legal_name(name), f"the weight {name!r}")]


def _change(parameter: Any, array: Array) -> Change:
    before = parameter.data
    # In float64: the difference of two large float32 could be infinite.
    distance = np.abs(array.astype(np.float64) - before)
    place = tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
    differing = int(np.count_nonzero(distance))
    return Change(
        parameter.name, differing, array.size, place, float(before[place]), float(array[place])
    )


def _weight(book: Book, parameter: Any) -> Array:
    """A parameter's array from its named area, in the model's dtype."""
    name = legal_name(parameter.name)
    area = book.named(name, f"the weight {parameter.name!r}")
    if area is None:
        similar = sorted(n for n in book.names if not n.endswith(("_grad", "_new")))
        raise WorkbookError(
            mismatch(
                f"{book.path}: weight {parameter.name!r}",
                f"an area named {name!r}",
                f"the names {', '.join(similar) or '(none)'}",
                "Is this the model that the workbook was made from?",
            )
        )
    as_table = book.named(table_name(parameter.name), f"the title of {parameter.name!r}")
    lies = _orientation(area, parameter.shape, as_table is not None)
    if lies is None:
        raise WorkbookError(
            mismatch(
                f"{book.path}: weight {parameter.name!r} in {area.sheet!r}",
                f"cells for shape {parameter.shape}",
                f"{area.rows} rows × {area.columns} columns",
                "Rows and columns may be inserted around a block, not inside it.",
            )
        )
    most = float(np.finfo(parameter.dtype).max)
    numbers = book.numbers(area, f"the weight {parameter.name!r}", most=most)
    array = np.empty(parameter.size, parameter.dtype)
    array[arrange(parameter.shape, lies).reshape(-1)] = numbers.reshape(-1)
    return array.reshape(parameter.shape)


def _inputs_of(model: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The names that the sheet has for inputs and targets, and the shapes of their rows."""
    first = [call.layer for call in model.calls if not call.inputs]
    names = ["x"] if len(first) == 1 else model.input_names
    outputs = getattr(model, "output_names", [""])
    targets = ["target"] if len(outputs) == 1 else [f"{name}_target" for name in outputs]
    shapes = {layer.name: layer.input_shape for layer in first}
    rows = [shapes[name] for name in names] if len(first) > 1 else [first[0].input_shape]
    return [*zip(names, rows, strict=True), *((name, ()) for name in targets)]


def _images(numbers: Array, row_shape: tuple[int, ...]) -> Array:
    """What lies on the sheet as images, where the model's rows are images that lie so."""
    if len(row_shape) != 3 or len(numbers) % row_shape[0]:
        return numbers
    shape = (len(numbers) // row_shape[0], *row_shape)
    order = arrange(shape, IMAGES)
    if order.shape != numbers.shape:
        return numbers
    images = np.empty(order.size)
    images[order.reshape(-1)] = numbers.reshape(-1)
    return images.reshape(shape)


def _orientation(area: Area, shape: tuple[int, ...], as_table: bool) -> str | None:
    """How a parameter of this shape lies in the area; None where it cannot."""
    for lies in (NORMAL,) if as_table else parameter_orientations(len(shape)):
        if arrange(shape, lies).shape == (area.rows, area.columns):
            return lies
    return None
