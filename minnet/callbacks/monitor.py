"""Watching one number of the logs: what is better, and by how much."""

from __future__ import annotations

import math

from minnet.callbacks.base import Logs
from minnet.callbacks.curves import larger_is_better
from minnet.errors import ArgumentError, mismatch


class Monitor:
    """Whether a number of an epoch's logs is the best so far.

    ``name``: of the number, as in the history. ``mode``: 'min', 'max', or 'auto', which takes
    accuracies and the like for the larger the better, everything else for the smaller.
    ``min_delta``: what is better by no more than this is not better.

    Raises :class:`~minnet.errors.ArgumentError` for another mode or a ``min_delta`` below 0.
    """

    def __init__(self, owner: str, name: str, mode: str = "auto", min_delta: float = 0.0):
        self.owner, self.name = owner, name
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(mismatch(f"{owner} mode", "'auto', 'min' or 'max'", repr(mode)))
        if not (isinstance(min_delta, (int, float)) and min_delta >= 0):
            raise ArgumentError(mismatch(f"{owner} min_delta", "at least 0", repr(min_delta)))
        larger = mode == "max" or (mode == "auto" and larger_is_better(name))
        self.sign = -1 if larger else 1
        self.min_delta = min_delta
        self.worst = math.inf * self.sign

    def value(self, logs: Logs) -> float:
        """The number.

        Raises :class:`~minnet.errors.ArgumentError`, listing what there is, where it is not logged.
        """
        if self.name not in logs:
            advice = ""
            if self.name.startswith("val_"):
                advice = "Give fit validation_data or a validation_split."
            expected, received = f"{self.name!r} in the logs", ", ".join(map(repr, logs))
            raise ArgumentError(mismatch(self.owner, expected, received, advice))
        return logs[self.name]

    def is_better(self, value: float, best: float) -> bool:
        return self.sign * (best - value) > self.min_delta
