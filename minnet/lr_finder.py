"""Which learning rate to begin with: train for a moment with one that grows, and look at the loss.

The range test of Smith 2017 ("Cyclical learning rates for training neural networks", section 3.3),
with a rate that grows by the same factor each step.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from minnet import random
from minnet.checks import positive, whole
from minnet.errors import ArgumentError, NumberError, mismatch
from minnet.files import PathLike
from minnet.optimizers import Optimizer
from minnet.plots import new_figure, save_figure
from minnet.tensor import Array
from minnet.training import train_step

if TYPE_CHECKING:
    from minnet.model import Model

SMOOTHING = 0.9  # of the losses' running mean: about the last ten steps count
HOPELESS = 3.0  # times the smallest loss so far above it: the search has seen enough
FEWEST = 5  # steps that a suggestion needs


@dataclass
class RateSearch:
    """What :func:`find_lr` saw: ``rates`` and ``losses``, one for each step, and ``smoothed``, the
    running mean of the losses.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate at which the running mean was lowest: there the loss still fell."""
        return self.rates[int(np.argmin(self.smoothed))] / 10

    def plot(self, path: PathLike) -> None:
        """Draw loss against rate into a file: PNG, SVG or PDF, by the name's ending.

        Needs matplotlib: ``pip install "minnet[plots]"``.

        Raises :class:`~minnet.errors.MissingDependencyError` without it,
        :class:`~minnet.errors.ArgumentError` for another ending, and
        :class:`~minnet.errors.FileError` where there is no place for the file.
        """
        figure = new_figure("plotting a search for a learning rate", 7, 4)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, color="0.8", label="loss of a batch")
        axes.plot(self.rates, self.smoothed, color="tab:blue", label="running mean")
        chosen = self.suggestion
        axes.axvline(chosen, color="tab:red", linestyle="--", label=f"suggestion: {chosen:.2g}")
        low, middle = min(self.smoothed), float(np.median(self.smoothed))
        high = min(max(self.smoothed), middle + 2 * (middle - low))  # where it diverges it is cut
        room = (high - low) / 10
        axes.set(
            xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - room, high + room)
        )
        axes.legend()
        save_figure(figure, path)


def find_lr(
    model: Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
) -> RateSearch:
    """See :meth:`minnet.model.Model.find_lr`."""
    start, end = positive("find_lr start", start), positive("find_lr end", end)
    steps, batch_size = whole("find_lr steps", steps, FEWEST), whole("batch_size", batch_size, 1)
    if start >= end:
        raise ArgumentError(mismatch("find_lr", "a start below the end", f"{start:g} and {end:g}"))
    inputs, targets = model.prepare(x, y)
    found = RateSearch([], [], [])
    mean = 0.0
    rng = model._rng or random.generator()
    batches = _batches(len(inputs), batch_size, rng)
    with _as_it_was(model, rng), np.errstate(over="ignore", invalid="ignore"):
        model.optimizer = _fresh(model.optimizer, start)
        for step, rows in enumerate(itertools.islice(batches, steps), 1):
            rate = start * (end / start) ** ((step - 1) / (steps - 1))
            model.optimizer.lr = rate
            try:
                loss = train_step(model, inputs.take(rows, 0), targets.take(rows, 0))[0]
            except NumberError:  # too large a rate has made it diverge
                break
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            found.rates.append(rate)
            found.losses.append(loss)
            found.smoothed.append(mean / (1 - SMOOTHING**step))
            best = min(found.smoothed)
            if found.smoothed[-1] - best > HOPELESS * abs(best):
                break
    if len(found.rates) < FEWEST:
        expected = f"a loss that stays finite for {FEWEST} steps at least"
        received = f"{len(found.rates)}"
        advice = f"Begin with a smaller rate than start={start:g}, or check the data's scale."
        raise NumberError(mismatch("find_lr", expected, received, advice))
    return found


def _batches(rows: int, size: int, rng: np.random.Generator) -> Iterator[Array]:
    """Numbers of rows in a new order each time round; all batches are of one size, as the losses
    of smaller ones would be noisier.
    """
    while True:
        order = rng.permutation(rows)
        for first in range(0, max(rows - size, 0) + 1, size):
            yield order[first : first + size]


@contextmanager
def _as_it_was(model: Model, rng: np.random.Generator) -> Iterator[None]:
    """Afterwards weights, optimizer and random numbers are what they were, whatever happened."""
    weights, optimizer = model.get_weights(), model.optimizer
    numbers = rng.bit_generator.state
    try:
        yield
    finally:
        model.optimizer = optimizer
        model.set_weights(weights)
        rng.bit_generator.state = numbers


def _fresh(optimizer: Optimizer, lr: float) -> Optimizer:
    """An optimizer of the same settings, which remembers nothing and leaves the rate alone."""
    twin = copy.copy(optimizer)
    twin.reset()  # first: until then it remembers in the same dictionaries
    twin.lr, twin.decay = lr, 0.0
    return twin
