"""Callbacks: when they are called, what they see, and that training can be resumed anywhere."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minnet import random
from minnet.callbacks import Callback, History
from minnet.data import Batches
from minnet.errors import ArgumentError
from minnet.fitting import Position
from minnet.layers import Dense
from minnet.model import Model
from minnet.optimizers import SGD
from minnet.sequential import Sequential

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (10, 3))
Y = RNG.integers(0, 4, 10)


def classifier(seed: int = 0) -> Sequential:
    model = Sequential([Dense(5, "tanh", input_dim=3), Dense(4, "softmax")], seed=seed)
    model.compile(SGD(0.1), "sparse_categorical_crossentropy", ["accuracy"])
    return model


class Spy(Callback):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.calls.append("train begin")

    def on_train_end(self, logs: Any = None) -> None:
        self.calls.append(("train end", sorted(logs)))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.calls.append(("epoch begin", epoch))

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.calls.append(("epoch end", epoch, sorted(logs)))

    def on_train_batch_begin(self, batch: int, logs: Any) -> None:
        self.calls.append(("begin", batch))

    def on_batch_end(self, batch: int, logs: Any) -> None:
        self.calls.append(("end", batch, sorted(logs)))

    def close(self) -> None:
        self.calls.append("close")


def test_everything_is_called_in_its_order() -> None:
    spy = Spy()
    classifier().fit(X, Y, 5, 2, 0, [spy], validation_data=(X, Y))
    values = ["accuracy", "loss"]
    all_values = [*values, "val_accuracy", "val_loss"]
    batches = [("begin", 0), ("end", 0, values), ("begin", 1), ("end", 1, values)]
    assert spy.calls == [
        "train begin",
        *(("epoch begin", 0), *batches, ("epoch end", 0, all_values)),
        *(("epoch begin", 1), *batches, ("epoch end", 1, all_values)),
        ("train end", all_values),
        "close",
    ]


def test_callbacks_know_the_model_and_how_fit_was_called() -> None:
    class Curious(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            assert self.loop is not None and self.loop.model is self.model
            self.seen = self.params

    model, callback = classifier(), Curious()
    history = model.fit(X, Y, 4, 2, verbose=0, callbacks=callback)  # one alone will do
    assert callback.model is model
    assert callback.loop is None
    assert callback.seen == history.params
    assert callback.seen["steps"] == 3


def test_logs_of_a_batch_are_means_so_far() -> None:
    class Means(Callback):
        seen: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            self.seen.append(logs["loss"])

    model, callback = classifier(), Means()
    model.optimizer.lr = 1e-30
    history = model.fit(X, Y, 4, verbose=0, shuffle=False, callbacks=[callback])
    for loss, rows in zip(callback.seen, (4, 8, 10), strict=True):
        expected = model.evaluate(X[:rows], Y[:rows])[0]  # type: ignore[index]
        assert loss == pytest.approx(expected, rel=1e-5)
    assert callback.seen[-1] == history.history["loss"][0]


def test_what_a_callback_logs_is_in_the_history_and_seen_by_those_after_it() -> None:
    class Adds(Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            logs["epoch_squared"] = epoch**2

    class Last(Callback):
        after_others = True

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            assert self.model.history.epoch[-1] == epoch
            assert logs["epoch_squared"] == epoch**2

    history = classifier().fit(X, Y, epochs=3, verbose=0, callbacks=[Last(), Adds()])
    assert history.history["epoch_squared"] == [0, 1, 4]


@pytest.mark.parametrize("where", ["batch", "epoch"])
def test_a_callback_stops_training(where: str) -> None:
    class Stops(Callback):
        def on_train_batch_end(self, batch: int, logs: Any) -> None:
            self.model.stop_training = where == "batch"

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            self.model.stop_training = epoch == 1 or where == "batch"

    stops, spy = Stops(), Spy()
    model = classifier()
    history = model.fit(X, Y, 2, 9, 0, [stops, spy])
    assert history.epoch == ([0] if where == "batch" else [0, 1])
    assert sum(call[0] == "end" for call in spy.calls) == (1 if where == "batch" else 10)
    assert model.fit(X, Y, epochs=1, verbose=0).epoch == [0]  # the next fit starts afresh


def test_stopping_where_nothing_is_called_after_a_batch() -> None:
    class Enough(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any) -> None:
            self.model.stop_training = batch == 2

    model = classifier()
    model.fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=[Enough()])
    assert model.optimizer.iterations == 3
    assert model.history.epoch == [0]


def test_all_are_closed_when_one_fails() -> None:
    class Fails(Callback):
        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            raise RuntimeError("full disk")

    spy = Spy()
    with pytest.raises(RuntimeError, match="full disk"):
        classifier().fit(X, Y, verbose=0, callbacks=[Fails(), spy])
    assert spy.calls[-1] == "close"
    assert spy.loop is None


@pytest.mark.parametrize(
    ("wrong", "received"), [([History], "the class History"), (["csv"], "received str")]
)
def test_only_callbacks_are_taken(wrong: Any, received: str) -> None:
    with pytest.raises(ArgumentError, match=f"instances of Callback.*{received}"):
        classifier().fit(X, Y, verbose=0, callbacks=wrong)


def test_a_copy_of_a_history_leaves_the_model_out() -> None:
    history = classifier().fit(X, Y, verbose=0)
    for same in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert same.history == history.history
        assert same.model is None


# -- going on from anywhere ------------------------------------------------------------------------


class StopAfter(Callback):
    """Ends training after some steps, as a killed process would, having kept what there is."""

    after_others = True

    def __init__(self, steps: int):
        self.steps = steps

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        self.steps -= 1
        if not self.steps:
            assert self.loop is not None
            text = json.dumps(dataclasses.asdict(self.loop.position))
            self.kept = text, self.model.get_weights(), self.model.history.state()
            raise InterruptedError


class GoOn(Callback):
    after_others = True

    def __init__(self, kept: Any):
        self.text, self.weights, self.history = kept

    def on_train_begin(self, logs: Any = None) -> None:
        assert self.loop is not None
        self.loop.position = Position(**json.loads(self.text))
        self.model.set_weights(self.weights)
        self.model.history.load_state(self.history)


def endless(rng: np.random.Generator) -> Any:
    while True:
        rows = rng.integers(0, 10, 3)
        yield X[rows], Y[rows]


def train(kind: str, model: Model, **options: Any) -> History:
    options |= {"epochs": 4, "initial_epoch": 1, "verbose": 0}
    if kind == "arrays":
        return model.fit(X, Y, batch_size=3, **options)
    if kind == "in order":
        return model.fit(X, Y, batch_size=3, shuffle=False, **options)
    if kind == "batches":
        return model.fit(Batches(X, Y, 3, seed=5), **options)
    if kind == "list":
        return model.fit([(X[i : i + 3], Y[i : i + 3]) for i in (0, 3, 6, 7)], **options)
    return model.fit(endless(np.random.default_rng(1)), steps_per_epoch=4, **options)


@pytest.mark.parametrize("kind", ["arrays", "in order", "batches", "list", "generator"])
@given(steps=st.integers(1, 12))
def test_training_goes_on_bit_for_bit_from_any_step(kind: str, steps: int) -> None:
    whole = classifier()
    expected = train(kind, whole)
    stop = StopAfter(steps)
    with pytest.raises(InterruptedError):
        train(kind, classifier(), callbacks=[stop])
    again = classifier(seed=9)  # another process: other weights, another generator
    history = train(kind, again, callbacks=[GoOn(stop.kept)])
    assert history.history == expected.history
    assert history.epoch == expected.epoch == [1, 2, 3]
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_position_at_an_epochs_end_is_the_next_ones_beginning() -> None:
    class Positions(Callback):
        seen: list[Position] = []  # noqa: RUF012

        def on_epoch_end(self, epoch: int, logs: Any) -> None:
            assert self.loop is not None
            self.seen.append(self.loop.position)

    positions = Positions()
    classifier().fit(X, Y, epochs=2, verbose=0, callbacks=[positions])
    assert [(p.epoch, p.batch, p.shuffling, p.rows) for p in positions.seen] == [
        (1, 0, None, 0),
        (2, 0, None, 0),
    ]


def test_the_shared_generator_is_restored_too() -> None:
    model = Sequential([Dense(4, "softmax", input_dim=3)])
    model.compile("sgd", "sparse_categorical_crossentropy")
    random.seed(3)
    stop = StopAfter(2)
    with pytest.raises(InterruptedError):
        model.fit(X, Y, 3, 2, 0, [stop])
    state = random.generator().bit_generator.state
    random.seed(4)

    class Check(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any) -> None:
            assert random.generator().bit_generator.state == state
            raise InterruptedError

    with pytest.raises(InterruptedError):
        model.fit(X, Y, 3, 2, 0, [GoOn(stop.kept), Check()])


def test_no_callbacks() -> None:
    for none in (None, (), []):
        classifier().fit(X, Y, verbose=0, callbacks=none)
