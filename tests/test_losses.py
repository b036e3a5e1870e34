"""Losses, their targets, metrics and optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minnet import Dense, Input, Model, Sequential, losses, metrics, optimizers
from minnet.errors import ArgumentError, NumberError, ShapeError
from minnet.optimizers import SGD, Optimizer
from minnet.tensor import Tensor

F32 = np.float32


def tensor(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.asarray(values), dtype=dtype)


def prepare(loss: str, y: Any, shape: tuple[int, ...]) -> np.ndarray:
    return losses.get(loss).prepare_target(np.asarray(y), shape, F32)


# -- values ----------------------------------------------------------------------------------------


def test_mean_squared_error() -> None:
    loss = losses.get("mse")(tensor([[1.0, 2.0], [3.0, 4.0]]), tensor([[1.0, 0.0], [0.0, 4.0]]))
    assert loss.shape == ()
    assert loss.item() == pytest.approx((4 + 9) / 4)


def test_categorical_crossentropy_is_in_nats() -> None:
    p, y = tensor([[0.25, 0.75], [0.5, 0.5]]), tensor([[0.0, 1.0], [1.0, 0.0]])
    expected = -(np.log(0.75) + np.log(0.5)) / 2
    assert losses.get("categorical_crossentropy")(p, y).item() == pytest.approx(expected)
    sparse = losses.get("sparse_categorical_crossentropy")
    assert sparse(p, tensor([1, 0], np.int64)).item() == pytest.approx(expected)


def test_binary_crossentropy() -> None:
    p, y = tensor([[0.25], [0.9]]), tensor([[0.0], [1.0]])
    expected = -(np.log(0.75) + np.log(0.9)) / 2
    assert losses.get("binary_crossentropy")(p, y).item() == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_logits_and_probabilities_give_the_same_loss(rows: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes))
    labels = rng.integers(0, classes, rows)
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-z))
    one_hot = np.eye(classes)[labels]
    for name, p, y in [
        ("categorical_crossentropy", softmax, tensor(one_hot)),
        ("sparse_categorical_crossentropy", softmax, tensor(labels, np.int64)),
        ("binary_crossentropy", sigmoid, tensor(one_hot)),
    ]:
        loss = losses.get(name)
        assert loss.from_logits(tensor(z), y).item() == pytest.approx(loss(tensor(p), y).item())


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("categorical_crossentropy", [[0.0, 1.0]]),
        ("sparse_categorical_crossentropy", [1]),
        ("binary_crossentropy", [[0.0, 1.0]]),
    ],
)
def test_huge_logits_stay_finite(name: str, target: list[Any]) -> None:
    dtype = np.int64 if name.startswith("sparse") else F32
    loss = losses.get(name).from_logits(tensor([[1e4, -1e4]], F32), tensor(target, dtype))
    assert loss.item() == pytest.approx(2e4 if "categorical" in name else 1e4)


def test_each_position_of_a_sequence_counts_as_a_row() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 3))
    sparse = losses.get("sparse_categorical_crossentropy")
    target = sparse.prepare_target(labels, (3, 4), np.float64)
    flat = sparse.from_logits(tensor(z.reshape(6, 4)), tensor(labels.reshape(6), np.int64))
    assert sparse.from_logits(tensor(z), tensor(target, np.int64)).item() == flat.item()


# -- targets ---------------------------------------------------------------------------------------


def test_a_vector_of_targets_fits_a_single_output() -> None:
    for loss in ("mse", "binary_crossentropy"):
        y = prepare(loss, [0, 1, 1], (1,))
        assert y.shape == (3, 1)
        assert y.dtype == F32


def test_sparse_labels_become_int64_vectors() -> None:
    for labels in ([0, 2], [[0], [2]], [0.0, 2.0], np.array([0, 2], np.uint8)):
        y = prepare("sparse_categorical_crossentropy", labels, (3,))
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, [0, 2])


def test_soft_targets_are_taken() -> None:
    prepare("categorical_crossentropy", [[0.25, 0.75]], (2,))
    prepare("binary_crossentropy", [[0.25], [0.75]], (1,))


@pytest.mark.parametrize(
    ("loss", "y", "shape", "error", "message"),
    [
        ("mse", [[1.0, 2.0]], (3,), ShapeError, r"rows of shape \(3,\), received .*\(1, 2\)"),
        ("mse", [1.0, 2.0], (2,), ShapeError, r"received an array of shape \(2,\)"),
        ("mse", [1.0, np.nan], (1,), NumberError, r"finite numbers, received nan at \[1, 0\]"),
        ("mse", [1e300], (1,), NumberError, r"1e\+300 at .* float32 holds numbers up to 3.4e\+38"),
        ("categorical_crossentropy", [0, 1], (2,), ShapeError, "'sparse_categorical_crossentropy'"),
        ("categorical_crossentropy", [[1, 1]], (2,), ArgumentError, "row 0 with sum 2"),
        ("categorical_crossentropy", [[1, 0], [0, 0]], (2,), ArgumentError, "row 1 with sum 0"),
        ("categorical_crossentropy", [[2, -1]], (2,), ArgumentError, "smallest -1"),
        ("categorical_crossentropy", [1], (1,), ArgumentError, "one unit per class, at least 2"),
        (
            "sparse_categorical_crossentropy",
            [0, 3],
            (3,),
            ArgumentError,
            r"labels from 0 to 2, received 3 at \[1\]\. The last layer has 3 units",
        ),
        ("sparse_categorical_crossentropy", [-1], (3,), ArgumentError, "received -1"),
        ("sparse_categorical_crossentropy", [0.5], (3,), ArgumentError, "whole numbers"),
        ("sparse_categorical_crossentropy", [np.nan], (3,), NumberError, "received nan"),
        (
            "sparse_categorical_crossentropy",
            [[1, 0, 0]],
            (3,),
            ShapeError,
            "one integer label per row.*use loss 'categorical_crossentropy'",
        ),
        ("sparse_categorical_crossentropy", [0], (1,), ArgumentError, "'binary_crossentropy'"),
        ("binary_crossentropy", [0, 2], (1,), ArgumentError, r"from 0 to 1, received 2.0 at \[1"),
        ("binary_crossentropy", [-1, 1], (1,), ArgumentError, "received -1.0"),
        ("binary_crossentropy", [0, 1], (2,), ShapeError, "For one label per row use one output"),
        ("binary_crossentropy", [[0, 1, 1]], (2,), ShapeError, "units must match the targets"),
    ],
)
def test_bad_targets(
    loss: str, y: Any, shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(loss, y, shape)


# -- looking up ------------------------------------------------------------------------------------


def test_functions_become_losses() -> None:
    def mean_absolute_error(prediction: Tensor, target: Tensor) -> Any:
        return abs(prediction - target).mean()

    loss = losses.get(mean_absolute_error)
    assert loss.description == "mean absolute error"
    assert loss(tensor([[1.0], [4.0]]), tensor([[2.0], [2.0]])).item() == 1.5
    assert losses.get(loss) is loss


@pytest.mark.parametrize(
    ("function", "received"),
    [(lambda p, y: p - y, r"shape \(2, 1\)"), (lambda p, y: 1.0, "float")],
)
def test_a_function_must_give_one_number(function: Any, received: str) -> None:
    two = tensor([[1.0], [2.0]])
    with pytest.raises(ShapeError, match=rf"a Tensor with one number, received {received}"):
        losses.get(function)(two, two)


@pytest.mark.parametrize(
    ("get", "kind", "wrong", "right"),
    [
        (losses.get, "loss", "binary_crossentropi", "binary_crossentropy"),
        (metrics.get, "metric", "acuracy", "accuracy"),
        (optimizers.get, "optimizer", "sdg", "sgd"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(
    get: Any, kind: str, wrong: str, right: str
) -> None:
    with pytest.raises(ArgumentError, match=f"unknown {kind}: .*Did you mean '{right}'"):
        get(wrong)


def test_the_class_of_a_loss_is_no_loss() -> None:
    with pytest.raises(ArgumentError, match="loss: expected .*, received the class MeanSquared"):
        losses.get(losses.MeanSquaredError)


# -- metrics ---------------------------------------------------------------------------------------


def test_accuracy_of_several_classes() -> None:
    p = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert metrics.accuracy(p, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.accuracy(p, np.eye(2)[[1, 0, 0]]) == pytest.approx(2 / 3)


def test_accuracy_of_a_single_output_has_its_threshold_at_one_half() -> None:
    p = np.array([[0.4], [0.6], [0.7], [0.5]])
    assert metrics.accuracy(p, np.array([[0], [1], [0], [0]])) == 0.75
    assert metrics.accuracy(p, np.array([0, 1, 0, 0])) == 0.75


def test_accuracy_with_a_binary_loss_looks_at_each_output() -> None:
    name, metric = metrics.get("acc", binary=True)
    assert name == "acc"
    assert metric(np.array([[0.9, 0.8, 0.1]]), np.array([[1.0, 1.0, 1.0]])) == pytest.approx(2 / 3)


def test_metrics_of_one_name_are_all_measured() -> None:
    """Nor does one that is called so take the loss's place."""

    def loss(p: Any, y: Any) -> float:
        return 7.0

    model = Sequential([Dense(1, input_dim=2)], seed=0)
    chosen: list[Any] = [lambda p, y: 1.0, "accuracy", lambda p, y: 2.0, loss, "accuracy"]
    model.compile("sgd", "mse", metrics=chosen)
    x, y = np.eye(2), np.zeros((2, 1))
    history = model.fit(x, y, verbose=0).history
    names = ["loss", "<lambda>", "accuracy", "<lambda>_2", "loss_2"]
    assert list(history) == names
    assert [history[name] for name in ("<lambda>", "<lambda>_2", "loss_2")] == [[1], [2], [7]]
    found = model.evaluate(x, y)
    assert isinstance(found, list)
    assert len(found) == 5
    assert found[0] == pytest.approx(float((model.predict(x) ** 2).mean()))


