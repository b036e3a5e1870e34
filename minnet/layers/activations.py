"""Activations by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minnet import configs
from minnet.errors import unknown_name
from minnet.ops.activation import elu, gelu, leaky_relu, selu, softplus, swish
from minnet.ops.loss import softmax
from minnet.ops.pointwise import exp, relu, sigmoid, tanh

Function = Callable[[Any], Any]

#: Activations by name; None stands for the identity.
ACTIVATIONS: dict[str, Function | None] = {
    "elu": elu,
    "exp": exp,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "linear": None,
    "relu": relu,
    "selu": selu,
    "sigmoid": sigmoid,
    "softmax": softmax,
    "softplus": softplus,
    "swish": swish,
    "tanh": tanh,
    "silu": swish,  # its other name
}


def get_activation(activation: str | Function | None) -> tuple[str, Function | None]:
    """An activation's name and function; None is 'linear', and linear has no function.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if activation is None:
        return "linear", None
    if callable(activation):
        for name, function in ACTIVATIONS.items():
            if function is activation:
                return name, function
        # A model ending in 'softmax' is trained on its logits; someone else's softmax is not.
        name = getattr(activation, "__name__", type(activation).__name__)
        return (f"custom {name}" if name in ACTIVATIONS else name), activation
    name = str(activation).lower()
    if name not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    return name, ACTIVATIONS[name]


def activation_config(name: str | None, function: Function | None) -> Any:
    """What :func:`get_activation` gave, as JSON holds it."""
    known = function is None or ACTIVATIONS.get(str(name)) is function
    return name if known else configs.of_function(function)
