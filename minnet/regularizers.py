"""What is added to the loss so that weights stay small.

A regularizer is called with a parameter, a tensor, and gives one number: the penalty. The loss that
is trained on and reported is that of the data plus all penalties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from minnet import configs
from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.ops.penalty import penalty
from minnet.tensor import Tensor

Regularizer = Callable[[Tensor], Any]


@dataclass(frozen=True)
class L1L2:
    """l1 Σ|w| + l2 Σw²: the first makes weights vanish (Tibshirani 1996, the lasso), the second
    keeps them all small (Hoerl & Kennard 1970, ridge regression).

    Raises :class:`~minnet.errors.ArgumentError` for a factor below 0.
    """

    #: As for a layer.
    steady: ClassVar[bool] = True

    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        if not (self.l1 >= 0 and self.l2 >= 0):
            received = f"l1={self.l1}, l2={self.l2}"
            raise ArgumentError(mismatch("L1L2", "factors of at least 0", received))

    def __call__(self, w: Tensor) -> Any:
        return penalty(w, self.l1, self.l2)

    def config(self) -> configs.Config:
        """The keyword arguments that make an equal regularizer."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: configs.Config) -> L1L2:
        """An equal regularizer from what :meth:`config` gave."""
        return cls(**config)


def l1(factor: float = 0.01) -> L1L2:
    """The penalty ``factor`` Σ|w|."""
    return L1L2(l1=factor)


def l2(factor: float = 0.01) -> L1L2:
    """The penalty ``factor`` Σw²."""
    return L1L2(l2=factor)


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """The penalty l1 Σ|w| + l2 Σw²."""
    return L1L2(l1, l2)


REGULARIZERS: dict[str, Callable[[], L1L2]] = {"l1": l1, "l2": l2, "l1_l2": l1_l2}


def get(regularizer: str | configs.Config | Regularizer | None) -> Regularizer | None:
    """The regularizer of this name or these settings; a callable, or None, as it is.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if regularizer is None or callable(regularizer):
        return regularizer
    if isinstance(regularizer, dict):
        return configs.build("regularizer", regularizer, {"L1L2": L1L2})  # type: ignore[no-any-return]
    try:
        return REGULARIZERS[str(regularizer).lower()]()
    except KeyError:
        raise unknown_name("regularizer", regularizer, REGULARIZERS) from None


def to_config(regularizer: Regularizer | None) -> Any:
    """A regularizer as JSON holds it; see :func:`get`."""
    return None if regularizer is None else configs.of_function(regularizer)
