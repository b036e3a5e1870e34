"""ProgressBar: what ``fit`` prints."""

from __future__ import annotations

from typing import TextIO

from minnet.callbacks.base import Callback, Logs
from minnet.progress import Progress


class ProgressBar(Callback):
    """Keras's bar on a terminal; one line per epoch in a log file or where ``verbose`` is 2.

    ``fit`` makes one itself as its ``verbose`` says, unless it is given one. ``stream``: where to
    write, ``sys.stdout`` if None. ``unit``: what rows are, to be told how many of them a second
    takes: ``ProgressBar(unit="images")``.
    """

    def __init__(self, verbose: int = 1, stream: TextIO | None = None, unit: str = ""):
        self.verbose = verbose
        self._stream, self._unit = stream, unit
        self._progress: Progress | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        p = self.params
        total = p["samples"] if p["samples"] is not None else p["steps"]
        self._progress = Progress(total, p["epochs"], self.verbose, self._stream, unit=self._unit)
        if self._progress.live or self._unit:
            self.on_train_batch_end = self._draw  # type: ignore[method-assign]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        assert self._progress is not None
        self._progress.begin(epoch)

    def _draw(self, batch: int, logs: Logs) -> None:
        assert self._progress is not None
        self._progress.update(self._done(batch + 1), lambda: logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        assert self._progress is not None
        self._progress.end(logs)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def _done(self, batches: int) -> int:
        """Rows that are done where their number is known, else batches."""
        rows = self.params["samples"]
        return batches if rows is None else min(batches * self.params["batch_size"], rows)
