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
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from minnet import ops
from minnet.ops.reduce import FirstMaximum
from minnet.ops.shape import Scatter
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
    function: Any, expected: Any, torch: Any, empty: bool = False, distinct: bool = False
) -> SearchStrategy[Example]:
    @st.composite
    def draw_example(draw: Draw) -> Example:
        x = draw(arrays(shapes(min_side=0 if empty else 1, max_side=3), distinct=distinct))
        axis, keepdims = some_axes(draw, x.ndim), draw(st.booleans())

        def by_torch(module: Any, a: Any) -> Any:
            return (
                a
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
def one_hot(draw: Draw) -> Example:
    classes = draw(st.integers(1, 4))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), max_size=4)), np.int64)
    return Example(
        lambda n: ops.one_hot(n, classes, np.float64),
        (labels,),
        lambda n: np.eye(classes)[n],
        text=f"classes={classes}",
    )


def _log_softmax(z: Array, axis: int) -> Array:
    return np.log(softmax_of(z, axis))


def _cross_entropy(p: Array, y: Array) -> Any:
    return -(y * np.log(p)).sum(axis=1).mean()


def _binary_cross_entropy(p: Array, y: Array) -> Any:
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


PROBABILITIES = (1 / 16, 15 / 16)

CASES: dict[str, SearchStrategy[Example]] = {
    "absolute": unary(ops.absolute, np.abs, lambda t, x: t.abs(x)),
    "add": binary(ops.add, np.add, lambda t, a, b: a + b),
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
    "divide": binary(ops.divide, np.divide, lambda t, a, b: a / b, low=0.25),
    "exp": unary(ops.exp, np.exp, lambda t, x: t.exp(x)),
    "first_maximum": first_maximum(),
    "getitem": getitem(),
    "greater": binary(ops.greater, np.greater, distinct=True),
    "greater_equal": binary(ops.greater_equal, np.greater_equal, distinct=True),
    "less": binary(ops.less, np.less, distinct=True),
    "less_equal": binary(ops.less_equal, np.less_equal, distinct=True),
    "linear": linear(),
    "log": unary(ops.log, np.log, lambda t, x: t.log(x), low=0.25),
    "log_softmax": along_axis(
        ops.log_softmax, _log_softmax, lambda t, x, axis: t.log_softmax(x, axis)
    ),
    "matmul": matmul(),
    "max": reduction(ops.max, np.max, lambda x, axis, keep: x.amax(axis, keep), distinct=True),
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
    "one_hot": one_hot(),
    "power": power(),
    "relu": unary(ops.relu, lambda x: np.maximum(x, 0), lambda t, x: t.relu(x)),
    "reshape": reshape(),
    "scatter": scatter(),
    "sigmoid": unary(ops.sigmoid, _sigmoid, lambda t, x: t.sigmoid(x)),
    "sigmoid_cross_entropy": loss(
        ops.sigmoid_cross_entropy,
        lambda z, y: _binary_cross_entropy(_sigmoid(z), y),
        lambda t, z, y: t.nn.functional.binary_cross_entropy_with_logits(z, y),
    ),
    "sign": unary(ops.sign, np.sign),
    "softmax": along_axis(ops.softmax, softmax_of, lambda t, x, axis: t.softmax(x, axis)),
    "softmax_cross_entropy": loss(
        ops.softmax_cross_entropy,
        lambda z, y: (np.log(np.exp(z).sum(1)) - (y * z).sum(1)).mean(),
        lambda t, z, y: (t.logsumexp(z, 1) - (y * z).sum(1)).mean(),
        of=rows,
    ),
    "sqrt": unary(ops.sqrt, np.sqrt, lambda t, x: t.sqrt(x), low=0.25),
    "stop_gradient": unary(ops.stop_gradient, lambda x: x),
    "subtract": binary(ops.subtract, np.subtract, lambda t, a, b: a - b),
    "sum": reduction(ops.sum, np.sum, lambda x, axis, keep: x.sum(axis, keep), empty=True),
    "tanh": unary(ops.tanh, np.tanh, lambda t, x: t.tanh(x)),
    "transpose": transpose(),
    "where": choice(),
}
