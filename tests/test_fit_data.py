"""fit, evaluate and predict: generators and other iterables, weights of rows and classes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minnet import losses, ops
from minnet.callbacks import Callback
from minnet.data import Batches, to_categorical
from minnet.errors import ArgumentError, NumberError, ShapeError
from minnet.layers import Dense, Layer
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.tensor import Tensor
from minnet.testing import assert_gradients

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (12, 3))
Y = RNG.integers(0, 4, 12)
WEIGHTS = RNG.uniform(0, 2, 12)


def classifier(loss: Any = "sparse_categorical_crossentropy", **options: Any) -> Sequential:
    layers = [Dense(5, "tanh", input_dim=3), Dense(4, "softmax")]
    model = Sequential(layers, seed=0, **options)
    model.compile(SGD(0.1), loss, ["accuracy"])
    return model


def same(a: Sequential, b: Sequential, rtol: float = 0) -> None:
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=rtol, atol=rtol)


def in_batches(*arrays: Any, size: int = 4) -> list[Any]:
    return [tuple(a[i : i + size] for a in arrays) for i in range(0, len(arrays[0]), size)]


# -- iterables -------------------------------------------------------------------------------------


def forms() -> dict[str, Callable[[], tuple[Any, dict[str, Any]]]]:
    batches = in_batches(X, Y)
    return {
        "list": lambda: (batches, {}),
        "list with steps": lambda: ([*batches, "unused"], {"steps_per_epoch": 3}),
        "generator": lambda: (itertools.cycle(batches), {"steps_per_epoch": 3}),
        "Batches": lambda: (Batches(X, Y, 4, shuffle=False), {}),
        "Batches in threads": lambda: (Batches(X, Y, 4, shuffle=False, threads=2), {}),
        "lists in a list": lambda: ([[x.tolist(), y.tolist()] for x, y in batches], {}),
    }


@pytest.mark.parametrize("form", forms())
def test_batches_train_as_arrays_in_order_do(form: str) -> None:
    expected, model = classifier(), classifier()
    history = expected.fit(X, Y, 4, 3, 0, shuffle=False, validation_data=(X, Y)).history
    data, options = forms()[form]()
    validation, steps = forms()[form]()
    found = model.fit(
        data,
        epochs=3,
        verbose=0,
        validation_data=validation,
        validation_steps=steps.get("steps_per_epoch"),
        **options,
    )
    same(model, expected)
    assert found.history == history
    assert found.params["steps"] == 3
    steps = {"steps": steps["steps_per_epoch"]} if steps else {}
    assert model.evaluate(forms()[form]()[0], **steps) == model.evaluate(X, Y, 4)


def test_an_iterable_of_unknown_length_is_used_up() -> None:
    class Endless:
        def __iter__(self) -> Iterator[Any]:
            return iter(in_batches(X, Y))

    history = classifier().fit(Endless(), epochs=2, verbose=0)
    assert history.params["steps"] is None
    assert history.epoch == [0, 1]
    once = classifier()
    once.fit(iter(in_batches(X, Y)), verbose=0)  # one epoch of a generator needs no steps
    expected = classifier()
    expected.fit(X, Y, 4, verbose=0, shuffle=False)
    same(once, expected)


def test_a_generator_goes_on_from_epoch_to_epoch() -> None:
    seen: list[int] = []

    def numbered() -> Iterator[Any]:
        for i in itertools.count():
            seen.append(i)
            yield X[i : i + 1], Y[i : i + 1]

    generator = numbered()
    classifier().fit(generator, steps_per_epoch=2, epochs=3, verbose=0)
    assert seen == list(range(6))  # and not one more than is needed
    next(generator)  # it has not been closed


def test_fewer_steps_than_there_are_batches() -> None:
    model, expected = classifier(), classifier()
    history = model.fit(X, Y, 4, verbose=0, shuffle=False, steps_per_epoch=2)
    expected.fit(X[:8], Y[:8], 4, verbose=0, shuffle=False)
    same(model, expected)
    assert (history.params["steps"], history.params["samples"]) == (2, 8)
    assert model.evaluate(X, Y, 4, steps=2) == model.evaluate(X[:8], Y[:8], 4)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (X, {}, "targets y, or an iterable of batches .*received ndarray"),
        (5, {}, "received int"),
        (iter(in_batches(X, Y)), {"epochs": 2}, "fit: expected steps_per_epoch, received none"),
        ([], {}, "fit, epoch 1: expected 0 batches|fit, epoch 1: expected at least one"),
        (iter([]), {}, "fit, epoch 1: expected at least one batch, received 0"),
        (
            iter(in_batches(X, Y)),
            {"epochs": 2, "steps_per_epoch": 2},
            "fit, epoch 2: expected 2 batches, received 1.*loops for ever",
        ),
        ([X], {}, r"fit, epoch 1, batch 1: expected \(x, y\) or .*received a ndarray"),
        ([(X,)], {}, "received a tuple of 1"),
        ([(X, Y), (X, Y[:5])], {}, "epoch 1, batch 2: targets y: expected 12 rows"),
        ([(X[:, :2], Y)], {}, "epoch 1, batch 1: inputs x of layer 'dense_1'"),
        ([(X, Y)], {"validation_split": 0.5}, "validation_data with batches, received"),
        ([(X, Y)], {"sample_weight": WEIGHTS}, "no sample_weight with batches"),
        ([(X, Y)], {"validation_data": (X,)}, r"validation_data: expected \(x, y\) or"),
        (
            [(X, Y)],
            {"validation_data": iter([(X, Y)])},
            "validation_data: expected validation_steps, received none. Give validation_steps: ",
        ),
        (Batches(X, Y), {"y": Y}, "fit: expected no targets y with batches, received some"),
        (iter([(X, Y)]), {"y": Y}, "fit: expected no targets y with batches, received some"),
        ([(X, Y)], {"steps_per_epoch": 0}, "steps_per_epoch: expected a whole number >= 1"),
    ],
)
def test_iterables_that_will_not_do(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier().fit(data, verbose=0, **options)


def test_more_steps_than_batches() -> None:
    with pytest.raises(ArgumentError, match="steps: expected at most the 3 batches .*received 4"):
        classifier().fit(X, Y, 4, verbose=0, steps_per_epoch=4)


def test_the_bar_counts_batches_where_rows_are_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    classifier().fit(in_batches(X, Y), epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[0] for line in lines] == ["Epoch 1/2", "Epoch 2/2"]


@pytest.mark.parametrize(
    "data",
    [
        lambda: in_batches(X, Y).__iter__(),
        lambda: (x for (x,) in in_batches(X)),
        lambda: Batches(X, Y, 5, shuffle=False),
        lambda: Batches(X, batch_size=5, shuffle=False, threads=2),
    ],
)
def test_predicting_from_batches(data: Any) -> None:
    model = classifier()
    np.testing.assert_allclose(model.predict(data()), model.predict(X), rtol=1e-6)
    np.testing.assert_array_equal(model.predict_classes(data()), model.predict_classes(X))


def test_arrays_to_validate_on_may_be_a_list() -> None:
    weights = np.linspace(0, 1, len(X))
    for more in ((), (weights,)):
        found = [
            classifier().fit(X, Y, verbose=0, validation_data=kind([X, Y, *more])).history
            for kind in (tuple, list)
        ]
        assert found[0] == found[1]


def test_predicting_a_part() -> None:
    model = classifier()
    np.testing.assert_array_equal(model.predict(X, 4, steps=2), model.predict(X)[:8])
    found = model.predict(itertools.cycle(in_batches(X)), steps=5)
    np.testing.assert_allclose(found[12:16], model.predict(X)[:4], rtol=1e-6)
    np.testing.assert_array_equal(model.predict_proba(X), model.predict(X))


def test_predicting_in_an_unknown_order() -> None:
    with pytest.raises(ArgumentError, match="Batches with shuffle=False"):
        classifier().predict(Batches(X, Y))
    with pytest.raises(ArgumentError, match="at least one batch"):
        classifier().predict(iter([]))


# -- weights ---------------------------------------------------------------------------------------


def expected_losses(name: str, p: Any, y: Any) -> Any:
    """Each row's loss, in NumPy."""
    if name == "mse":
        return ((p - y) ** 2).mean(1)
    if name == "binary_crossentropy":
        return -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(1)
    return -(y * np.log(p)).sum(1)


