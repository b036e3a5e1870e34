"""Ctrl-C between steps, never in the middle of one: half an update is no model."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StepGuard:
    """Inside ``with``, a Ctrl-C that comes while ``in_step`` is True is put off.

    Whoever runs the steps asks ``pending`` after each and raises ``KeyboardInterrupt`` then; a
    second Ctrl-C does not wait. At all other times it is raised at once. Only Python's own handler
    is replaced, and only in the main thread, where signals arrive.
    """

    def __init__(self) -> None:
        self.in_step = False
        self.pending = False
        self._replaced = False

    def __enter__(self) -> StepGuard:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._replaced = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._replaced:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.in_step and not self.pending:
            self.pending = True
        else:
            signal.default_int_handler(number, frame)
