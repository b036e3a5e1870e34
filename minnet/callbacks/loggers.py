"""Callbacks that note the logs somewhere: a CSV file, TensorBoard, functions of one's own."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minnet.callbacks.base import Callback, Logs
from minnet.checks import whole
from minnet.errors import ArgumentError, FileError, mismatch, missing, unknown_name
from minnet.files import PathLike, replacing, require_new


class CSVLogger(Callback):
    """A row for each epoch: 'epoch', from 0, and what is logged.

    ``append``: go on in a file that is there, as when training is resumed: rows of epochs that are
    trained again, and a last line without its end, are dropped. The file is replaced as a whole
    after each epoch: it never holds half a row. Its columns are those of the first epoch, numbers
    are written in full.

    Raises :class:`~minnet.errors.FileError` where the file cannot be read or written and
    :class:`~minnet.errors.ArgumentError` where its columns, or what is logged, are others.
    """

    def __init__(self, filename: PathLike, separator: str = ",", append: bool = False):
        self.path = Path(filename)
        self.append = append
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            expected = "one character, no quote and no end of a line"
            raise ArgumentError(mismatch("CSVLogger separator", expected, repr(separator)))
        self._separator = separator
        self._columns: list[str] | None = None
        self._rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._columns, self._rows = None, []
        require_new(self.path, force=True)
        if self.append and self.path.exists():
            self._read()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        columns = ["epoch", *logs]
        if self._columns is None:
            self._columns = columns
        if sorted(columns) != sorted(self._columns):
            where, expected = f"CSVLogger {self.path}", f"the columns {', '.join(self._columns)}"
            raise ArgumentError(mismatch(where, expected, ", ".join(columns)))
        self._rows = [row for row in self._rows if int(row["epoch"]) < epoch]
        self._rows.append({"epoch": epoch, **logs})
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, delimiter=self._separator, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        with replacing(self.path, "a log") as file:
            file.write_text(text.getvalue(), encoding="utf-8")

    def state(self) -> dict[str, Any]:
        return {"columns": self._columns, "rows": [dict(row) for row in self._rows]}

    def load_state(self, state: dict[str, Any]) -> None:
        self._columns, self._rows = state["columns"], [dict(row) for row in state["rows"]]

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            expected, received = "a log to go on with", str(error)
            raise FileError(mismatch(f"CSVLogger {self.path}", expected, received)) from None
        whole_lines = text[: text.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(whole_lines), delimiter=self._separator)
        columns = list(reader.fieldnames or ())
        if not columns:
            return
        rows = list(reader)
        if "epoch" not in columns or not all(str(row["epoch"]).isdecimal() for row in rows):
            expected = "a column 'epoch' of whole numbers"
            received = ", ".join(columns)
            raise FileError(mismatch(f"CSVLogger {self.path}", expected, received))
        longer = next((row["epoch"] for row in rows if None in row), None)
        if longer is not None:
            where, expected = f"CSVLogger {self.path}, epoch {longer}", f"{len(columns)} columns"
            raise FileError(mismatch(where, expected, "more"))
        self._columns, self._rows = columns, rows


class TensorBoard(Callback):
    """Scalars for TensorBoard: losses and metrics by epoch, and by step where asked for.

    Training's go to ``log_dir``/train, validation's to ``log_dir``/validation under the same name,
    so that TensorBoard draws them into one chart. ``update_freq``: 'epoch', or a number of steps:
    each so many steps the means of the epoch so far are written as 'batch_<name>' too.

    Written by tensorboardX, an optional package.

    Raises :class:`~minnet.errors.MissingDependencyError` without it, when it is made, and
    :class:`~minnet.errors.FileError` where logs cannot be written.
    """

    def __init__(self, log_dir: PathLike = "logs", update_freq: int | str = "epoch"):
        _summary_writer()
        self.log_dir = os.fspath(log_dir)
        self._writers: dict[str, Any] = {}
        self._every: int | None = None
        self._step = 0
        if update_freq != "epoch":
            self._every = whole("TensorBoard update_freq, if not 'epoch',", update_freq, 1)
            self.on_train_batch_end = self._after_step  # type: ignore[method-assign]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._step = 0

    def _after_step(self, batch: int, logs: Logs) -> None:
        self._step += 1
        if self._step % (self._every or 1) == 0:
            for name, value in logs.items():
                self._writer("train").add_scalar(f"batch_{name}", value, self._step)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        for name, value in logs.items():
            run = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            self._writer(run).add_scalar(tag, value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def state(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state(self, state: dict[str, Any]) -> None:
        self._step = state["step"]

    def _writer(self, run: str) -> Any:
        if run not in self._writers:
            try:
                self._writers[run] = _summary_writer()(os.path.join(self.log_dir, run))
            except OSError as error:
                where, expected = f"TensorBoard {self.log_dir}", "a directory to write logs to"
                raise FileError(mismatch(where, expected, f"{error.strerror or error}")) from None
        return self._writers[run]


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise missing("tensorboardX", "tensorboard", "The callback TensorBoard") from None
    return SummaryWriter


class LambdaCallback(Callback):
    """A callback from functions: ``LambdaCallback(on_epoch_end=lambda epoch, logs: …)``.

    Raises :class:`~minnet.errors.ArgumentError` for a name that is no method of
    :class:`Callback` that is called during training.
    """

    def __init__(self, **functions: Callable[..., Any]):
        known = [name for name in vars(Callback) if name.startswith("on_")]
        for name, function in functions.items():
            if name not in known:
                raise unknown_name("method of a callback", name, known)
            setattr(self, name, function)
