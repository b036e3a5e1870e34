"""Changing the learning rate while training goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from minnet.callbacks.base import Callback, Logs
from minnet.callbacks.monitor import Monitor
from minnet.checks import fraction, not_negative, positive, whole

#: What the rate is called in the history.
RATE = "lr"


class LearningRateScheduler(Callback):
    """Sets the rate before each epoch to ``schedule(epoch, lr)``, given the epoch, from 0, and the
    rate so far; a function of the epoch alone will do. The history then has the rates as 'lr'.

    For a rate that changes with every step see :mod:`minnet.schedules`.

    Raises :class:`~minnet.errors.ArgumentError` for a rate that is not a finite number above 0.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        self.schedule = schedule
        self.verbose = verbose
        self._applied: int | None = None
        self._takes_rate = _takes_two(schedule)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._applied = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch == self._applied:  # resumed in its middle: the rate is set already
            return
        optimizer = self.model.optimizer
        arguments = (epoch, optimizer.lr) if self._takes_rate else (epoch,)
        where = "the rate of LearningRateScheduler's schedule"
        optimizer.lr = positive(where, self.schedule(*arguments))
        self._applied = epoch
        if self.verbose:
            print(f"LearningRateScheduler: epoch {epoch + 1} has lr = {optimizer.lr:g}")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        logs[RATE] = float(self.model.optimizer.lr)

    def state(self) -> dict[str, Any]:
        return {"applied": self._applied}

    def load_state(self, state: dict[str, Any]) -> None:
        self._applied = state["applied"]


class ReduceLROnPlateau(Callback):
    """Multiplies the rate by ``factor`` when a number has not got better for ``patience`` epochs.

    ``monitor``, ``mode``, ``min_delta``: see :class:`~minnet.callbacks.monitor.Monitor`.
    ``cooldown``: epochs to wait after a reduction before counting again. ``min_lr``: the least
    rate. The history has the rates as 'lr'. A schedule of the optimizer is scaled as a whole.

    Raises :class:`~minnet.errors.ArgumentError` for numbers out of range and, after the first
    epoch, for a number that nobody logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        kind = type(self).__name__
        self._monitor = Monitor(kind, monitor, mode, min_delta)
        self.factor = positive(f"{kind} factor", fraction(f"{kind} factor", factor))
        self.patience = whole(f"{kind} patience", patience, 0)
        self.cooldown = whole(f"{kind} cooldown", cooldown, 0)
        self.min_lr = not_negative(f"{kind} min_lr", min_lr)
        self.verbose = verbose
        self._reset()

    def _reset(self) -> None:
        self.best = self._monitor.worst
        self.wait = self._cooling = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        optimizer = self.model.optimizer
        # The rate that this epoch was trained with, before it is changed for the next.
        logs[RATE] = float(optimizer.lr)
        value = self._monitor.value(logs)
        if self._cooling:
            self._cooling -= 1
            self.wait = 0
        if self._monitor.is_better(value, self.best):
            self.best, self.wait = value, 0
        elif not self._cooling:
            self.wait += 1
            if self.wait >= self.patience and optimizer.base_lr > self.min_lr:
                optimizer.base_lr = max(optimizer.base_lr * self.factor, self.min_lr)
                self._cooling, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"ReduceLROnPlateau: lr = {optimizer.lr:g} after epoch {epoch + 1}")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "wait": self.wait, "cooling": self._cooling}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self.wait, self._cooling = state["best"], state["wait"], state["cooling"]


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a schedule wants the rate so far as well."""
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True
