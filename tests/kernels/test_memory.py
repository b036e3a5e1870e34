"""Blocks of memory come back when nobody can see them any more, and not before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from together import together

from minnet.kernels import memory

LARGE = (1 << 10, 1 << 9)  # 2 MB of float32


@pytest.fixture(autouse=True)
def _nothing_idle() -> Iterator[None]:
    gc.collect()
    memory.COMMON.release()
    yield
    memory.COMMON.release()


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_large_arrays_are_aligned_contiguous_and_writable(dtype: type) -> None:
    x = memory.empty(LARGE, dtype)
    assert x.shape == LARGE and x.dtype == dtype
    assert x.flags.c_contiguous and x.flags.writeable
    assert address(x) % memory.ALIGNMENT == 0
    x[...] = 1
    assert x.sum() == x.size


def test_a_dead_arrays_memory_is_used_again() -> None:
    first = memory.empty(LARGE)
    place = address(first)
    del first
    assert memory.COMMON.idle() >= 1 << 21
    assert address(memory.empty(LARGE)) == place


def test_a_view_keeps_the_memory() -> None:
    x = memory.empty(LARGE)
    view = x[3:].reshape(-1)[7:]
    view[...] = 5
    del x
    assert memory.COMMON.idle() == 0
    memory.empty(LARGE)[...] = 6
    assert (view == 5).all()
    del view
    assert memory.COMMON.idle() > 0


def test_a_much_smaller_array_does_not_take_a_large_block() -> None:
    large = memory.empty((4 * LARGE[0], LARGE[1]))
    place = address(large)
    del large
    assert address(memory.empty(LARGE)) != place


def test_small_and_empty_arrays() -> None:
    assert memory.empty((3, 4)).shape == (3, 4)
    assert memory.empty((0, 1 << 20)).size == 0


def test_idle_memory_never_makes_the_process_much_larger_than_it_has_been() -> None:
    size = 4 << 20
    for rows in range(1 << 10, 1 << 11, 64):  # each of another size: few fit a block from before
        memory.empty((rows, 1 << 9))
    assert 0 < memory.COMMON.idle() <= memory.SLACK * size
    arrays = [memory.empty(LARGE) for _ in range(6)]
    del arrays
    assert memory.COMMON.idle() >= 6 << 21


def test_many_threads_never_share_a_block() -> None:
    wrong = []

    def work(number: int) -> None:
        for _ in range(50):
            x = memory.empty((1 << 18,))
            x.fill(number)
            if not (x == number).all():
                wrong.append(number)

    together(work, range(8))
    assert not wrong
