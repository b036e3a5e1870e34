"""One training step, the loop of ``fit`` around it, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minnet.autodiff import backpropagate
from minnet.errors import ArgumentError, DtypeError, NumberError, ShapeError, mismatch
from minnet.progress import Progress
from minnet.recording import apply_deferred, no_grad, training_mode
from minnet.tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from minnet.model import Model

Data = tuple[Array, Array]  # prepared inputs and targets


@dataclass
class History:
    """What ``fit`` has measured.

    ``history``: for 'loss', each metric and their 'val_' companions, one number per epoch.
    ``epoch``: the epochs' numbers from 0. ``params``: how ``fit`` was called.
    """

    history: dict[str, list[float]] = field(default_factory=dict)
    epoch: list[int] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)

    def add(self, epoch: int, values: dict[str, float]) -> None:
        """Note the values of one finished epoch."""
        self.epoch.append(epoch)
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)


class Means:
    """Means over rows of values that come batch by batch."""

    def __init__(self, names: Sequence[str]):
        self._names = names
        self._sums = [0.0] * len(names)
        self._rows = 0

    def add(self, values: list[float], rows: int) -> None:
        """Note the means over a batch of so many rows."""
        sums = self._sums
        for i, value in enumerate(values):
            sums[i] += value * rows
        self._rows += rows

    def values(self) -> dict[str, float]:
        """The means so far, by name."""
        return {n: s / self._rows for n, s in zip(self._names, self._sums, strict=True)}


def measure(model: Model, x: Array, y: Array) -> list[float]:
    """The loss and the metrics of a prepared batch, without training on it."""
    with no_grad():
        loss, prediction = model.loss_of(wrap(x), wrap(y))
    return _values(model, loss.item(), prediction, y)


def train_step(
    model: Model, x: Array, y: Array, place: tuple[int, int] | None = None
) -> list[float]:
    """Forward, backward, update on a prepared batch; gives the loss and metrics before the update.

    ``place``: the epoch and batch, counted from 0, for the error.

    Raises :class:`~minnet.errors.NumberError`, before anything is changed, where the loss or a
    gradient is not finite: the weights always keep finite values.
    """
    parameters = model.trainable_parameters()
    with training_mode() as deferred:
        loss, prediction = model.loss_of(wrap(x), wrap(y))
    value = float(loss._data)
    if not math.isfinite(value):
        raise _diverged(model, place, f"loss {value}", _first_not_finite(model, x))
    if not parameters:
        raise ArgumentError(
            mismatch("training", "a trainable parameter", "none", "Set layer.trainable = True.")
        )
    gradients = backpropagate(loss, parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and not math.isfinite(_squared_length(gradient._data)):
            raise _diverged(model, place, "too large a gradient", f"that of {parameter.name!r}")
    model.optimizer.step(parameters, gradients, value)
    apply_deferred(deferred)
    return _values(model, value, prediction, y)


def _squared_length(array: Array) -> float:
    """Shows a NaN or an infinity anywhere at a tenth of the cost of np.isfinite everywhere."""
    flat = array.reshape(-1)
    return float(flat.dot(flat))


def _values(model: Model, loss: float, prediction: Any, y: Array) -> list[float]:
    values = [loss]
    for metric in model.metrics.values():
        values.append(float(metric(prediction._data, y)))
    return values


def _diverged(
    model: Model, place: tuple[int, int] | None, received: str, culprit: str
) -> NumberError:
    where = "training" if place is None else f"epoch {place[0] + 1}, batch {place[1] + 1}"
    return NumberError(
        mismatch(
            where,
            "a finite loss and finite gradients",
            f"{received}; the first that is not finite is {culprit}",
            f"Lower the learning rate (now {model.optimizer.lr:g}), or check the data's scale. The "
            "weights are those before this batch.",
        )
    )


def _first_not_finite(model: Model, x: Array) -> str:
    with no_grad(), training_mode():
        for layer, out in model.outputs_by_layer(wrap(x)):
            if not np.isfinite(out.data).all():
                return f"the output of layer {layer.name!r}"
    return "the loss itself"


def split(data: Data, fraction: float) -> tuple[Data, Data | None]:
    """The rows to train on and, taken from the end, the rows to validate on.

    Raises :class:`~minnet.errors.ArgumentError` unless both parts have rows.
    """
    x, y = data
    if fraction == 0:
        return data, None
    # Rounded down as in Keras, except where only a rounding error makes a whole number smaller.
    start = int(len(x) * (1 - fraction) + 1e-9) if 0 < fraction < 1 else 0
    if not 0 < start < len(x):
        raise ArgumentError(
            mismatch(
                "validation_split",
                "a fraction from 0 to 1 that leaves rows for training and for validation",
                f"{fraction} of {len(x)} rows",
            )
        )
    return (x[:start], y[:start]), (x[start:], y[start:])


def numbers(where: str, data: Any) -> Array:
    """The data as an array of real numbers with at least one row.

    Raises :class:`~minnet.errors.DtypeError` for anything but numbers and
    :class:`~minnet.errors.ShapeError` for nothing at all or rows of several lengths.
    """
    try:
        array = np.asarray(data.data if isinstance(data, Tensor) else data)
    except ValueError:
        raise ShapeError(mismatch(where, "rows of one length", "rows of several")) from None
    if array.dtype.kind not in "fiub":
        raise DtypeError(
            mismatch(where, "numbers", f"dtype {array.dtype}", "Encode text and dates as numbers.")
        )
    if not array.size or not array.ndim:
        raise ShapeError(mismatch(where, "at least one row of numbers", f"shape {array.shape}"))
    return array


def fit(
    model: Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    batch_size: int,
    epochs: int,
    verbose: int,
    validation_data: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    validation_split: float,
    rng: np.random.Generator | None,
    initial_epoch: int,
) -> History:
    """See :meth:`minnet.model.Model.fit`; rows are shuffled where there is an ``rng``.

    Whatever ends it early (Ctrl-C, a loss that is not finite) leaves the model as the last finished
    step made it, with the history of the finished epochs.
    """
    data, validation = split(model.prepare(x, y), validation_split)
    if validation_data is not None:
        if validation is not None:
            raise ArgumentError(mismatch("fit", "validation_data or validation_split", "both"))
        validation = model.prepare(*validation_data)
    inputs, targets = data
    rows = len(inputs)
    names = ["loss", *model.metrics]
    history = model.history = History(
        params={
            "batch_size": batch_size,
            "epochs": epochs,
            "steps": -(-rows // batch_size),
            "samples": rows,
            "verbose": verbose,
            "metrics": names + ([] if validation is None else [f"val_{n}" for n in names]),
        }
    )
    progress = Progress(rows, epochs, verbose)
    # Overflow is reported once, as an error with its place, instead of by warnings on the way.
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            for epoch in range(initial_epoch, epochs):
                progress.begin(epoch)
                means = Means(names)
                order = None if rng is None else rng.permutation(rows)
                for batch, start in enumerate(range(0, rows, batch_size)):
                    stop = min(start + batch_size, rows)
                    if order is None:
                        x_batch, y_batch = inputs[start:stop], targets[start:stop]
                    else:  # take is quicker than indexing with an array
                        chosen = order[start:stop]
                        x_batch, y_batch = inputs.take(chosen, 0), targets.take(chosen, 0)
                    values = train_step(model, x_batch, y_batch, (epoch, batch))
                    means.add(values, stop - start)
                    if progress.live:
                        progress.update(stop, means.values)
                measured = means.values()
                if validation is not None:
                    for name, value in evaluate(model, validation, batch_size).items():
                        measured[f"val_{name}"] = value
                history.add(epoch, measured)
                progress.end(measured)
        finally:
            progress.close()
    return history


def evaluate(model: Model, data: Data, batch_size: int) -> dict[str, float]:
    """Loss and metrics on prepared data: means over rows, as in ``fit``."""
    x, y = data
    means = Means(["loss", *model.metrics])
    for start in range(0, len(x), batch_size):
        stop = min(start + batch_size, len(x))
        means.add(measure(model, x[start:stop], y[start:stop]), stop - start)
    return means.values()
