"""Kernels that work element by element, and sums over pixels, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels_cases import each_dtype

from minnet.kernels import pointwise, reference
from minnet.tensor import Array

#: A batch's rows or images, from none to more than one chunk.
shapes = st.one_of(
    st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40)),
    st.tuples(st.integers(0, 4000), st.integers(1, 5)),
    st.tuples(st.integers(1, 40), st.sampled_from([255, 256, 257, 9000])),
)


def assert_close(found: Array, expected: Array, scale: float = 1.0) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    tolerance = 1e-6 if expected.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(found, expected, tolerance, tolerance * scale)


@st.composite
def pairs(draw: Any, dtype: Any) -> tuple[Array, Array]:
    """Two arrays of one shape and dtype; zeros, NaN and gaps in memory among them."""
    shape = draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    first, second = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    second[rng.random(shape) < draw(st.sampled_from([0, 0.3]))] = draw(
        st.sampled_from([0, -0.0, np.nan, np.inf])
    )
    if draw(st.booleans()):
        first = np.asfortranarray(first)
    if draw(st.booleans()):
        second.setflags(write=False)
    return first, second


def total(g: Array) -> float:
    """The size of what is added up, which the error of a sum depends on."""
    return float(np.abs(g).sum(axis=tuple(range(g.ndim - 1))).max(initial=0))


@each_dtype
@given(data=st.data())
def test_relu_gradient(data: Any, dtype: Any) -> None:
    g, y = data.draw(pairs(dtype))
    expected = reference.relu_gradient(g, y)
    np.testing.assert_array_equal(pointwise.relu_gradient(g, y), expected, strict=True)
    gated, sums = pointwise.relu_gradient_and_sums(g, y)
    np.testing.assert_array_equal(gated, expected, strict=True)
    assert_close(sums, reference.channel_sums(expected.astype(float)).astype(g.dtype), total(g))


@each_dtype
@given(data=st.data())
def test_channel_sums(data: Any, dtype: Any) -> None:
    g, _ = data.draw(pairs(dtype))
    expected = reference.channel_sums(g.astype(float)).astype(g.dtype)
    assert_close(pointwise.channel_sums(g), expected, total(g))


@each_dtype
@given(data=st.data(), rate=st.floats(-2, 2))
def test_descend(data: Any, rate: float, dtype: Any) -> None:
    g, p = data.draw(pairs(dtype))
    found = pointwise.descend(p, g, rate)
    expected = reference.descend(p, g, rate)
    assert found is not p and found.flags.writeable
    with np.errstate(invalid="ignore"):
        assert_close(found, expected, 10.0)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_matter(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(pointwise, "workers_for", lambda work: workers)
    rng = np.random.default_rng(0)
    g, y = (rng.standard_normal((9, 30, 31, 7)).astype(np.float32) for _ in range(2))
    gated, sums = pointwise.relu_gradient_and_sums(g, y)
    np.testing.assert_array_equal(gated, reference.relu_gradient(g, y))
    np.testing.assert_array_equal(pointwise.relu_gradient(g, y), gated)
    np.testing.assert_array_equal(pointwise.channel_sums(gated), sums)
    assert_close(sums, reference.channel_sums(gated.astype(float)).astype(np.float32), total(g))
    assert_close(pointwise.descend(g, y, 0.1), reference.descend(g, y, 0.1), 10.0)


def test_many_small_numbers_are_not_lost() -> None:
    """Adding a million tenths one after the other in float32 is off by a percent."""
    sums = pointwise.channel_sums(np.full((1000, 1000, 1), 0.1, np.float32))
    np.testing.assert_allclose(sums, 1e5, rtol=1e-5)
