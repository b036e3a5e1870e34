"""For property tests: random arrays, shapes and networks, and assertions that explain themselves.

>>> from hypothesis import given
>>> from minnet.testing import arrays, assert_gradients
>>>
>>> @given(arrays(shape=(2, 3)))
... def test_my_layer(x):
...     assert_gradients(MyLayer(), x)

The strategies need hypothesis: ``pip install "minnet[test]"``. Their numbers are short binary
fractions such as 0.5 or −1.75, the same in float32, in float64 and in a spreadsheet, and they
shrink to the shortest. They stay a margin away from kinks: at relu's corner no difference quotient
agrees with any gradient, so a test that lands there fails for no fault of the layer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minnet.errors import ArgumentError, mismatch, missing
from minnet.gradcheck import STEP, Report, check_gradients
from minnet.recording import no_grad
from minnet.tensor import Array, Tensor

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from minnet.layers import Layer
    from minnet.sequential import Sequential

Shape = tuple[int, ...]

MARGIN = 1 / 32


def _strategies() -> Any:
    try:
        import hypothesis.strategies
    except ImportError:
        raise missing("hypothesis", "test", "drawing random test cases") from None
    return hypothesis.strategies


# -- shapes and arrays -----------------------------------------------------------------------------


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> SearchStrategy[Shape]:
    """Shapes such as () or (2, 1, 3). ``min_side=0`` also gives empty axes."""
    st = _strategies()
    side = st.integers(min_side, max_side)
    return st.lists(side, min_size=min_dims, max_size=max_dims).map(tuple)  # type: ignore[no-any-return]


def broadcastable_shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> SearchStrategy[tuple[Shape, Shape]]:
    """Two shapes that NumPy broadcasts together, such as (3, 1) and (2, 1, 4).

    Each is the common shape with some axes set to 1 and some leading axes left out.
    """
    st = _strategies()

    @st.composite  # type: ignore[untyped-decorator]
    def pairs(draw: Any) -> tuple[Shape, Shape]:
        common = draw(shapes(min_dims, max_dims, min_side, max_side))
        found: list[Shape] = []
        for _ in range(2):
            start = draw(st.integers(0, len(common) - min_dims))
            ones = draw(st.lists(st.booleans(), min_size=len(common), max_size=len(common)))
            full = [1 if one else n for n, one in zip(common, ones, strict=True)]
            found.append(tuple(full[start:]))
        return found[0], found[1]

    return pairs()  # type: ignore[no-any-return]


def arrays(
    shape: int | Shape | SearchStrategy[Shape] = (2, 3),
    low: float = -3.0,
    high: float = 3.0,
    *,
    away_from: float | Sequence[float] = 0.0,
    margin: float = MARGIN,
    distinct: bool = False,
    dtype: npt.DTypeLike = np.float64,
) -> SearchStrategy[Array]:
    """Arrays of numbers from ``low`` to ``high``, safe for central differences.

    ``shape``: a shape, or a strategy for shapes such as :func:`shapes`. ``away_from``: the places
    of kinks (relu and abs have theirs at 0), from which every element keeps at least ``margin``;
    pass ``()`` where there are none. ``distinct``: no two elements are nearer to each other than
    ``margin``, for functions that choose, such as max.

    Raises :class:`~minnet.errors.ArgumentError` where not enough such numbers exist.
    """
    st = _strategies()
    kinks = (away_from,) if isinstance(away_from, (int, float)) else tuple(away_from)
    values = _values(low, high, kinks, margin)

    def of_shape(wanted: Shape) -> Any:
        size = math.prod(wanted)
        if not size:
            return st.just(np.zeros(wanted, dtype))
        if len(values) < (size if distinct else 1):
            raise ArgumentError(
                mismatch(
                    "arrays",
                    f"{size} {'distinct ' if distinct else ''}numbers from {low} to {high}",
                    f"only {len(values)} that keep the margin of {margin}",
                    "Widen low…high, or make margin or the shape smaller.",
                )
            )
        element = st.sampled_from(values)
        elements = st.lists(element, min_size=size, max_size=size, unique=distinct)
        return elements.map(lambda v: np.array(v, dtype).reshape(wanted))

    if isinstance(shape, (int, np.integer)):
        shape = (int(shape),)
    if isinstance(shape, (tuple, list)):
        return of_shape(tuple(shape))  # type: ignore[no-any-return]
    return shape.flatmap(of_shape)


def _values(low: float, high: float, kinks: tuple[float, ...], margin: float) -> list[float]:
    """Multiples of the power of two from ``margin`` up that lie in range; the simplest first."""
    if not margin > 0:
        raise ArgumentError(mismatch("arrays", "a margin above 0", repr(margin)))
    spacing = 2.0 ** math.ceil(math.log2(margin))
    multiples = np.arange(math.ceil(low / spacing), math.floor(high / spacing) + 1) * spacing
    allowed = [float(v) for v in multiples if all(abs(v - kink) >= margin for kink in kinks)]
    return sorted(allowed, key=lambda v: (v.as_integer_ratio()[1], abs(v), v < 0))


# -- networks --------------------------------------------------------------------------------------

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
#: Losses, each with the activation that a network trained with it ends in.
LOSSES = {
    "mean_squared_error": "linear",
    "categorical_crossentropy": "softmax",
    "sparse_categorical_crossentropy": "softmax",
    "binary_crossentropy": "sigmoid",
}


class Network(NamedTuple):
    """A compiled model with inputs (n, features) and targets that fit its loss."""

    model: Sequential
    x: Array
    y: Array

    def __repr__(self) -> str:
        layers = ", ".join(layer.describe() for layer in self.model.layers)
        weights = ", ".join(f"{p.name}={p.data.tolist()}" for p in self.model.parameters())
        loss = self.model.loss.name if self.model.loss else None
        x, y = self.x.tolist(), self.y.tolist()
        return f"Network([{layers}], loss={loss}, {weights}, x={x}, y={y})"


def layers(
    min_depth: int = 1,
    max_depth: int = 3,
    *,
    max_width: int = 4,
    activations: Sequence[str] = ACTIVATIONS,
) -> SearchStrategy[list[Layer]]:
    """Lists of Dense layers, not built yet, with activations inside or as layers of their own.

    ``min_depth`` and ``max_depth`` count the Dense layers, ``max_width`` is the most units of one.
    """
    st = _strategies()
    from minnet.layers import Activation, Dense

    def stack(choices: list[tuple[int, str, bool]]) -> list[Layer]:
        found: list[Layer] = []
        for units, activation, apart in choices:
            found.append(Dense(units, None if apart else activation))
            if apart:
                found.append(Activation(activation))
        return found

    choice = st.tuples(
        st.integers(1, max_width), st.sampled_from(tuple(activations)), st.booleans()
    )
    return st.lists(choice, min_size=min_depth, max_size=max_depth).map(stack)  # type: ignore[no-any-return]


def networks(
    min_depth: int = 1,
    max_depth: int = 3,
    *,
    max_width: int = 4,
    max_batch: int = 4,
    activations: Sequence[str] = ACTIVATIONS,
    losses: Sequence[str] = tuple(LOSSES),
    margin: float = 1 / 16,
    dtype: npt.DTypeLike = np.float32,
) -> SearchStrategy[Network]:
    """Small compiled models, each with a batch ``x`` and targets ``y``: a :class:`Network`.

    ``min_depth`` and ``max_depth`` count the Dense layers, the last of which has the activation
    that belongs to the loss (:data:`LOSSES`). Every number that enters an activation is at least
    ``margin`` from 0: biases are shifted until that holds, so no draw is wasted.
    """
    st = _strategies()
    from minnet.layers import Dense
    from minnet.sequential import Sequential

    numbers: dict[str, Any] = {"margin": margin, "dtype": dtype}

    @st.composite  # type: ignore[untyped-decorator]
    def draw_network(draw: Any) -> Network:
        loss = draw(st.sampled_from(tuple(losses)))
        hidden = draw(
            layers(min_depth - 1, max_depth - 1, max_width=max_width, activations=activations)
        )
        least = 2 if LOSSES[loss] == "softmax" else 1
        units = draw(st.integers(least, max(least, max_width)))
        model = Sequential([*hidden, Dense(units, LOSSES[loss])], dtype=dtype, seed=0)
        x = draw(arrays(st.tuples(st.integers(1, max_batch), st.integers(1, max_width)), **numbers))
        model.build(x.shape[1:])
        model.compile(loss=loss)
        model.set_weights([draw(arrays(p.shape, -1, 1, **numbers)) for p in model.parameters()])
        _keep_clear_of_zero(model, x, margin)
        return Network(model, x, draw(_targets(loss, len(x), units, dtype)))

    return draw_network()  # type: ignore[no-any-return]


def _targets(loss: str, rows: int, units: int, dtype: npt.DTypeLike) -> SearchStrategy[Array]:
    st = _strategies()
    if LOSSES[loss] == "softmax":
        labels = st.lists(st.integers(0, units - 1), min_size=rows, max_size=rows)
        if loss.startswith("sparse"):
            return labels.map(np.array)  # type: ignore[no-any-return]
        return labels.map(lambda found: np.eye(units, dtype=dtype)[found])  # type: ignore[no-any-return]
    if LOSSES[loss] == "sigmoid":
        return arrays((rows, units), 0, 1, away_from=(), margin=1, dtype=dtype)
    return arrays((rows, units), away_from=(), dtype=dtype)


def _keep_clear_of_zero(model: Sequential, x: Array, margin: float) -> None:
    """Shift each bias by the fewest margins that take its unit's sums to a margin from 0."""
    with no_grad():
        h = Tensor(x)
        for layer in model.layers:
            if "bias" in layer.parameters:
                bias = layer.parameters["bias"]
                bias.data = bias.data + _shifts(layer.logits(h).data, margin).astype(bias.dtype)
            h = layer(h)