def test_metrics_of_one_name_of_an_output_are_all_measured() -> None:
    x = Input((2,))
    model = Model(x, [Dense(1, name="a")(x), Dense(1, name="b")(x)], seed=0)
    chosen: list[Any] = [lambda p, y: 1.0, lambda p, y: 2.0]
    model.compile("sgd", "mse", metrics={"a": chosen})
    assert list(model.metrics) == ["a_loss", "b_loss", "a_<lambda>", "a_<lambda>_2"]


def test_a_single_metric_needs_no_list() -> None:
    model = Sequential([Dense(2, "softmax", input_dim=2)], seed=0)
    single: Any
    for single in ("accuracy", metrics.accuracy):
        model.compile("sgd", "categorical_crossentropy", metrics=single)
        assert list(model.metrics) == ["accuracy"]
    x = Input((2,))
    several = Model(x, [Dense(2, "softmax", name="a")(x), Dense(2, "softmax", name="b")(x)])
    several.compile("sgd", "categorical_crossentropy", metrics="accuracy")
    assert list(several.metrics) == ["a_loss", "b_loss", "a_accuracy", "b_accuracy"]


def test_a_metric_that_gives_no_single_number_is_named() -> None:
    def right(p: Any, y: Any) -> Any:
        return p.argmax(1) == y

    model = Sequential([Dense(2, "softmax", input_dim=2)], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[right])
    expected = r"metric 'right': expected one number, received an array of shape \(3,\)"
    for verb in (model.fit, model.evaluate):
        with pytest.raises(ArgumentError, match=expected):
            verb(np.zeros((3, 2)), np.zeros(3, int))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[lambda p, y: None])
    with pytest.raises(ArgumentError, match="'<lambda>': expected one number, received NoneType"):
        model.evaluate(np.zeros((3, 2)), np.zeros(3, int))


