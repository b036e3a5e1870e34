"""How ONNX's operators are spelled in minnet: each a function of its attributes and its inputs.

Images change from ONNX's (n, channels, height, width) to minnet's (n, height, width, channels).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minnet import kernels, ops
from minnet.kernels.geometry import Window
from minnet.tensor import Array, Tensor

Attributes = dict[str, Any]


def _numbers(x: Any) -> list[int]:
    """An input that is no tensor to calculate with but a list of whole numbers."""
    return [int(v) for v in np.atleast_1d(x.data)]


def _pairwise(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """For operators with any number of inputs."""
    return lambda attributes, *xs: functools.reduce(function, xs)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """For operators that have no attributes."""
    return lambda attributes, *xs: function(*xs)


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """For operators that reduce axes, given as an attribute or, since opset 13 or 18, an input."""

    def reduce(attributes: Attributes, x: Any, axes: Any = None) -> Any:
        named = attributes.get("axes") if axes is None else _numbers(axes)
        if not named:
            if attributes.get("noop_with_empty_axes"):
                return x
            named = range(x.ndim)
        return function(x, tuple(named), bool(attributes.get("keepdims", 1)))

    return reduce


def _log_sum_exp(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    largest = ops.max(x, axes, True)
    found = largest + ops.log(ops.sum(ops.exp(x - largest), axes, True))
    return found if keepdims else ops.reshape(found, ops.sum(x, axes).shape)


def _gemm(attributes: Attributes, a: Any, b: Any, c: Any = None) -> Any:
    a = ops.transpose(a) if attributes.get("transA") else a
    b = ops.transpose(b) if attributes.get("transB") else b
    product = ops.matmul(a, b) * attributes.get("alpha", 1.0)
    return product if c is None else product + c * attributes.get("beta", 1.0)


def _clip(attributes: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


def _reshape(attributes: Attributes, x: Any, shape: Any) -> Any:
    wanted = _numbers(shape) if shape.size else []
    if not attributes.get("allowzero"):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return ops.reshape(x, wanted)


def _flatten(attributes: Attributes, x: Any) -> Any:
    axis = attributes.get("axis", 1)
    return ops.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(attributes: Attributes, x: Any, axes: Any = None) -> Any:
    dropped = {a % x.ndim for a in _numbers(axes)}
    return ops.reshape(x, [n for i, n in enumerate(x.shape) if i not in dropped])


def _unsqueeze(attributes: Attributes, x: Any, axes: Any) -> Any:
    ndim = x.ndim + axes.size
    added, sides = {a % ndim for a in _numbers(axes)}, iter(x.shape)
    return ops.reshape(x, [1 if i in added else next(sides) for i in range(ndim)])


def _slice(attributes: Attributes, x: Any, starts: Any, ends: Any, *rest: Any) -> Any:
    axes = _numbers(rest[0]) if rest else range(starts.size)
    steps = _numbers(rest[1]) if len(rest) > 1 else [1] * starts.size
    key = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, _numbers(starts), _numbers(ends), steps):
        # ONNX writes "to the very beginning" as a number far below zero, Python as None.
        key[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return ops.getitem(x, tuple(key))


def _gather(attributes: Attributes, x: Any, indices: Any) -> Any:
    return ops.getitem(x, (slice(None),) * attributes.get("axis", 0) + (indices.data,))


def _split(attributes: Attributes, x: Any, sizes: Any = None) -> Any:
    axis = attributes.get("axis", 0)
    if sizes is None:
        parts = attributes.get("num_outputs", attributes["outputs"])
        size = -(-x.shape[axis] // parts)
        stops = [min(size * (i + 1), x.shape[axis]) for i in range(parts)]
    else:
        stops = list(itertools.accumulate(_numbers(sizes)))
    before = (slice(None),) * (axis % x.ndim)
    return [ops.getitem(x, (*before, slice(i, j))) for i, j in zip([0, *stops], stops)]


def _pad(attributes: Attributes, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    if attributes.get("mode", "constant") != "constant":
        raise NotImplementedError
    named = range(x.ndim) if axes is None else _numbers(axes)
    amounts = _numbers(pads)
    for axis, before, after in zip(named, amounts, amounts[len(named) :]):
        filled = 0 if value is None else value.data
        strips = []
        for amount in (before, after):
            shape = [amount if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
            strips.append(Tensor(np.full(shape, filled, x.dtype)))
        x = ops.concatenate([strips[0], x, strips[1]], axis)
    return x


def _indicators(labels: Array, classes: int, dtype: Any) -> Any:
    hot = ops.one_hot(Tensor(labels.ravel()), classes, dtype)
    return ops.reshape(hot, (*labels.shape, classes))


def _one_hot(attributes: Attributes, indices: Any, depth: Any, values: Any) -> Any:
    (classes,) = _numbers(depth)
    off, on = ops.getitem(values, 0), ops.getitem(values, 1)
    hot = _indicators(indices.data.astype(int) % classes, classes, values.dtype)
    hot = hot * (on - off) + off
    axis = attributes.get("axis", -1) % hot.ndim
    order = list(range(hot.ndim - 1))
    return ops.transpose(hot, [*order[:axis], hot.ndim - 1, *order[axis:]])


def _negative_log_likelihood(attributes: Attributes, scores: Any, labels: Any, weight: Any) -> Any:
    counted = labels.data != attributes.get("ignore_index", np.iinfo(np.int64).min)
    labels = np.where(counted, labels.data, 0)
    hot = _indicators(labels, scores.shape[1], scores.dtype)
    hot = ops.transpose(hot, [0, hot.ndim - 1, *range(1, hot.ndim - 1)])
    weights = Tensor(counted.astype(scores.dtype))
    if weight is not None:
        weights = weights * ops.getitem(weight, labels)
    losses = -ops.sum(hot * scores, 1) * weights
    reduction = attributes.get("reduction", "mean")
    if reduction == "none":
        return losses
    return ops.sum(losses) / (1.0 if reduction == "sum" else ops.sum(weights))


def _softmax_cross_entropy(attributes: Attributes, z: Any, labels: Any, weight: Any = None) -> Any:
    scores = ops.log_softmax(z, 1)
    return _negative_log_likelihood(attributes, scores, labels, weight), scores


def _batch_normalization(
    attributes: Attributes, x: Any, scale: Any, bias: Any, mean: Any, variance: Any
) -> Any:
    shape = (1, -1, *(1,) * (x.ndim - 2))
    scale, bias = ops.reshape(scale, shape), ops.reshape(bias, shape)
    running = ()
    if attributes.get("training_mode"):
        axes = (0, *range(2, x.ndim))
        now = ops.mean(x, axes)
        spread = ops.mean((x - ops.reshape(now, shape)) ** 2, axes)
        momentum = attributes.get("momentum", 0.9)
        running = tuple(
            old * momentum + new * (1 - momentum) for old, new in ((mean, now), (variance, spread))
        )
        mean, variance = now, spread
    centred = x - ops.reshape(mean, shape)
    deviation = ops.sqrt(ops.reshape(variance, shape) + attributes.get("epsilon", 1e-5))
    return centred / deviation * scale + bias, *running


# -- images ----------------------------------------------------------------------------------------


def _channels_last(x: Any) -> Array:
    """(n, channels, height, width) as minnet has it; a row of pixels is an image of height 1."""
    array = x.data
    if array.ndim == 3:
        array = array[:, :, None]
    if array.ndim != 4 or array.dtype.kind != "f":
        raise NotImplementedError
    return array.transpose(0, 2, 3, 1)


def _channels_first(y: Array, ndim: int) -> Any:
    found = y.transpose(0, 3, 1, 2)
    return Tensor(found[:, :, 0] if ndim == 3 else found)


def _two(values: list[int], filler: int) -> tuple[int, int]:
    """One number for each dimension of space, of which a row of pixels lacks the first."""
    vertical, horizontal = values if len(values) == 2 else (filler, *values)
    return vertical, horizontal


def _window(attributes: Attributes, size: list[int], x: Array) -> Window:
    ones = [1] * len(size)
    pads = attributes.get("pads", [0] * 2 * len(size))
    window = Window(
        _two(size, 1),
        _two(attributes.get("strides", ones), 1),
        tuple(zip(_two(pads[: len(size)], 0), _two(pads[len(size) :], 0))),
        _two(attributes.get("dilations", ones), 1),
    )
    mode = attributes.get("auto_pad", "NOTSET")
    numbers = zip(x.shape[1:3], window.reach, window.strides, window.padding)
    if mode.startswith("SAME"):
        totals = [max((-(-n // s) - 1) * s + r - n, 0) for n, r, s, _ in numbers]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        sides = zip(small, large) if mode == "SAME_UPPER" else zip(large, small)
        return dataclasses.replace(window, padding=tuple(sides))
    if attributes.get("ceil_mode"):
        # A last window may hang over the edge as long as it begins on the image.
        sides = []
        for n, r, s, (before, after) in numbers:
            places = -(-(n + before + after - r) // s) + 1
            places -= (places - 1) * s >= n + before
            sides.append((before, max(after, (places - 1) * s + r - n - before)))
        return dataclasses.replace(window, padding=tuple(sides))
    return window


def _convolution(attributes: Attributes, x: Any, w: Any, b: Any = None) -> Any:
    images, kernel = _channels_last(x), Tensor(w.data.transpose(2, 3, 1, 0))
    window = _window(attributes, list(kernel.shape[:2]), images)
    options = window.strides, window.padding, window.dilation, attributes.get("group", 1)
    return _channels_first(ops.conv2d(Tensor(images), kernel, b, *options).data, x.ndim)


def _max_pool(attributes: Attributes, x: Any) -> Any:
    images = _channels_last(x)
    window = _window(attributes, attributes["kernel_shape"], images)
    y, places = kernels.max_pool_places(images, window)
    np.testing.assert_array_equal(kernels.max_pool(images, window), y)
    # ONNX counts through the whole input, in either order of rows and columns.
    height, width, channels = images.shape[1:]
    starts = np.indices(y.shape)
    steps, sides = window.strides, [before for before, _ in window.padding]
    taps = np.divmod(places, window.size[1])
    rows, columns = (
        starts[1 + i] * steps[i] + taps[i] * window.dilation[i] - sides[i] for i in (0, 1)
    )
    within = columns * height + rows if attributes.get("storage_order") else rows * width + columns
    indices = (starts[0] * channels + starts[3]) * height * width + within
    return _channels_first(y, x.ndim), _channels_first(indices, x.ndim)


def _average_pool(attributes: Attributes, x: Any) -> Any:
    images = _channels_last(x)
    window = _window(attributes, attributes["kernel_shape"], images)
    count_padding = bool(attributes.get("count_include_pad", 0))
    return _channels_first(kernels.average_pool(images, window, count_padding), x.ndim)


def _global(pool: Callable[[Any], Any]) -> Callable[..., Any]:
    def pooled(attributes: Attributes, x: Any) -> Any:
        y = pool(Tensor(_channels_last(x))).data
        return _channels_first(y[:, None, None], x.ndim)

    return pooled


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _plainly(ops.absolute),
    "Add": _plainly(ops.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": lambda attributes, *xs: ops.concatenate(xs, attributes["axis"]),
    "Constant": lambda attributes: Tensor(
        next(np.asarray(v) for k, v in attributes.items() if k.startswith("value"))
    ),
    "Conv": _convolution,
    "Div": _plainly(ops.divide),
    "Exp": _plainly(ops.exp),
    "Expand": lambda attributes, x, shape: ops.broadcast_to(
        x, np.broadcast_shapes(x.shape, tuple(_numbers(shape)))
    ),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global(ops.global_average_pool2d),
    "GlobalMaxPool": _global(ops.global_max_pool2d),
    "Greater": _plainly(ops.greater),
    "GreaterOrEqual": _plainly(ops.greater_equal),
    "Identity": _plainly(lambda x: x),
    "Less": _plainly(ops.less),
    "LessOrEqual": _plainly(ops.less_equal),
    "Log": _plainly(ops.log),
    "LogSoftmax": lambda attributes, z: ops.log_softmax(z, attributes.get("axis", -1)),
    "MatMul": _plainly(ops.matmul),
    "Max": _pairwise(ops.maximum),
    "MaxPool": _max_pool,
    "Mean": lambda attributes, *xs: functools.reduce(ops.add, xs) / float(len(xs)),
    "Min": _pairwise(ops.minimum),
    "Mul": _plainly(ops.multiply),
    "Neg": _plainly(ops.negative),
    "NegativeLogLikelihoodLoss": lambda attributes, scores, labels, weight=None: (
        _negative_log_likelihood(attributes, scores, labels, weight)
    ),
    "OneHot": _one_hot,
    "Pad": _pad,
    "Pow": _plainly(ops.power),
    "Reciprocal": _plainly(lambda x: 1.0 / x),
    "ReduceL1": _reduction(lambda x, *axes: ops.sum(ops.absolute(x), *axes)),
    "ReduceL2": _reduction(lambda x, *axes: ops.sqrt(ops.sum(x * x, *axes))),
    "ReduceLogSum": _reduction(lambda x, *axes: ops.log(ops.sum(x, *axes))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(ops.max),
    "ReduceMean": _reduction(ops.mean),
    "ReduceMin": _reduction(lambda x, *axes: -ops.max(-x, *axes)),
    "ReduceSum": _reduction(ops.sum),
    "ReduceSumSquare": _reduction(lambda x, *axes: ops.sum(x * x, *axes)),
    "Relu": _plainly(ops.relu),
    "Reshape": _reshape,
    "Sigmoid": _plainly(ops.sigmoid),
    "Sign": _plainly(ops.sign),
    "Slice": _slice,
    "Softmax": lambda attributes, z: ops.softmax(z, attributes.get("axis", -1)),
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
    "Split": _split,
    "Sqrt": _plainly(ops.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plainly(ops.subtract),
    "Sum": _pairwise(ops.add),
    "Tanh": _plainly(ops.tanh),
    "Transpose": lambda attributes, x: ops.transpose(x, attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
    "Where": _plainly(ops.where),
}
