"""The loop of ``fit``: epochs of steps, what is called on the way, and where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from minnet import random, training
from minnet.callbacks import Callback, CallbackList, History, ProgressBar
from minnet.checks import whole
from minnet.data import Batches
from minnet.errors import ArgumentError, mismatch
from minnet.interrupts import StepGuard
from minnet.recording import no_grad
from minnet.several import as_tensors, each, parts_of
from minnet.sources import ClassWeight, Rows, Stream, source_of
from minnet.tensor import Tensor
from minnet.training import Means

if TYPE_CHECKING:
    from minnet.model import Model


@dataclass(frozen=True)
class Position:
    """How far a ``fit`` is: enough to go on from there, given the model and the same data.

    Its fields are JSON values. States of generators are NumPy's (``bit_generator.state``).
    """

    #: The epoch, from 0, and how many of its batches are done.
    epoch: int
    batch: int = 0
    #: The generator's state that the epoch's order was drawn from; None before an epoch begins.
    shuffling: dict[str, Any] | None = None
    #: The generator's state now: dropout draws from it too.
    generator: dict[str, Any] | None = None
    #: Loss and metrics of the epoch so far, summed over its rows.
    sums: tuple[float, ...] | None = None
    rows: int = 0
    #: Whether a callback has asked to stop.
    stopping: bool = False


class Loop:
    """One ``fit``. A callback reaches it as ``self.loop``.

    ``position`` can be read at any time between steps and assigned in ``on_train_begin``: training
    then goes on from there and gives, bit for bit, what it would have given without a break.
    """

    def __init__(
        self,
        model: Model,
        source: Rows | Stream,
        validation: Rows | Stream | None,
        epochs: range,
        callbacks: CallbackList,
        shuffle: bool,
    ):
        self.model = model
        self.callbacks = callbacks
        self._source, self._validation, self._shuffle = source, validation, shuffle
        self._epochs = epochs.stop
        self._names = ["loss", *model.metrics]
        self._epoch, self._batch = epochs.start, 0
        self._shuffling: dict[str, Any] | None = None
        self._means = Means(self._names)
        self._guard = StepGuard()

    @property
    def position(self) -> Position:
        """Where training stands; in ``on_epoch_end`` that is the next epoch's beginning."""
        means = self._means
        return Position(
            self._epoch,
            self._batch,
            self._shuffling,
            self._generator().bit_generator.state,  # type: ignore[arg-type]
            tuple(means.sums),
            means.rows,
            self.model.stop_training,
        )

    @position.setter
    def position(self, position: Position) -> None:
        self._epoch, self._batch = position.epoch, position.batch
        self._shuffling = position.shuffling
        self._means = Means(self._names)
        if position.sums is not None:
            self._means.sums, self._means.rows = list(position.sums), position.rows
        if position.generator is not None:
            self._generator().bit_generator.state = position.generator
        self.model.stop_training = position.stopping

    def _generator(self) -> np.random.Generator:
        return self.model._rng or random.generator()

    def run(self) -> None:
        """Train to the end, or to what ends it early; callbacks are closed in any case.

        Whatever ends it early (Ctrl-C, a loss that is not finite) leaves the model as the last
        finished step made it, with the history of the finished epochs.
        """
        callbacks, model = self.callbacks, self.model
        model.stop_training = False
        logs: dict[str, float] = {}
        try:
            callbacks.train_begin(self)
            # Overflow is reported once, as an error with its place, not by warnings on the way.
            with self._guard, np.errstate(over="ignore", invalid="ignore"):
                while self._epoch < self._epochs and not model.stop_training:
                    logs = self._run_epoch(self._epoch)
            callbacks.train_end(logs)
        finally:
            callbacks.close()

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        callbacks, model, means, guard = self.callbacks, self.model, self._means, self._guard
        callbacks.epoch_begin(epoch)
        begin, end = callbacks.batch_begin, callbacks.batch_end
        place = epoch, self._batch
        with closing(self._batches()) as batches:
            for x, y, weights, rows in batches:
                for hook in begin:
                    hook(self._batch, {})
                guard.in_step = True
                values = training.train_step(model, x, y, weights, place)
                means.add(values, rows)
                self._batch += 1
                guard.in_step = False
                if guard.pending:
                    raise KeyboardInterrupt
                place = epoch, self._batch
                if end:
                    logs = means.values()
                    for hook in end:
                        hook(self._batch - 1, logs)
                if model.stop_training:
                    break
        logs = means.values()
        if self._validation is not None:
            for name, value in evaluate(model, self._validation).items():
                logs[f"val_{name}"] = value
        self._epoch, self._batch, self._shuffling = epoch + 1, 0, None
        self._means = Means(self._names)
        callbacks.epoch_end(epoch, logs)
        return logs

    def _batches(self) -> Any:
        """The batches of this epoch that are left."""
        if not self._shuffle:
            return self._source.epoch(self._epoch, self._batch)
        generator = self._generator()
        if self._shuffling is None:
            self._shuffling = generator.bit_generator.state  # type: ignore[assignment]
            return self._source.epoch(self._epoch, self._batch, generator)
        now = generator.bit_generator.state
        generator.bit_generator.state = self._shuffling
        try:
            return self._source.epoch(self._epoch, self._batch, generator)
        finally:
            generator.bit_generator.state = now


