"""What every layer gave in a forward pass: statistics of all rows, the numbers of the first.

In the model's own dtype, layer by layer, so that a net of a gigabyte needs no second one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minnet import random
from minnet.autodiff import backpropagate
from minnet.errors import NumberError, mismatch
from minnet.graph import Call, takes_list
from minnet.layers import Layer
from minnet.recording import no_grad, training_mode
from minnet.several import as_tensors, parts_of
from minnet.tensor import Array

BINS = 24
SMALLEST = 1e-300  # bins of what is smaller still would be 0 wide
SAME = 1e-15  # relative: float64 numbers that are no further apart differ in their last digits


class Statistics(NamedTuple):
    """Of an array's numbers; ``edges`` (BINS + 1,) and ``counts`` (BINS,) are a histogram."""

    least: float
    most: float
    mean: float
    std: float
    zeros: float  # the share of them
    edges: Array
    counts: Array

    @classmethod
    def of(cls, array: Array) -> Statistics:
        values = array.reshape(-1)
        least, most = float(values.min()), float(values.max())
        counts, edges = np.histogram(values, BINS, _span(least, most))
        mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
        zeros = float(np.count_nonzero(values == 0) / values.size)
        return cls(least, most, float(mean), float(std), zeros, edges.astype(float), counts)


def _span(least: float, most: float) -> tuple[np.float64, np.float64]:
    """The ends of a histogram: apart, also where all numbers are equal but for their last digits.

    float64, whatever the numbers are, so that its bins have distinct edges.
    """
    size = max(abs(least), abs(most))
    apart = most - least > max(BINS * SAME * size, SMALLEST)
    room = 0.0 if apart else max(size, 1.0) / 2
    return np.float64(least - room), np.float64(most + room)


@dataclass(eq=False)
class Stage:
    """What a layer gave, or what went in.

    ``sources``: the numbers of the stages that it was calculated from. ``row``: the first row,
    ``rows``: all of them, where they are few numbers.
    """

    name: str
    layer: Layer | None
    sources: tuple[int, ...]
    shape: tuple[int, ...]  # of a row
    row: Array
    rows: Array | None
    statistics: Statistics


def calls_of(model: Any) -> tuple[list[str], list[Call]]:
    """The names of the inputs, and the layers' calls, whose inputs are numbers of stages.

    Stages are the inputs, then the calls that are none.
    """
    calls = model.calls
    first = model.graph.inputs if hasattr(model, "graph") else []
    names = [calls[k].layer.name for k in first] or ["x"]
    number = {k: i for i, k in enumerate(first)}
    found: list[Call] = []
    for k, call in enumerate(calls):
        if k not in number:
            number[k] = len(names) + len(found)
            sources = tuple(number[i] for i in call.inputs) if call.inputs else (0,)
            found.append(call._replace(inputs=sources))
    return names, found


def activity(model: Any, x: Any, training: bool, few: int) -> list[Stage]:
    """Run the model on prepared rows; ``few``: as many numbers are kept of all rows.

    ``training``: with dropout and statistics of the batch, as a step of training does. The model is
    afterwards what it was.

    Raises :class:`~minnet.errors.NumberError`, naming the layer, for NaN or infinity.
    """
    names, calls = calls_of(model)
    stages: list[Stage] = []
    with _same_draws(model), ExitStack() as modes:
        modes.enter_context(no_grad())
        if training:
            modes.enter_context(training_mode())
        values: list[Any] = []
        for name, tensor in zip(names, parts_of(as_tensors(x)), strict=True):
            values.append(tensor)
            stages.append(_stage(name, None, (), tensor.data, few))
        last_use = {i: k for k, call in enumerate(calls) for i in call.inputs}
        for k, call in enumerate(calls):
            arguments = [values[i] for i in call.inputs]
            listed = takes_list(call.layer, call.inputs)
            out = call.layer(arguments if listed else arguments[0])
            values.append(out)
            stages.append(_stage(call.layer.name, call.layer, call.inputs, out.data, few))
            for i in call.inputs:
                if last_use[i] == k:
                    values[i] = None  # its memory can be used again
    return stages


def gradients(model: Any, x: Any, y: Any) -> tuple[float, dict[str, Statistics]]:
    """The loss of prepared rows, and statistics of its gradient for every trained parameter."""
    with _same_draws(model), training_mode():
        # A view, as the engine makes the arrays it has recorded read-only.
        loss, _ = model.loss_of(as_tensors(x[:]), as_tensors(y[:]))
        trained = model.trainable_parameters()
        found = zip(trained, backpropagate(loss, trained)) if trained else ()
        statistics = {p.name: Statistics.of(g.data) for p, g in found if g is not None}
    return float(loss.item()), statistics


def _stage(
    name: str, layer: Layer | None, sources: tuple[int, ...], array: Array, few: int
) -> Stage:
    if not np.isfinite(array).all():
        advice = "Check the data and the weights."
        raise NumberError(mismatch(f"export: {name}", "finite numbers", "NaN or infinity", advice))
    rows = array if array.size <= few else None
    row = array[0].copy()
    return Stage(name, layer, sources, array.shape[1:], row, rows, Statistics.of(array))


@contextmanager
def _same_draws(model: Any) -> Iterator[None]:
    """What is drawn inside is drawn again afterwards: looking at a model does not change it."""
    sources = {id(g): g for g in (la._rng or random.generator() for la in model.layers)}
    before = {key: random.state_of(g) for key, g in sources.items()}
    try:
        yield
    finally:
        for key, state in before.items():
            sources[key].bit_generator.state = state
