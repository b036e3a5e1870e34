"""Calculations written down once and done again: what makes the steps of small networks fast.

Of a step of a small network, most of the time goes into finding out what to do: checking shapes,
choosing algorithms, remembering what the backward pass needs. The next step, on data of the same
shapes, will come to the same conclusions. So one step is *written down* as a :class:`Program`, the
list of its calculations on its arrays (CUDA's graphs do the same with what a GPU is sent). Doing
the list again, after new numbers have been put into the arrays it starts from, is the next step.

A calculation is a kernel, which writes into arrays that it is given, or another function that does
so (:func:`run`), or one whose result is copied to where it was the first time (:func:`worked_out`).
Operations that have kernels say so (``Operation.replays``); all others are worked out as a whole.

A program has a pool of blocks of memory for itself. As always, a block is used again when the array
that had it has died; so it is each time the program is done, for calculations have an order. Here a
block may be much larger than what it is used for. That makes a program little larger than what it
needs at once, and what it writes to next is in the cache.
"""

from __future__ import annotations

import math
import operator
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minnet.kernels.memory import CHOSEN, COMMON, Block, Pool, owner_of
from minnet.tensor import Array, Tensor

#: Bytes of all memory that lives as long as the program. Steps that need more take so long that
#: there is nothing to be gained.
MOST = 1 << 26


class _Writing(threading.local):
    """The program that this thread is writing, if any."""

    program: Program | None = None


WRITING = _Writing()


class Team:
    """Numba's threads, which work for one thread of Python at a time.

    Who does a program again has them all the while, and for the kernels that functions call in it.
    """

    lock = threading.RLock()


def run(function: Callable[..., Any], target: Any, *arguments: Any) -> None:
    """Do a calculation that writes into its first argument alone; write it down if need be."""
    function(target, *arguments)
    if WRITING.program is not None:
        WRITING.program.note(function, (_view(target), *map(_locked, arguments)))


@contextmanager
def paused() -> Iterator[None]:
    """What is done in this block is no business of the program's."""
    program, pool = WRITING.program, CHOSEN.pool
    WRITING.program, CHOSEN.pool = None, COMMON
    try:
        yield
    finally:
        WRITING.program, CHOSEN.pool = program, pool