def fit(
    model: Model,
    x: Any,
    y: Any,
    *,
    batch_size: int,
    epochs: int,
    verbose: int,
    callbacks: Iterable[Callback] | None,
    validation_split: float,
    validation_data: Any,
    shuffle: bool,
    class_weight: ClassWeight | None,
    sample_weight: Any,
    initial_epoch: int,
    steps_per_epoch: int | None,
    validation_steps: int | None,
) -> History:
    """See :meth:`minnet.model.Model.fit`, which explains the arguments."""
    epoch_range = range(whole("initial_epoch", initial_epoch, 0), whole("epochs", epochs, 0))
    batch_size = whole("batch_size", batch_size, 1)
    source: Rows | Stream = source_of(
        model,
        x,
        y,
        batch_size,
        sample_weight=sample_weight,
        name="fit",
        first_epoch=epoch_range.start,
        several_epochs=len(epoch_range) > 1,
        steps=None if y is not None else _steps("steps_per_epoch", steps_per_epoch),
    )
    validation: Rows | Stream | None = None
    if validation_split:
        if isinstance(source, Stream):
            expected, received = "validation_data with batches", "validation_split"
            raise ArgumentError(mismatch("fit", expected, received))
        source, validation = source.split(validation_split)
    if isinstance(source, Rows) and steps_per_epoch is not None:
        source.limit(whole("steps_per_epoch", steps_per_epoch, 1))
    if class_weight is not None:
        source.weigh_classes(class_weight, model)
    if validation_data is not None:
        if validation is not None:
            raise ArgumentError(mismatch("fit", "validation_data or validation_split", "both"))
        validation = _validation_source(
            model, validation_data, batch_size, _steps("validation_steps", validation_steps)
        )
    names = ["loss", *model.metrics]
    params = {
        "batch_size": source.batch_size,
        "epochs": epochs,
        "steps": source.steps,
        "samples": source.rows,
        "verbose": verbose,
        "metrics": names + ([] if validation is None else [f"val_{n}" for n in names]),
    }
    history = model.history = History()
    given: list[Callback] = [callbacks] if isinstance(callbacks, Callback) else [*(callbacks or ())]
    if not any(isinstance(callback, ProgressBar) for callback in given):
        given.append(ProgressBar(verbose))
    called = CallbackList([*given, history], model, params)
    Loop(model, source, validation, epoch_range, called, shuffle).run()
    return history


def _steps(name: str, steps: int | None) -> int | None:
    return None if steps is None else whole(name, steps, 1)


def _validation_source(
    model: Model, data: Any, batch_size: int, steps: int | None
) -> Rows | Stream:
    """Arrays (x, y) or (x, y, sample_weight), or an iterable of batches."""
    # A list is one of batches, and no batch is an array.
    arrays = isinstance(data, list) and all(isinstance(part, np.ndarray) for part in data)
    if arrays or isinstance(data, tuple):
        if len(data) not in (2, 3):
            expected, received = "(x, y) or (x, y, sample_weight)", f"{len(data)} things"
            raise ArgumentError(mismatch("validation_data", expected, received))
        x, y, *weights = data
        weight = weights[0] if weights else None
        return source_of(model, x, y, batch_size, sample_weight=weight, steps=steps)
    return source_of(
        model, data, None, batch_size, steps=steps, name="validation_data", several_epochs=True
    )


def evaluate(model: Model, source: Rows | Stream) -> dict[str, float]:
    """Loss and metrics: means over rows, as in ``fit``."""
    means = Means(["loss", *model.metrics])
    with closing(source.epoch()) as batches:
        for x, y, weights, rows in batches:
            means.add(training.measure(model, x, y, weights), rows)
    return means.values()


def predict(model: Model, x: Any, batch_size: int, steps: int | None) -> Any:
    """See :meth:`minnet.model.Model.predict`."""
    size, steps = whole("batch_size", batch_size, 1), _steps("steps", steps)
    batches, rows = _input_batches(x, size, steps)
    out = []
    with no_grad():
        for batch in batches:
            inputs = model.prepare_inputs(batch)[:rows]
            # In parts, whatever the size of the batches given: memory depends on batch_size alone.
            for i in range(0, len(inputs), size):
                part = inputs[i : i + size]
                outputs = model.replays.prediction(model, part)
                if outputs is None:
                    outputs = each(lambda y: y.data, model.forward(as_tensors(part)))
                out.append(parts_of(outputs))
    if not out:
        raise ArgumentError(mismatch("predict", "at least one batch", "none"))
    arrays = [np.concatenate(parts) for parts in zip(*out)]
    return arrays[0] if len(arrays) == 1 else arrays


def _input_batches(x: Any, size: int, steps: int | None) -> tuple[Iterable[Any], int | None]:
    """Batches of inputs, and how many rows of each are wanted; None is all."""
    several = isinstance(x, (dict, list, tuple))  # if they are, only the model knows
    arrays = several or isinstance(x, (np.ndarray, Tensor)) or not hasattr(x, "__iter__")
    if arrays or hasattr(x, "__array__"):
        rows = None if steps is None else size * steps
        return [x if several or rows is None else x[:rows]], rows
    if isinstance(x, Batches) and x.shuffle:
        advice = "The outputs would be in an order that nobody knows."
        raise ArgumentError(mismatch("predict", "Batches with shuffle=False", "others", advice))
    batches = x.epoch(0) if isinstance(x, Batches) else x
    chosen = islice(batches, steps)
    return (batch[0] if isinstance(batch, (tuple, list)) else batch for batch in chosen), None