ONE_HOT = to_categorical(Y, 4, np.float64)
CASES = [
    ("mse", "linear", ONE_HOT),
    ("mse", "softmax", ONE_HOT),
    ("categorical_crossentropy", "softmax", ONE_HOT),
    ("sparse_categorical_crossentropy", "softmax", Y),
    ("binary_crossentropy", "sigmoid", ONE_HOT),
]


@pytest.mark.parametrize(("loss", "activation", "targets"), CASES)
@pytest.mark.parametrize("fused", [True, False])
def test_weighted_losses(loss: str, activation: str, targets: Any, fused: bool) -> None:
    last = [Dense(4, activation)] if fused else [Dense(4, activation), Same()]
    model = Sequential([Dense(5, "tanh", input_dim=3), *last], dtype=np.float64, seed=0)
    model.compile(SGD(0.1), loss)
    rows = expected_losses(loss, model.predict(X), ONE_HOT)
    assert model.evaluate(X, targets) == pytest.approx(rows.mean(), rel=1e-9)
    found = model.evaluate(X, targets, sample_weight=WEIGHTS, batch_size=5)
    assert found == pytest.approx((rows * WEIGHTS).mean(), rel=1e-9)


class Same(Layer):
    """Hides the activation before it, so that the loss is taken of probabilities."""

    def call(self, x: Tensor) -> Tensor:
        return x * 1.0


