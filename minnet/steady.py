"""What must be certain before a step or a prediction is done again: that it would do the same."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from minnet import random
from minnet.layers.activations import ACTIVATIONS
from minnet.layers.base import Layer
from minnet.tensor import Tensor

if TYPE_CHECKING:
    from minnet.model import Model


def parts_of_step(model: Model) -> list[Any]:
    """What acts in a step, besides the model itself."""
    losses = [model.loss, *getattr(model.loss, "losses", ())]
    regularizers = [r for layer in model.layers for r in layer.regularizers.values()]
    return [*losses, *model.layers, *regularizers]


def is_steady(model: Model, parts: Sequence[Any]) -> bool:
    """Whether all parts always do the same; a subclass must say so itself."""
    return all(vars(type(part)).get("steady") for part in (model, *parts)) and all(
        ACTIVATIONS.get(str(layer.activation_name)) is layer.activation
        for layer in model.layers
        if hasattr(layer, "activation")
    )


def _with_inner(parts: Sequence[Any]) -> list[Any]:
    """These parts, and the layers that layers have as attributes, alone or in lists."""
    found = list(parts)
    for part in found:  # which grows
        if isinstance(part, Layer):
            values = [v if isinstance(v, (list, tuple)) else (v,) for v in vars(part).values()]
            inner = [v for v in chain.from_iterable(values) if isinstance(v, Layer)]
            found += [v for v in inner if not any(v is other for other in found)]
    return found


class Settings:
    """All that decides what a step does, besides the shapes of its arrays.

    That is what the model's parts have as attributes: the very same objects, which have the same
    ``key``. They are remembered, lest something else gets the identity of one of them.
    """

    def __init__(self, model: Model, parameters: Sequence[Tensor]) -> None:
        parts = _with_inner(parts_of_step(model))
        dicts = [vars(part) for part in parts if hasattr(part, "__dict__")]
        self._dicts = [*dicts, *[layer.parameters for layer in model.layers]]
        self._values = self._now(model, parameters)
        self.key = tuple(map(id, self._values))

    def hold(self, model: Model, parameters: Sequence[Tensor]) -> bool:
        """Whether nothing has changed."""
        values = self._now(model, parameters)
        return len(values) == len(self._values) and all(map(operator.is_, values, self._values))

    def _now(self, model: Model, parameters: Sequence[Tensor]) -> list[Any]:
        regularized = [layer.regularizers.values() for layer in model.layers if layer.regularizers]
        return [
            bool(model.metrics),
            random.generator(),
            model.loss,
            *model.layers,
            *chain.from_iterable(regularized),
            *parameters,
            *chain.from_iterable(map(dict.values, self._dicts)),
        ]
