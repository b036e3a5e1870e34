"""Softmax and the losses: each one calculation in the engine, several blocks in the workbook.

Logits are scores before the softmax or sigmoid; ``n`` is the number of rows that are averaged.
Computed from logits, cross-entropy neither overflows nor takes the logarithm of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.ops import reduce
from minnet.ops.base import Composite, Pointwise, normal_axes
from minnet.ops.pointwise import absolute, exp, log, maximum, relu, sigmoid
from minnet.ops.shape import reshape


@dataclass(frozen=True)
class Softmax(Composite):
    axis: int

    name = "softmax"

    def value(self, z: Any) -> Any:
        e = np.exp(z - np.maximum.reduce(z, axis=self.axis, keepdims=True))
        return e / np.add.reduce(e, axis=self.axis, keepdims=True)

    def gradient(self, index: int, g: Any, out: Any, z: Any) -> Any:
        return out * (g - reduce.sum(g * out, self.axis, True))

    def steps(self, z: Any) -> Any:
        largest = reduce.max(z, self.axis, True).named("max")
        e = exp(z - largest).named("exp")
        return e / reduce.sum(e, self.axis, True).named("sum")


@dataclass(frozen=True)
class LogSoftmax(Composite):
    axis: int

    name = "log_softmax"

    def value(self, z: Any) -> Any:
        shifted = z - np.maximum.reduce(z, axis=self.axis, keepdims=True)
        return shifted - np.log(np.add.reduce(np.exp(shifted), axis=self.axis, keepdims=True))

    def gradient(self, index: int, g: Any, out: Any, z: Any) -> Any:
        return g - exp(out) * reduce.sum(g, self.axis, True)

    def steps(self, z: Any) -> Any:
        largest = reduce.max(z, self.axis, True).named("max")
        total = reduce.sum(exp(z - largest).named("exp"), self.axis, True).named("sum")
        return z - largest - log(total)


class _Loss(Composite):
    """A mean over what a batch got wrong: two arrays of one shape to one number."""

    #: True where rows are classes: the arrays must have two axes.
    by_rows: ClassVar[bool] = False

    def __call__(self, prediction: Any, target: Any) -> Any:
        """The loss; where rows are classes, ``target`` may be integer labels (rows,) too."""
        return super().__call__(prediction, self._one_hot(prediction, target))

    def losses(self, prediction: Any, target: Any) -> Any:
        """What is averaged, in operations: of each row (rows, 1) or of each element."""
        raise NotImplementedError(f"{type(self).__name__}.losses")

    def steps(self, prediction: Any, target: Any) -> Any:
        return reduce.mean(self.losses(prediction, target))

    def weighted(self, prediction: Any, target: Any, weights: Any) -> Any:
        """The mean of each row's losses times its weight (rows,).

        Divided by the number of rows, as in Keras, not by the sum of the weights: a weight of 2
        counts as much as the row twice, at the same learning rate.
        """
        target = self._one_hot(prediction, target)
        self.check(prediction, target)
        losses = self.losses(prediction, target)
        return reduce.mean(losses * reshape(weights, (-1, *(1,) * (losses.ndim - 1))))

    def _one_hot(self, prediction: Any, target: Any) -> Any:
        if self.by_rows and target.dtype.kind in "iu" and target.ndim == 1 == prediction.ndim - 1:
            return one_hot(target, prediction.shape[1], prediction.dtype)
        return target

    def check(self, prediction: Any, target: Any) -> None:
        shape = prediction.shape
        if shape != target.shape or (self.by_rows and len(shape) != 2):
            expected = "matching shapes (rows, classes)" if self.by_rows else "matching shapes"
            raise ShapeError(
                mismatch(f"loss {self.name!r}", expected, f"{shape} and targets {target.shape}")
            )
        if 0 in shape:
            raise ShapeError(mismatch(f"loss {self.name!r}", "at least one row", f"shape {shape}"))


class SoftmaxCrossEntropy(_Loss):
    """Mean over rows of ln Σ e^z − Σ y·z, for logits z and targets y (rows summing to 1).

    Its gradient for z is (softmax(z) − y)/n, the famous difference of prediction and target.
    """

    name = "softmax_cross_entropy"
    by_rows = True

    keeps = True  # the softmax

    def value(self, z: Any, y: Any) -> Any:
        return self.value_and_kept(z, y)[0]

    def value_and_kept(self, z: Any, y: Any) -> tuple[Any, Any]:
        self.check(z, y)
        largest = np.maximum.reduce(z, axis=1, keepdims=True)
        e = np.exp(z - largest)
        total = np.add.reduce(e, axis=1, keepdims=True)
        losses = (largest + np.log(total))[:, 0] - np.add.reduce(y * z, axis=1)
        e /= total
        return np.add.reduce(losses) / len(losses), e

    def gradient_from_kept(self, index: int, g: Any, kept: Any, z: Any, y: Any) -> Any:
        return (kept - y) * _share(g, len(z)) if index == 0 else self.gradient(1, g, None, z, y)

    def gradient(self, index: int, g: Any, out: Any, z: Any, y: Any) -> Any:
        if index == 1:
            return z * -_share(g, z.shape[0])
        return (softmax(z) - y) * _share(g, z.shape[0])

    def losses(self, z: Any, y: Any) -> Any:
        largest = reduce.max(z, 1, True).named("max")
        e = exp(z - largest).named("exp")
        total = reduce.sum(e, 1, True).named("sum")
        (e / total).named("softmax")
        right = reduce.sum((y * z).named("target × logits"), 1, True)
        return (largest + log(total) - right).named("losses")


class SigmoidCrossEntropy(_Loss):
    """Mean over all elements of max(z, 0) − z·y + ln(1 + e^−|z|): logits z, targets y in [0, 1]."""

    name = "sigmoid_cross_entropy"

    def value(self, z: Any, y: Any) -> Any:
        self.check(z, y)
        losses = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
        return np.add.reduce(losses, axis=None) / losses.size

    def gradient(self, index: int, g: Any, out: Any, z: Any, y: Any) -> Any:
        if index == 1:
            return z * -_share(g, z.size)
        return (sigmoid(z) - y) * _share(g, z.size)

    def losses(self, z: Any, y: Any) -> Any:
        sigmoid(z).named("sigmoid")
        return (relu(z) - z * y + log(1 + exp(-absolute(z)))).named("losses")


class MeanSquaredError(_Loss):
    """Mean over all elements of (p − y)²."""

    name = "mean_squared_error"

    def value(self, p: Any, y: Any) -> Any:
        self.check(p, y)
        error = (p - y).reshape(-1)
        return np.dot(error, error) / error.size

    def gradient(self, index: int, g: Any, out: Any, p: Any, y: Any) -> Any:
        return (p - y) * (g * ((2 if index == 0 else -2) / p.size))

    def losses(self, p: Any, y: Any) -> Any:
        error = (p - y).named("error")
        return (error**2).named("squares")


class CategoricalCrossEntropy(_Loss):
    """Mean over rows of −Σ y·ln p, for probabilities p.

    p is taken as at least :func:`smallest`, to avoid ln 0. Below it, the gradient is that at the
    limit, so that a hopeless prediction still learns.
    """

    name = "categorical_cross_entropy"
    by_rows = True

    def value(self, p: Any, y: Any) -> Any:
        self.check(p, y)
        rows = np.add.reduce(y * np.log(np.maximum(p, smallest(p))), axis=1)
        return -np.add.reduce(rows) / len(rows)

    def gradient(self, index: int, g: Any, out: Any, p: Any, y: Any) -> Any:
        if index == 1:
            return log(maximum(p, smallest(p))) * -_share(g, p.shape[0])
        return y / maximum(p, smallest(p)) * -_share(g, p.shape[0])

    def losses(self, p: Any, y: Any) -> Any:
        logs = log(maximum(p, smallest(p))).named("ln p")
        return (-reduce.sum((y * logs).named("target × ln p"), 1, True)).named("losses")


class BinaryCrossEntropy(_Loss):
    """Mean over all elements of −y·ln p − (1−y)·ln(1−p), for probabilities p.

    p and 1−p are clipped as in :class:`CategoricalCrossEntropy`.
    """

    name = "binary_cross_entropy"

    def value(self, p: Any, y: Any) -> Any:
        self.check(p, y)
        low = smallest(p)
        losses = y * np.log(np.maximum(p, low)) + (1 - y) * np.log(np.maximum(1 - p, low))
        return -np.add.reduce(losses, axis=None) / losses.size

    def gradient(self, index: int, g: Any, out: Any, p: Any, y: Any) -> Any:
        low = smallest(p)
        yes, no = maximum(p, low), maximum(1 - p, low)
        if index == 1:
            return (log(no) - log(yes)) * _share(g, p.size)
        return ((1 - y) / no - y / yes) * _share(g, p.size)

    def losses(self, p: Any, y: Any) -> Any:
        low = smallest(p)
        losses = -(y * log(maximum(p, low))) - (1 - y) * log(maximum(1 - p, low))
        return losses.named("losses")


@dataclass(frozen=True)
class OneHot(Pointwise):
    """Labels (n,) to rows of zeros with a one at the label: (n, classes)."""

    classes: int
    dtype: str

    name = "one_hot"
    differentiable = False
    one_dtype = False

    def value(self, labels: Any) -> Any:
        labels = np.asarray(labels)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            received = f"{labels.dtype} of shape {labels.shape}"
            raise ShapeError(mismatch("operation 'one_hot'", "integer labels (n,)", received))
        rows = labels[:, None] == np.arange(self.classes)
        if np.count_nonzero(rows) != len(labels):
            wrong = labels[~rows.any(axis=1)][0]
            raise ArgumentError(
                mismatch("operation 'one_hot'", f"labels from 0 to {self.classes - 1}", str(wrong))
            )
        return rows.astype(self.dtype)

    def formula(self, label: str) -> str:
        return f"1 at {label}, else 0"

    def cells(self, shape: tuple[int, ...], *operands: Any) -> Any:
        (labels,) = operands
        return lambda k: f"IF({labels.cell(k // self.classes)}={k % self.classes},1,0)"


def _share(g: Any, n: int) -> Any:
    """What each of n averaged elements gets of the gradient; of one, all without a division."""
    return g if n == 1 else g / n


def smallest(p: Any) -> float:
    """Probabilities are taken as at least this: the dtype's resolution (1.2e-7 or 2.2e-16)."""
    return float(np.finfo(p.dtype).eps)


