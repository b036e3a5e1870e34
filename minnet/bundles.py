"""Arrays that lie one after the other in one, so that one call does to all of them what would take
a call for each: of small arrays, calls take longer than numbers."""

from __future__ import annotations

import operator
import threading
import weakref
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from minnet.tensor import Array


def parts_of(whole: Array, like: Sequence[Array]) -> list[Array]:
    """Views of a flat array, one after the other, in the shapes of these arrays."""
    parts, start = [], 0
    for array in like:
        end = start + array.size
        parts.append(whole[start:end].reshape(array.shape))
        start = end
    return parts


class Bundle:
    """Remembers the arrays that it was split into last, which may come back as they were."""

    _all: ClassVar[weakref.WeakSet[Bundle]] = weakref.WeakSet()
    _lock = threading.Lock()  # held by whoever adds to them, or goes through them

    def __init__(self) -> None:
        self._whole = np.empty(0)
        self._parts: list[Array] = []
        with self._lock:
            self._all.add(self)

    def __reduce__(self) -> tuple[type[Bundle], tuple[()]]:
        return Bundle, ()  # copies of the parts would not be parts of the copy

    @classmethod
    def any_has(cls, whole: Array) -> bool:
        """Whether one was split last from this array, which then is written to through parts."""
        with cls._lock:
            return any(bundle._whole is whole for bundle in cls._all)

    def split(self, whole: Array, like: Sequence[Array]) -> list[Array]:
        """Its :func:`parts_of`, which are remembered."""
        self._whole, self._parts = whole, parts_of(whole, like)
        return self._parts

    def joined(self, arrays: Sequence[Array]) -> Array:
        """All their numbers, flat; without copying them where they are the parts."""
        parts = self._parts
        if len(arrays) == len(parts) and all(map(operator.is_, arrays, parts)):
            return self._whole
        return np.concatenate([array.reshape(-1) for array in arrays])


class Bundles:
    """The same for dictionaries, name by name: of arrays, and of numbers that all have alike."""

    def __init__(self) -> None:
        self._bundles: defaultdict[str, Bundle] = defaultdict(Bundle)

    def split(
        self, whole: dict[str, Any], into: Sequence[dict[str, Any]], like: Sequence[Array]
    ) -> None:
        """Put the parts of all arrays, in the shapes of ``like``, into these dictionaries."""
        for name, value in whole.items():
            parts: Sequence[Any] = [value] * len(into)
            if isinstance(value, np.ndarray):
                parts = self._bundles[name].split(value, like)
            for one, part in zip(into, parts, strict=True):
                one[name] = part

    def joined(
        self, dictionaries: Sequence[dict[str, Any]], like: Sequence[Array]
    ) -> dict[str, Any] | None:
        """One dictionary for all; None where arrays have other shapes, or numbers differ."""
        whole: dict[str, Any] = {}
        for name, first in dictionaries[0].items():
            values = [one[name] for one in dictionaries]
            if isinstance(first, np.ndarray):
                if any(v.shape != a.shape for v, a in zip(values, like, strict=True)):
                    return None
                whole[name] = self._bundles[name].joined(values)
            elif all(value == first for value in values):
                whole[name] = first
            else:
                return None
        return whole
