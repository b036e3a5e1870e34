"""What training prints: a bar on a terminal or in a notebook, one line per epoch elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 30  # of the bar, in characters
INTERVAL = 0.1  # seconds between two drawings of the bar

Values = dict[str, float]


def format_values(values: Values) -> str:
    """' - loss: 0.6931 - accuracy: 0.5000'; small and huge numbers with an exponent."""
    texts = []
    for name, value in values.items():
        ordinary = value == 0 or 1e-3 <= abs(value) < 1e6
        texts.append(f" - {name}: {value:.4f}" if ordinary else f" - {name}: {value:.4e}")
    return "".join(texts)


def _is_notebook(stream: TextIO) -> bool:
    """Whether what is written appears under a notebook's cell, where a line can be redrawn."""
    return type(stream).__module__ == "ipykernel.iostream"


def format_time(seconds: float) -> str:
    """'3s', '1:05' or '2:01:05'."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def format_bar(done: int, rows: int) -> str:
    """' 320/1000 [=========>....................]'."""
    filled = WIDTH * done // rows
    bar = "=" * filled if done >= rows else f"{'=' * filled}>".ljust(WIDTH, ".")
    return f"{done:>{len(str(rows))}}/{rows} [{bar}]"


class Progress:
    """Writes what one call of ``fit`` does.

    ``rows``: in an epoch, or batches where rows are not known, or None. ``verbose``: 0 is silent, 1
    draws a bar on a terminal or in a notebook, 2 always writes one line per epoch, as 1 does
    elsewhere. ``clock``: gives seconds. ``unit``: what rows are; with it, how many were done in a
    second is written too.
    """

    def __init__(
        self,
        rows: int | None,
        epochs: int,
        verbose: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
        unit: str = "",
    ):
        self._rows = rows
        self._epochs = epochs
        self._stream = sys.stdout if stream is None else stream
        # A program without a terminal may have None for its stdout.
        self._silent = verbose == 0 or self._stream is None
        #: Whether there is a bar, and so anything to do within an epoch.
        self.live = (
            verbose == 1
            and not self._silent
            and (self._stream.isatty() or _is_notebook(self._stream))
        )
        self._clock = clock
        self._unit = unit
        self._heading = ""
        self._began = self._next = 0.0
        self._before = self._done = 0
        self._last = 0.0  # when the latest rows were done
        self._drawn = 0  # characters of the unfinished line

    def begin(self, epoch: int, heading: str = "", done: int = 0) -> None:
        """Start an epoch, counted from 0; ``heading``: instead of its number.

        ``done``: rows that took no time now, as they were done before.
        """
        self._heading = heading or f"Epoch {epoch + 1}/{self._epochs}"
        self._before = self._done = done
        self._began = self._clock()
        self._last, self._next = self._began, self._began + INTERVAL
        if self.live:
            self._write(f"{self._heading}\n")

    def update(self, done: int, values: Callable[[], Values]) -> None:
        """So many rows of this epoch are done; draws only when it is time to, if there is a bar."""
        now = self._clock()
        self._done, self._last = done, now
        if not self.live or now < self._next:
            return
        self._next = now + INTERVAL
        took = now - self._began
        if self._rows is None:
            line = f"{done}/? - {format_time(took)}"
        else:
            left = took / max(done - self._before, 1) * (self._rows - done)
            line = f"{format_bar(done, self._rows)} - ETA: {format_time(left)}"
        line += self._rate() + format_values(values())
        # A line that wraps could not be drawn over.
        self._redraw(line[: shutil.get_terminal_size().columns - 1])

    def end(self, values: Values) -> None:
        """Finish the epoch's line with these values."""
        if self._silent:
            return
        took = self._clock() - self._began
        line = f" - {format_time(took)}{self._rate()}{format_values(values)}"
        if self.live:
            rows = self._rows
            done = f"{self._done}/{self._done}" if rows is None else format_bar(rows, rows)
            self._redraw(done + line)
            self.close()
        else:
            self._write(f"{self._heading}{line}\n")

    def close(self) -> None:
        """Leave an unfinished line, so that what follows starts on its own."""
        if self._drawn:
            self._write("\n")
            self._drawn = 0

    def _rate(self) -> str:
        """Of the rows alone, without what comes after the last one."""
        rate = (self._done - self._before) / max(self._last - self._began, 1e-9)
        return f" - {rate:.1f} {self._unit}/s" if self._unit else ""

    def _redraw(self, line: str) -> None:
        self._write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
