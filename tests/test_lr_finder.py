"""The search for a learning rate: what it sees, and that it leaves no trace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minnet
from minnet import SGD, Adam, BatchNormalization, Dense, Dropout, RateSearch, Sequential
from minnet.errors import ArgumentError, FileError, NumberError
from minnet.schedules import AdamAnnealing, CosineDecay

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 4))
Y = X @ [1.0, -2.0, 0.5, 3.0] + 1


def line(optimizer: Any = "sgd", **options: Any) -> Sequential:
    model = Sequential([Dense(1, input_dim=4)], **{"seed": 0, **options})
    model.compile(optimizer, "mse")
    return model


def test_rates_grow_by_the_same_factor_until_the_loss_is_lost() -> None:
    model = line()
    found = model.find_lr(X, Y, start=1e-4, end=100.0, steps=61)
    ratios = np.divide(found.rates[1:], found.rates[:-1])
    np.testing.assert_allclose(ratios, 1e6 ** (1 / 60), rtol=1e-9)
    assert found.rates[0] == 1e-4
    assert 10 < len(found.rates) < 61
    assert found.smoothed[-1] > 4 * min(found.smoothed)
    assert len(found.rates) == len(found.losses) == len(found.smoothed)


def test_the_suggestion_learns() -> None:
    """A tenth of the rate where the loss was lowest: below what diverges, above what creeps."""
    model = line()
    lr = model.find_lr(X, Y).suggestion
    assert 0.005 < lr < 0.5  # the largest that converges is 2 / curvature, about 1
    before = model.evaluate(X, Y)
    model.optimizer.lr = lr
    model.fit(X, Y, epochs=20, verbose=0)
    assert model.evaluate(X, Y) < 0.01 * before  # type: ignore[operator]


def test_what_a_schedule_remembers_is_as_it_was() -> None:
    model = line(Adam(AdamAnnealing(0.05, every=2, growth=1.0)))
    model.fit(X, Y, epochs=2, verbose=0)
    before = dict(model.optimizer.shared)
    assert before["cut"] < 1
    model.find_lr(X, Y, steps=10)
    assert model.optimizer.shared == before
    model.fit(X, Y, verbose=0)


def test_the_suggestion_is_a_tenth_of_the_best_rate() -> None:
    assert RateSearch([0.1, 1.0, 10.0], [3, 1, 2], [3, 1.5, 2]).suggestion == pytest.approx(0.1)


@pytest.mark.parametrize("options", [{"seed": 3}, {"seed": None}])
def test_everything_is_as_it_was(options: dict[str, Any]) -> None:
    def trained(search: bool) -> list[Any]:
        minnet.seed(5)
        schedule = CosineDecay(0.05, 40)
        model = line(Adam(schedule), **options)
        model.fit(X, Y, epochs=2, verbose=0)
        optimizer = model.optimizer
        if search:
            model.find_lr(X, Y, steps=30)
            assert model.optimizer is optimizer
            assert (optimizer.iterations, optimizer.lr) == (8, schedule(8))
        history = model.fit(X, Y, epochs=2, verbose=0)
        return [*model.get_weights(), history.history["loss"]]

    for a, b in zip(trained(search=True), trained(search=False), strict=True):
        np.testing.assert_array_equal(a, b)


def test_masks_and_moving_statistics_are_as_they_were() -> None:
    def trained(search: bool) -> list[Any]:
        layers = [Dense(4, input_dim=4), BatchNormalization(), Dropout(0.5), Dense(1)]
        model = Sequential(layers, seed=0)
        model.compile("adam", "mse")
        if search:
            model.find_lr(X, Y, steps=20)
        model.fit(X, Y, epochs=2, verbose=0)
        return model.get_weights()

    for a, b in zip(trained(search=True), trained(search=False), strict=True):
        np.testing.assert_array_equal(a, b)


def test_everything_is_as_it_was_after_an_error() -> None:
    model = line()
    before, optimizer = model.get_weights(), model.optimizer
    with pytest.raises(NumberError, match="find_lr: expected a loss that stays finite for 5 steps"):
        model.find_lr(X * 1e18, Y * 1e18, start=1e3, end=1e5)
    assert model.optimizer is optimizer
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0}, "find_lr start: expected a finite number above 0, received 0"),
        ({"start": 1.0, "end": 0.1}, "find_lr: expected a start below the end, received 1 and 0.1"),
        ({"steps": 4}, "find_lr steps: expected a whole number >= 5, received 4"),
        ({"batch_size": 0}, "batch_size: "),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        line().find_lr(X, Y, **options)


def test_few_rows_and_decay() -> None:
    """One batch of all rows; the rates are those that are shown, whatever the decay."""
    model = line(SGD(0.1, decay=100.0))
    start = model.get_weights()[0]
    found = model.find_lr(X[:5], Y[:5], start=0.01, end=0.02, steps=5)
    plain = line(SGD(0.1))
    assert found.losses == plain.find_lr(X[:5], Y[:5], start=0.01, end=0.02, steps=5).losses
    assert model.optimizer.decay == 100
    np.testing.assert_array_equal(model.get_weights()[0], start)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_plot(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = line().find_lr(X, Y)
    path = tmp_path / f"search.{kind}"
    found.plot(path)
    starts = {"png": b"\x89PNG", "svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[kind])
    assert os.listdir(tmp_path) == [path.name]
    with pytest.raises(FileError, match="expected a place to write a picture"):
        found.plot(tmp_path / "nowhere" / "search.png")
