"""Random nets that are not a chain as workbooks: every cell recalculated, then edited.

Branches, shared layers, several inputs and outputs, dropout, normalization, embeddings, all losses,
optimizers and schedules: what is drawn together here has tests of its own elsewhere.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from live_cases import OPTIMIZERS, TOLERANCE, assert_book_is_training, many_books, on_sheet

from minnet import (
    Activation,
    Add,
    BatchNormalization,
    Concatenate,
    Dense,
    Dot,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Lambda,
    Layer,
    LayerNormalization,
    Model,
    Reshape,
    Tensor,
    ops,
)
from minnet.layers import ACTIVATIONS
from minnet.losses import LOSSES as BY_NAME
from minnet.spreadsheet import export_xlsx
from minnet.spreadsheet.blocks import NORMAL, arrange
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import legal_name
from minnet.spreadsheet.reader import Area, Book, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import difference
from minnet.tensor import Array
from minnet.testing import LOSSES

# One exp after the other would leave nothing to compare; silu is swish.
HIDDEN = sorted(ACTIVATIONS.keys() - {"exp", "silu"})


def distance(p: Tensor, y: Tensor) -> Any:
    return ((p - y) ** 2).sum() + ops.absolute(p).mean()


class Graph(NamedTuple):
    """A compiled model with as many arrays as it has inputs and outputs."""

    model: Model
    x: list[Array]
    y: list[Array]

    def __repr__(self) -> str:
        calls = [f"{k}: {c.layer.describe()} of {c.inputs}" for k, c in enumerate(self.model.calls)]
        optimizer = self.model.optimizer
        rest = [type(optimizer).__name__, optimizer.config(), self.model.loss.name]
        frozen = [layer.name for layer in self.model.layers if not layer.trainable]
        return f"Graph({calls}, {rest}, {frozen=}, x={self.x}, y={self.y})"


@st.composite
def graphs(draw: Any) -> Graph:
    """Small nets. Their numbers come from a seed, so no relu is near its kink."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(3, 4)), draw(st.integers(2, 3))
    inputs, x = [Input((width,))], [numbers.normal(size=(rows, width)).astype(np.float32)]
    ends = [*inputs]  # what nothing has been made of yet: all of it goes into the output
    if draw(st.booleans()):
        inputs.append(Input((2,), "int"))
        x.append(numbers.integers(0, 5, (rows, 2)))
        ends.append(Embedding(5, width)(inputs[-1]))
    made = [*ends]
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.sampled_from(made))
        layer, used = draw(steps(start, made, layers))
        made.append(layer(used if layer.takes_several else start))
        if not layer.takes_several:
            layers.append(layer)
        ends = [s for s in ends if all(s is not other for other in used)] + [made[-1]]
    flat = [s if len(s.shape) == 1 else Flatten()(s) for s in ends]
    joined = flat[0] if len(flat) == 1 else Concatenate()(flat)
    losses = draw(st.lists(st.sampled_from([*LOSSES, distance]), min_size=1, max_size=2))
    outputs, y = [], []
    for loss in losses:
        units = draw(st.integers(2, 3))
        outputs.append(draw(endings(units, LOSSES.get(loss, "linear")))(joined))
        y.append(targets(loss, numbers, rows, units))
    model = Model(inputs, outputs, seed=draw(st.integers(0, 9)))
    for layer in layers:
        layer.trainable = draw(st.sampled_from([True, True, True, False]))
        layer.lr_multiplier = draw(st.sampled_from([1, 0.5]))
    model.set_weights([weights(str(p.name), p.shape, numbers) for p in model.parameters()])
    optimizer = OPTIMIZERS[draw(st.sampled_from(sorted(OPTIMIZERS)))]()
    model.compile(
        optimizer,
        losses if len(losses) > 1 else losses[0],
        loss_weights=[1, 0.5] if len(losses) > 1 else None,
    )
    return Graph(model, x, y)


