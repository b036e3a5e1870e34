"""What every operation is tested with: one entry of CASES for each operation, by its name.

An entry is a strategy that draws an :class:`Example`: a function, the arrays it is called with,
and what NumPy and torch make of the same arrays. Arrays are float64 (labels int64, conditions
bool), away from kinks and ties, so every example can be differentiated numerically, cast to float32
and shown in a workbook.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from minnet import ops
from minnet.kernels.geometry import Window, resolve_padding
from minnet.ops.conv import Conv2DInputGradient, Conv2DWeightGradient, Correlate
from minnet.ops.embedding import AddRows
from minnet.ops.pad import Dilate2D, RotateKernel
from minnet.ops.pool import AveragePoolGradient, MaxPoolGradient, MaxPoolTake
from minnet.ops.reduce import FirstMaximum
from minnet.ops.shape import Scatter
from minnet.ops.update import descend
from minnet.tensor import Array
from minnet.testing import arrays, broadcastable_shapes, shapes


class Example(NamedTuple):
    """A calculation and two other opinions on it."""

    function: Callable[..., Any]  # of tensors or arrays
    arrays: tuple[Array, ...]
    expected: Callable[..., Any]  # of NumPy arrays
    torch: Callable[..., Any] | None = None  # of the module torch, then its tensors
    text: str = ""

    def __repr__(self) -> str:
        inputs = ", ".join(f"{a.tolist()} of {a.dtype}{a.shape}" for a in self.arrays)
        return f"Example({self.text}: {inputs})"


Draw = Callable[[SearchStrategy[Any]], Any]

sides = {"min_side": 0, "max_side": 3}
small = shapes(**sides)
filled = shapes(min_dims=1, min_side=1, max_side=3)


def unary(
    function: Any, expected: Any, torch: Any = None, low: float = -3, high: float = 3
) -> SearchStrategy[Example]:
    return arrays(small, low, high).map(
        lambda x: Example(function, (x,), expected, torch, getattr(function, "name", ""))
    )


def binary(
    function: Any, expected: Any, torch: Any = None, low: float = -3, distinct: bool = False
) -> SearchStrategy[Example]:
    """Two arrays whose shapes broadcast, or an array and a Python number in either order."""

    @st.composite
    def draw_example(draw: Draw) -> Example:
        first, second = draw(broadcastable_shapes(**sides))
        sizes = math.prod(first), math.prod(second)
        both = draw(arrays(sum(sizes), low, distinct=distinct))
        a, b = both[: sizes[0]].reshape(first), both[sizes[0] :].reshape(second)
        number = draw(st.sampled_from([0.75, 1.25, 2, 3]))
        if distinct:
            number += 1 / 64  # between the numbers that are drawn
        kind = draw(st.sampled_from(["two arrays", "number last", "number first"]))
        if kind == "number last":
            return Example(
                lambda x: function(x, number),
                (a,),
                lambda x: expected(x, x.dtype.type(number)),
                torch
                and (lambda module, x: torch(module, x, module.tensor(number, dtype=x.dtype))),
                f"(x, {number})",
            )
        if kind == "number first":
            return Example(
                lambda x: function(number, x),
                (b,),
                lambda x: expected(x.dtype.type(number), x),
                torch
                and (lambda module, x: torch(module, module.tensor(number, dtype=x.dtype), x)),
                f"({number}, x)",
            )
        return Example(function, (a, b), expected, torch, "(a, b)")

    return draw_example()


@st.composite
def power(draw: Draw) -> Example:
    """A positive base where the exponent is learnt; any base for small whole exponents."""
    if draw(st.booleans()):
        found: Example = draw(binary(ops.power, np.power, lambda t, a, b: t.pow(a, b), low=0.25))
        return found
    n = draw(st.sampled_from([-1, 0, 1, 2, 3, 4]))
    x = draw(arrays(small, low=-2, high=2, margin=0.25))
    return Example(
        lambda a: a**n, (x,), lambda a: a ** float(n), lambda t, a: t.pow(a, n), f"x ** {n}"
    )


@st.composite
def choice(draw: Draw) -> Example:
    a, b = draw(broadcastable_shapes(**sides))
    condition = draw(st.sampled_from([a, b, np.broadcast_shapes(a, b)]))
    mask = draw(arrays(condition, 0, 1, away_from=(), margin=1)).astype(bool)
    return Example(
        ops.where,
        (mask, draw(arrays(a)), draw(arrays(b))),
        np.where,
        lambda t, m, x, y: t.where(m, x, y),
    )


def some_axes(draw: Draw, ndim: int) -> Any:
    """No axes at all, one (from either end), or several."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.none()
    several = (
        st.sets(st.integers(0, ndim - 1)).map(lambda s: tuple(sorted(s))) if ndim else st.none()
    )
    return draw(st.one_of(st.none(), one, several))


