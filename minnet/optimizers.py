"""How a parameter follows its gradient.

``update`` is written in operations and works on arrays and tensors alike, so the workbook shows an
optimizer's formula without a second definition of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.ops.update import descend
from minnet.tensor import Tensor, TensorLike


class Optimizer:
    """The contract: a learning rate ``lr``, which may be assigned at any time, and ``update``.

    Raises :class:`~minnet.errors.ArgumentError` for a rate that is not a finite number above 0.
    """

    def __init__(self, lr: float | None = None, *, learning_rate: float | None = None):
        if lr is not None and learning_rate is not None:
            raise ArgumentError(
                mismatch(type(self).__name__, "lr or learning_rate", "both", "They mean the same.")
            )
        given = learning_rate if lr is None else lr
        self.lr = 0.01 if given is None else given

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        number = isinstance(value, (int, float, np.integer, np.floating))
        if not number or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
            raise ArgumentError(
                mismatch(f"{type(self).__name__} lr", "a finite number above 0", repr(value))
            )
        # A Python float has no dtype of its own, where a NumPy one would make float32 weights
        # float64.
        self._lr = float(value)

    learning_rate = lr

    def update(self, parameter: Any, gradient: Any, lr: TensorLike) -> Any:
        """The new value of a parameter; three arrays, tensors or numbers in, the same kind out."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        """Give each parameter its new value; one that the loss does not depend on stays.

        A new array is assigned each time: a graph recorded earlier keeps the old one.
        """
        lr = self._lr
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.data = self.update(parameter._data, gradient._data, lr)


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins & Monro 1951): w - lr * dLoss/dw; ``lr`` is 0.01."""

    def update(self, parameter: Any, gradient: Any, lr: TensorLike) -> Any:
        return descend(parameter, gradient, lr)


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD}


def get(optimizer: str | Optimizer) -> Optimizer:
    """A new optimizer of this name with its default settings; an optimizer is given back as it is.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    try:
        return OPTIMIZERS[str(optimizer).lower()]()
    except KeyError:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS) from None
