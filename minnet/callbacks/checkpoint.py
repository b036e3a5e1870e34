"""ModelCheckpoint: the model, or its weights, on the disk while training goes on."""

from __future__ import annotations

import os
from typing import Any

from minnet.callbacks.base import Callback, Logs
from minnet.callbacks.monitor import Monitor
from minnet.checks import whole
from minnet.errors import ArgumentError, mismatch
from minnet.files import require_new
from minnet.saving import require_savable
from minnet.weights.formats import format_of


class ModelCheckpoint(Callback):
    """Saves after each epoch, after every so many steps, or whenever a number is the best so far.

    ``filepath``: may have fields for the epoch, counted from 1, and for what is logged:
    ``"weights-{epoch:02d}-{val_loss:.3f}.safetensors"``; without, each file takes the place of
    the one before, in one step. ``save_weights_only``: ``model.save_weights`` instead of
    ``model.save``; the ending of the name then decides the format. ``save_best_only``: only where
    ``monitor`` is better than ever (see :class:`~minnet.callbacks.monitor.Monitor`), beginning
    from ``initial_value_threshold`` if given. ``save_freq``: 'epoch', or a number of steps; the
    logs are then the means of the epoch so far.

    Raises :class:`~minnet.errors.ArgumentError` for arguments out of range, a field that nobody
    logs, or a ``monitor`` that nobody logs, and :class:`~minnet.errors.FileError` where a file
    cannot be written.
    """

    # What it writes is what all other callbacks have left.
    after_others = True

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
    ):
        self.filepath = os.fspath(filepath)
        self._monitor = Monitor("ModelCheckpoint", monitor, mode)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self._threshold = initial_value_threshold
        self._every: int | None = None
        if save_freq != "epoch":
            self._every = whole("ModelCheckpoint save_freq, if not 'epoch',", save_freq, 1)
            self.on_train_batch_end = self._after_step  # type: ignore[method-assign]
        self._reset()

    def _reset(self) -> None:
        self.best = self._monitor.worst if self._threshold is None else self._threshold
        self._steps = self._epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()
        # What cannot be written is an error now, not after an epoch.
        if self.save_weights_only:
            format_of(self.filepath)
        else:
            require_savable(self.filepath)
        if "{" not in os.path.dirname(self.filepath):
            require_new(self.filepath, force=True)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        if self._every is None:
            self._save(epoch, logs)

    def _after_step(self, batch: int, logs: Logs) -> None:
        self._steps += 1
        if self._steps == self._every:
            self._steps = 0
            self._save(self._epoch, logs)

    def _save(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = self._monitor.value(logs)
            if not self._monitor.is_better(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(**{**logs, "epoch": epoch + 1})
        except (KeyError, IndexError, ValueError) as error:
            expected = f"fields among epoch, {', '.join(logs)}"
            where = f"ModelCheckpoint filepath {self.filepath!r}"
            raise ArgumentError(mismatch(where, expected, str(error))) from None
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        if self.verbose:
            print(f"ModelCheckpoint: epoch {epoch + 1} saved as {path}")

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.best, self._steps = state["best"], state["steps"]