def reduction(
    function: Any, expected: Any, torch: Any, empty: bool = False, distinct: bool = False,
    alone: Any = lambda a: a,
) -> SearchStrategy[Example]:  # fmt: skip
    """``alone``: what becomes of each number where there are no axes to reduce over."""

    @st.composite
    def draw_example(draw: Draw) -> Example:
        x = draw(arrays(shapes(min_side=0 if empty else 1, max_side=3), distinct=distinct))
        axis, keepdims = some_axes(draw, x.ndim), draw(st.booleans())

        def by_torch(module: Any, a: Any) -> Any:
            return (
                alone(a)
                if axis == ()
                else torch(a, tuple(range(a.ndim)) if axis is None else axis, keepdims)
            )

        return Example(
            lambda a: function(a, axis, keepdims),
            (x,),
            lambda a: expected(a, axis=axis, keepdims=keepdims),
            None if x.ndim == 0 else by_torch,
            f"axis={axis}, keepdims={keepdims}",
        )

    return draw_example()


@st.composite
def first_maximum(draw: Draw) -> Example:
    x = draw(arrays(shapes(min_dims=1, max_side=3), low=-0.5, high=0.5, margin=0.25))  # with ties
    axis = draw(st.integers(0, x.ndim - 1))

    def expected(a: Array) -> Array:
        first = np.expand_dims(a.argmax(axis), axis)
        return np.asarray(np.indices(a.shape)[axis] == first)

    return Example(FirstMaximum((axis,)), (x,), expected, text=f"axis={axis}")


@st.composite
def transpose(draw: Draw) -> Example:
    x = draw(arrays(small))
    axes = draw(st.one_of(st.none(), st.permutations(range(x.ndim)).map(tuple)))
    order = tuple(reversed(range(x.ndim))) if axes is None else axes
    return Example(
        lambda a: ops.transpose(a, axes),
        (x,),
        lambda a: np.transpose(a, axes),
        lambda t, a: a.permute(order),
        f"axes={axes}",
    )


@st.composite
def reshape(draw: Draw) -> Example:
    x = draw(arrays(small))
    shape = (draw(st.permutations(x.shape)) if x.ndim else [1]) + draw(st.sampled_from([[], [1]]))
    if x.size and draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return Example(
        lambda a: ops.reshape(a, shape),
        (x,),
        lambda a: a.reshape(shape),
        lambda t, a: a.reshape(shape),
        f"shape={shape}",
    )


@st.composite
def broadcast_to(draw: Draw) -> Example:
    a, b = draw(broadcastable_shapes(**sides))
    target = np.broadcast_shapes(a, b)
    return Example(
        lambda x: ops.broadcast_to(x, target),
        (draw(arrays(a)),),
        lambda x: np.broadcast_to(x, target),
        lambda t, x: x.broadcast_to(target),
        f"shape={target}",
    )


@st.composite
def concatenate(draw: Draw) -> Example:
    shape = draw(shapes(min_dims=1, **sides))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for length in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        lengths = list(shape)
        lengths[axis] = length
        parts.append(draw(arrays(tuple(lengths))))
    return Example(
        lambda *p: ops.concatenate(p, axis),
        tuple(parts),
        lambda *p: np.concatenate(p, axis),
        lambda t, *p: t.cat(p, axis),
        f"axis={axis}",
    )


@st.composite
def key_for(draw: Draw, shape: tuple[int, ...]) -> Any:
    """Slices, numbers, an ellipsis, a new axis; or a boolean mask; or integers with repeats."""
    kind = draw(st.sampled_from(["basic", "mask", "integers"]))
    if kind == "mask":
        return draw(arrays(shape, 0, 1, away_from=(), margin=1)).astype(bool)
    if kind == "integers" and shape and shape[0]:
        return np.array(draw(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=4)), int)
    bound = st.one_of(st.none(), st.integers(-3, 3))
    slices = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1]))
    key: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        key.append(draw(st.one_of(slices, st.integers(-n, n - 1)) if n else slices))
    if draw(st.booleans()):
        key.append(Ellipsis)
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), None)
    return tuple(key)


def _torch_key(torch: Any, key: Any) -> Any:
    return torch.from_numpy(key) if isinstance(key, np.ndarray) else key


def _steps_back(key: Any) -> bool:
    """Torch has no slices that run backwards."""
    return isinstance(key, tuple) and any(isinstance(k, slice) and k.step == -1 for k in key)


@st.composite
def getitem(draw: Draw) -> Example:
    x = draw(arrays(small))
    key = draw(key_for(x.shape))
    return Example(
        lambda a: a[key] if isinstance(a, np.ndarray) else ops.getitem(a, key),
        (x,),
        lambda a: a[key],
        None if _steps_back(key) else lambda t, a: a[_torch_key(t, key)],
        f"key={key}",
    )


@st.composite
def scatter(draw: Draw) -> Example:
    shape = draw(small)
    key = draw(key_for(shape))
    g = draw(arrays(np.zeros(shape)[key].shape))

    def expected(a: Array) -> Array:
        total = np.zeros(shape, a.dtype)
        np.add.at(total, key, a)
        return total

    def by_torch(torch: Any, a: Any) -> Any:
        total = torch.zeros(shape, dtype=a.dtype)
        if isinstance(key, tuple):
            part = total[key]
            return torch.as_strided_scatter(
                total, a, part.shape, part.stride(), part.storage_offset()
            )
        return total.index_put((_torch_key(torch, key),), a, accumulate=True)

    return Example(
        Scatter(key, shape),
        (g,),
        expected,
        by_torch if shape and not _steps_back(key) else None,
        f"key={key}, shape={shape}",
    )


