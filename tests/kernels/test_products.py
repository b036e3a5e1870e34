"""Matrix products: whichever is chosen, the numbers are right; and the choice can be forced."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st
from kernels_cases import each_dtype

from minnet.errors import ArgumentError
from minnet.kernels import gemm, prepared, products, reference, streamed, vector_ir
from minnet.tensor import Array

sizes = st.one_of(st.integers(1, 40), st.integers(41, 130))


def strided(array: Array, how: str) -> Array:
    """The same numbers, laid out by rows, by columns, or with gaps."""
    if how == "columns":
        return np.asfortranarray(array)
    if how == "gaps":
        spread = np.zeros((2 * array.shape[0], 3 * array.shape[1]), array.dtype)
        spread[::2, ::3] = array
        return spread[::2, ::3]
    return array


layouts = st.sampled_from(["rows", "columns", "gaps"])


@each_dtype
@given(
    m=sizes, k=st.one_of(st.just(0), sizes), n=sizes, layout=st.tuples(layouts, layouts),
    biased=st.booleans(), relu=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_our_own(
    m: int, k: int, n: int, layout: tuple[str, str], biased: bool, relu: bool, seed: int, dtype: Any
) -> None:
    normal = np.random.default_rng(seed).standard_normal
    a, b = normal((m, k)), normal((k, n))
    bias = normal(n) if biased else None
    exact = reference.matmul(a, b, bias, relu)
    cast = [
        strided(a.astype(dtype), layout[0]),
        strided(b.astype(dtype), layout[1]),
        None if bias is None else bias.astype(dtype),
    ]
    found = gemm.matmul(*cast, relu)
    assert found.dtype == dtype
    tolerance = 1e-10 if dtype is np.float64 else 2e-5
    np.testing.assert_allclose(found, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 700, 900), (7, 700, 900), (30, 513, 777), (500, 3, 600)])
def test_large_matrices_with_few_rows_or_short_sums(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    normal = np.random.default_rng(0).standard_normal
    a, b = normal((m, k), np.float32), normal((k, n), np.float32)
    expected = a.astype(np.float64) @ b
    for left, right in ((a, b), (np.asfortranarray(a), b), (a, np.asfortranarray(b))):
        np.testing.assert_allclose(gemm.matmul(left, right), expected, atol=1e-3)


@pytest.mark.parametrize("relu", [False, True])
def test_nan_stays(relu: bool) -> None:
    a = np.ones((9, 20), np.float32)
    a[4] = np.nan
    y = gemm.matmul(a, np.ones((20, 33), np.float32), relu=relu)
    assert np.isnan(y[4]).all() and (np.delete(y, 4, 0) == 20).all()


@given(st.integers(0, 60), st.integers(1, 200), st.integers(1, 200), st.booleans())
def test_the_choice_does_not_change_the_numbers(m: int, k: int, n: int, relu: bool) -> None:
    normal = np.random.default_rng(m).standard_normal
    a, b, bias = (normal(s, np.float32) for s in ((m, k), (k, n), (n,)))
    expected = reference.matmul(*(x.astype(np.float64) for x in (a, b, bias)), relu)
    np.testing.assert_allclose(products.matmul(a, b, bias, relu), expected, atol=1e-4)


def test_float64_is_left_to_blas() -> None:
    assert not products.prefers_numba(8, 4096, 4096, np.dtype(np.float64))
    assert products.prefers_numba(8, 4096, 4096, np.dtype(np.float32)) == products.compiles()


@pytest.mark.parametrize(
    ("family", "width", "expected"),
    [("Haswell", 64, True), ("SkylakeX", 64, False), ("Haswell", 32, False), (None, 64, False)],
)
def test_blas_without_kernels_for_the_machine(
    family: str | None, width: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = {"internal_api": "openblas", "architecture": family}
    libraries = [library] if family else [{"internal_api": "blis", "architecture": "zen4"}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: libraries)
    monkeypatch.setattr(vector_ir, "BYTES", width)
    monkeypatch.setattr(products, "compiles", lambda: True)
    monkeypatch.setattr(products, "threads_are_running", lambda: False)
    products._blas_uses_half_of_the_vectors.cache_clear()
    float32 = np.dtype(np.float32)
    assert products.prefers_numba(256, 256, 256, float32) == expected
    assert not products.prefers_numba(256, 256, 255, float32)
    assert not products.prefers_numba(1, 4096, 4096, float32)  # memory decides
    products._blas_uses_half_of_the_vectors.cache_clear()


@pytest.mark.parametrize("choice", ["numba", "blas"])
def test_the_choice_can_be_forced(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINNET_MATMUL", choice)
    code = (
        "import sys, numpy as np; from minnet import kernels; a = np.ones((2, 2), 'f');"
        "assert (kernels.matmul(a, a) == 2).all(); print('minnet.kernels.gemm' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == f"{choice == 'numba'}\n"


def test_a_choice_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINNET_MATMUL", "mkl")
    products._forced.cache_clear()
    with pytest.raises(ArgumentError, match="MINNET_MATMUL: expected 'numba' or 'blas'"):
        products.matmul(np.ones((1, 1)), np.ones((1, 1)))
    products._forced.cache_clear()


@each_dtype
@given(
    m=st.integers(0, 33), k=st.sampled_from([0, 1, 255, 256, 257, 600]), n=st.integers(0, 150),
    biased=st.booleans(), relu=st.booleans(), seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_matrix_arranged_for_streaming(
    dtype: Any, m: int, k: int, n: int, biased: bool, relu: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((m, k)).astype(dtype), random.standard_normal((k, n))
    b = b.astype(dtype)
    bias = random.standard_normal(n).astype(dtype) if biased else None
    found = streamed.matmul(a, streamed.arrange(b), n, bias, relu)
    expected = reference.matmul(a.astype(np.float64), b.astype(np.float64), bias, relu)
    assert found.dtype == dtype and found.shape == expected.shape
    size = np.abs(a).astype(np.float64) @ np.abs(b) + (0 if bias is None else np.abs(bias))
    assert (np.abs(found - expected) <= (k + 4) * np.finfo(dtype).eps / 2 * size).all()


def weights(seed: int = 0, shape: tuple[int, int] = (700, 50)) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_numbers_that_are_about_equally_large_take_three_bytes() -> None:
    for w in (weights(), weights() * np.float32(1e20), np.zeros((700, 50), np.float32)):
        arranged = streamed.arrange(w)
        assert arranged.numbers.dtype == np.uint8
        found = streamed.matmul(np.eye(700, dtype="f"), arranged, 50, None, False)
        largest = [np.abs(w[k : k + streamed.BLOCK]).max(axis=0) for k in (0, streamed.BLOCK)]
        largest = np.repeat(largest, (streamed.BLOCK, 700 - streamed.BLOCK), axis=0)
        error = np.abs(found - w).astype(np.float64) / np.maximum(largest, 1e-30)
        assert error.max() <= 2.0**-22
        assert np.sqrt((error**2).mean()) < 2.0**-24


def spoiled() -> dict[str, Any]:
    one = {"an outlier": 1e6, "nan": np.nan, "inf": np.inf, "-inf": -np.inf}
    rare = weights() * (np.random.default_rng(1).random((700, 50)) < 0.01)
    cases = {"nearly nothing": weights() * np.float32(1e-28), "few that are not zero": rare}
    for name, value in one.items():
        cases[name] = weights()
        cases[name][600, 49] = value
    return cases


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", spoiled())
def test_a_matrix_that_is_uneven_is_not_rounded(name: str) -> None:
    w = spoiled()[name]
    arranged = streamed.arrange(w)
    assert arranged.numbers.dtype == np.float32
    x = weights(2, (3, 700))
    x[0] = 0
    x[0, 7] = 1
    found, expected = streamed.matmul(x, arranged, 50, None, False), x @ w
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-4, atol=1e-30)
    if np.isfinite(w).all():
        np.testing.assert_array_equal(found[0], w[7])


def test_outliers_in_many_columns_are_rounded_among_themselves() -> None:
    """As in trained weights: the tails of a normal distribution are too short."""
    w = np.random.default_rng(0).laplace(size=(5000, 40)).astype(np.float32)
    assert streamed.arrange(w).numbers.dtype == np.uint8


@pytest.mark.parametrize("rows", [1, 8])
def test_a_layers_weights_are_arranged_once_they_come_again(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_forced", lambda: "numba")
    random = np.random.default_rng(0)
    w, b = random.standard_normal((1100, 1000), np.float32), np.ones(1000, np.float32)
    x = random.standard_normal((rows, 1100), np.float32)
    before = prepared.kept_bytes()
    first = products.linear(x, w, b, True)
    assert prepared.kept_bytes() == before and w.flags.writeable
    again = products.linear(x, w, b, True)
    kept = prepared.kept_bytes() - before
    assert 0.75 <= kept / w.nbytes < 0.8 and not w.flags.writeable
    np.testing.assert_allclose(again, first, rtol=1e-5, atol=1e-4)
    assert np.isnan(products.linear(x * np.float32("nan"), w, b, True)).all()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("size", [1e25, 1e30, -1e36])
def test_large_numbers_meet_a_layers_weights(
    size: float, relu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of three bytes are multiplied as whole ones: sums of those would be infinite."""
    monkeypatch.setattr(products, "_forced", lambda: "numba")
    random = np.random.default_rng(0)
    w, b = random.standard_normal((1100, 1000), np.float32), np.zeros(1000, np.float32)
    x = random.standard_normal((3, 1100), np.float32)
    x[1:] *= np.float32(size)
    wanted = reference.matmul(x, w, b, relu)
    for _ in range(3):
        found = products.linear(x, w, b, relu)
        for row in range(3):
            scale = 1 if row == 0 else abs(size)
            np.testing.assert_allclose(found[row] / scale, wanted[row] / scale, atol=1e-3)
