"""The random generator that weights and shuffling come from, unless a model has its own seed."""

from __future__ import annotations

import numpy as np

from minnet import configs
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


def state_of(rng: np.random.Generator) -> configs.Config:
    """Where a generator is in its numbers, as JSON can hold it."""
    state: configs.Config = dict(rng.bit_generator.state)
    return state


def generator_of(state: configs.Config) -> np.random.Generator:
    """A generator that goes on where :func:`state_of` was asked.

    Raises :class:`~minnet.errors.ArgumentError` for anything but the state of one of minnet's.
    """
    rng = np.random.default_rng()
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        expected = "the state of a PCG64 generator"
        raise ArgumentError(mismatch("random state", expected, str(error))) from None
    return rng


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