def _shifts(sums: Array, margin: float) -> Array:
    most = 2 * len(sums)  # a row rules out two multiples of the margin at most
    shifts = margin * np.array(sorted(range(-most, most + 1), key=abs))
    clear = (np.abs(sums[None] + shifts[:, None, None]) >= margin).all(axis=1)
    return np.asarray(shifts[clear.argmax(axis=0)])


# -- assertions ------------------------------------------------------------------------------------


def assert_gradients(
    fn: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    eps: float = STEP,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    seed: int = 0,
) -> None:
    """Fail unless the gradient of ``fn`` at ``inputs`` agrees with central differences, in float64.

    ``fn`` is a function of Tensors or a layer, whose trainable parameters are checked as well. The
    upstream gradient is random, so that errors cannot cancel out. ``order=2`` checks the gradient
    of the gradient too, which is needed only if you use ``create_graph=True``. Inputs, tolerances
    and errors raised for unusable functions are those of
    :func:`minnet.gradcheck.check_gradients`.

    Raises AssertionError, which names the worst element with both its numbers.
    """
    if order not in (1, 2):
        raise ArgumentError(mismatch("assert_gradients", "order 1 or 2", repr(order)))
    for second in range(order):
        report = check_gradients(
            fn, inputs, eps=eps, rtol=rtol, atol=atol, seed=seed, second_order=bool(second)
        )
        if not report.ok:
            raise AssertionError(_complaint(fn, report, inputs))


def _complaint(fn: Callable[..., Any], report: Report, inputs: Sequence[Any]) -> str:
    title = getattr(fn, "__name__", None) or type(fn).__name__
    lines = [f"{title}: {report.summary()}"]
    for i, x in enumerate(inputs):
        array = np.asarray(x.data if isinstance(x, Tensor) else x)
        prefix = f"  input {i} = "
        text = np.array2string(array, separator=", ", threshold=40, prefix=prefix)
        lines.append(f"{prefix}{text}  ({array.dtype}, shape {array.shape})")
    return "\n".join(lines)


def assert_recalculates(path: str | os.PathLike[str], tolerance: float = 1e-9) -> None:
    """Fail unless an independent spreadsheet engine gets every stored value of a workbook.

    Raises AssertionError, which names the worst cell. Needs ``pip install "minnet[test]"``.
    """
    from minnet.spreadsheet.verify import verify_xlsx

    report = verify_xlsx(path, tolerance)
    if not report.ok:
        raise AssertionError(report.summary())
