"""History: what a ``fit`` has measured."""

from __future__ import annotations

from typing import Any

from minnet.callbacks.base import Callback, Logs


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

    def __repr__(self) -> str:
        return f"History({len(self.epoch)} epochs of {', '.join(self.history) or 'nothing'})"
