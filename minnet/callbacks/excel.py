"""ExcelLogger: training as a workbook."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy.typing as npt

from minnet.callbacks.base import Callback, Logs
from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike, require_new, workbook_name


class ExcelLogger(Callback):
    """A workbook of the losses and metrics of all epochs, with charts, written anew after each.

    ``live``: a few rows of data, ``(x, y)``; before the first step of each of ``live_epochs``
    (counted from 1, as in the workbook) a training step on them is exported as well, as
    :func:`minnet.export_xlsx` does it: a book of live formulas named after this one,
    'training epoch 1.xlsx', with the weights of that moment. ``options``: for that export. What is
    exported does not change training.

    Raises :class:`~minnet.errors.ArgumentError` where only one of ``live`` and ``live_epochs`` is
    given, or a name that does not end in .xlsx, :class:`~minnet.errors.FileError` where no file
    can be written, and what the export raises.
    """

    def __init__(
        self,
        path: PathLike = "training.xlsx",
        live: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
        live_epochs: Collection[int] = (),
        **options: Any,
    ):
        if (live is None) != (not live_epochs):
            expected = "live rows (x, y) and live_epochs, or neither"
            raise ArgumentError(mismatch("ExcelLogger", expected, "one of them"))
        self.path = workbook_name("ExcelLogger", path)
        self._live, self._live_epochs, self._options = live, frozenset(live_epochs), options
        self._rows: list[dict[str, float]] = []

    def live_path(self, epoch: int) -> Path:
        """Where the step before an epoch, counted from 1, goes."""
        return self.path.with_name(f"{self.path.stem} epoch {epoch}{self.path.suffix}")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._rows = []
        require_new(self.path, force=True)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self._live is not None and epoch + 1 in self._live_epochs:
            self.model.export_xlsx(*self._live, self.live_path(epoch + 1), **self._options)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        # Imported against the flow, as by Model.export_xlsx, and not before it is needed.
        from minnet.spreadsheet.curves import write_curves

        self._rows.append({"epoch": epoch + 1, **logs})
        live = {n: self.live_path(n).name for n in self._live_epochs}
        write_curves(self.path, f"minnet: {self.model.name}", self._rows, live)

    def state(self) -> dict[str, Any]:
        return {"rows": [dict(row) for row in self._rows]}

    def load_state(self, state: dict[str, Any]) -> None:
        self._rows = [dict(row) for row in state["rows"]]