@pytest.mark.parametrize(("loss", "activation", "targets"), CASES)
def test_weights_of_one_change_nothing(loss: str, activation: str, targets: Any) -> None:
    models = []
    for options in ({}, {"sample_weight": np.ones(12)}):
        layers = [Dense(5, "tanh", input_dim=3), Dense(4, activation)]
        model = Sequential(layers, dtype=np.float64, seed=0)
        model.compile(SGD(0.1), loss)
        model.fit(X, targets, 4, 3, 0, **options)
        models.append(model)
    same(*models, rtol=1e-10)


@given(counts=st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(any))
def test_a_weight_is_a_number_of_repetitions(counts: list[int]) -> None:
    """At a rate that makes up for the mean over fewer rows."""
    weighted, repeated = classifier(dtype=np.float64), classifier(dtype=np.float64)
    weighted.optimizer.lr = 0.1 * 4 / sum(counts)
    weighted.train_on_batch(X[:4], Y[:4], sample_weight=counts)
    rows = np.repeat(np.arange(4), counts)
    repeated.train_on_batch(X[rows], Y[rows])
    same(weighted, repeated, rtol=1e-10)


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        (ops.softmax_cross_entropy, (3, 4)),
        (ops.sigmoid_cross_entropy, (3, 2)),
        (ops.mean_squared_error, (3, 2, 2)),
    ],
)
@given(seed=st.integers(0, 99))
def test_gradients_of_weighted_losses(operation: Any, shape: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, y, w = rng.normal(size=shape), rng.dirichlet(np.ones(shape[-1]), shape[:-1]), rng.random(3)
    assert_gradients(lambda z, w: operation.weighted(z, Tensor(y), w), z, w)


def test_rows_of_rows_have_the_weight_of_their_sample() -> None:
    x = RNG.normal(size=(3, 2, 3))
    y = RNG.integers(0, 4, (3, 2))
    w = np.array([0.5, 1.0, 2.0])
    model = Sequential([Dense(4, "softmax", input_shape=(2, 3))], dtype=np.float64, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    p = np.take_along_axis(model.predict(x), y[..., None], -1)[..., 0]
    assert model.evaluate(x, y, sample_weight=w) == pytest.approx(-(np.log(p) * w[:, None]).mean())


@pytest.mark.parametrize("one_hot", [False, True])
def test_classes_have_weights(one_hot: bool) -> None:
    loss, y = ("categorical_crossentropy", ONE_HOT) if one_hot else (None, Y)
    models = [classifier(loss or "sparse_categorical_crossentropy") for _ in range(3)]
    by_class = {0: 0.5, 3: 2.0}
    weights = np.array([by_class.get(int(label), 1.0) for label in Y])
    options: Any = {"epochs": 2, "verbose": 0, "shuffle": False, "batch_size": 4}
    models[0].fit(X, y, class_weight=by_class, **options)
    models[1].fit(X, y, sample_weight=weights, **options)
    options.pop("batch_size")
    models[2].fit(in_batches(X, y), class_weight=by_class, **options)
    same(models[0], models[1])
    same(models[0], models[2])


def test_weights_of_both_kinds_multiply_and_validation_has_the_rows_alone() -> None:
    a, b = classifier(), classifier()
    by_class = {1: 3.0}
    weights = np.where(Y == 1, 3.0, 1.0) * WEIGHTS
    options: Any = {"verbose": 0, "batch_size": 4, "validation_split": 1 / 3, "shuffle": False}
    history = a.fit(X, Y, class_weight=by_class, sample_weight=WEIGHTS, **options).history
    b.fit(X, Y, sample_weight=weights, **options)
    same(a, b, rtol=1e-6)
    expected = a.evaluate(X[8:], Y[8:], sample_weight=WEIGHTS[8:])[0]  # type: ignore[index]
    assert history["val_loss"][0] == pytest.approx(expected, rel=1e-6)


def test_two_classes_of_one_output() -> None:
    y = Y % 2
    models = []
    for options in ({"class_weight": {1: 5.0}}, {"sample_weight": np.where(y, 5.0, 1.0)}):
        model = Sequential([Dense(1, "sigmoid", input_dim=3)], seed=0)
        model.compile("sgd", "binary_crossentropy")
        model.fit(X, y, verbose=0, **options)  # type: ignore[arg-type]
        models.append(model)
    same(*models)


def test_validation_data_and_batches_may_have_weights() -> None:
    model = classifier()
    expected = model.evaluate(X, Y, sample_weight=WEIGHTS)
    assert model.evaluate(in_batches(X, Y, WEIGHTS)) == pytest.approx(expected, rel=1e-6)
    model.optimizer.lr = 1e-30
    history = model.fit(X, Y, verbose=0, validation_data=(X, Y, WEIGHTS)).history
    assert history["val_loss"][0] == pytest.approx(expected[0], rel=1e-6)  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sample_weight": WEIGHTS[:5]}, ShapeError, r"for each of 12 rows, .* shape \(5,\)"),
        ({"sample_weight": [np.inf] * 12}, NumberError, "sample_weight: expected finite numbers"),
        ({"class_weight": {4: 1.0}}, ArgumentError, "classes from 0 to 3, received 4"),
        ({"class_weight": {"a": 1.0}}, ArgumentError, "received 'a'"),
        ({"class_weight": [1, 2]}, ArgumentError, "{class: weight}, received list"),
        ({"class_weight": {0: np.nan}}, NumberError, "class_weight: expected finite numbers"),
    ],
)
def test_weights_that_will_not_do(options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        classifier().fit(X, Y, verbose=0, **options)


def test_weights_where_there_can_be_none() -> None:
    model = Sequential([Dense(2, input_dim=3)])
    model.compile("sgd", lambda p, y: ((p - y) ** 2).mean())
    y = RNG.normal(size=(12, 2))
    with pytest.raises(ArgumentError, match="so its rows cannot be weighted. Subclass Loss"):
        model.fit(X, y, verbose=0, sample_weight=WEIGHTS)
    model.compile("sgd", "mse")
    model.fit(X, y, verbose=0, sample_weight=WEIGHTS)
    for classes in (2, 4):  # with 2 the labels have the shape that one-hot rows would have
        sequences = Sequential([Dense(classes, "softmax", input_shape=(2, 3))])
        sequences.compile("sgd", "sparse_categorical_crossentropy")
        with pytest.raises(ArgumentError, match=r"one class per row, received .* shape \(12, 2\)"):
            x, labels = X[:, None].repeat(2, 1), np.zeros((12, 2), int)
            sequences.fit(x, labels, verbose=0, class_weight={0: 1.0})


def test_a_loss_of_ones_own_gets_the_weights() -> None:
    class Absolute(losses.Loss):
        name = description = "absolute"

        def __call__(self, prediction: Any, target: Any, weights: Any = None) -> Any:
            rows = abs(prediction - target).mean(1)
            return (rows if weights is None else rows * weights).mean()

    model = Sequential([Dense(2, input_dim=3)], dtype=np.float64)
    y = RNG.normal(size=(12, 2))
    model.compile("sgd", Absolute())
    expected = (np.abs(model.predict(X) - y).mean(1) * WEIGHTS).mean()
    assert model.evaluate(X, y, sample_weight=WEIGHTS) == pytest.approx(expected)


# -- what costs nothing ----------------------------------------------------------------------------


def test_a_step_calls_no_callback_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Quiet(Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            assert self.loop is not None
            assert self.loop.callbacks.batch_begin == self.loop.callbacks.batch_end == []

    for name in ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"):
        assert name in vars(Callback)
    classifier().fit(X, Y, 4, verbose=0, callbacks=[Quiet()])
