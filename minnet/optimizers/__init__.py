"""Optimizers: what makes of a gradient a step."""

from __future__ import annotations

from minnet import configs
from minnet.errors import unknown_name
from minnet.optimizers.adagrad import Adadelta, Adagrad, EpochAdagrad
from minnet.optimizers.adam import Adam, AdamW, Eve
from minnet.optimizers.base import Optimizer
from minnet.optimizers.rmsprop import RMSprop
from minnet.optimizers.sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "EpochAdagrad",
    "Eve",
    "Optimizer",
    "RMSprop",
    "get",
]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (SGD, Adadelta, Adagrad, Adam, AdamW, EpochAdagrad, Eve, RMSprop)
}


def get(optimizer: str | configs.Config | Optimizer) -> Optimizer:
    """A new optimizer of this name with its default settings, or with those of a description
    (:func:`minnet.configs.of_object`); an optimizer is given back as it is.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, dict):
        by_class = {cls.__name__: cls for cls in OPTIMIZERS.values()}
        return configs.build("optimizer", optimizer, by_class)  # type: ignore[no-any-return]
    try:
        return OPTIMIZERS[str(optimizer).lower()]()
    except KeyError:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS) from None
