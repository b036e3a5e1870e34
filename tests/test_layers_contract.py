"""The contract that every public layer keeps; a layer without a case here is a failing test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minnet
from minnet import layers, ops
from minnet.errors import MinnetError
from minnet.gradcheck import check_gradients
from minnet.layers import Layer
from minnet.recording import apply_deferred, training_mode
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Tensor

ROWS = 3


def double(x: Any) -> Any:
    """A function for Lambda."""
    return ops.tanh(x) * 2


class Case(NamedTuple):
    """A way to make a layer, and the shapes of the rows that it is called with."""

    make: Callable[[], Layer]
    shapes: tuple[tuple[int, ...], ...]
    indices: int = 0  # if any: the inputs are integers below


IMAGE = (4, 5, 2)
CASES: dict[str, list[Case]] = {
    "Activation": [Case(lambda: layers.Activation("swish"), ((4,),))],
    "Add": [Case(layers.Add, ((4,), (4,))), Case(layers.Add, ((2, 3), (2, 3), (2, 3)))],
    "AveragePooling2D": [Case(lambda: layers.AveragePooling2D(2, 1, "same"), (IMAGE,))],
    "BatchNormalization": [
        Case(layers.BatchNormalization, ((4,),)),
        Case(lambda: layers.BatchNormalization(0.5, 0.01), (IMAGE,)),
        Case(lambda: layers.BatchNormalization(center=False, scale=False), ((2, 3),)),
    ],
    "Concatenate": [
        Case(layers.Concatenate, ((4,), (2,))),
        Case(lambda: layers.Concatenate(1), ((2, 3), (1, 3), (2, 3))),
    ],
    "Conv2D": [
        Case(lambda: layers.Conv2D(2, 3, padding="same", activation="tanh"), (IMAGE,)),
        Case(
            lambda: layers.Conv2D(
                2, 2, use_bias=False, kernel_initializer="normal", kernel_regularizer="l2"
            ),
            (IMAGE,),
        ),
    ],
    "Dense": [
        Case(lambda: layers.Dense(3, "selu"), ((4,),)),
        Case(lambda: layers.Dense(2, kernel_regularizer="l1_l2", bias_regularizer="l1"), ((2, 3),)),
    ],
    "Dot": [
        Case(lambda: layers.Dot(1), ((4,), (4,))),
        Case(lambda: layers.Dot(-1, normalize=True), ((2, 3), (4, 3))),
        Case(lambda: layers.Dot((1, 2)), ((3, 2), (4, 3))),
    ],
    "Dropout": [Case(lambda: layers.Dropout(0.5), ((6,),))],
    "Embedding": [
        Case(lambda: layers.Embedding(5, 2), ((3,),), 5),
        Case(lambda: layers.Embedding(3, 3, embeddings_regularizer="l2"), ((2, 2),), 3),
    ],
    "Flatten": [Case(layers.Flatten, (IMAGE,))],
    "GlobalAveragePooling2D": [Case(layers.GlobalAveragePooling2D, (IMAGE,))],
    "GlobalMaxPooling2D": [Case(layers.GlobalMaxPooling2D, (IMAGE,))],
    "ImagePreprocessing": [
        Case(layers.ImagePreprocessing, ((3, 2, 3),)),
        Case(lambda: layers.ImagePreprocessing("torch"), ((2, 2, 3),)),
    ],
    "InputLayer": [Case(lambda: layers.InputLayer((4,), np.float64), ((4,),))],
    "Lambda": [Case(lambda: layers.Lambda(double), ((4,),))],
    "LayerNormalization": [
        Case(layers.LayerNormalization, ((4,),)),
        Case(lambda: layers.LayerNormalization(0.01, center=False), ((2, 3),)),
    ],
    "MaxPooling2D": [Case(lambda: layers.MaxPooling2D(2), (IMAGE,))],
    "Reshape": [Case(lambda: layers.Reshape((-1, 2)), ((6,),))],
    "ZeroPadding2D": [Case(lambda: layers.ZeroPadding2D(((1, 0), (2, 1))), (IMAGE,))],
}
PUBLIC = {
    name
    for name, cls in vars(layers).items()
    if isinstance(cls, type) and issubclass(cls, Layer) and cls is not Layer
}
#: What does something else in training; all others give the same then.
DIFFERENT_IN_TRAINING = {"Dropout", "BatchNormalization"}
#: Why a layer is not exported by itself.
NOT_EXPORTED = {"InputLayer": "it is where data come in: every other case exports one"}

EVERY = [pytest.param(n, case, id=f"{n}-{i}") for n, c in CASES.items() for i, case in enumerate(c)]
every_case = pytest.mark.parametrize(("name", "case"), EVERY)


def kinds(layer: type[Layer]) -> set[str]:
    """The layers of minnet, public or not; what others are derived from is none by itself."""
    derived = [c for c in layer.__subclasses__() if c.__module__.startswith("minnet.layers.")]
    return {name for c in derived for name in kinds(c)} or {layer.__name__}


def test_every_layer_has_a_case() -> None:
    assert set(CASES) == PUBLIC == kinds(Layer)
    for name, cases in CASES.items():
        for case in cases:
            assert type(case.make()).__name__ == name


def test_every_public_layer_is_a_name_of_minnet() -> None:
    assert PUBLIC - {"InputLayer"} <= set(minnet.__all__)


def numbers(case: Case, rows: int = ROWS, dtype: Any = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    if case.indices:
        return [rng.integers(0, case.indices, (rows, *shape)) for shape in case.shapes]
    return [rng.normal(size=(rows, *shape)).astype(dtype) for shape in case.shapes]


def built(case: Case, dtype: Any = np.float64) -> Layer:
    """The layer with parameters in general position, at which nothing cancels."""
    layer = case.make()
    shapes = case.shapes if layer.takes_several else case.shapes[0]
    layer.set_up(shapes, dtype, np.random.default_rng(2))
    rng = np.random.default_rng(3)
    for p in layer.parameters.values():
        p.data = rng.uniform(0.4, 1.2, p.shape).astype(dtype)
    return layer


def run(layer: Layer, arrays: list[np.ndarray]) -> Tensor:
    tensors = [Tensor(a) for a in arrays]
    out: Tensor = layer(tensors if layer.takes_several else tensors[0])
    return out


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_and_dtypes(name: str, case: Case, dtype: Any) -> None:
    if name == "InputLayer" and dtype == np.float32:
        pytest.skip("its dtype is one of its settings, float64 here")
    layer = built(case, dtype)
    for rows in (1, ROWS):
        for mode in (False, True):
            if mode:
                with training_mode():
                    out = run(layer, numbers(case, rows, dtype))
            else:
                out = run(layer, numbers(case, rows, dtype))
            assert out.shape == (rows, *(layer.output_shape or ()))
            assert out.dtype == dtype
    assert all(p.dtype == dtype for p in layer.parameters.values())
    assert layer.describe()


@every_case
def test_wrong_shapes_are_errors_that_name_the_layer(name: str, case: Case) -> None:
    layer = built(case)
    layer.name = "culprit"
    wrong = [a[..., None].repeat(2, -1) for a in numbers(case)]
    if name in ("Activation", "Dropout", "Lambda"):
        wrong = [a[:, :1] for a in wrong]
    with pytest.raises(MinnetError, match="culprit"):
        run(layer, wrong)


@every_case
def test_an_equal_layer_comes_from_the_settings(name: str, case: Case) -> None:
    layer = built(case)
    layer.trainable = False
    config = layer.config()
    if name == "Lambda":  # a function is saved by its name, and found by whoever loads it
        assert config["function"] == {"function": "double"}
        config["function"] = double
    else:
        config = json.loads(json.dumps(config))
    again = type(layer).from_config(config)
    assert json.dumps(again.config(), default=str) == json.dumps(layer.config(), default=str)
    assert again.trainable is False
    shapes = case.shapes if layer.takes_several else case.shapes[0]
    again.set_up(shapes, np.float64, np.random.default_rng(5))
    assert list(again.parameters) == list(layer.parameters)
    for key, p in layer.parameters.items():
        again.parameters[key].data = p.numpy()
    np.testing.assert_array_equal(run(again, numbers(case)).data, run(layer, numbers(case)).data)


@every_case
def test_training_and_inference(name: str, case: Case) -> None:
    layer = built(case)
    before = {key: p.numpy() for key, p in layer.parameters.items()}
    inferred = run(layer, numbers(case))
    np.testing.assert_array_equal(run(layer, numbers(case)).data, inferred.data)
    with training_mode() as deferred:
        trained = run(layer, numbers(case))
    same = np.array_equal(trained.data, inferred.data)
    assert same is (name not in DIFFERENT_IN_TRAINING)
    for key, p in layer.parameters.items():
        np.testing.assert_array_equal(p.data, before[key], err_msg="changed by calling it")
    apply_deferred(deferred)
    changed = {k for k, p in layer.parameters.items() if not np.array_equal(p.data, before[k])}
    assert changed == {k for k, p in layer.parameters.items() if not p.requires_grad}


@every_case
def test_a_frozen_layer_learns_nothing(name: str, case: Case) -> None:
    layer = built(case)
    layer.trainable = False
    assert not any(p.requires_grad for p in layer.parameters.values())
    with training_mode() as deferred:
        assert not run(layer, numbers(case)).requires_grad
    assert not deferred
    layer.trainable = True
    learned = [key for key, p in layer.parameters.items() if p.requires_grad]
    assert learned == [k for k in layer.parameters if not k.startswith("moving_")]


class Repeatable:
    """The layer as a function of tensors, which draws the same numbers at every call."""

    def __init__(self, layer: Layer):
        self.layer = layer
        self.parameters = layer.parameters
        self.name = type(layer).__name__

    def __call__(self, *x: Any) -> Any:
        self.layer._rng = np.random.default_rng(4)
        tensors = [Tensor(a) if isinstance(a, np.ndarray) else a for a in x]
        return self.layer(tensors if self.layer.takes_several else tensors[0])


@every_case
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("second_order", [False, True], ids=["gradient", "its gradient"])
def test_gradients(name: str, case: Case, training: bool, second_order: bool) -> None:
    function = Repeatable(built(case))
    if not training:
        report = check_gradients(function, numbers(case), second_order=second_order)
    else:
        with training_mode():
            report = check_gradients(function, numbers(case), second_order=second_order)
    assert report, report.summary()
    assert report.checked


@every_case
def test_exports_and_recalculates(name: str, case: Case, tmp_path: Path) -> None:
    if name in NOT_EXPORTED:
        pytest.skip(NOT_EXPORTED[name])
    kind = "int" if case.indices else np.float64
    inputs = [minnet.Input(shape, kind) for shape in case.shapes]
    layer = case.make()
    out = layer(inputs if layer.takes_several else inputs[0])
    flat = out if len(out.shape) == 1 else minnet.Flatten()(out)
    model = minnet.Model(inputs, minnet.Dense(2, name="top")(flat), seed=0)
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.4, 1.2, w.shape) for w in model.get_weights()])
    model.compile(minnet.SGD(0.1), "mse")
    x = numbers(case)
    y = rng.normal(size=(ROWS, 2))
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x if len(x) > 1 else x[0], y, path, steps=2)
    report = verify_xlsx(path)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    minnet.read_xlsx(path, model)
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