@st.composite
def matmul(draw: Draw) -> Example:
    lead_a, lead_b = draw(broadcastable_shapes(max_dims=2, min_side=0, max_side=2))
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    a, b = draw(arrays((*lead_a, n, k))), draw(arrays((*lead_b, k, m)))
    return Example(ops.matmul, (a, b), np.matmul, lambda t, x, y: t.matmul(x, y))


@st.composite
def linear(draw: Draw) -> Example:
    n, k, m = (draw(st.integers(0, 4)) for _ in range(3))
    x, w, b = draw(arrays((n, k))), draw(arrays((k, m))), draw(arrays(m))
    return Example(
        ops.linear,
        (x, w, b),
        lambda x, w, b: x @ w + b,
        lambda t, x, w, b: t.nn.functional.linear(x, w.T, b),
    )


def softmax_of(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def along_axis(function: Any, expected: Any, torch: Any) -> SearchStrategy[Example]:
    @st.composite
    def draw_example(draw: Draw) -> Example:
        x = draw(arrays(filled))
        axis = draw(st.integers(-x.ndim, x.ndim - 1))
        return Example(
            lambda a: function(a, axis),
            (x,),
            lambda a: expected(a, axis),
            lambda t, a: torch(t, a, axis),
            f"axis={axis}",
        )

    return draw_example()


rows = shapes(min_dims=2, max_dims=2, max_side=4)


def loss(
    function: Any, expected: Any, torch: Any, predictions: Any = (-3, 3), targets: Any = (0, 1),
    of: SearchStrategy[tuple[int, ...]] = filled,
) -> SearchStrategy[Example]:  # fmt: skip
    @st.composite
    def draw_example(draw: Draw) -> Example:
        shape = draw(of)
        p = draw(arrays(shape, *predictions))
        y = draw(arrays(shape, *targets, away_from=()))
        return Example(function, (p, y), expected, torch)

    return draw_example()


@st.composite
def descent(draw: Draw) -> Example:
    shape = draw(small)
    parts = draw(arrays(shape)), draw(arrays(shape)), draw(arrays((), 0.25, 2))
    return Example(descend, parts, lambda p, g, r: p - r * g, lambda t, p, g, r: p - r * g)


@st.composite
def one_hot(draw: Draw) -> Example:
    classes = draw(st.integers(1, 4))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), max_size=4)), np.int64)
    return Example(
        lambda n: ops.one_hot(n, classes, np.float64),
        (labels,),
        lambda n: np.eye(classes)[n],
        text=f"classes={classes}",
    )


@st.composite
def normalize(draw: Draw) -> Example:
    """Of at least two different numbers: a variance of 0 has a kink in its square root."""
    shape = draw(shapes(min_dims=1, min_side=1, max_side=3))
    x = draw(arrays(shape, distinct=True))
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    epsilon = draw(st.sampled_from([1e-3, 0.25]))

    def expected(a: Array) -> Array:
        variance = a.var(axes, keepdims=True)
        return np.asarray((a - a.mean(axes, keepdims=True)) / np.sqrt(variance + epsilon))

    def by_torch(torch: Any, a: Any) -> Any:
        variance = a.var(axes, correction=0, keepdim=True)
        return (a - a.mean(axes, keepdim=True)) / (variance + epsilon).sqrt()

    return Example(
        lambda a: ops.normalize(a, axes, epsilon),
        (x,), expected, by_torch, f"axes={axes}, epsilon={epsilon}",
    )  # fmt: skip


@st.composite
def penalty(draw: Draw) -> Example:
    l1, l2 = (draw(st.sampled_from([0.0, 0.25, 0.75])) for _ in range(2))

    def expected(w: Array) -> Any:
        return l1 * np.abs(w).sum() + l2 * (w * w).sum()

    return Example(
        lambda w: ops.penalty(w, l1, l2),
        (draw(arrays(small)),),
        expected,
        lambda t, w: l1 * w.abs().sum() + l2 * (w * w).sum(),
        f"l1={l1}, l2={l2}",
    )


@st.composite
def dot_rows(draw: Draw) -> Example:
    shape = draw(shapes(min_dims=2, max_dims=2, **sides))
    return Example(
        ops.dot_rows,
        (draw(arrays(shape)), draw(arrays(shape))),
        lambda a, b: (a * b).sum(1, keepdims=True),
        lambda t, a, b: (a * b).sum(1, keepdim=True),
    )


@st.composite
def dropped(draw: Draw) -> Example:
    a, b = draw(broadcastable_shapes(**sides))
    mask = draw(arrays(b, 0, 1, away_from=(), margin=1))
    rate = draw(st.sampled_from([0.0, 0.2, 0.5, 0.75]))
    return Example(
        lambda x, m: ops.drop(x, m, rate),
        (draw(arrays(a)), mask),
        lambda x, m: x * m / x.dtype.type(1 - rate),
        lambda t, x, m: x * m / (1 - rate),
        f"rate={rate}",
    )


