"""fit: what it reports, what it repeats, what stops it."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

import minnet.random
from minnet import Add, BatchNormalization, Input, Model, training
from minnet.errors import ArgumentError, NumberError
from minnet.layers import Dense, Layer
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.sources import Rows
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 3))
Y = RNG.integers(0, 4, 20)


def classifier(lr: float = 0.1, **options: Any) -> Sequential:
    model = Sequential([Dense(5, "relu", input_dim=3), Dense(4, "softmax")], **options)
    model.compile(SGD(lr), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def line(lr: float = 0.1, **options: Any) -> Sequential:
    model = Sequential([Dense(1, input_dim=2)], **options)
    model.compile(SGD(lr), "mse")
    return model


# -- learning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_a_line_is_found(seed: int) -> None:
    minnet.random.seed(seed)
    x = np.random.default_rng(seed).uniform(-1, 1, (30, 2))
    y = 2 * x[:, 0] + 3 * x[:, 1] + 1
    model = line()
    for epochs, tolerance in ((5, 0.1), (45, 0.001)):
        model.fit(x, y, batch_size=1, epochs=epochs, verbose=0)
        weights = np.concatenate([w.ravel() for w in model.get_weights()])
        np.testing.assert_allclose(weights, [2, 3, 1], rtol=0, atol=tolerance)


def test_xor_is_learnt() -> None:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    model = Sequential([Dense(8, "tanh"), Dense(1, "sigmoid")], seed=0)
    model.compile(SGD(0.5), "binary_crossentropy", ["accuracy"])
    history = model.fit(x, [0, 1, 1, 0], batch_size=4, epochs=800, verbose=0)
    assert history.history["accuracy"][-1] == 1
    assert history.history["loss"][-1] < 0.1


def test_one_epoch_does_what_its_batches_do() -> None:
    together, apart = classifier(seed=1), classifier(seed=1)
    together.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    for start in (0, 8, 16):
        apart.train_on_batch(X[start : start + 8], Y[start : start + 8])
    for a, b in zip(together.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_row_is_seen_once_per_epoch_in_a_new_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = training.train_step

    def watched(model: Any, x: Any, *others: Any) -> Any:
        seen.extend(x[:, 0].tolist())
        return step(model, x, *others)

    monkeypatch.setattr(training, "train_step", watched)
    classifier(seed=0).fit(X, Y, batch_size=8, epochs=2, verbose=0)
    rows = X[:, 0].astype(np.float32).tolist()
    assert sorted(seen[:20]) == sorted(seen[20:]) == sorted(rows)
    assert rows != seen[:20] != seen[20:]


# -- repeating -------------------------------------------------------------------------------------


def trained(**options: Any) -> list[np.ndarray]:
    model = classifier(**options)
    model.fit(X, Y, batch_size=4, epochs=3, verbose=0)
    return model.get_weights()


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all((v == w).all() for v, w in zip(a, b, strict=True))


def test_the_shared_seed_repeats_everything() -> None:
    minnet.random.seed(1)
    first = trained()
    minnet.random.seed(1)
    assert same(first, trained())
    assert not same(first, trained())


def test_a_model_may_have_a_seed_of_its_own() -> None:
    first = trained(seed=7)
    minnet.random.generator().random(3)
    assert same(first, trained(seed=7))
    assert not same(first, trained(seed=8))


def test_shuffling_follows_the_seed_too() -> None:
    weights = classifier(seed=0).get_weights()
    results = []
    for seed in (1, 1, 2):
        minnet.random.seed(seed)
        model = classifier()
        model.set_weights(weights)
        model.fit(X, Y, batch_size=4, verbose=0)
        results.append(model.get_weights())
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


# -- history ---------------------------------------------------------------------------------------


def test_history() -> None:
    model = classifier()
    history = model.fit(X, Y, batch_size=8, epochs=3, validation_split=0.25, verbose=0)
    assert history is model.history
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 3 for values in history.history.values())
    assert history.epoch == [0, 1, 2]
    assert history.params == {
        "batch_size": 8,
        "epochs": 3,
        "steps": 2,
        "samples": 15,
        "verbose": 0,
        "metrics": ["loss", "accuracy", "val_loss", "val_accuracy"],
    }
    value = history.history["loss"][0]
    assert type(value) is float


def test_initial_epoch_and_nb_epoch() -> None:
    model = line()
    data = X[:, :2], X[:, 0]
    assert model.fit(*data, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    assert model.fit(*data, nb_epoch=2, verbose=0).epoch == [0, 1]
    assert model.fit(*data, epochs=0, verbose=0).history == {}


def test_loss_and_evaluate_agree_on_the_same_weights() -> None:
    model = classifier(lr=1e-30)
    history = model.fit(X, Y, batch_size=7, validation_data=(X, Y), verbose=0).history
    loss, accuracy = model.evaluate(X, Y)  # type: ignore[misc]
    assert history["loss"][0] == pytest.approx(loss, rel=1e-6)
    assert history["val_loss"][0] == pytest.approx(loss, rel=1e-6)
    assert history["accuracy"][0] == history["val_accuracy"][0] == pytest.approx(accuracy)


def test_train_on_batch_gives_the_loss_before_the_step() -> None:
    model = classifier()
    before = model.evaluate(X, Y)
    assert model.train_on_batch(X, Y) == pytest.approx(before, rel=1e-6)
    assert model.evaluate(X, Y) != pytest.approx(before, rel=1e-6)
    assert isinstance(line().train_on_batch(X[:, :2], X[:, 0]), float)


def test_the_validation_split_is_the_end_before_shuffling() -> None:
    training_rows, validation = Rows(X, Y, None, 32).split(0.25)
    assert validation is not None
    for part, rows in ((training_rows, slice(0, 15)), (validation, slice(15, 20))):
        ((x, y, _, n),) = part.epoch()
        np.testing.assert_array_equal(x, X[rows])
        np.testing.assert_array_equal(y, Y[rows])
        assert n == part.rows == len(x)
    for fraction, kept in ((0.001, 19), (0.9, 2), (0.95, 1)):
        assert Rows(X, Y, None, 32).split(fraction)[0].rows == kept
    model = classifier(lr=1e-30)
    history = model.fit(X, Y, validation_split=0.25, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(X[15:], Y[15:])[0])  # type: ignore[index]


def test_a_new_lr_counts_from_the_next_step() -> None:
    model = line(seed=0)
    start = model.get_weights()
    steps = []
    for lr in (0.1, 0.2):
        model.set_weights(start)
        model.optimizer.lr = lr
        model.train_on_batch(X[:, :2], X[:, 0])
        steps.append(model.get_weights()[0] - start[0])
    np.testing.assert_allclose(steps[1], 2 * steps[0], rtol=1e-4)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a whole number >= 1, received 0"),
        ({"batch_size": 2.5}, "batch_size: .*received 2.5"),
        ({"epochs": -1}, "epochs: expected a whole number >= 0, received -1"),
        ({"nb_epoch": True}, "epochs: .*received True"),
        ({"initial_epoch": -1}, "initial_epoch: "),
        ({"validation_split": 1}, "validation_split: expected a fraction .*received 1 of 20 rows"),
        ({"validation_split": 0.999}, "validation_split: "),
        ({"validation_split": -0.5}, "validation_split: "),
        (
            {"validation_split": 0.5, "validation_data": (X, Y)},
            "or validation_split, received both",
        ),
        ({"validation_data": (X[:0], Y[:0])}, "inputs x: expected at least one row"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    model = classifier()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, verbose=0, **options)
    assert same(before, model.get_weights())


def test_nothing_to_train_is_an_error() -> None:
    model = line()
    model.layers[0].trainable = False
    with pytest.raises(
        ArgumentError, match="a trainable parameter, received none.*trainable = Tru"
    ):
        model.fit(X[:, :2], X[:, 0], verbose=0)


@pytest.mark.filterwarnings("error")
def test_divergence_stops_with_its_place_and_finite_weights() -> None:
    model = line(lr=5.0, seed=0)
    message = (
        r"epoch \d+, batch \d+: expected a finite loss and finite gradients, received .*"
        r"Lower the learning rate \(now 5\)"
    )
    with pytest.raises(NumberError, match=message):
        model.fit(X[:, :2], X[:, 0], batch_size=4, epochs=100, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert 0 < len(model.history.epoch) < 100
    with pytest.raises(NumberError, match="training: expected a finite loss"):
        for _ in range(10):
            model.train_on_batch(X[:, :2], X[:, 0])


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    model = classifier()
    weights = model.get_weights()
    weights[2][:] = np.nan
    model.set_weights(weights)
    place = "layer 'dense_2', forward pass, operation 'linear', whose dense_2_weight has it"
    with pytest.raises(NumberError, match=f"epoch 1, batch 1: .*it first arose in {place}"):
        model.fit(X, Y, verbose=0)
    with pytest.raises(NumberError, match=f"training: .*loss nan; it first arose in {place}"):
        model.train_on_batch(X, Y)


def test_a_loss_may_be_at_fault_itself() -> None:
    model = line()
    model.compile("sgd", lambda p, y: (p - y).sum() * float("inf"))
    with pytest.raises(NumberError, match="it first arose in the loss, forward pass"):
        model.fit(X[:, :2], X[:, 0], verbose=0)


def test_statistics_of_batches_stay_finite_too() -> None:
    model = Sequential([BatchNormalization(input_shape=(3,)), Dense(1), Steep()], seed=0)
    model.compile(SGD(1e9), "mse")
    with pytest.raises(NumberError, match=r"epoch \d+, batch \d+: .*the sum of their squares"):
        model.fit(X, X[:, :1], batch_size=4, epochs=50, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_layer_is_found_in_a_graph_of_layers() -> None:
    inputs = Input((3,))
    left, right = Dense(4, "tanh", name="left")(inputs), Dense(4, "exp", name="right")(inputs)
    model = Model(inputs, Dense(1, name="top")(Add()([left, right])))
    model.compile("sgd", "mse")
    weights = [w * 0 + 60 for w in model.get_weights()]
    model.set_weights(weights)
    with pytest.raises(NumberError, match="loss inf; it first arose in layer 'right', forward pas"):
        model.fit(X * 0 + 1, Y, verbose=0)


class Steep(Layer):
    """Its output is finite, its gradient is not."""

    def call(self, x: Tensor) -> Any:
        return (x * x * 1e-38 + 1e-38) ** 0.5 * 1e30 * 1e-12


def test_a_gradient_that_overflows_changes_nothing() -> None:
    model = Sequential([Dense(1, input_dim=2, kernel_initializer="ones"), Steep()])
    model.compile(SGD(1.0), lambda p, y: (p * 1e19).mean())
    before = model.get_weights()
    x = np.full((2, 2), 1e12)
    with pytest.raises(
        NumberError, match="of 'dense_1_weight'; it first arose in layer 'steep_1', backward"
    ):
        model.fit(x, [0, 0], verbose=0)
    assert same(before, model.get_weights())


def test_ctrl_c_leaves_a_usable_model_and_its_history(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier()
    step, calls = training.train_step, iter(range(100))

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 7:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, Y, batch_size=8, epochs=10, verbose=0)
    assert model.history.epoch == [0, 1]
    assert len(model.history.history["loss"]) == 2
    assert model.predict(X).shape == (20, 4)
    assert model.fit(X, Y, verbose=0).epoch == [0]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_the_middle_of_a_step_waits_for_its_end(times: int) -> None:
    """Half of the weights new and half of them old would be no model; a second one is heeded."""

    class Interrupted(SGD):
        calls = 0

        def update(self, parameter: Any, *others: Any) -> Any:
            self.calls += 1
            if self.calls == 6:  # the second of the second step's four parameters
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)
            return super().update(parameter, *others)

    models = [classifier(seed=0) for _ in range(2)]
    models[0].optimizer = Interrupted(0.1)
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            models[0].fit(X, Y, batch_size=5, verbose=0, shuffle=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    models[1].fit(X[:10], Y[:10], batch_size=5, verbose=0, shuffle=False)
    assert same(*(model.get_weights() for model in models)) == (times == 1)


def test_large_gradients_that_are_finite_each_are_used() -> None:
    """Their squared lengths overflow only when added up, which is nobody's fault."""
    model = Sequential([Dense(1, input_dim=1)], dtype=np.float64, seed=0)
    model.compile(SGD(lr=1e-154), loss=lambda p, y: (p * 1.2e154).sum())
    before = model.get_weights()
    model.train_on_batch([[1.0]], [[0.0]])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_allclose(b, a - 1.2)
