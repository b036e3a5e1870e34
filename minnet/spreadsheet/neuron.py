"""One number of a layer taken apart: what its window sees beside the weights, group by group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch
from minnet.kernels.geometry import Window
from minnet.layers import (
    AveragePooling2D,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    MaxPooling2D,
)
from minnet.ops.base import Pointwise, positions
from minnet.recording import no_grad
from minnet.spreadsheet.activity import Stage
from minnet.spreadsheet.trace import Trace
from minnet.tensor import Array, wrap

SUM, MAX, AVERAGE = "SUMPRODUCT", "MAX", "AVERAGE"
NOWHERE, PADDING = -2, -1  # in place of a position: no cell; a zero around the image
_FOLD = 8  # numbers in a row of what has no natural shape
_LARGEST_TILE = 400  # of an image's channel that is shown as a tile


@dataclass(frozen=True)
class Group:
    """A tile of inputs with its tile of weights: ``sources`` (h, w) are positions in the layer's
    input row; ``weights`` (h, w) is None for a pooling."""

    title: str
    sources: Array
    weights: Array | None


@dataclass
class Neuron:
    """A number of a layer's first row, and how it is made of numbers of the layer's input."""

    stage: Stage
    place: tuple[int, ...]
    function: str  # SUM (of products), MAX or AVERAGE
    groups: list[Group]
    bias: float | None = None
    #: Before the softmax, the scores of all its competitors; float64.
    scores: Array | None = field(default=None, repr=False)

    @property
    def says(self) -> float:
        """The number as minnet calculated it, in the model's own precision."""
        return float(self.stage.row[self.place])

    @property
    def where(self) -> list[tuple[str, int]]:
        """The names of the axes, with the place on each."""
        known = {1: ("unit",), 3: ("row", "column", "channel")}
        plain = tuple(f"axis {i + 1}" for i in range(len(self.place)))
        return list(zip(known.get(len(self.place), plain), self.place, strict=True))

    def region(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """Which rows, columns and channels (or numbers) of the input's row its window covers."""
        seen = np.concatenate([group.sources.reshape(-1) for group in self.groups])
        places = np.unravel_index(np.unique(seen[seen >= 0]), shape)
        axes = [np.unique(axis) for axis in places]
        for k in range(2 if len(shape) == 3 else 0):
            axes[k] = np.arange(axes[k][0], axes[k][-1] + 1)
        return tuple(axes)

    @cached_property
    def activation(self) -> tuple[str, Pointwise | None]:
        """The name of what follows the sum, and its operation where it is a single one."""
        name = str(self.stage.layer.activation_name) if self.function == SUM else "linear"  # type: ignore[union-attr]
        function = getattr(self.stage.layer, "activation", None)
        if name == "linear" or function is None:
            return "linear", None
        if name == "softmax":
            return name, None
        trace = Trace()
        z = wrap(np.array([0.5]))
        with trace.watching(), no_grad():
            out = function(z)
        node = trace.known(out)
        single = node is not None and len(node.inputs) == 1 and node.inputs[0] is trace.known(z)
        return name, node.op if single and isinstance(node.op, Pointwise) else None  # type: ignore[union-attr]

    def terms(self, inputs: Array) -> list[float]:
        """What each group gives; ``inputs``: the layer's input row, flat, float64."""
        found = []
        for group in self.groups:
            inside = group.sources >= 0
            values = inputs[group.sources[inside]]
            if self.function == SUM:
                assert group.weights is not None  # only poolings have none
                found.append(float(values @ group.weights[inside]))
            else:
                found.append(float(values.max() if self.function == MAX else values.mean()))
        return found

    def size(self, inputs: Array) -> float:
        """The sum of the products' sizes: what rounding errors are measured by."""
        total = abs(self.bias or 0.0)
        for group in self.groups:
            inside = group.sources >= 0
            values = np.abs(inputs[group.sources[inside]])
            weights = 1.0 if group.weights is None else np.abs(group.weights[inside])
            total += float((values * weights).sum())
        return total


def can_show(layer: Layer | None) -> bool:
    """Whether a number of this layer can be taken apart."""
    return isinstance(layer, (Conv2D, Dense, *_POOLINGS))


def neuron(stages: list[Stage], number: int, place: tuple[int, ...] | None = None) -> Neuron:
    """A number of a stage's first row; ``place`` None is its largest.

    Raises :class:`~minnet.errors.ArgumentError` for a place that the layer does not have.
    """
    stage = stages[number]
    if place is None:
        most = int(stage.row.argmax())
        place = tuple(int(i) for i in np.unravel_index(most, stage.shape))
    inside = len(place) == len(stage.shape) and all(0 <= i < n for i, n in zip(place, stage.shape))
    if not inside:
        sizes = ", ".join(f"0 to {n - 1}" for n in stage.shape)
        expected = f"a place in rows of shape {stage.shape}: {sizes}"
        raise ArgumentError(mismatch(f"probe of {stage.name!r}", expected, f"{place}"))
    layer, source = stage.layer, stages[stage.sources[0]]
    if isinstance(layer, Conv2D):
        return _convolved(stage, layer, source, place)
    if isinstance(layer, Dense):
        return _dense(stage, layer, stages, source, place)
    return _pooled(stage, layer, source, place)


_POOLINGS = (MaxPooling2D, AveragePooling2D, GlobalMaxPooling2D, GlobalAveragePooling2D)


def _convolved(stage: Stage, layer: Conv2D, source: Stage, place: tuple[int, ...]) -> Neuron:
    row, column, k = place
    taps = _taps(layer.window, row, column, source.shape)
    weight = layer.parameters["weight"].data[..., k].astype(np.float64)
    each = layer.filters // layer.groups
    first = k // each * weight.shape[2]
    groups = [
        Group(
            f"channel {first + c}",
            np.where(taps < 0, PADDING, taps * source.shape[2] + first + c),
            weight[:, :, c],
        )
        for c in range(weight.shape[2])
    ]
    return Neuron(stage, place, SUM, groups, _bias(layer, k))


def _taps(window: Window, row: int, column: int, shape: tuple[int, ...]) -> Array:
    """The pixels that a window at a place sees, counted row by row; -1 for those outside."""
    sides = []
    for axis, at in enumerate((row, column)):
        start = at * window.strides[axis] - window.padding[axis][0]
        taps = start + np.arange(window.size[axis]) * window.dilation[axis]
        sides.append(np.where((taps >= 0) & (taps < shape[axis]), taps, -1))
    down, right = np.meshgrid(*sides, indexing="ij")
    return np.where((down < 0) | (right < 0), -1, down * shape[1] + right)


def _dense(
    stage: Stage, layer: Dense, stages: list[Stage], source: Stage, place: tuple[int, ...]
) -> Neuron:
    *lead, unit = place
    weight = layer.parameters["weight"].data
    column = weight[:, unit].astype(np.float64)
    start = int(np.ravel_multi_index(tuple(lead), stage.shape[:-1])) if lead else 0
    start *= len(column)
    groups = []
    for title, taps in _folded(stages, source, len(column)):
        cells = taps >= 0
        sources = np.where(cells, taps + start, NOWHERE)
        groups.append(Group(title, sources, np.where(cells, column[np.maximum(taps, 0)], 0.0)))
    found = Neuron(stage, place, SUM, groups, _bias(layer, unit))
    if layer.activation_name == "softmax":
        inputs = source.row.reshape(-1)[start : start + len(column)].astype(np.float64)
        # In parts, as the weights of a large layer would need gigabytes in float64.
        parts = [
            inputs @ weight[:, i : i + 64].astype(np.float64) for i in range(0, layer.units, 64)
        ]
        bias = layer.parameters["bias"].data if layer.use_bias else 0.0
        found.scores = np.concatenate(parts) + bias
    return found


def _folded(stages: list[Stage], source: Stage, count: int) -> list[tuple[str, Array]]:
    """The inputs of a dense layer as tiles: an image's channels, or rows of eight."""
    before = stages[source.sources[0]] if len(source.sources) == 1 else None
    image = before is not None and len(before.shape) == 3 and math.prod(before.shape) == count
    if image and before is not None and math.prod(before.shape[:2]) <= _LARGEST_TILE:
        order = positions(before.shape)
        return [(f"channel {c}", order[:, :, c]) for c in range(before.shape[2])]
    size = _FOLD * _FOLD if count > _FOLD * _FOLD else _FOLD
    tiles = []
    for first in range(0, count, size):
        last = min(first + size, count)
        taps = np.full(-(-(last - first) // _FOLD) * _FOLD, NOWHERE)
        taps[: last - first] = np.arange(first, last)
        tiles.append((f"inputs {first} to {last - 1}", taps.reshape(-1, _FOLD)))
    return tiles


def _pooled(stage: Stage, layer: Any, source: Stage, place: tuple[int, ...]) -> Neuron:
    channel = place[-1]
    if isinstance(layer, (MaxPooling2D, AveragePooling2D)):
        taps = _taps(layer.window, place[0], place[1], source.shape)
    else:
        taps = positions(source.shape[:2])
    sources = np.where(taps < 0, NOWHERE, taps * source.shape[2] + channel)
    largest = isinstance(layer, (MaxPooling2D, GlobalMaxPooling2D))
    group = Group(f"channel {channel}", sources, None)
    return Neuron(stage, place, MAX if largest else AVERAGE, [group])


def _bias(layer: Conv2D | Dense, k: int) -> float | None:
    return float(layer.parameters["bias"].data[k]) if layer.use_bias else None
