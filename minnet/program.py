"""Calculations written down once and done again: what makes the steps of small networks fast.

Of a step of a small network, most of the time goes into finding out what to do: checking shapes,
choosing algorithms, remembering what the backward pass needs. The next step, on data of the same
shapes, will come to the same conclusions. So one step is *written down* as a :class:`Program`, the
list of its calculations on its arrays (CUDA's graphs do the same with what a GPU is sent). Doing
the list again, after new numbers have been put into the arrays it starts from, is the next step.

For this every calculation must go through :func:`run`, or be a kernel, and write into an array that
it is given. Operations that keep to that say so (``Operation.replays``). Everything else refuses
the program: then steps are worked out anew each time, as those of large networks are, for which it
makes no difference.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minnet.tensor import Array, Tensor

#: Bytes of all arrays, which live as long as the program. Steps that need more take so long that
#: there is nothing to be gained.
MOST = 1 << 26


class _Writing(threading.local):
    """The program that this thread is writing, if any."""

    program: Program | None = None


WRITING = _Writing()


class Team:
    """Numba's threads, which work for one thread of Python at a time."""

    lock = threading.Lock()


def run(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Do a calculation that writes into one of its arguments, and write it down if need be."""
    function(*arguments, **options)
    if WRITING.program is not None:
        WRITING.program.note(
            functools.partial(function, **{name: _view(x) for name, x in options.items()}),
            tuple(map(_view, arguments)),
        )


def vouched(tensor: Tensor) -> Tensor:
    """The tensor, whose numbers were calculated by :func:`run` and not by an operation."""
    if WRITING.program is not None:
        WRITING.program.leave(tensor)
    return tensor


def _view(x: Any) -> Any:
    """What the engine remembers it locks, but an array will be written to again."""
    return x[...] if type(x) is np.ndarray else x


class Program:
    """The calculations of a step. It starts from the numbers of these ``leaves``, which nobody else
    may use: inputs, targets and the parameters that are trained."""

    def __init__(self, leaves: Sequence[Tensor]):
        #: Why this is no program after all; None if it is one.
        self.refusal: str | None = None
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._counters: list[Array] = []
        self._known = {id(leaf): leaf for leaf in leaves}
        self._used: set[int] = set()
        self._owners: dict[int, Array] = {}
        self._bytes = 0

    # -- writing ---------------------------------------------------------------------------------

    def note(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """One more calculation."""
        if self.refusal is not None:
            return
        self._calls.append((function, arguments))
        for x in arguments:
            if type(x) is np.ndarray:
                self._own(x)

    def count(self, counters: Array) -> None:
        """Counters that a kernel finds at zero."""
        self._counters.append(counters)

    def _own(self, array: Array) -> None:
        while isinstance(array.base, np.ndarray):
            array = array.base
        if id(array) not in self._owners:
            self._owners[id(array)] = array
            self._bytes += array.nbytes
            if self._bytes > MOST:
                self.refuse("it needs too much memory")

    def enter(self, op: Any, inputs: tuple[Any, ...]) -> None:
        """An operation is about to be applied.

        All numbers must follow from the leaves by calculations that are written down. And no
        tensor may be used twice: its gradients would be added up where nobody writes it down.
        """
        if self.refusal is not None:
            return
        if not op.replays:
            self.refuse(f"operation {op.name!r} cannot be written down")
        for x in inputs:
            if id(x) not in self._known:
                self.refuse(f"operation {op.name!r} is given a constant")
            elif x.requires_grad:
                if id(x) in self._used:
                    self.refuse(f"{op.name!r} uses what another operation uses, too")
                self._used.add(id(x))

    def leave(self, out: Tensor) -> None:
        """An operation has given this."""
        self._known[id(out)] = out
        if not out._data.flags.c_contiguous:
            self.refuse("an operation gives what is not in one piece")

    def refuse(self, reason: str) -> None:
        """Give up; what is kept is let go."""
        self.refusal = self.refusal or reason
        self._calls, self._counters, self._owners, self._known = [], [], {}, {}

    def close(self) -> None:
        """All is written down."""
        self._known, self._owners = {}, {}

    # -- doing it again --------------------------------------------------------------------------

    def play(self) -> None:
        """Do all calculations again; for the holder of ``Team.lock``."""
        for counters in self._counters:
            counters.fill(0)
        for function, arguments in self._calls:
            function(*arguments)

    def __len__(self) -> int:
        return len(self._calls)


@contextmanager
def writing(program: Program) -> Iterator[None]:
    """Inside this block what this thread calculates is written down."""
    WRITING.program = program
    try:
        yield
    finally:
        WRITING.program = None
        program.close()