@st.composite
def take_rows(draw: Draw) -> Example:
    rows, n = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    shape = draw(shapes(**sides))
    numbers = st.integers(0, rows - 1)
    size = math.prod(shape)
    indices = np.array(draw(st.lists(numbers, min_size=size, max_size=size)), np.int64)
    return Example(
        ops.take_rows,
        (draw(arrays((rows, n))), indices.reshape(shape)),
        lambda table, i: table[i],
        lambda t, table, i: t.nn.functional.embedding(i, table),
    )


@st.composite
def add_rows(draw: Draw) -> Example:
    rows, n, count = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 4))
    numbers = st.integers(0, rows - 1)
    indices = np.array(draw(st.lists(numbers, min_size=count, max_size=count)), np.int64)

    def expected(g: Array, i: Array) -> Array:
        total = np.zeros((rows, n), g.dtype)
        np.add.at(total, i, g)
        return total

    return Example(
        AddRows(rows),
        (draw(arrays((count, n))), indices),
        expected,
        lambda t, g, i: t.zeros((rows, n), dtype=g.dtype).index_add(0, i, g),
        f"rows={rows}",
    )


def _gelu(x: Array) -> Array:
    erf = np.vectorize(math.erf, otypes=[x.dtype])
    return np.asarray(x * (1 + erf(x / math.sqrt(2))) / 2)


def _elu(x: Array, alpha: float = 1, scale: float = 1) -> Array:
    return np.asarray(scale * np.where(x > 0, x, alpha * (np.exp(np.minimum(x, 0)) - 1)))


def _log_softmax(z: Array, axis: int) -> Array:
    return np.log(softmax_of(z, axis))


def _cross_entropy(p: Array, y: Array) -> Any:
    return -(y * np.log(p)).sum(axis=1).mean()


def _binary_cross_entropy(p: Array, y: Array) -> Any:
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


# -- images ----------------------------------------------------------------------------------------
# Drawn by their shapes: the numbers come from a seed, in general position.


class Slide(NamedTuple):
    """A window and the images that it slides over."""

    window: Window
    padding: Any  # as it was asked for
    x: Array
    numbers: np.random.Generator

    def __str__(self) -> str:
        return f"{self.window} over {self.x.shape}"

    @property
    def places(self) -> tuple[int, ...]:
        return self.x.shape[0], *self.window.output_size(*self.x.shape[1:3])


