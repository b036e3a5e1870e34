"""The random generator that weights and shuffling come from, unless a model has its own seed."""

from __future__ import annotations

import numpy as np

from minnet.errors import ArgumentError, mismatch


def generator_from(seed: int | None) -> np.random.Generator:
    """A new generator; the same seed gives the same numbers, None gives different ones each time.

    Raises :class:`~minnet.errors.ArgumentError` for a seed that is not a whole number >= 0.
    """
    if seed is not None and (
        isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0
    ):
        raise ArgumentError(mismatch("seed", "a whole number >= 0", repr(seed)))
    return np.random.default_rng(seed)


_current = generator_from(None)


def seed(n: int) -> None:
    """Start the shared generator anew, so that what follows can be repeated bit for bit.

    Raises :class:`~minnet.errors.ArgumentError` for a seed that is not a whole number >= 0.
    """
    global _current
    _current = generator_from(n)


def generator() -> np.random.Generator:
    """The shared generator."""
    return _current
