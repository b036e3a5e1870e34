"""One training step and what it reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minnet.bundles import parts_of
from minnet.divergence import place_of
from minnet.errors import ArgumentError, DtypeError, NumberError, ShapeError, mismatch
from minnet.recording import apply_deferred, no_grad
from minnet.replay import arrays_of, slopes_of
from minnet.several import as_tensors
from minnet.tensor import Array, Tensor, wrap

if TYPE_CHECKING:
    from minnet.model import Model

Data = tuple[Array, Array]  # prepared inputs and targets


class Means:
    """Means over rows of values that come batch by batch."""

    def __init__(self, names: Sequence[str]):
        self._names = names
        #: What is restored when an epoch goes on that was interrupted.
        self.sums = [0.0] * len(names)
        self.rows = 0

    def add(self, values: list[float], rows: int) -> None:
        """Note the means over a batch of so many rows."""
        sums = self.sums
        for i, value in enumerate(values):
            sums[i] += value * rows
        self.rows += rows

    def values(self) -> dict[str, float]:
        """The means so far, by name."""
        return {n: s / self.rows for n, s in zip(self._names, self.sums, strict=True)}


def measure(model: Model, x: Array, y: Array, weights: Array | None = None) -> list[float]:
    """The loss and the metrics of a prepared batch, without training on it."""
    batch = (x, y) if weights is None else (x, y, weights)
    with no_grad():
        found = model.replays.measures(model, batch)
        if found is None:
            found = [t.data for t in model.loss_of(*map(as_tensors, batch)) if t is not None]
    loss, *predictions = found
    return _values(model, float(loss), predictions[0] if predictions else None, y)


def train_step(
    model: Model,
    x: Array,
    y: Array,
    weights: Array | None = None,
    place: tuple[int, int] | None = None,
) -> list[float]:
    """Forward, backward, update on a prepared batch; gives the loss and metrics before the update.

    ``weights``: of the rows, (rows,), or None. ``place``: the epoch and batch, counted from 0, for
    the error.

    Raises :class:`~minnet.errors.NumberError`, before anything is changed, where the loss or a
    gradient is not finite: the weights always keep finite values.
    """
    parameters = model.trainable_parameters()
    if not parameters:
        raise ArgumentError(
            mismatch("training", "a trainable parameter", "none", "Set layer.trainable = True.")
        )
    batch = (x, y) if weights is None else (x, y, weights)
    found = model.replays.slopes(model, batch, parameters)
    if found is None:
        found = slopes_of(model, [as_tensors(part) for part in batch], parameters)
    loss, prediction, gradients, deferred = found
    value = float(loss)
    if not math.isfinite(value):
        raise _diverged(model, place, f"loss {value}", (x, y, weights))
    if isinstance(gradients, np.ndarray) and not math.isfinite(_squared_length(gradients)):
        # Which one is it?
        gradients = [wrap(part) for part in parts_of(gradients, arrays_of(parameters))]
    if isinstance(gradients, np.ndarray):
        model.optimizer.step_at_once(parameters, gradients, value)
    else:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None and not math.isfinite(_squared_length(gradient._data)):
                received = f"too large a gradient of {parameter.name!r}"
                raise _diverged(model, place, received, (x, y, weights))
        model.optimizer.step(parameters, gradients, value)
    if deferred:
        apply_deferred(deferred)
    return _values(model, value, None if prediction is None else prediction.data, y)


def _squared_length(array: Array) -> float:
    """Shows a NaN or an infinity anywhere at a tenth of the cost of np.isfinite everywhere."""
    flat = array.reshape(-1)
    return float(flat.dot(flat))


def _values(model: Model, loss: float, prediction: Any, y: Array) -> list[float]:
    values = [loss]
    for name, metric in model.metrics.items():
        value: Any = metric(prediction, y)
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            shape, kind = getattr(value, "shape", None), type(value).__name__
            received = kind if shape is None else f"an array of shape {shape}"
            advice = "Give the mean over the rows: .mean()."
            raise ArgumentError(
                mismatch(f"metric {name!r}", "one number", received, advice)
            ) from None
    return values


def _diverged(
    model: Model, place: tuple[int, int] | None, received: str, batch: tuple[Any, ...]
) -> NumberError:
    where = "training" if place is None else f"epoch {place[0] + 1}, batch {place[1] + 1}"
    return NumberError(
        mismatch(
            where,
            "a finite loss and finite gradients",
            f"{received}; {place_of(model, *batch)}",
            f"Lower the learning rate (now {model.optimizer.lr:g}), or check the data's scale. The "
            "weights are those before this batch.",
        )
    )


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
