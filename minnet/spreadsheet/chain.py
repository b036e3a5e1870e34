"""Following a window back: the part of every layer before it that it sees, calculated anew.

A window of 3×3 sees 5×5 of the layer before, 7×7 of the one before that. So from a few numbers of a
layer one can go back layer by layer, and each time the numbers needed are the layer's own
calculation on a part of its input: the same operations on smaller tensors. What a sheet shows of
that is planned, laid out and written like any other pass.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minnet.kernels.geometry import Padding, Window
from minnet.layers import (
    ACTIVATIONS,
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    ImagePreprocessing,
    Layer,
    MaxPooling2D,
    Reshape,
    ZeroPadding2D,
)
from minnet.ops.conv import convolution
from minnet.ops.pad import pad
from minnet.recording import no_grad
from minnet.spreadsheet.activity import Stage
from minnet.spreadsheet.plan import Plan
from minnet.spreadsheet.trace import Node, Trace
from minnet.tensor import Array, Tensor, wrap

#: For each axis of a row, which of its places are meant.
Region = tuple[Array, ...]
CELLS_PER_FORMULA = 5  # numbers of all kinds that a sheet may have, for each formula it may have


class Blocked(Exception):
    """Why one cannot go back through a layer, in words."""


class Part(NamedTuple):
    """A layer cut down to a region of its output, and the region of its input that it needs."""

    layer: Layer
    region: Region


@dataclass
class Chain:
    """The layers before a window, as far back as they are live, the first one first.

    ``start``: the number of the stage whose values it begins with, ``region`` of it. ``reason``:
    why it goes no further.
    """

    start: int
    region: Region
    layers: list[str]
    reason: str
    plan: Plan = field(repr=False)
    input: Node = field(repr=False)
    result: Node = field(repr=False)


def follow(
    stages: list[Stage], number: int, region: Region, depth: int | None, most: int, training: bool
) -> Chain | str:
    """The chain that gives ``region`` of a stage, through ``depth`` layers (None: all it can).

    It has ``most`` formulas at most. ``training``: the stages were calculated in training mode.
    Gives the reason, where there is not even one layer.
    """
    parts: list[tuple[Stage, Part]] = []
    wanted: list[Region] = [region]
    formulas = cells = 0
    start = number
    while True:
        stage = stages[start]
        if depth is not None and len(parts) >= depth:
            reason = "as many layers as were asked for"
            break
        if stage.layer is None:
            reason = "there the inputs are"
            break
        if len(stage.sources) != 1:
            reason = f"{stage.name!r} has several inputs"
            break
        try:
            part = part_of(stage.layer, wanted[-1], stages[stage.sources[0]].shape, training)
        except Blocked as blocked:
            reason = f"{stage.name!r} {blocked}"
            break
        size = _size(wanted[-1]) * (2 if stage.layer.activation_name not in (None, "linear") else 1)
        weights = sum(p.size for p in part.layer.parameters.values())
        if formulas + size > most:
            reason = (
                f"{stage.name!r} would need {size:,} formulas more; {most - formulas:,} are left"
            )
            break
        most_cells = CELLS_PER_FORMULA * most
        if cells + size + weights + _size(part.region) > most_cells:
            reason = f"{stage.name!r} would need {size + weights:,} cells more, of {most_cells:,}"
            break
        formulas, cells = formulas + size, cells + size + weights
        parts.insert(0, (stage, part))
        wanted.append(part.region)
        start = stage.sources[0]
    while parts:
        chain = _traced(stages[start], start, parts, reason)
        needed = sum(b.node.value.size for b in chain.plan.blocks.values() if b.node.op is not None)
        if needed <= most:
            return chain
        stage, _ = parts.pop(0)  # padding and copies need formulas too
        start = stages.index(stage)
        reason = f"{stage.name!r} would make it {needed:,} formulas; {most:,} are left"
    return reason


def _traced(first: Stage, start: int, parts: list[tuple[Stage, Part]], reason: str) -> Chain:
    region = parts[0][1].region
    trace = Trace()
    row = first.row[np.ix_(*region)] if region else first.row
    values = row.astype(np.float64) if row.dtype.kind == "f" else row
    x = wrap(values[None]).named(f"{first.name}_part")
    trace.announce(x, "input")
    with trace.watching(), no_grad():
        with trace.scope(first.name, "its part, as minnet says"):
            leaf = trace.node_of(x)
        out: Any = x
        for stage, part in parts:
            for parameter in part.layer.parameters.values():
                trace.announce(parameter, "parameter")
            with trace.scope(stage.name, _described(part.layer)):
                out = part.layer.call(out)
    plan = Plan(trace, forward_only=True, stacked=True)
    names = [stage.name for stage, _ in parts]
    return Chain(start, region, names, reason, plan, leaf, trace.node_of(out))


def _described(layer: Layer) -> str:
    return f"part of {layer.describe()}"


def _size(region: Region) -> int:
    return math.prod(len(axis) for axis in region)


def part_of(
    layer: Layer, region: Region, input_shape: tuple[int, ...], training: bool = False
) -> Part:
    """A layer that calculates ``region`` of its output; in float64.

    Raises :class:`Blocked` where that is no calculation on a part of the input.
    """
    cut = _CUTS.get(type(layer))
    if cut is None:
        raise Blocked(f"is a {type(layer).__name__}, which has no window")
    if training and isinstance(layer, (Dropout, BatchNormalization)):
        raise Blocked("does something else in training")
    function = getattr(layer, "activation", None)
    if layer.activation_name == "softmax" and len(region[-1]) != layer.output_shape[-1]:  # type: ignore[index]
        raise Blocked("ends in a softmax, which needs all its numbers")
    if function is not None and layer.activation_name not in ACTIVATIONS:
        raise Blocked("ends in a function of your own")
    return cut(layer, region, input_shape)


def _cut(layer: Any, **indices: Any) -> Any:
    """A copy of a layer with these parts of its parameters, in float64."""
    part = copy.copy(layer)
    part.dtype = np.dtype(np.float64)
    part.parameters = {}
    for name, parameter in layer.parameters.items():
        data = parameter.data[indices.get(name, ...)].astype(np.float64)
        part.parameters[name] = Tensor(
            data, dtype=np.float64, requires_grad=parameter.requires_grad, name=parameter.name
        )
    return part


def _seen(window: Window, places: Region, shape: tuple[int, ...]) -> tuple[list[Array], Padding]:
    """The rows and columns of an image that windows at these places see, and the zeros around."""
    axes, around = [], []
    for axis in range(2):
        stride, (before, _) = window.strides[axis], window.padding[axis]
        first = int(places[axis][0]) * stride - before
        last = int(places[axis][-1]) * stride - before + window.reach[axis]
        inside = np.arange(max(0, first), min(shape[axis], last))
        if not len(inside):
            raise Blocked("has a window that sees nothing but padding")
        axes.append(inside)
        around.append((max(0, -first), max(0, last - shape[axis])))
    return axes, (around[0], around[1])


def _convolution(layer: Conv2D, region: Region, shape: tuple[int, ...]) -> Part:
    axes, around = _seen(layer.window, region, shape)
    filters, each = region[2], layer.filters // layer.groups
    used = np.unique(filters // each)
    inputs = shape[2] // layer.groups
    if len(used) > 1 and len(filters) != len(used) * each:
        raise Blocked("has groups of filters of which only some are needed")
    channels = (used[:, None] * inputs + np.arange(inputs)).reshape(-1)
    part = _cut(layer, weight=(..., filters), bias=filters)
    window = layer.window
    part._operations = (
        convolution(Window(window.size, window.strides, around, window.dilation), len(used)),
    )
    part.filters, part.groups = len(filters), len(used)
    return Part(part, (*axes, channels))


def _pooling(layer: Any, region: Region, shape: tuple[int, ...]) -> Part:
    window = layer.window
    axes, around = _seen(window, region, shape)
    part = _cut(layer)
    part._operation = layer.operation(Window(window.size, window.strides, around))
    return Part(part, (*axes, region[2]))


def _global_pooling(layer: Layer, region: Region, shape: tuple[int, ...]) -> Part:
    return Part(layer, (np.arange(shape[0]), np.arange(shape[1]), region[0]))


def _zero_padding(layer: ZeroPadding2D, region: Region, shape: tuple[int, ...]) -> Part:
    axes, around = _seen(Window((1, 1), (1, 1), layer.padding), region, shape)
    part = _cut(layer)
    part._operation = pad(around)
    return Part(part, (*axes, region[2]))


def _dense(layer: Dense, region: Region, shape: tuple[int, ...]) -> Part:
    part = _cut(layer, weight=(slice(None), region[-1]), bias=region[-1])
    part.units = len(region[-1])
    return Part(part, (*region[:-1], np.arange(shape[-1])))


def _normalization(layer: BatchNormalization, region: Region, shape: tuple[int, ...]) -> Part:
    return Part(_cut(layer, **dict.fromkeys(layer.parameters, region[-1])), region)


def _rearranged(layer: Layer, region: Region, shape: tuple[int, ...]) -> Part:
    if _size(region) != math.prod(shape):
        raise Blocked("is needed in part alone")
    return Part(layer, tuple(np.arange(n) for n in shape))


def _preprocessing(layer: Layer, region: Region, shape: tuple[int, ...]) -> Part:
    if len(region[2]) != shape[2]:
        raise Blocked("is needed in part alone")
    return Part(_cut(layer), region)


def _pointwise(layer: Layer, region: Region, shape: tuple[int, ...]) -> Part:
    return Part(layer, region)


_CUTS: dict[type[Layer], Callable[[Any, Region, tuple[int, ...]], Part]] = {
    Activation: _pointwise,
    AveragePooling2D: _pooling,
    BatchNormalization: _normalization,
    Conv2D: _convolution,
    Dense: _dense,
    Dropout: _pointwise,
    Flatten: _rearranged,
    GlobalAveragePooling2D: _global_pooling,
    GlobalMaxPooling2D: _global_pooling,
    ImagePreprocessing: _preprocessing,
    MaxPooling2D: _pooling,
    Reshape: _rearranged,
    ZeroPadding2D: _zero_padding,
}
