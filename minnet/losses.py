"""What training makes small, and what its targets must look like.

All losses are means over the rows of a batch, in nats where they are logarithms. Those that follow
a softmax or a sigmoid are computed from the logits (the numbers before it) when a model ends in
that activation: ``from_logits`` neither overflows nor takes the logarithm of 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minnet import configs
from minnet.errors import ArgumentError, NumberError, ShapeError, mismatch, unknown_name
from minnet.ops.loss import (
    binary_cross_entropy,
    categorical_cross_entropy,
    mean_squared_error,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
)
from minnet.ops.shape import reshape
from minnet.tensor import Array, Tensor, wrap

Shape = tuple[int, ...]


def as_finite(where: str, array: Array, dtype: npt.DTypeLike) -> Array:
    """The array in this dtype, not copied if it has it already.

    Raises :class:`~minnet.errors.NumberError` at the first NaN or infinity, naming its place.
    """
    with np.errstate(over="ignore"):
        cast = np.asarray(array, dtype)
    if cast.dtype.kind == "f":
        finite = np.isfinite(cast)
        if not finite.all():
            most = f"{cast.dtype} holds numbers up to {np.finfo(cast.dtype).max:.1e}."
            raise NumberError(mismatch(where, "finite numbers", _first(array, ~finite), most))
    return cast


def _first(array: Array, bad: Array) -> str:
    """The first element that is marked as bad, and where it is."""
    place = np.unravel_index(int(bad.argmax()), bad.shape)
    indices = ", ".join(str(int(i)) for i in place)
    return f"{array[place]} at [{indices}]"


class Loss:
    """The contract. Shapes are those of one row: ``output_shape`` leaves the batch axis out."""

    name: str
    #: In words, for the workbook.
    description: str
    #: The activation whose input ``from_logits`` takes, if there is one.
    fuses_with: str | None = None
    #: Whether it applies the same operations at each step; a subclass does not inherit it.
    steady: ClassVar[bool] = False

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of a batch, a tensor of shape ().

        ``weights``: (rows,), passed only where ``fit`` was given some; each row's loss is
        multiplied by its weight before the mean is taken.
        """
        raise NotImplementedError(f"{type(self).__name__}.__call__")

    def from_logits(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """The same from what goes into the activation ``fuses_with``."""
        raise NotImplementedError(f"{type(self).__name__}.from_logits")

    def require_ending(self, activation: str | None) -> None:
        """Raise :class:`~minnet.errors.ArgumentError` if a model that ends in this activation
        cannot give the probabilities that the loss needs; None is an unknown one."""
        if self.fuses_with is not None and activation in ("linear", "relu", "tanh"):
            raise ArgumentError(
                mismatch(
                    f"loss {self.name!r}",
                    "a model that gives probabilities",
                    f"one that ends in {activation!r}",
                    f"Give the last layer activation={self.fuses_with!r}.",
                )
            )

    def prepare_target(self, y: Array, output_shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Targets of shape (rows, *output_shape), of ``dtype``; (rows,) will do for one output.

        Raises :class:`~minnet.errors.ShapeError` for another shape and
        :class:`~minnet.errors.NumberError` for NaN or infinity. Losses that need more of their
        targets raise :class:`~minnet.errors.ArgumentError`.
        """
        if y.ndim == 1 and output_shape == (1,):
            y = y[:, None]
        if y.shape[1:] != output_shape or not y.ndim:
            raise ShapeError(
                mismatch(
                    f"targets of loss {self.name!r}",
                    f"rows of shape {output_shape}",
                    f"an array of shape {y.shape}",
                    self._advice(y, output_shape),
                )
            )
        return as_finite(f"targets of loss {self.name!r}", y, dtype)

    def _advice(self, y: Array, output_shape: Shape) -> str:
        """What to do about targets of a wrong shape."""
        return "The last layer's units must match the targets."


class MeanSquaredError(Loss):
    """Mean of (prediction - target)^2 over all elements."""

    steady = True

    name = "mean_squared_error"
    description = "mean squared error"

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(mean_squared_error, prediction, target, weights)


class CategoricalCrossentropy(Loss):
    """Mean over rows of -sum(target * ln(prediction)): one-hot targets (or probabilities)."""

    steady = True

    name = "categorical_crossentropy"
    description = "categorical cross-entropy"
    fuses_with = "softmax"

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(categorical_cross_entropy, _rows(prediction), _rows(target), weights)

    def from_logits(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(softmax_cross_entropy, _rows(logits), _rows(target), weights)

    def prepare_target(self, y: Array, output_shape: Shape, dtype: npt.DTypeLike) -> Array:
        """One-hot targets (rows, *output_shape); each row is non-negative and sums to 1."""
        _require_classes(self.name, output_shape)
        target = super().prepare_target(y, output_shape, dtype)
        sums = target.sum(axis=-1)
        bad = (np.abs(sums - 1) > 1e-3) | (target < 0).any(axis=-1)
        if bad.any():
            row = int(np.unravel_index(int(bad.argmax()), bad.shape)[0])
            raise ArgumentError(
                mismatch(
                    f"targets of loss {self.name!r}",
                    "rows of probabilities that sum to 1",
                    f"row {row} with sum {sums[bad][0]:g} and smallest {target[bad][0].min():g}",
                    "For several right classes per row use 'binary_crossentropy'.",
                )
            )
        return target

    def _advice(self, y: Array, output_shape: Shape) -> str:
        if y.shape[1:] in ((), (1,)):
            return "For integer labels use loss 'sparse_categorical_crossentropy'."
        return super()._advice(y, output_shape)


class SparseCategoricalCrossentropy(CategoricalCrossentropy):
    """Categorical cross-entropy with the right class's number, 0 to classes - 1, as the target."""

    steady = True

    name = "sparse_categorical_crossentropy"
    description = "categorical cross-entropy of integer labels"

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(categorical_cross_entropy, _rows(prediction), _labels(target), weights)

    def from_logits(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(softmax_cross_entropy, _rows(logits), _labels(target), weights)

    def prepare_target(self, y: Array, output_shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Labels as int64 of shape (rows, *output_shape[:-1]); whole floats are taken as labels."""
        _require_classes(self.name, output_shape)
        where = f"targets of loss {self.name!r}"
        classes, expected = output_shape[-1], output_shape[:-1]
        if y.shape[1:] == (*expected, 1):
            y = y[..., 0]
        if y.shape[1:] != expected or not y.ndim:
            one_hot = y.shape[1:] == output_shape
            raise ShapeError(
                mismatch(
                    where,
                    "one integer label per row" if not expected else f"labels of shape {expected}",
                    f"an array of shape {y.shape}",
                    "For one-hot targets use loss 'categorical_crossentropy'." if one_hot else "",
                )
            )
        as_finite(where, y, y.dtype)
        bad = (y < 0) | (y >= classes)
        if bad.any():
            advice = f"The last layer has {classes} units; labels count from 0."
            raise ArgumentError(
                mismatch(where, f"labels from 0 to {classes - 1}", _first(y, bad), advice)
            )
        fractional = y != np.floor(y) if y.dtype.kind == "f" else np.zeros(y.shape, bool)
        if fractional.any():
            raise ArgumentError(mismatch(where, "whole numbers", _first(y, fractional)))
        return y.astype(np.int64)


class BinaryCrossentropy(Loss):
    """Mean over all elements of -t ln(p) - (1 - t) ln(1 - p), targets t in [0, 1]."""

    steady = True

    name = "binary_crossentropy"
    description = "binary cross-entropy"
    fuses_with = "sigmoid"

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(binary_cross_entropy, prediction, target, weights)

    def from_logits(self, logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return _mean(sigmoid_cross_entropy, logits, target, weights)

    def prepare_target(self, y: Array, output_shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Targets in [0, 1] of shape (rows, *output_shape); (rows,) will do for one output."""
        target = super().prepare_target(y, output_shape, dtype)
        bad = (target < 0) | (target > 1)
        if bad.any():
            raise ArgumentError(
                mismatch(
                    f"targets of loss {self.name!r}",
                    "numbers from 0 to 1",
                    _first(target, bad),
                    "For labels of several classes use loss 'sparse_categorical_crossentropy'.",
                )
            )
        return target

    def _advice(self, y: Array, output_shape: Shape) -> str:
        if y.shape[1:] in ((), (1,)):
            return "For one label per row use one output, or 'sparse_categorical_crossentropy'."
        return super()._advice(y, output_shape)


class FunctionLoss(Loss):
    """A loss from a plain function of (prediction, target), which must give a single number."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]):
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        self.description = self.name.replace("_", " ")

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        if weights is not None:
            advice = "A function gives one number, so its rows cannot be weighted. Subclass Loss."
            where = f"loss {self.name!r}"
            raise ArgumentError(mismatch(where, "no sample_weight or class_weight", "some", advice))
        loss = self.function(prediction, target)
        if not isinstance(loss, Tensor) or loss.size != 1:
            shape = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ShapeError(
                mismatch(
                    f"loss {self.name!r}",
                    "a Tensor with one number",
                    shape,
                    "Write it in operations and end with .mean().",
                )
            )
        return loss


def _mean(op: Any, prediction: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return op(prediction, target)  # type: ignore[no-any-return]
    rows, given = prediction.shape[0], weights.shape[0]
    if rows != given:  # rows of rows: each of a sample's has the sample's weight
        weights = wrap(weights._data.repeat(rows // given))
    return op.weighted(prediction, target, weights)  # type: ignore[no-any-return]


def _rows(x: Tensor) -> Tensor:
    """(..., classes) as (rows, classes)."""
    return x if x.ndim == 2 else reshape(x, (-1, x.shape[-1]))


def _labels(labels: Tensor) -> Tensor:
    """Labels of any shape as (rows,)."""
    return labels if labels.ndim == 1 else reshape(labels, (-1,))


def _require_classes(name: str, output_shape: Shape) -> None:
    if not output_shape or output_shape[-1] < 2:
        raise ArgumentError(
            mismatch(
                f"loss {name!r}",
                "a last layer with one unit per class, at least 2",
                f"output shape {output_shape}",
                "For yes or no use one unit with 'sigmoid' and loss 'binary_crossentropy'.",
            )
        )


LOSSES: dict[str, type[Loss]] = {
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
}


def get(loss: str | Loss | Callable[[Tensor, Tensor], Any]) -> Loss:
    """The loss of this name, a loss as it is, or a function of (prediction, target) as a loss.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        name = loss.__name__
        advice = f"For example {name}()."
        raise ArgumentError(mismatch("loss", "a loss", f"the class {name}", advice))
    if callable(loss):
        return FunctionLoss(loss)
    try:
        return LOSSES[str(loss).lower()]()
    except KeyError:
        raise unknown_name("loss", loss, LOSSES) from None


def to_config(loss: Loss) -> Any:
    """A loss as JSON holds it: its name, or what a loss of one's own is known by."""
    if type(loss) is FunctionLoss:
        return configs.of_function(loss.function)
    return loss.name if LOSSES.get(loss.name) is type(loss) else configs.of_object(loss)
