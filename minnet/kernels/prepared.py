"""Weights in the arrangement that a kernel reads, kept for as long as they stay the same.

A network that only predicts uses the same weights again and again, and rearranging them costs as
much as a few images do. Training makes new weight arrays at every step, and what is used once is
not worth keeping: so an arrangement is kept from the second time on that weights are seen.

An array of weights is *the same* while it is the same object and cannot have been written to. To be
sure of that it is made read-only when its arrangement is kept; a parameter is given new values by
assigning a new array, never by editing the old one. What could still be edited elsewhere, views of
other arrays or of another library's memory, is arranged anew each time. (Nobody can see who made a
view of an array before, so whoever did that must not write to it while a layer has the array.)
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from minnet.bundles import Bundle
from minnet.kernels import memory
from minnet.program import paused
from minnet.tensor import Array

T = TypeVar("T")

_lock = threading.RLock()
#: For each array of weights, by its identity: a reference that tells when it dies, the uses that it
#: has been seen in, and its arrangements.
_known: dict[int, tuple[weakref.ref[Array], set[Hashable], dict[Hashable, Any]]] = {}


def seen(weights: Array, use: Hashable) -> bool:
    """Whether these weights were asked about for this use before."""
    key = id(weights)
    known = _known.get(key)
    if known is not None and use in known[1]:
        return True
    if _is_own(weights):
        with _lock:
            if key not in _known:
                _known[key] = weakref.ref(weights, lambda _: _forget(key)), set(), {}
            _known[key][1].add(use)
    return False


def uses(weights: Array) -> list[Hashable]:
    """What they have been :func:`seen` in, which decides how they are worked out with."""
    known = _known.get(id(weights))
    return [] if known is None else sorted(known[1], key=str)


def _is_own(weights: Array) -> bool:
    """Whether they are no view of what could be edited elsewhere."""
    base = weights.base
    return base is None or isinstance(base, memory.Block) or Bundle.any_has(base)


def prepared(weights: Array, form: Hashable, arrange: Callable[[], T], keep: bool) -> T:
    """The result of ``arrange()``, which has ``nbytes``; from before, where it was kept.

    ``keep`` is what :func:`seen` said.
    """
    if not keep:
        return arrange()
    forms: dict[Hashable, T] = _known[id(weights)][2]
    found = forms.get(form)
    if found is None:
        weights.setflags(write=False)
        with paused():  # who does a program again finds it arranged
            found = forms[form] = arrange()
    return found


def _forget(key: int) -> None:
    with _lock:
        _known.pop(key, None)


def kept_bytes() -> int:
    """Memory that arrangements take up."""
    with _lock:
        return sum(a.nbytes for _, _, forms in _known.values() for a in forms.values())
