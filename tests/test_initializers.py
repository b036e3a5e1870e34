"""Where weights start from, and the seed that repeats it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minnet import initializers, random
from minnet.errors import ArgumentError

SHAPE = (300, 200)


def draw(name: str, shape: tuple[int, ...] = SHAPE, dtype: type = np.float64) -> np.ndarray:
    return initializers.get(name)(shape, dtype, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 500),
        ("glorot_normal", 2 / 500),
        ("xavier_uniform", 2 / 500),
        ("xavier_normal", 2 / 500),
        ("he_uniform", 2 / 300),
        ("he_normal", 2 / 300),
        ("lecun_uniform", 1 / 300),
        ("lecun_normal", 1 / 300),
        ("normal", 0.05**2),
        ("uniform", 0.05**2 / 3),
    ],
)
def test_mean_and_variance_are_those_of_the_paper(name: str, variance: float) -> None:
    values = draw(name)
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("glorot_uniform", np.sqrt(6 / 500)),
        ("he_uniform", np.sqrt(6 / 300)),
        ("lecun_uniform", np.sqrt(3 / 300)),
        ("uniform", 0.05),
    ],
)
def test_uniform_draws_fill_their_range(name: str, limit: float) -> None:
    values = draw(name)
    assert np.abs(values).max() <= limit
    assert values.max() > 0.999 * limit
    assert values.min() < -0.999 * limit


def test_normal_draws_are_not_truncated() -> None:
    values = draw("he_normal")
    assert np.abs(values).max() > 3.5 * values.std()


def test_constants() -> None:
    assert (draw("zeros") == 0).all()
    assert (draw("ones") == 1).all()
    assert (initializers.Constant(0.25)((2,), np.float32, np.random.default_rng()) == 0.25).all()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1)), ((7,), (7, 7)), ((3, 4), (3, 4)), ((3, 5, 8, 16), (120, 240))],
)
def test_fans(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert initializers.fans(shape) == expected


@given(st.sampled_from(sorted(initializers.INITIALIZERS)), st.sampled_from(["float32", "float64"]))
def test_shape_and_dtype_are_those_asked_for(name: str, dtype: str) -> None:
    values = initializers.get(name)((3, 2), dtype, np.random.default_rng(1))
    assert values.shape == (3, 2)
    assert values.dtype == dtype


def test_both_dtypes_start_alike() -> None:
    double, single = draw("glorot_normal"), draw("glorot_normal", dtype=np.float32)
    np.testing.assert_array_equal(double.astype(np.float32), single)


def test_names_are_case_insensitive_and_callables_pass() -> None:
    assert initializers.get("Glorot_Uniform") is initializers.glorot_uniform
    own = initializers.Normal(0.5)
    assert initializers.get(own) is own


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ArgumentError, match=r"unknown initializer: .*'he_norml'.*'he_normal'"):
        initializers.get("he_norml")


def test_seed_repeats_the_shared_generator() -> None:
    random.seed(5)
    first = random.generator().random(3)
    random.seed(5)
    np.testing.assert_array_equal(random.generator().random(3), first)
    assert (random.generator().random(3) != first).any()


@pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
def test_seed_must_be_a_whole_number(seed: object) -> None:
    with pytest.raises(ArgumentError, match="seed: expected a whole number >= 0, received"):
        random.seed(seed)  # type: ignore[arg-type]