def test_own_metrics_are_called_by_their_name() -> None:
    def worst(p: Any, y: Any) -> float:
        return float(np.abs(p - y).max())

    assert metrics.get(worst) == ("worst", worst)


# -- optimizers ------------------------------------------------------------------------------------


def test_sgd_update_works_on_arrays_and_tensors_alike() -> None:
    w, g = np.array([1.0, 2.0], F32), np.array([10.0, -10.0], F32)
    expected = np.array([0.0, 3.0], F32)
    np.testing.assert_allclose(SGD().update(w, g, 0.1, {}), expected)
    recorded = SGD().update(Tensor(w, requires_grad=True), Tensor(g), Tensor(0.1), {})
    np.testing.assert_allclose(recorded.data, expected)
    assert recorded.op is not None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3), (1,), ()])
def test_step_assigns_a_new_array_of_the_same_dtype(dtype: Any, shape: tuple[int, ...]) -> None:
    w = Tensor(np.ones(shape, dtype), requires_grad=True)
    before = w.data
    SGD(np.float64(0.5)).step([w], [Tensor(np.ones(shape, dtype))])
    assert w.dtype == dtype
    assert (w.data == 0.5).all()
    assert (before == 1).all()


def test_step_leaves_a_parameter_without_gradient() -> None:
    w = Tensor([1.0], requires_grad=True)
    SGD().step([w], [None])
    assert w.item() == 1


def test_lr_and_its_other_name() -> None:
    assert SGD().lr == 0.01
    assert SGD(0.5).lr == SGD(lr=0.5).lr == SGD(learning_rate=0.5).lr == 0.5
    sgd = SGD()
    sgd.learning_rate = 0.25
    assert sgd.lr == 0.25
    with pytest.raises(ArgumentError, match="expected lr or learning_rate, received both"):
        SGD(0.1, learning_rate=0.1)


@pytest.mark.parametrize("lr", [0, -0.1, np.nan, np.inf, "0.1", True, None])
def test_lr_must_be_a_finite_number_above_0(lr: Any) -> None:
    sgd = SGD()
    with pytest.raises(ArgumentError, match="SGD lr: expected a finite number above 0, received"):
        sgd.lr = lr
    assert sgd.lr == 0.01


def test_get_gives_a_new_optimizer_per_name() -> None:
    assert optimizers.get("SGD") is not optimizers.get("sgd")
    own = SGD(0.3)
    assert optimizers.get(own) is own


def test_an_optimizer_without_update_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Optimizer\.update"):
        Optimizer().update(1, 1, 1, {})
