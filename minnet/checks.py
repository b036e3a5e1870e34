"""Arguments that must be numbers in some range, or lists."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from minnet.errors import ArgumentError, mismatch


def number(
    where: str,
    value: Any,
    expected: str,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
) -> float:
    """The value as a Python float, which unlike a NumPy one leaves an array's dtype alone.

    ``low`` is allowed itself unless it must be ``above`` that; ``high`` never is. ``expected``:
    the range in words, for the error.

    Raises :class:`~minnet.errors.ArgumentError`, naming ``where``, for anything else.
    """
    is_number = isinstance(value, (int, float, np.integer, np.floating))
    if is_number and not isinstance(value, bool):
        found = float(value)
        if math.isfinite(found) and low <= found < high and not (above and found == low):
            return found
    raise ArgumentError(mismatch(where, expected, repr(value)))


def positive(where: str, value: Any) -> float:
    """A finite number above 0, as :func:`number` gives it."""
    return number(where, value, "a finite number above 0", 0, above=True)


def fraction(where: str, value: Any) -> float:
    """A number from 0 to 1, without 1, as :func:`number` gives it."""
    return number(where, value, "a number from 0 up to, but not, 1", 0, 1)


def not_negative(where: str, value: Any) -> float:
    """A finite number of at least 0, as :func:`number` gives it."""
    return number(where, value, "a finite number >= 0", 0)


def whole(where: str, value: Any, least: int) -> int:
    """The value as an int.

    Raises :class:`~minnet.errors.ArgumentError` unless it is a whole number of at least ``least``.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise ArgumentError(mismatch(where, f"a whole number >= {least}", repr(value)))
    return int(value)


def items(where: str, value: Any, expected: str, kind: type = object) -> None:
    """See to it that the value is a list or the like, and no single text.

    Raises :class:`~minnet.errors.ArgumentError`, naming ``where``, for anything else, and for an
    item that is not of the ``kind``.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise ArgumentError(mismatch(where, expected, repr(value)))
    for item in value:
        if not isinstance(item, kind):
            raise ArgumentError(mismatch(where, expected, f"{item!r} among them"))
