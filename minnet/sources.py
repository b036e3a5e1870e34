"""Where the batches of ``fit`` and ``evaluate`` come from: arrays, or an iterable of batches.

A source gives prepared batches, each a tuple of inputs, targets, the rows' weights or None, and the
number of rows. It can start in the middle of an epoch, so that training can be resumed there.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from minnet.data import Batches
from minnet.errors import ArgumentError, MinnetError, ShapeError, mismatch
from minnet.losses import as_finite
from minnet.tensor import Array
from minnet.training import numbers

if TYPE_CHECKING:
    from minnet.model import Model

Batch = tuple[Any, Any, Any, int]
ClassWeight = Mapping[int, float]


class Rows:
    """Prepared arrays, cut into batches; shuffled anew for each epoch where asked to."""

    def __init__(self, x: Array, y: Array, weights: Array | None, batch_size: int):
        self._arrays = x, y, weights
        self.rows: int | None = len(x)
        self.batch_size: int | None = batch_size
        #: Batches in an epoch; None where nobody knows.
        self.steps: int | None = -(-len(x) // batch_size)

    def split(self, fraction: float) -> tuple[Rows, Rows | None]:
        """The rows to train on and, taken from the end, the rows to validate on.

        Raises :class:`~minnet.errors.ArgumentError` unless both parts have rows.
        """
        if fraction == 0:
            return self, None
        rows, size = len(self._arrays[0]), self.batch_size or 1
        # Rounded down as in Keras, except where only a rounding error makes a whole number smaller.
        start = int(rows * (1 - fraction) + 1e-9) if 0 < fraction < 1 else 0
        if not 0 < start < rows:
            expected = "a fraction from 0 to 1 that leaves rows for training and for validation"
            received = f"{fraction} of {rows} rows"
            raise ArgumentError(mismatch("validation_split", expected, received))
        x, y, weights = self._arrays
        first, last = slice(None, start), slice(start, None)
        return (
            Rows(x[first], y[first], None if weights is None else weights[first], size),
            Rows(x[last], y[last], None if weights is None else weights[last], size),
        )

    def limit(self, steps: int) -> None:
        """Let an epoch have this many batches."""
        assert self.steps is not None
        if steps > self.steps:
            expected = f"at most the {self.steps} batches of the data"
            raise ArgumentError(mismatch("steps", expected, str(steps)))
        self.steps = steps
        self.rows = min(steps * (self.batch_size or 1), len(self._arrays[0]))

    def weigh_classes(self, class_weight: ClassWeight, model: Model) -> None:
        """Multiply each row's weight by that of its class.

        Raises :class:`~minnet.errors.ArgumentError` for classes that there are not.
        """
        x, y, weights = self._arrays
        by_class = _by_class(class_weight, y, model)
        self._arrays = x, y, by_class if weights is None else weights * by_class

    def epoch(
        self, number: int = 0, skip: int = 0, rng: np.random.Generator | None = None
    ) -> Generator[Batch, None, None]:
        """The batches of one epoch but the first ``skip``; with ``rng`` in a new order.

        The order is drawn at once, before the first batch is asked for.
        """
        order = None if rng is None else rng.permutation(len(self._arrays[0]))
        return self._batches(order, skip)

    def _batches(self, order: Array | None, skip: int) -> Generator[Batch, None, None]:
        x, y, weights = self._arrays
        rows, size, steps = len(x), self.batch_size or 1, self.steps or 0
        for start in range(skip * size, min(steps * size, rows), size):
            stop = min(start + size, rows)
            if order is None:
                w = None if weights is None else weights[start:stop]
                yield x[start:stop], y[start:stop], w, stop - start
            else:  # take is quicker than indexing with an array
                chosen = order[start:stop]
                w = None if weights is None else weights.take(chosen, 0)
                yield x.take(chosen, 0), y.take(chosen, 0), w, stop - start


class Stream:
    """A generator, or an iterable that can be started again for each epoch, of (x, y) or (x, y, w).

    A generator (anything with ``__next__``) goes on from epoch to epoch; ``steps`` says when an
    epoch ends. When training is resumed in another process, it is taken to start from its
    beginning, and what was trained on is passed over.
    """

    def __init__(
        self,
        model: Model,
        batches: Any,
        name: str,
        steps: int | None,
        first_epoch: int = 0,
        several_epochs: bool = False,
    ):
        self._model, self._name = model, name
        self._class_weight: ClassWeight | None = None
        self._batches, self._first, self._drawn = batches, first_epoch, 0
        self._goes_on = hasattr(batches, "__next__")
        if steps is None and hasattr(batches, "__len__"):
            steps = len(batches)
        if steps is None and self._goes_on and several_epochs:
            needed = "validation_steps" if name == "validation_data" else "steps_per_epoch"
            advice = f"Give {needed}: a generator does not say where an epoch ends."
            raise ArgumentError(mismatch(name, needed, "none", advice))
        self.steps = steps
        self.rows: int | None = None
        self.batch_size: int | None = None
        if isinstance(batches, Batches):
            self.batch_size = batches.batch_size
            if steps == len(batches):
                self.rows = batches.rows

    def weigh_classes(self, class_weight: ClassWeight, model: Model) -> None:
        """Multiply each row's weight by that of its class, in the batches to come."""
        self._class_weight = class_weight

    def epoch(
        self, number: int = 0, skip: int = 0, rng: np.random.Generator | None = None
    ) -> Generator[Batch, None, None]:
        """The batches of one epoch but the first ``skip``; their order is the iterable's own."""
        if isinstance(self._batches, Batches):
            return self._prepared(self._batches.epoch(number, skip), number, skip)
        if not self._goes_on:
            return self._prepared(islice(self._batches, skip, None), number, skip)
        due = (number - self._first) * (self.steps or 0) + skip
        for _ in islice(self._batches, max(0, due - self._drawn)):
            self._drawn += 1
        return self._prepared(self._batches, number, skip)

    def _prepared(self, batches: Any, number: int, skip: int) -> Generator[Batch, None, None]:
        count = skip
        own = batches if isinstance(self._batches, Batches) else None
        with closing(own) if own is not None else nullcontext():
            iterator = iter(batches)
            while self.steps is None or count < self.steps:
                try:
                    batch = next(iterator)
                except StopIteration:
                    break
                self._drawn += 1
                yield self._prepare(batch, f"{self._name}, epoch {number + 1}, batch {count + 1}")
                count += 1
        if count == 0 or (self.steps is not None and count < self.steps):
            expected = "at least one batch" if self.steps is None else f"{self.steps} batches"
            where = f"{self._name}, epoch {number + 1}"
            advice = "A generator that is used up starts again only where it loops for ever."
            raise ArgumentError(mismatch(where, expected, f"{count}", advice))

    def _prepare(self, batch: Any, where: str) -> Batch:
        if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
            size = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            received = f"a {type(batch).__name__}{size}"
            raise ArgumentError(mismatch(where, "(x, y) or (x, y, sample_weight)", received))
        try:
            x, y, weights = prepare(self._model, *batch)
            if self._class_weight is not None:
                by_class = _by_class(self._class_weight, y, self._model)
                weights = by_class if weights is None else weights * by_class
        except MinnetError as error:
            raise type(error)(f"{where}: {error}") from error
        # A view, as the engine makes the arrays it has recorded read-only.
        return x[:], y[:], weights, len(x)