@st.composite
def steps(draw: Any, start: Any, made: list[Any], layers: list[Layer]) -> tuple[Layer, list[Any]]:
    """A layer, perhaps one that is there already, and what it is called with."""
    known = [layer for layer in layers if layer.input_shape == start.shape]
    if known and draw(st.booleans()):
        return draw(st.sampled_from(known)), [start]
    units, activation = draw(st.integers(2, 3)), draw(st.sampled_from(HIDDEN))
    single = {
        "dense": lambda: Dense(units, activation, kernel_regularizer=draw(penalties)),
        "activation": lambda: Activation(activation),
        "dropout": lambda: Dropout(0.4),
        "batch": lambda: BatchNormalization(0.8, center=draw(st.booleans())),
        "layer": lambda: LayerNormalization(0.1, scale=draw(st.booleans())),
        "turn": lambda: Reshape((*start.shape, 1) if len(start.shape) == 1 else (-1,)),
    }
    several = {"add": Add, "join": Concatenate, "dot": lambda: Dot(-1)}
    kind = draw(st.sampled_from([*single, *several]))
    if kind in single:
        return single[kind](), [start]
    alike = [s for s in made if s.shape == start.shape and s is not start]
    alike.append(Dense(start.shape[-1], activation)(start))
    return several[kind](), [start, draw(st.sampled_from(alike))]


penalties = st.sampled_from([None, "l2", "l1_l2"])


@st.composite
def endings(draw: Any, units: int, activation: str) -> Any:
    """A last layer that ends in an activation, or that has it, or its function, behind it."""
    dense = Dense(units)
    behind = [lambda s: Activation(activation)(dense(s))]
    if activation != "linear":
        behind.append(lambda s: Lambda(ACTIVATIONS[activation])(dense(s)))
    return draw(st.sampled_from([Dense(units, activation), *behind]))


def targets(loss: Any, numbers: np.random.Generator, rows: int, units: int) -> Array:
    ending = LOSSES.get(loss, "linear")
    if ending == "linear":
        return numbers.normal(size=(rows, units)).astype(np.float32)
    labels = numbers.integers(0, units, rows)
    if ending == "softmax":
        return labels if loss.startswith("sparse") else np.eye(units, dtype=np.float32)[labels]
    return numbers.integers(0, 2, (rows, units)).astype(np.float32)


def weights(name: str, shape: tuple[int, ...], numbers: np.random.Generator) -> Array:
    drawn = numbers.uniform(0.4, 1.2, shape)
    if name.endswith("moving_variance"):
        return drawn
    return drawn * numbers.choice([-1, 1], shape) / np.sqrt(shape[0] if len(shape) > 1 else 1)


class Dice:
    """A generator of random numbers that dropout draws from, thrown beforehand."""

    def __init__(self, thrown: list[Array]):
        self._thrown = list(thrown)

    def random(self, shape: tuple[int, ...], dtype: str) -> Array:
        thrown = self._thrown.pop(0)
        assert thrown.shape == shape
        return thrown


def assert_every_cell(live: Recalculated, path: Path) -> None:
    """What IronCalc has calculated is what the engine has stored in the cells of the book."""
    book = open_book(path)
    compared = 0
    for title in book.sheets:
        for (row, column), (stored, formula) in book.cells(title).items():
            if formula is not None or isinstance(stored, float):
                found = live.value(title, row, column)
                where = f"{title}, row {row}, column {column}: {formula}"
                assert difference(stored, found) < TOLERANCE, (where, stored, found)
                compared += 1
    assert compared