@st.composite
def slides(
    draw: Draw, channels: int = 0, pooling: bool = False, least: int = 1, stride: int = 2
) -> Slide:
    """``least``: the shortest side of an image. ``stride``: the largest."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    sides_ = [draw(st.integers(least, 5)), draw(st.integers(least, 5))]
    shape = [draw(st.integers(1, 2)), *sides_, channels or draw(st.integers(1, 3))]
    few = st.integers(1, stride)
    size = draw(st.integers(1, min(3, shape[1]))), draw(st.integers(1, min(3, shape[2])))
    strides = draw(few), draw(few)
    dilate = [not pooling and (k - 1) * 2 < n for k, n in zip(size, shape[1:])]
    dilation = draw(few) if dilate[0] else 1, draw(few) if dilate[1] else 1
    side = st.integers(0, min(size) - 1 if pooling else 2)
    sides = st.tuples(side, side)
    padding = draw(st.sampled_from(["valid", "same"]) | side | sides | st.tuples(sides, sides))
    around = resolve_padding(padding, size, strides, dilation, *shape[1:3])
    return Slide(
        Window(size, strides, around, dilation), padding, numbers.uniform(-1, 1, shape), numbers
    )


def padded(x: Array, window: Window, value: float = 0) -> Array:
    return np.pad(x, ((0, 0), *window.padding, (0, 0)), constant_values=value)


def seen(x: Array, window: Window, i: int, j: int) -> Array:
    """What the window sees of padded images at a place: (n, kh, kw, channels)."""
    (kh, kw), (sh, sw), (dh, dw) = window.size, window.strides, window.dilation
    rows, columns = i * sh + dh * np.arange(kh), j * sw + dw * np.arange(kw)
    return x[:, rows[:, None], columns]


def conv2d_of(x: Array, w: Array, b: Any, window: Window, groups: int) -> Array:
    """The definition, place by place and filter by filter."""
    out = np.zeros((len(x), *window.output_size(*x.shape[1:3]), w.shape[3]), x.dtype)
    inputs, filters = w.shape[2], w.shape[3] // groups
    for _, i, j, f in np.ndindex(1, *out.shape[1:]):
        first = f // filters * inputs
        window_ = seen(padded(x, window), window, i, j)[..., first : first + inputs]
        out[:, i, j, f] = (window_ * w[..., f]).sum((1, 2, 3))
    return out if b is None else out + b


def input_gradient_of(g: Array, w: Array, window: Window, groups: int, shape: Any) -> Array:
    """Each number of g goes, times the filter, to all that its window saw."""
    dx = np.zeros(padded(np.zeros(shape), window).shape, g.dtype)
    inputs, filters = w.shape[2], w.shape[3] // groups
    for n, i, j, f in np.ndindex(*g.shape):
        first = f // filters * inputs
        (sh, sw), (dh, dw) = window.strides, window.dilation
        for r, s in np.ndindex(*window.size):
            place = n, i * sh + r * dh, j * sw + s * dw
            dx[place][first : first + inputs] += g[n, i, j, f] * w[r, s, :, f]
    (top, _), (left, _) = window.padding
    return dx[:, top : top + shape[1], left : left + shape[2]]


def weight_gradient_of(x: Array, g: Array, window: Window, groups: int) -> Array:
    inputs, filters = x.shape[3] // groups, g.shape[3] // groups
    dw = np.zeros((*window.size, inputs, g.shape[3]), g.dtype)
    for _, i, j, f in np.ndindex(1, *g.shape[1:]):
        first = f // filters * inputs
        window_ = seen(padded(x, window), window, i, j)[..., first : first + inputs]
        dw[..., f] += np.tensordot(g[:, i, j, f], window_, 1)
    return dw


def conv2d_by_torch(torch: Any, x: Any, w: Any, b: Any, window: Window, groups: int) -> Any:
    (top, bottom), (left, right) = window.padding
    images = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    # torch cannot differentiate all views. Those that have one channel count as contiguous as they
    # are, whatever their strides; with stride (1, 2) torch 2.13 gives wrong results for them.
    images, w = (
        t.clone(memory_format=torch.contiguous_format) for t in (images, w.permute(3, 2, 0, 1))
    )
    out = torch.nn.functional.conv2d(images, w, b, window.strides, 0, window.dilation, groups)
    return out.permute(0, 2, 3, 1)


@st.composite
def kernels_for(draw: Draw, **more: Any) -> tuple[Slide, int, Array]:
    groups, inputs, outputs = (draw(st.integers(1, 2)) for _ in range(3))
    slide = draw(slides(channels=groups * inputs, **more))
    kernel = slide.numbers.uniform(-1, 1, (*slide.window.size, inputs, groups * outputs))
    return slide, groups, kernel


@st.composite
def conv2d(draw: Draw, then: str = "") -> Example:
    """``then``: nothing, 'relu', or 'relu pool'."""
    roomy: dict[str, Any] = {"least": 4, "stride": 1} if "pool" in then else {}
    slide, groups, w = draw(kernels_for(**roomy))
    x, window = slide.x, slide.window
    arrays_: tuple[Array, ...] = (x, w)
    if then or draw(st.booleans()):
        b = slide.numbers.uniform(-1, 1, w.shape[3])
        arrays_ = (x, w, b)
        if then:
            sums = conv2d_of(x, w, b, window, groups)
            assume(np.abs(sums).min() > 1e-3)
            if "pool" in then:
                halving = Window((2, 2), (2, 2))
                assume(min(sums.shape[1:3]) > 1 and clear_maxima(np.maximum(sums, 0), halving))

    def function(x: Any, w: Any, b: Any = None) -> Any:
        arguments = window.strides, slide.padding, window.dilation, groups
        if then:
            return ops.conv2d_relu(x, w, b, *arguments, pool="pool" in then)
        return ops.conv2d(x, w, b, *arguments)

    def expected(x: Array, w: Array, b: Any = None) -> Array:
        out = conv2d_of(x, w, b, window, groups)
        out = np.maximum(out, 0) if then else out
        return max_pool_of(out, Window((2, 2), (2, 2))) if "pool" in then else out

    def by_torch(torch: Any, x: Any, w: Any, b: Any = None) -> Any:
        out = conv2d_by_torch(torch, x, w, b, window, groups)
        out = torch.relu(out) if then else out
        if "pool" in then:
            out = torch.nn.functional.max_pool2d(out.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        return out

    return Example(function, arrays_, expected, by_torch, f"{slide}, groups={groups}")


@st.composite
def correlate(draw: Draw) -> Example:
    slide, groups, w = draw(kernels_for())
    window = Window(slide.window.size, slide.window.strides)
    b = [slide.numbers.uniform(-1, 1, w.shape[3])] if draw(st.booleans()) else []
    return Example(
        Correlate(window, groups),
        (slide.x, w, *b),
        lambda x, w, b=None: conv2d_of(x, w, b, window, groups),
        lambda torch, x, w, b=None: conv2d_by_torch(torch, x, w, b, window, groups),
        f"{window} over {slide.x.shape}, groups={groups}",
    )


@st.composite
def conv2d_input_gradient(draw: Draw) -> Example:
    slide, groups, w = draw(kernels_for())
    window, shape = slide.window, slide.x.shape

    def by_torch(torch: Any, g: Any, w: Any) -> Any:
        x = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
        out = conv2d_by_torch(torch, x, w, None, window, groups)
        return torch.autograd.grad(out, x, g, create_graph=True)[0]

    return Example(
        Conv2DInputGradient(window, groups, (shape[1], shape[2])),
        (slide.numbers.uniform(-1, 1, (*slide.places, w.shape[3])), w),
        lambda g, w: input_gradient_of(g, w, window, groups, shape),
        by_torch,
        f"{slide}, groups={groups}",
    )


@st.composite
def conv2d_weight_gradient(draw: Draw) -> Example:
    slide, groups, w = draw(kernels_for())
    window = slide.window

    def by_torch(torch: Any, x: Any, g: Any) -> Any:
        kernel = torch.zeros(w.shape, dtype=g.dtype, requires_grad=True)
        out = conv2d_by_torch(torch, x, kernel, None, window, groups)
        return torch.autograd.grad(out, kernel, g, create_graph=True)[0]

    return Example(
        Conv2DWeightGradient(window, groups),
        (slide.x, slide.numbers.uniform(-1, 1, (*slide.places, w.shape[3]))),
        lambda x, g: weight_gradient_of(x, g, window, groups),
        by_torch,
        f"{slide}, groups={groups}",
    )


def max_pool_of(x: Array, window: Window) -> Array:
    """The definition, place by place."""
    height, width = window.output_size(*x.shape[1:3])
    around = padded(x, window, -np.inf)
    rows = [[seen(around, window, i, j).max((1, 2)) for j in range(width)] for i in range(height)]
    return np.array(rows).transpose(2, 0, 1, 3)


def clear_maxima(x: Array, window: Window) -> bool:
    """Whether the two largest numbers of each window are apart, or all of them are 0."""
    height, width = window.output_size(*x.shape[1:3])
    around = padded(x, window, -9)
    for i, j in np.ndindex(height, width):
        numbers = np.sort(seen(around, window, i, j).reshape(len(x), -1, x.shape[3]), 1)
        if numbers.shape[1] > 1:
            near = (numbers[:, -1] - numbers[:, -2] < 1e-4) & (numbers[:, -1] != 0)
            if near.any():
                return False
    return True


def first_maxima(x: Array, window: Window) -> list[tuple[Any, Any]]:
    """Pairs (place in the pooled images, place in x) by argmax."""
    pairs = []
    number = padded(np.arange(x.size).reshape(x.shape), window, -1)
    around = padded(x, window, -np.inf)
    height, width = window.output_size(*x.shape[1:3])
    for n, i, j, c in np.ndindex(len(x), height, width, x.shape[3]):
        best = seen(around, window, i, j)[n, ..., c].argmax()
        source = seen(number, window, i, j)[n, ..., c].reshape(-1)[best]
        pairs.append(((n, i, j, c), np.unravel_index(source, x.shape)))
    return pairs


@st.composite
def max_pool2d(draw: Draw) -> Example:
    slide = draw(slides(pooling=True))
    window = slide.window
    assume(clear_maxima(slide.x, window))

    def by_torch(torch: Any, x: Any) -> Any:
        (top, bottom), (left, right) = window.padding
        images = torch.nn.functional.pad(
            x.permute(0, 3, 1, 2), (left, right, top, bottom), value=-math.inf
        )
        out = torch.nn.functional.max_pool2d(images, window.size, window.strides)
        return out.permute(0, 2, 3, 1)

    return Example(
        lambda x: ops.max_pool2d(x, window.size, window.strides, slide.padding),
        (slide.x,),
        lambda x: max_pool_of(x, window),
        by_torch,
        str(slide),
    )


@st.composite
def max_pool_gradient(draw: Draw) -> Example:
    slide = draw(slides(pooling=True))
    x, window = slide.x, slide.window
    if draw(st.booleans()):
        x = np.round(2 * x) / 2  # many ties

    def expected(g: Array) -> Array:
        dx = np.zeros(x.shape, g.dtype)
        for place, source in first_maxima(x, window):
            dx[source] += g[place]
        return dx

    return Example(
        lambda g: MaxPoolGradient(window)(g, x.astype(g.dtype)),
        (slide.numbers.uniform(-1, 1, (*slide.places, x.shape[3])),),
        expected,
        text=str(slide),
    )


@st.composite
def max_pool_take(draw: Draw) -> Example:
    slide = draw(slides(pooling=True))
    x, window = slide.x, slide.window
    if draw(st.booleans()):
        x = np.round(2 * x) / 2

    def expected(h: Array) -> Array:
        out = np.zeros((*slide.places, x.shape[3]), h.dtype)
        for place, source in first_maxima(x, window):
            out[place] = h[source]
        return out

    return Example(
        lambda h: MaxPoolTake(window)(h, x.astype(h.dtype)),
        (slide.numbers.uniform(-1, 1, x.shape),),
        expected,
        text=str(slide),
    )


def average_pool_of(x: Array, window: Window, count_padding: bool) -> Array:
    height, width = window.output_size(*x.shape[1:3])
    around, real = padded(x, window), padded(np.ones(x.shape, x.dtype), window)
    out = np.zeros((len(x), height, width, x.shape[3]), x.dtype)
    for i, j in np.ndindex(height, width):
        counts = seen(real, window, i, j).sum((1, 2))
        counts = np.full_like(counts, math.prod(window.size)) if count_padding else counts
        out[:, i, j] = seen(around, window, i, j).sum((1, 2)) / counts
    return out


def average_pool_by_torch(torch: Any, x: Any, window: Window, count_padding: bool) -> Any:
    (top, bottom), (left, right) = window.padding

    def sums(t: Any) -> Any:
        t = torch.nn.functional.pad(t.permute(0, 3, 1, 2), (left, right, top, bottom))
        pool = torch.nn.functional.avg_pool2d
        return pool(t, window.size, window.strides).permute(0, 2, 3, 1)

    return sums(x) if count_padding else sums(x) / sums(torch.ones_like(x))


@st.composite
def average_pool2d(draw: Draw) -> Example:
    slide, count = draw(slides(pooling=True)), draw(st.booleans())
    window = slide.window
    return Example(
        lambda x: ops.average_pool2d(x, window.size, window.strides, slide.padding, count),
        (slide.x,),
        lambda x: average_pool_of(x, window, count),
        lambda torch, x: average_pool_by_torch(torch, x, window, count),
        f"{slide}, count_padding={count}",
    )


@st.composite
def average_pool_gradient(draw: Draw) -> Example:
    slide, count = draw(slides(pooling=True)), draw(st.booleans())
    shape, window = slide.x.shape, slide.window

    def expected(g: Array) -> Array:
        # Linear: column k of the transposed calculation is what image k of ones makes.
        dx = np.zeros(shape, g.dtype)
        for place in np.ndindex(*shape):
            x = np.zeros(shape, g.dtype)
            x[place] = 1
            dx[place] = (average_pool_of(x, window, count) * g).sum()
        return dx

    def by_torch(torch: Any, g: Any) -> Any:
        x = torch.zeros(shape, dtype=g.dtype, requires_grad=True)
        out = average_pool_by_torch(torch, x, window, count)
        return torch.autograd.grad(out, x, g, create_graph=True)[0]

    return Example(
        AveragePoolGradient(window, count, (shape[1], shape[2])),
        (slide.numbers.uniform(-1, 1, (*slide.places, shape[3])),),
        expected,
        by_torch,
        f"{slide}, count_padding={count}",
    )


@st.composite
def pad2d(draw: Draw) -> Example:
    x = draw(slides()).x
    side = st.integers(0, 2)
    sides = st.tuples(side, side)
    padding = draw(side | sides | st.tuples(sides, sides))
    around = resolve_padding(padding, (1, 1), (1, 1), (1, 1), *x.shape[1:3])
    (top, bottom), (left, right) = around

    return Example(
        lambda x: ops.zero_pad2d(x, padding),
        (x,),
        lambda x: np.pad(x, ((0, 0), *around, (0, 0))),
        lambda torch, x: torch.nn.functional.pad(x, (0, 0, left, right, top, bottom)),
        f"padding={padding}",
    )


@st.composite
def dilate2d(draw: Draw) -> Example:
    x, first = draw(slides()).x, draw(st.integers(0, 2))
    spacing = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def expected(a: Array) -> Array:
        for axis, step in enumerate(spacing, first):
            between = np.repeat(np.arange(1, a.shape[axis]), step - 1)
            a = np.insert(a, between, 0, axis)
        return a

    return Example(Dilate2D(spacing, first), (x,), expected, text=f"{spacing} from axis {first}")


@st.composite
def rotate_kernel(draw: Draw) -> Example:
    _, groups, w = draw(kernels_for())

    def expected(w: Array) -> Array:
        parts = np.split(np.rot90(w, 2), groups, axis=3)
        return np.concatenate([p.transpose(0, 1, 3, 2) for p in parts], axis=3)

    def by_torch(torch: Any, w: Any) -> Any:
        parts = torch.rot90(w, 2).chunk(groups, dim=3)
        return torch.cat([p.transpose(2, 3) for p in parts], dim=3)

    return Example(RotateKernel(groups), (w,), expected, by_torch, f"groups={groups}")


@st.composite
def linear_relu(draw: Draw) -> Example:
    example = draw(linear())
    x, w, b = example.arrays
    assume(x.size and np.abs(example.expected(x, w, b)).min(initial=1) > 1e-3)
    return Example(
        ops.linear_relu,
        example.arrays,
        lambda x, w, b: np.maximum(x @ w + b, 0),
        lambda t, x, w, b: t.relu(t.nn.functional.linear(x, w.T, b)),
    )


PROBABILITIES = (1 / 16, 15 / 16)

CASES: dict[str, SearchStrategy[Example]] = {
    "absolute": unary(ops.absolute, np.abs, lambda t, x: t.abs(x)),
    "add": binary(ops.add, np.add, lambda t, a, b: a + b),
    "add_rows": add_rows(),
    "average_pool2d": average_pool2d(),
    "average_pool_gradient": average_pool_gradient(),
    "binary_cross_entropy": loss(
        ops.binary_cross_entropy,
        _binary_cross_entropy,
        lambda t, p, y: t.nn.functional.binary_cross_entropy(p, y),
        PROBABILITIES,
    ),
    "broadcast_to": broadcast_to(),
    "categorical_cross_entropy": loss(
        ops.categorical_cross_entropy,
        _cross_entropy,
        lambda t, p, y: -(y * p.log()).sum(1).mean(),
        PROBABILITIES,
        of=rows,
    ),
    "concatenate": concatenate(),
    "conv2d": conv2d(),
    "conv2d_input_gradient": conv2d_input_gradient(),
    "conv2d_relu": conv2d("relu"),
    "conv2d_relu_pool": conv2d("relu pool"),
    "conv2d_weight_gradient": conv2d_weight_gradient(),
    "correlate": correlate(),
    "cos": unary(ops.cos, np.cos, lambda t, x: t.cos(x)),
    "dilate2d": dilate2d(),
    "descend": descent(),
    "divide": binary(ops.divide, np.divide, lambda t, a, b: a / b, low=0.25),
    "dot_rows": dot_rows(),
    "drop": dropped(),
    "elu": st.one_of(
        unary(ops.elu, _elu, lambda t, x: t.nn.functional.elu(x)),
        unary(
            ops.selu,
            lambda x: _elu(x, 1.6732632423543772848, 1.0507009873554804934),
            lambda t, x: t.selu(x),
        ),
    ),
    "exp": unary(ops.exp, np.exp, lambda t, x: t.exp(x)),
    "first_maximum": first_maximum(),
    "floor": unary(ops.floor, np.floor),
    "gelu": unary(ops.gelu, _gelu, lambda t, x: t.nn.functional.gelu(x)),
    "getitem": getitem(),
    "greater": binary(ops.greater, np.greater, distinct=True),
    "greater_equal": binary(ops.greater_equal, np.greater_equal, distinct=True),
    "leaky_relu": unary(
        lambda x: ops.leaky_relu(x, 0.1),
        lambda x: np.where(x > 0, x, x * x.dtype.type(0.1)),
        lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    ),
    "less": binary(ops.less, np.less, distinct=True),
    "less_equal": binary(ops.less_equal, np.less_equal, distinct=True),
    "linear": linear(),
    "linear_relu": linear_relu(),
    "log": unary(ops.log, np.log, lambda t, x: t.log(x), low=0.25),
    "log_softmax": along_axis(
        ops.log_softmax, _log_softmax, lambda t, x, axis: t.log_softmax(x, axis)
    ),
    "matmul": matmul(),
    "max": reduction(ops.max, np.max, lambda x, axis, keep: x.amax(axis, keep), distinct=True),
    "max_pool2d": max_pool2d(),
    "max_pool_gradient": max_pool_gradient(),
    "max_pool_take": max_pool_take(),
    "maximum": binary(ops.maximum, np.maximum, lambda t, a, b: t.maximum(a, b), distinct=True),
    "mean": reduction(ops.mean, np.mean, lambda x, axis, keep: x.mean(axis, keep)),
    "mean_squared_error": loss(
        ops.mean_squared_error,
        lambda p, y: ((p - y) ** 2).mean(),
        lambda t, p, y: t.nn.functional.mse_loss(p, y),
        targets=(-3, 3),
    ),
    "minimum": binary(ops.minimum, np.minimum, lambda t, a, b: t.minimum(a, b), distinct=True),
    "multiply": binary(ops.multiply, np.multiply, lambda t, a, b: a * b),
    "negative": unary(ops.negative, np.negative, lambda t, x: -x),
    "normal_cdf": unary(
        ops.normal_cdf,
        lambda x: (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2))) / 2,
        lambda t, x: t.special.ndtr(x),
        low=-1.5,
    ),
    "normalize": normalize(),
    "one_hot": one_hot(),
    "pad2d": pad2d(),
    "penalty": penalty(),
    "power": power(),
    "relu": unary(ops.relu, lambda x: np.maximum(x, 0), lambda t, x: t.relu(x)),
    "reshape": reshape(),
    "rotate_kernel": rotate_kernel(),
    "scatter": scatter(),
    "sigmoid": unary(ops.sigmoid, _sigmoid, lambda t, x: t.sigmoid(x)),
    "sigmoid_cross_entropy": loss(
        ops.sigmoid_cross_entropy,
        lambda z, y: _binary_cross_entropy(_sigmoid(z), y),
        lambda t, z, y: t.nn.functional.binary_cross_entropy_with_logits(z, y),
    ),
    "sign": unary(ops.sign, np.sign),
    "sin": unary(ops.sin, np.sin, lambda t, x: t.sin(x)),
    "softmax": along_axis(ops.softmax, softmax_of, lambda t, x, axis: t.softmax(x, axis)),
    "softmax_cross_entropy": loss(
        ops.softmax_cross_entropy,
        lambda z, y: (np.log(np.exp(z).sum(1)) - (y * z).sum(1)).mean(),
        lambda t, z, y: (t.logsumexp(z, 1) - (y * z).sum(1)).mean(),
        of=rows,
    ),
    "softplus": unary(
        ops.softplus, lambda x: np.log(1 + np.exp(x)), lambda t, x: t.nn.functional.softplus(x)
    ),
    "sqrt": unary(ops.sqrt, np.sqrt, lambda t, x: t.sqrt(x), low=0.25),
    "stop_gradient": unary(ops.stop_gradient, lambda x: x),
    "subtract": binary(ops.subtract, np.subtract, lambda t, a, b: a - b),
    "sum": reduction(ops.sum, np.sum, lambda x, axis, keep: x.sum(axis, keep), empty=True),
    "swish": unary(ops.swish, lambda x: x / (1 + np.exp(-x)), lambda t, x: t.nn.functional.silu(x)),
    "take_rows": take_rows(),
    "tanh": unary(ops.tanh, np.tanh, lambda t, x: t.tanh(x)),
    "transpose": transpose(),
    "variance": reduction(
        ops.variance,
        np.var,
        lambda x, axis, keep: x.var(axis, correction=0, keepdim=keep),
        alone=lambda a: a - a,
    ),
    "where": choice(),
}
