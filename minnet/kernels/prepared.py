"""Weights in the arrangement that a kernel reads, kept for as long as they stay the same.

A network that only predicts uses the same weights again and again, and rearranging them costs as
much as a few images do. Training makes new weight arrays at every step, and what is used once is
not worth keeping: so an arrangement is kept from the second time on that it is asked for.

An array of weights is *the same* while it is the same object and cannot have been written to. To be
sure of that it is made read-only when its arrangement is kept; a parameter is given new values by
assigning a new array, never by editing the old one. Views of arrays that could still be edited
elsewhere are arranged anew each time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable

import numpy as np

from minnet.tensor import Array

_lock = threading.RLock()
#: For each array of weights, by its identity: its arrangements, None for one asked for once.
_kept: dict[int, dict[Hashable, Array | None]] = {}
_guards: dict[int, weakref.ref[Array]] = {}


def prepared(weights: Array, arrangement: Hashable, arrange: Callable[[], Array]) -> Array:
    """The result of ``arrange()``, from before where these weights have been arranged that way."""
    key = id(weights)
    with _lock:
        found = _kept.get(key, {}).get(arrangement)
    if found is not None:
        return found
    result = arrange()
    if isinstance(weights.base, np.ndarray):
        return result
    with _lock:
        if key not in _guards:
            _guards[key] = weakref.ref(weights, lambda _: _forget(key))
            _kept[key] = {}
        mine = _kept[key]
        if arrangement in mine:
            weights.setflags(write=False)
            mine[arrangement] = result
        else:
            mine[arrangement] = None
    return result


def _forget(key: int) -> None:
    with _lock:
        _kept.pop(key, None)
        _guards.pop(key, None)


def kept_bytes() -> int:
    """Memory that arrangements take up."""
    with _lock:
        return sum(a.nbytes for forms in _kept.values() for a in forms.values() if a is not None)