def worked_out(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of arrays gives: an array, or several, or some of them None.

    It is called again each time, with the same arrays, in which there are other numbers then. Where
    a program is written, single numbers that it gives become arrays.
    """
    program = WRITING.program
    if program is None:
        return function(*arguments)
    with paused():
        found = function(*arguments)
    result, targets = _settled(found, [a for a in arguments if isinstance(a, np.ndarray)])
    if type(targets) is np.ndarray:
        program.note(_copy_again, (function, arguments, targets))
    elif targets is not None or not _gives_views(function):
        program.note(_do_again, (function, arguments, targets))
    return result


def _gives_views(function: Callable[..., Any]) -> bool:
    """Whether all that it does is moving elements: where it gave a view, that is all done."""
    return bool(getattr(getattr(function, "__self__", None), "view", False))


def _settled(found: Any, given: list[Array]) -> tuple[Any, Any]:
    """The result in arrays of its own, and the same for writing; None for views of what was given,
    which need not be written to."""
    if isinstance(found, (tuple, list)):
        results, targets = zip(*[_settled(part, given) for part in found], strict=True)
        return tuple(results), tuple(targets)
    if found is None or any(np.may_share_memory(found, a) for a in given):
        return found, None
    result = np.array(found)
    return result, _view(result)


def _copy_again(function: Callable[..., Any], arguments: tuple[Any, ...], target: Array) -> None:
    target[...] = function(*arguments)


def _do_again(function: Callable[..., Any], arguments: tuple[Any, ...], targets: Any) -> None:
    _put(function(*arguments), targets)


def _put(result: Any, target: Any) -> None:
    if isinstance(target, tuple):
        for part, place in zip(result, target, strict=True):
            _put(part, place)
    elif target is not None:
        target[...] = result


def vouched(tensor: Tensor) -> Tensor:
    """The tensor, whose numbers were :func:`worked_out`, and not calculated by an operation."""
    if WRITING.program is not None:
        WRITING.program.leave(tensor)
    return tensor


def _view(x: Any) -> Any:
    """What the engine remembers it locks, but an array will be written to again."""
    return x[...] if type(x) is np.ndarray else x


def _locked(x: Any) -> Any:
    """What is only read, as such."""
    view = _view(x)
    if type(view) is np.ndarray:
        view.flags.writeable = False
    return view


class _Blocks(Pool):
    """A program's memory.

    A block that a calculation has written to is used again: it will be written to each time. What
    calculations only read must stay as it is.
    """

    def __init__(self) -> None:
        super().__init__(waste=math.inf, slack=math.inf)
        self.written: set[int] = set()  # by identity; the program has them

    def put(self, raw: Array) -> None:
        if id(raw) in self.written:
            super().put(raw)

    def lent(self, array: Array, block: Block) -> Array:
        """The same array, whose life does not keep the block from being used again."""
        if array.flags.writeable:
            self.written.add(id(block.raw))
        start = block.raw.__array_interface__["data"][0]
        offset = array.__array_interface__["data"][0] - start
        same: Array = np.ndarray(array.shape, array.dtype, block.raw, offset, array.strides)
        same.flags.writeable = array.flags.writeable
        return same


class Program:
    """The calculations of a step. It starts from the numbers of these ``leaves``, which nobody else
    may write to while it is done: inputs, targets and parameters."""

    def __init__(self, leaves: Sequence[Tensor]):
        #: Why this is no program after all; None if it is one.
        self.refusal: str | None = None
        self.blocks = _Blocks()
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._counters: list[Array] = []
        self._known = {id(leaf): weakref.ref(leaf) for leaf in leaves}
        self._used: set[int] = set()
        self._owners = {id(array): array for array in (owner_of(leaf._data) for leaf in leaves)}
        self._bytes = 0

    # -- writing ---------------------------------------------------------------------------------

    def note(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """One more calculation."""
        if self.refusal is None:
            self._calls.append((function, self._kept(arguments)))

    def count(self, counters: Array) -> None:
        """Counters that a kernel finds at zero."""
        self._counters.append(counters)

    def _kept(self, x: Any) -> Any:
        """What a calculation is given, as the program keeps it."""
        if isinstance(x, tuple):
            parts = [self._kept(part) for part in x]
            same = all(map(operator.is_, parts, x))
            return x if same else getattr(type(x), "_make", tuple)(parts)
        if isinstance(x, np.ndarray):
            owner = owner_of(x)
            if not isinstance(owner, Block):
                self._has(owner)
            elif owner.pool is self.blocks:
                self._has(owner.raw)
                return self.blocks.lent(x, owner)
        return x

    def _has(self, array: Array) -> None:
        """Memory that lives for the program: all but what was there before."""
        if id(array) not in self._owners:
            self._owners[id(array)] = array
            self._bytes += array.nbytes
            if self._bytes > MOST:
                self.refuse("it needs too much memory")

    def enter(self, op: Any, inputs: tuple[Any, ...]) -> None:
        """An operation is about to be applied: all tensors must follow from the leaves."""
        if self.refusal is not None:
            return
        for x in inputs:
            if self.follows(x):
                self._used.add(id(x))
            elif not isinstance(x, (int, float)):
                self.refuse(f"operation {op.name!r} is given what comes from elsewhere")

    def leave(self, out: Tensor) -> None:
        """An operation has given this."""
        self._known[id(out)] = weakref.ref(out)

    def follows(self, x: Any) -> bool:
        """Whether it is a leaf, or what an operation has given."""
        known = self._known.get(id(x))
        return known is not None and known() is x

    def uses(self, leaf: Tensor) -> bool:
        """Whether an operation was applied to it."""
        return id(leaf) in self._used

    def refuse(self, reason: str) -> None:
        """Give up; what is kept is let go."""
        self.refusal = self.refusal or reason
        self._calls, self._counters, self._owners, self._known = [], [], {}, {}
        if CHOSEN.pool is self.blocks:
            CHOSEN.pool = COMMON

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
    before = WRITING.program, CHOSEN.pool
    WRITING.program, CHOSEN.pool = program, program.blocks
    try:
        yield
    finally:
        WRITING.program, CHOSEN.pool = before
        program.close()