def edited(graph: Graph, live: Recalculated, book: Book, masks: list[tuple[Any, Area]]) -> Graph:
    """Change an input of each kind, all weights of a layer, the rate and each mask, as a person
    would; the model and the inputs that were told the same."""
    model = graph.model.astype(np.float64)
    names = ["x"] if len(graph.x) == 1 else model.input_names
    x = [array.astype(np.float64) if array.dtype.kind == "f" else array.copy() for array in graph.x]
    for name, array in zip(names, x, strict=True):
        array[-1, 0] = 1 - array[-1, 0] if array.dtype.kind == "f" else 4 - array[-1, 0]
        live.set_array(book.names[legal_name(name)], array)
    for p in model.parameters()[:2]:
        p.data = p.data * 0.75
        area = book.names[legal_name(str(p.name))]
        live.set_array(area, on_sheet(area, p.data))
    if "learning_rate" in book.names:
        model.optimizer.base_lr *= 1.5
        live.set_array(book.names["learning_rate"], np.array([[model.optimizer.base_lr]]))
    thrown = []
    for mask, area in masks:
        kept = mask.copy()
        kept.flat[-1] = 1 - kept.flat[-1]
        live.set_array(area, kept.reshape(-1)[arrange(kept.shape, NORMAL)])
        thrown.append(kept)
    model._rng = Dice(thrown)
    for layer in model.layers:
        layer._rng = model._rng
    live.evaluate()
    return Graph(model, x, graph.y)


def masks_of(done: Any, book: Book) -> list[tuple[Array, Area]]:
    """All masks in the order in which they were drawn, and where each stands."""
    found = []
    for step, shown in enumerate(done.passes, 1):
        names = book.names if step == 1 else book.local_names[f"step {step}"]
        calls: Counter[str] = Counter()
        for node in shown.masks:
            calls[node.scope.name] += 1
            number = calls[node.scope.name]
            name = f"{node.scope.name}_mask" + (f"_{number}" if number > 1 else "")
            found.append((node.value, names[name]))
    return found


few_books = settings(many_books, max_examples=min(12, settings.default.max_examples))


@few_books
@given(graph=graphs(), before=st.integers(0, 1), steps=st.integers(1, 2))
def test_training_recalculates_and_follows_edits(
    graph: Graph, before: int, steps: int, tmp_path: Path
) -> None:
    model, x, y = graph
    for _ in range(before):
        model.train_on_batch(one_or_all(x), one_or_all(y))
    path, other = tmp_path / "book.xlsx", tmp_path / "edited.xlsx"
    exact = model.astype(np.float64)
    done = export_xlsx(model, one_or_all(x), one_or_all(y), path, steps=steps)
    assert lint_xlsx(path) == []
    live = Recalculated(path)
    assert_every_cell(live, path)
    assert_book_is_training(live, path, exact, one_or_all(x), one_or_all(y), steps)

    book = open_book(path)
    changed = edited(graph, live, book, masks_of(done, book))
    told = one_or_all(changed.x)
    export_xlsx(changed.model, told, one_or_all(y), other, steps=steps, check=False)
    assert_every_cell(live, other)
    assert_book_is_training(live, path, changed.model, told, one_or_all(y), steps)


@few_books
@given(graph=graphs())
def test_prediction_recalculates_and_follows_edits(graph: Graph, tmp_path: Path) -> None:
    path, other = tmp_path / "book.xlsx", tmp_path / "edited.xlsx"
    exact = graph.model.astype(np.float64)
    done = export_xlsx(graph.model, one_or_all(graph.x), path=path)
    assert lint_xlsx(path) == []
    live = Recalculated(path)
    assert_every_cell(live, path)
    predicted = exact.predict(one_or_all(graph.x))
    first = predicted[0] if len(graph.y) > 1 else predicted
    np.testing.assert_allclose(done.passes[0].result.value, first, rtol=TOLERANCE)

    changed = edited(graph, live, open_book(path), masks_of(done, open_book(path)))
    export_xlsx(changed.model, one_or_all(changed.x), path=other)
    assert_every_cell(live, other)


def test_every_loss_is_drawn() -> None:
    assert {BY_NAME[name] for name in LOSSES} == set(BY_NAME.values())


def one_or_all(arrays: list[Array]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays
