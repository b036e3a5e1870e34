"""History: what a ``fit`` has measured."""

from __future__ import annotations

from typing import Any

from minnet.callbacks.base import Callback, Logs
from minnet.callbacks.curves import draw
from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike


class History(Callback):
    """The numbers of each finished epoch; every ``fit`` makes one and gives it back.

    ``history``: for 'loss', each metric and their 'val_' companions, one number per epoch.
    ``epoch``: the epochs' numbers from 0. ``params``: how ``fit`` was called.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.epoch.append(epoch)
        for name, value in logs.items():
            self.history.setdefault(name, []).append(value)

    def state(self) -> dict[str, Any]:
        return {"history": {k: list(v) for k, v in self.history.items()}, "epoch": list(self.epoch)}

    def load_state(self, state: dict[str, Any]) -> None:
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.epoch = list(state["epoch"])

    def plot(self, path: PathLike) -> None:
        """Draw the curves into a file, PNG, SVG or PDF by the name's ending: a chart for each
        number that was measured, validation beside training, the best epoch marked.

        Needs matplotlib: ``pip install "minnet[plots]"``.

        Raises :class:`~minnet.errors.MissingDependencyError` without it,
        :class:`~minnet.errors.ArgumentError` where there is no epoch yet or for another ending,
        and :class:`~minnet.errors.FileError` where there is no place for the file.
        """
        if not self.epoch:
            raise ArgumentError(mismatch("History.plot", "at least one finished epoch", "none"))
        draw(self.epoch, self.history, path)

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs of {', '.join(self.history) or 'nothing'})"
