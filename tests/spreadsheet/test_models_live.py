"""Models that random networks do not draw: layers of one's own, three axes, many rows, any loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minnet import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Layer,
    LayerNormalization,
    Sequential,
    ops,
    read_xlsx,
)
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)


class Mixed(Layer):
    """Uses a vector and a square matrix twice each, the matrix in both directions."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("factor", input_shape, "ones")
        self.add_parameter("mix", (input_shape[-1], input_shape[-1]), "glorot_uniform")
        return input_shape

    def call(self, x: Tensor) -> Any:
        factor, mix = self.parameters["factor"], self.parameters["mix"]
        return (x * factor) @ mix + ops.matmul(x * x, ops.transpose(mix)) * factor.mean()


class FromTheLeft(Layer):
    """A square matrix as the left operand: read back, it must not come out transposed."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("w", (input_shape[0], input_shape[0]), "glorot_uniform")
        return input_shape

    def call(self, x: Tensor) -> Any:
        return ops.transpose(ops.matmul(self.parameters["w"], ops.transpose(x)))


class Looked(Layer):
    """A square table beside a square matrix, without being given indices."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("table", (input_shape[0], input_shape[0]), "glorot_uniform")
        self.add_parameter("mix", (input_shape[0], input_shape[0]), "glorot_uniform")
        return input_shape

    def call(self, x: Tensor) -> Any:
        row = ops.take_rows(self.parameters["table"], np.array([0, 2])).sum(axis=0)
        return (x * row) @ self.parameters["mix"]


class Indexed(Looked):
    """The same, given indices."""

    takes_indices = True

    def call(self, x: Tensor) -> Any:
        return ops.take_rows(self.parameters["table"], x).sum(axis=1) @ self.parameters["mix"]


class Tall(Looked):
    """A table that fits lying down only."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("table", (4, input_shape[0]), "glorot_uniform")
        self.add_parameter("mix", (input_shape[0], 1), "glorot_uniform")
        return (1,)


def distance(p: Tensor, y: Tensor) -> Any:
    return ((p - y) ** 2).sum() + ops.absolute(p).max()


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def labels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2, shape)


SPARSE = "sparse_categorical_crossentropy"
MODELS: dict[str, tuple[Callable[[], list[Layer]], Any, Any, Any, dict[str, Any]]] = {
    "shared parameters": (
        lambda: [Dense(3, "tanh", input_dim=2), Mixed(), Dense(1)],
        "mse", normal(4, 2), normal(4, 1), {"steps": 2},
    ),
    "a weight on the left": (
        lambda: [FromTheLeft(input_shape=(2,)), Activation("relu"), Dense(1, "sigmoid", False)],
        "binary_crossentropy", normal(5, 2), [0, 1, 1, 0, 1], {"steps": 3, "batch_size": 2},
    ),
    "several yes-or-no outputs": (
        lambda: [Dense(4, "relu", input_dim=3), Dense(3, "sigmoid")],
        "binary_crossentropy", normal(4, 3), labels(4, 3), {},
    ),
    "rows of rows": (
        lambda: [Dense(4, "sigmoid", input_shape=(3, 2)), Dense(2, "softmax")],
        SPARSE, normal(2, 3, 2), labels(2, 3), {"steps": 2},
    ),
    "one-hot targets": (
        lambda: [Dense(2, "softmax", input_dim=3)],
        "categorical_crossentropy", normal(3, 3), np.eye(2)[[0, 1, 1]], {},
    ),
    "a class for each pixel": (
        lambda: [Conv2D(3, 2, activation="softmax", input_shape=(3, 3, 1))],
        "categorical_crossentropy", normal(2, 3, 3, 1), np.eye(3)[RNG.integers(0, 3, (2, 2, 2))],
        {"steps": 2},
    ),
    "numbers that differ little": (
        lambda: [BatchNormalization(input_shape=(3,)), LayerNormalization(), Dense(1)],
        "mse", 1e4 + normal(5, 3) / 100, normal(5, 1), {"steps": 2},
    ),
    "too many rows for the accuracy": (
        lambda: [Dense(4, "relu", input_dim=3), Dense(2, "softmax")],
        SPARSE, normal(100, 3), labels(100), {},
    ),
    "a loss of one's own": (
        lambda: [Dense(2, "exp", input_dim=3)], distance, normal(2, 3), normal(2, 2), {},
    ),
    "one number": (lambda: [Dense(1, input_dim=1)], "mse", [[1.0]], [2.0], {}),
    "a table": (lambda: [Looked(input_shape=(3,))], "mse", normal(2, 3), normal(2, 3), {}),
    "a table and indices": (
        lambda: [Indexed(input_shape=(3,))], "mse", labels(2, 3), normal(2, 3), {"steps": 2},
    ),
    "a tall table": (lambda: [Tall(input_shape=(3,))], "mse", normal(2, 3), normal(2, 1), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_recalculates_and_reads_back(name: str, tmp_path: Path) -> None:
    layers, loss, x, y, options = MODELS[name]
    model = Sequential(layers(), seed=0)
    model.compile("sgd", loss)
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path, **options)
    report = verify_xlsx(path)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    read_xlsx(path, model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name",
    [
        *("several yes-or-no outputs", "rows of rows", "one-hot targets", "a weight on the left"),
        "a class for each pixel",
    ],
)
def test_accuracy_is_the_metric(name: str, tmp_path: Path) -> None:
    layers, loss, x, y, _ = MODELS[name]
    model = Sequential(layers(), seed=0)
    model.compile("sgd", loss, metrics=["accuracy"])
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path, check=False)
    shown = open_book(path).cells("network")[3, 9]
    assert shown.formula is not None
    assert shown.value == pytest.approx(model.evaluate(x, y)[1])


def test_a_half_is_class_0_as_in_the_metric(tmp_path: Path) -> None:
    model = Sequential([Dense(1, "sigmoid", kernel_initializer="zeros", input_dim=2)])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    path, x, y = tmp_path / "book.xlsx", normal(3, 2), np.array([0, 0, 1])
    model.export_xlsx(x, y, path, check=False)
    assert open_book(path).cells("network")[3, 9].value == model.evaluate(x, y)[1]
    assert verify_xlsx(path).ok


def test_accuracy_of_a_model_that_is_always_right(tmp_path: Path) -> None:
    model = Sequential([Dense(3, "softmax", input_dim=2)], seed=0)
    model.compile("sgd", SPARSE)
    x = normal(6, 2)
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, model.predict_classes(x), path, check=False)
    shown = open_book(path).cells("network")[3, 9]
    assert shown.value == 1
    assert verify_xlsx(path).ok