_softmax, _log_softmax = lru_cache(maxsize=64)(Softmax), lru_cache(maxsize=64)(LogSoftmax)
_one_hot = lru_cache(maxsize=1024)(OneHot)
mean_squared_error = MeanSquaredError()
softmax_cross_entropy = SoftmaxCrossEntropy()
sigmoid_cross_entropy = SigmoidCrossEntropy()
categorical_cross_entropy = CategoricalCrossEntropy()
binary_cross_entropy = BinaryCrossEntropy()


def _axis(z: Any, axis: int, name: str) -> int:
    axes = normal_axes(axis, z.ndim, name)
    reduce.not_empty(z, axes, name)
    return axes[0]


def softmax(z: Any, axis: int = -1) -> Any:
    """e^z / Σ e^z along an axis: positive numbers that sum to 1."""
    return _softmax(_axis(z, axis, "softmax"))(z)


def log_softmax(z: Any, axis: int = -1) -> Any:
    """ln(softmax(z)) along an axis, without the loss of digits that taking both would have."""
    return _log_softmax(_axis(z, axis, "log_softmax"))(z)


def one_hot(labels: Any, classes: int, dtype: Any = np.float32) -> Any:
    """Integer labels (n,) as rows (n, classes) with a single 1."""
    return _one_hot(int(classes), np.dtype(dtype).name)(labels)
