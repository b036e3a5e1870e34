"""EarlyStopping: no more epochs than help."""

from __future__ import annotations

from typing import Any

from minnet.callbacks.base import Callback, Logs
from minnet.callbacks.monitor import Monitor
from minnet.checks import whole


class EarlyStopping(Callback):
    """Ends training when a number has not become better for ``patience`` epochs.

    ``monitor``, ``min_delta``, ``mode``: see :class:`~minnet.callbacks.monitor.Monitor`.
    ``baseline``: a number that the best one must beat to begin with. ``restore_best_weights``: give
    the model the weights of its best epoch, however many followed it. ``start_from_epoch``: look
    only from this epoch on. ``verbose``: 1 says when it stops.

    ``best`` and ``best_epoch`` say what it has seen, ``stopped_epoch`` the epoch after which it
    stopped, or None.

    Raises :class:`~minnet.errors.ArgumentError` for numbers out of range and, after the first
    epoch, for a number that nobody logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        self._monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        self.patience = whole("EarlyStopping patience", patience, 0)
        self.start_from_epoch = whole("EarlyStopping start_from_epoch", start_from_epoch, 0)
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self._reset()

    def _reset(self) -> None:
        self.wait = 0
        self.best = self._monitor.worst
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._best_weights: list[Any] | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        value = self._monitor.value(logs)
        if epoch < self.start_from_epoch:
            return
        self.wait += 1
        # As in Keras: the best one is kept even where it does not beat the baseline.
        if self._monitor.is_better(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self._best_weights = self.model.get_weights()
            if self.baseline is None or self._monitor.is_better(value, self.baseline):
                self.wait = 0
        if self.wait and self.wait >= self.patience:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._best_weights is not None:
            self.model.set_weights(self._best_weights)
        if self.verbose and self.stopped_epoch is not None:
            best = f"best {self._monitor.name}: {self.best:g}"
            print(f"EarlyStopping: stopped after epoch {self.stopped_epoch + 1}; {best}")

    def state(self) -> dict[str, Any]:
        weights = self._best_weights or []
        return {
            "wait": self.wait,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            **{f"weights/{i}": array for i, array in enumerate(weights)},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.wait, self.best = state["wait"], state["best"]
        self.best_epoch, self.stopped_epoch = state["best_epoch"], state["stopped_epoch"]
        count = sum(key.startswith("weights/") for key in state)
        self._best_weights = [state[f"weights/{i}"] for i in range(count)] or None
