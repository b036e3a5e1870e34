"""Arrangements of weights are kept while the weights live unchanged, and only then."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from minnet.bundles import Bundle
from minnet.kernels import prepared
from minnet.kernels.prepared import kept_bytes
from minnet.tensor import Tensor


class Maker:
    """Arranges weights by doubling them, and counts how often."""

    def __init__(self, weights: np.ndarray):
        self.weights = weights
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return 2 * self.weights


def arranged(weights: np.ndarray, form: object, make: Callable[[], np.ndarray]) -> np.ndarray:
    return prepared.prepared(weights, form, make, prepared.seen(weights, "a use"))


def test_kept_from_the_second_time_on() -> None:
    weights = np.ones(1000)
    make = Maker(weights)
    before = kept_bytes()
    arranged(weights, "form", make)
    assert kept_bytes() == before and weights.flags.writeable
    second = arranged(weights, "form", make)
    assert kept_bytes() == before + 8000
    assert arranged(weights, "form", make) is second
    assert make.calls == 2


def test_kept_weights_cannot_be_edited() -> None:
    weights = np.ones(3)
    for _ in range(2):
        arranged(weights, "form", Maker(weights))
    with pytest.raises(ValueError, match="read-only"):
        weights[0] = 5


def test_forms_are_told_apart() -> None:
    weights = np.ones(3)
    for _ in range(2):
        one = arranged(weights, ("form", 1), lambda: 1 * weights)
        two = arranged(weights, ("form", 2), lambda: 2 * weights)
    assert one.sum() == 3 and two.sum() == 6


def test_forgotten_with_the_weights() -> None:
    gc.collect()  # other tests' models
    before = kept_bytes()
    weights = np.ones(1000)
    for _ in range(2):
        arranged(weights, "form", Maker(weights))
    assert kept_bytes() > before
    del weights
    gc.collect()
    assert kept_bytes() == before


def test_views_are_arranged_anew_each_time() -> None:
    owner = np.ones(10)
    view = owner[2:]
    for factor in (1, 2, 3):
        owner[...] = factor
        assert arranged(view, "form", Maker(view)).sum() == 2 * 8 * factor


def test_parts_of_a_bundle_are_kept() -> None:
    bundle = Bundle()
    part, _ = bundle.split(np.ones(1000), [np.ones(500), np.ones(500)])
    make = Maker(part)
    for _ in range(3):
        arranged(part, "form", make)
    assert make.calls == 2
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 5


def test_memory_of_other_libraries_is_arranged_anew_each_time() -> None:
    memory = bytearray(80)
    weights = np.asarray(memoryview(memory).cast("d"))
    for factor in (1, 2, 3):
        memoryview(memory).cast("d")[0] = factor
        assert arranged(weights, "form", Maker(weights)).sum() == 2 * factor


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_weights_of_a_pickled_tensor_are_kept(protocol: int) -> None:
    """Pickle gives arrays whose memory is the bytes that it has read."""
    tensor = pickle.loads(pickle.dumps(Tensor(np.ones((100, 100))), protocol))
    make = Maker(tensor.data)
    for _ in range(4):
        arranged(tensor.data, "form", make)
    assert make.calls == 2


def test_each_use_is_seen_by_itself() -> None:
    weights = np.ones(3)
    assert not prepared.seen(weights, "forward")
    assert not prepared.seen(weights, "backward")
    assert prepared.seen(weights, "forward")
