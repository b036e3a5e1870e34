"""Numbers to watch that are not trained on: arrays in, one number (a mean over rows) out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minnet import configs
from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.tensor import Array

#: Takes predictions and targets, both with one row per sample, and gives their mean score.
Metric = Callable[[Array, Array], float]


def accuracy(prediction: Array, target: Array) -> float:
    """The share of rows whose most probable class is the right one.

    ``prediction``: (..., classes); ``target``: one-hot of the same shape, or integer labels
    (...). A single output, (n, 1), counts as class 1 above 0.5.
    """
    if prediction.shape[-1] == 1:
        return binary_accuracy(prediction, target.reshape(prediction.shape))
    labels = target.argmax(-1) if target.ndim == prediction.ndim else target
    return float(np.mean(prediction.argmax(-1) == labels))


def binary_accuracy(prediction: Array, target: Array) -> float:
    """The share of single outputs on the right side of 0.5; both arrays have the same shape."""
    return float(np.mean((prediction > 0.5) == (target > 0.5)))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "binary_accuracy": binary_accuracy,
}


def get(metric: str | Metric, *, binary: bool = False) -> tuple[str, Metric]:
    """What a metric is called in the history, and its function; callables are taken as they are.

    With ``binary`` (a binary cross-entropy loss), 'accuracy' looks at each output on its own, since
    several may be right at once.

    Raises :class:`~minnet.errors.ArgumentError` for an unknown name, suggesting the nearest.
    """
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    try:
        function = METRICS[str(metric).lower()]
    except KeyError:
        raise unknown_name("metric", metric, METRICS) from None
    return str(metric), binary_accuracy if binary and function is accuracy else function


def listed(chosen: Any) -> list[str | Metric]:
    """Metrics as a list: of several, of a single one, or of none."""
    single = isinstance(chosen, str) or callable(chosen)
    return [chosen] if single else list(chosen or ())


def by_name(chosen: Iterable[str | Metric], *, binary: bool = False) -> dict[str, Metric]:
    """The metrics under names of their own: the second 'error' is 'error_2', and 'loss' is taken.

    What is chosen twice is measured once. ``binary``: see :func:`get`.
    """
    found: dict[str, Metric] = {}
    for metric in chosen:
        name, function = get(metric, binary=binary)
        own, count = name, 1
        while own == "loss" or found.get(own, function) != function:
            count += 1
            own = f"{name}_{count}"
        found[own] = function
    return found


def to_config(metric: str | Metric, name: str = "", *, binary: bool = False) -> Any:
    """A metric as JSON holds it: its name, or what a function of one's own is known by.

    ``name``, ``binary``: of what :func:`get` gave, and what it was given for that.

    Raises :class:`~minnet.errors.ArgumentError` for a lambda, or a name that minnet's has.
    """
    if not callable(metric):
        return metric
    if name.lower() in METRICS and get(name, binary=binary)[1] is metric:
        return name
    config = configs.of_function(metric)
    if metric not in METRICS.values() and config.get("function") in METRICS:
        received = f"another function called {config['function']!r}"
        advice = "Give your function another name."
        raise ArgumentError(mismatch("saving a metric", "a name of its own", received, advice))
    return config