def prepare(
    model: Model, x: Any, y: Any, sample_weight: Any = None
) -> tuple[Array, Array, Array | None]:
    """Inputs, targets and the rows' weights as a step takes them.

    Raises what :meth:`minnet.model.Model.prepare` raises, and for weights
    :class:`~minnet.errors.ShapeError` unless there is one for each row and
    :class:`~minnet.errors.NumberError` for NaN or infinity.
    """
    inputs, targets = model.prepare(x, y)
    if sample_weight is None:
        return inputs, targets, None
    weights = numbers("sample_weight", sample_weight)
    if weights.shape not in ((len(inputs),), (len(inputs), 1)):
        expected = f"one number for each of {len(inputs)} rows"
        raise ShapeError(mismatch("sample_weight", expected, f"an array of shape {weights.shape}"))
    return inputs, targets, as_finite("sample_weight", weights.reshape(-1), model.dtype)


def _by_class(class_weight: ClassWeight, targets: Array, model: Model) -> Array:
    """The weight of each row's class; 1 for classes without one."""
    shape = model.output_shape
    classes = shape[-1] if shape and isinstance(shape[-1], int) and shape[-1] > 1 else 2
    labels = targets if isinstance(targets, np.ndarray) and targets.dtype.kind in "iu" else None
    if labels is None and getattr(targets, "ndim", 0) == 2 and targets.shape[1] in (1, classes):
        labels = targets.argmax(1) if targets.shape[1] > 1 else targets[:, 0].astype(np.int64)
    if labels is None or labels.ndim != 1:
        received = f"targets of shape {targets.shape}" if hasattr(targets, "shape") else "several"
        raise ArgumentError(mismatch("class_weight", "one class per row", received))
    if not isinstance(class_weight, Mapping):
        received = type(class_weight).__name__
        raise ArgumentError(mismatch("class_weight", "{class: weight}", received))
    table = np.ones(classes)
    for label, weight in class_weight.items():
        if not isinstance(label, (int, np.integer)) or not 0 <= label < classes:
            expected = f"classes from 0 to {classes - 1}"
            raise ArgumentError(mismatch("class_weight", expected, repr(label)))
        table[label] = weight
    return as_finite("class_weight", table, model.dtype)[labels]


def source_of(
    model: Model,
    x: Any,
    y: Any,
    batch_size: int,
    *,
    sample_weight: Any = None,
    steps: int | None = None,
    name: str = "x",
    first_epoch: int = 0,
    several_epochs: bool = False,
) -> Rows | Stream:
    """The source for what a user gave: arrays ``x`` and ``y``, or batches as ``x`` alone.

    Raises :class:`~minnet.errors.ArgumentError` where ``x`` is neither or both, and what
    :func:`prepare` raises.
    """
    if y is None:
        if isinstance(x, np.ndarray) or not hasattr(x, "__iter__"):
            expected = "targets y, or an iterable of batches (x, y)"
            raise ArgumentError(mismatch(name, expected, type(x).__name__))
        if sample_weight is not None:
            advice = "Let the batches be (x, y, sample_weight)."
            raise ArgumentError(mismatch(name, "no sample_weight with batches", "some", advice))
        return Stream(model, x, name, steps, first_epoch, several_epochs)
    if isinstance(x, Batches) or hasattr(x, "__next__"):
        advice = "The batches have their targets: leave y out."
        raise ArgumentError(mismatch(name, "no targets y with batches", "some", advice))
    rows = Rows(*prepare(model, x, y, sample_weight), batch_size)
    if steps is not None:
        rows.limit(steps)
    return rows
