"""Batches: arrays in a seeded order, cut up, changed on the way, made ahead in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet import random
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.tensor import Array

#: Takes a batch's x and y (None without targets) and a generator of its own; gives them changed.
Transform = Callable[[Array, Any, np.random.Generator], tuple[Any, Any]]

AHEAD = 2  # batches that wait, ready, for each thread


class Batches:
    """Batches of arrays, for ``fit``, ``evaluate``, ``predict`` or a loop of one's own.

    Each batch is ``(x, y)``, ``(x, y, sample_weight)`` or, without targets, ``x``; the last one may
    have fewer rows. Going through the object again gives the next epoch, in another order.

    The order of an epoch follows from ``seed`` and the epoch's number alone, and what ``transform``
    draws from its generator also from the batch's. So a batch is the same whichever thread makes
    it, and training can be resumed in the middle of an epoch. Without ``seed`` one is drawn from
    the shared generator that ``minnet.seed`` resets.

    ``transform``: changes a batch, say by augmentation; it may change the arrays that it gets, they
    are copies. ``threads``: so many make batches ahead of time; 0 makes each when it is asked for.
    An exception in a thread is raised where its batch would have come.

    Raises :class:`~minnet.errors.ShapeError` for arrays of different lengths or without rows and
    :class:`~minnet.errors.ArgumentError` for numbers out of range.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        batch_size: int = 32,
        *,
        sample_weight: npt.ArrayLike | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        transform: Transform | None = None,
        threads: int = 0,
    ):
        self._arrays = [None if a is None else np.asarray(a) for a in (x, y, sample_weight)]
        _check_rows(self._arrays)
        if y is None and sample_weight is not None:
            raise ArgumentError(mismatch("Batches", "y with sample_weight", "none"))
        for name, value, least in (("batch_size", batch_size, 1), ("threads", threads, 0)):
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or value < least:
                expected = f"{name} as a whole number >= {least}"
                raise ArgumentError(mismatch("Batches", expected, repr(value)))
        self.rows = len(np.asarray(x))
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        if seed is None:
            seed = int(random.generator().integers(2**63))
        random.generator_from(seed)  # refuses what is no seed
        self.seed = seed
        self.transform, self._threads = transform, int(threads)
        self._next_epoch = 0

    @property
    def targets(self) -> Any:
        """All targets, in the order in which they were given; None without."""
        return self._arrays[1]

    def fingerprint(self) -> Iterator[bytes]:
        """What the inputs follow from: first what all rows share, then a part for each row.

        Rows whose parts are equal, under an equal first part, are equal inputs.
        """
        x: Any = self._arrays[0]
        yield repr((x.shape[1:], x.dtype.str)).encode()
        for row in x:
            yield np.ascontiguousarray(row).tobytes()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Generator[Any, None, None]:
        """The next epoch."""
        self._next_epoch += 1
        return self.epoch(self._next_epoch - 1)

    def epoch(self, number: int, start: int = 0) -> Generator[Any, None, None]:
        """The batches of epoch ``number``, from 0, beginning with batch ``start``."""
        order = None
        if self.shuffle:
            order = np.random.default_rng([self.seed, number]).permutation(self.rows)
        return self._made(order, number, range(start, len(self)))

    def of(self, rows: Array) -> Generator[Any, None, None]:
        """Batches of these rows alone, numbers (n,), in this order."""
        return self._made(rows, 0, range(-(-len(rows) // self.batch_size)))

    def _made(self, order: Array | None, number: int, batches: range) -> Generator[Any, None, None]:
        if self._threads:
            return self._ahead(order, number, batches)
        return (self._make(order, number, batch) for batch in batches)

    def _ahead(
        self, order: Array | None, number: int, batches: range
    ) -> Generator[Any, None, None]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="minnet-batches")
        numbers = iter(batches)
        waiting: deque[Future[Any]] = deque()
        try:
            while True:
                while (
                    len(waiting) < AHEAD * self._threads and (n := next(numbers, None)) is not None
                ):
                    waiting.append(pool.submit(self._make, order, number, n))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            # Also when whoever asks for batches stops in the middle: no thread is left behind.
            pool.shutdown(wait=True, cancel_futures=True)

    def load(self, x: Array) -> Array:
        """What the rows of ``x`` stand for: themselves, unless a subclass has them read."""
        return x

    def unreadable(self, rows: Array) -> dict[int, str]:
        """Of these rows, numbers (n,), those that :meth:`load` cannot read: number and file."""
        return {}

    def _make(self, order: Array | None, epoch: int, batch: int) -> Any:
        begin = batch * self.batch_size
        rows: Any = slice(begin, begin + self.batch_size)
        if order is not None:
            rows = order[rows]
        x, y, weights = (None if a is None else a[rows] for a in self._arrays)
        x = self.load(x)  # type: ignore[arg-type]
        if self.transform is not None:
            if order is None:
                x, y = (None if a is None else a.copy() for a in (x, y))
            rng = np.random.default_rng([self.seed, epoch, batch])
            x, y = self.transform(x, y, rng)  # type: ignore[arg-type]
        if y is None:
            return x
        return (x, y) if weights is None else (x, y, weights)


def _check_rows(arrays: list[Any]) -> None:
    rows = [a.shape[0] if a.ndim else 0 for a in arrays if a is not None]
    if not rows[0]:
        raise ShapeError(mismatch("Batches", "at least one row", "none"))
    if any(n != rows[0] for n in rows):
        received = ", ".join(map(str, rows))
        raise ShapeError(mismatch("Batches", "arrays with as many rows as x", received))
