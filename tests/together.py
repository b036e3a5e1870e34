"""Threads of Python, for tests of what several of them do at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from minnet.program import Team


def together(work: Callable[[Any], None], arguments: Iterable[Any]) -> None:
    """Do the work for each of these arguments in a thread of its own; waits for all of them."""
    threads = [threading.Thread(target=work, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def team_taken() -> Iterator[None]:
    """Inside this block the kernels' threads work for another thread of Python."""
    taken, done = threading.Event(), threading.Event()

    def occupy() -> None:
        with Team.lock:
            taken.set()
            done.wait(60)

    other = threading.Thread(target=occupy)
    other.start()
    try:
        assert taken.wait(60)
        yield
    finally:
        done.set()
        other.join()
