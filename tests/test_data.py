"""Data: batches in threads, labels, splits, standardisation, files that are not to be trusted."""

from __future__ import annotations

import gzip
import struct
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minnet import random
from minnet.data import (
    Batches,
    Standardize,
    load_digits,
    load_mnist,
    read_idx,
    split,
    to_categorical,
)
from minnet.errors import (
    ArgumentError,
    DtypeError,
    FileError,
    MissingDependencyError,
    NumberError,
    ShapeError,
)

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


# -- Batches ---------------------------------------------------------------------------------------


@given(
    rows=st.integers(1, 30),
    size=st.integers(1, 12),
    shuffle=st.booleans(),
    threads=st.integers(0, 3),
)
def test_an_epoch_has_every_row_once(rows: int, size: int, shuffle: bool, threads: int) -> None:
    batches = Batches(
        np.arange(rows), np.arange(rows) * 2, size, shuffle=shuffle, seed=1, threads=threads
    )
    epoch = list(batches)
    assert len(epoch) == len(batches)
    assert [len(x) for x, _ in epoch[:-1]] == [size] * (len(epoch) - 1)
    seen = np.concatenate([x for x, _ in epoch])
    assert sorted(seen) == list(range(rows))
    assert shuffle or list(seen) == list(range(rows))
    np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), seen * 2)


def flat(epoch: Any) -> list[int]:
    return [int(n) for _, y in epoch for n in y]


def test_epochs_have_different_orders_that_the_seed_repeats() -> None:
    batches = Batches(X, Y, 3, seed=1)
    first, second = flat(batches), flat(batches)
    assert first != second
    assert [flat(Batches(X, Y, 3, seed=1).epoch(n)) for n in (0, 1)] == [first, second]
    assert flat(Batches(X, Y, 3, seed=2)) != first
    random.seed(0)
    shared = flat(Batches(X, Y, 3))
    random.seed(0)
    assert flat(Batches(X, Y, 3)) == shared


def noisy(x: Any, y: Any, rng: np.random.Generator) -> Any:
    x += rng.normal(size=x.shape)
    return x, y


@given(
    seed=st.integers(0, 99),
    epoch=st.integers(0, 3),
    start=st.integers(0, 5),
    threads=st.integers(1, 3),
    shuffle=st.booleans(),
)
def test_threads_change_nothing(
    seed: int, epoch: int, start: int, threads: int, shuffle: bool
) -> None:
    options: Any = {"seed": seed, "shuffle": shuffle, "transform": noisy}
    before = X.copy()
    alone = list(Batches(X, Y, 2, **options).epoch(epoch))
    ahead = list(Batches(X, Y, 2, threads=threads, **options).epoch(epoch, start))
    assert len(ahead) == 5 - start
    for (x, y), (other_x, other_y) in zip(alone[start:], ahead, strict=True):
        np.testing.assert_array_equal(x, other_x)
        np.testing.assert_array_equal(y, other_y)
    np.testing.assert_array_equal(X, before)  # a transform works on copies


def test_each_batch_of_each_epoch_draws_its_own_numbers() -> None:
    batches = Batches(np.zeros((6, 1)), Y[:6], 2, seed=0, transform=noisy)
    drawn = [float(n) for epoch in range(2) for x, _ in batches.epoch(epoch) for n in x[:, 0]]
    assert len(set(drawn)) == 12


def test_what_a_batch_is_made_of() -> None:
    assert next(iter(Batches(X, batch_size=4, shuffle=False))).shape == (4, 2)
    x, y, weights = next(iter(Batches(X, Y, 4, sample_weight=Y / 2, shuffle=False)))
    np.testing.assert_array_equal(weights, y / 2)
    np.testing.assert_array_equal(x, X[:4])


def batch_threads() -> int:
    return sum(thread.name.startswith("minnet-batches") for thread in threading.enumerate())


def test_stopping_in_the_middle_leaves_no_thread() -> None:
    epoch = Batches(X, Y, 1, threads=2).epoch(0)
    next(epoch)
    assert batch_threads()
    epoch.close()
    assert not batch_threads()


def test_no_more_than_a_few_batches_are_made_ahead() -> None:
    made: list[int] = []

    def noted(x: Any, y: Any, rng: Any) -> Any:
        made.append(len(made))
        return x, y

    epoch = Batches(np.arange(100), np.arange(100), 1, threads=1, transform=noted).epoch(0)
    next(epoch)
    epoch.close()
    assert len(made) <= 4


def test_an_exception_in_a_thread_comes_out_where_its_batch_would_have() -> None:
    def fails(x: Any, y: Any, rng: Any) -> Any:
        if 5 in y:
            raise OSError("a broken picture")
        return x, y

    seen = []
    with pytest.raises(OSError, match="a broken picture"):
        for _, y in Batches(X, Y, 2, shuffle=False, threads=2, transform=fails):
            seen.append(y.tolist())
    assert seen == [[0, 1], [2, 3]]
    assert not batch_threads()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X, Y[:9]), ShapeError, "arrays with as many rows as x, received 10, 9"),
        ((X[:0], Y[:0]), ShapeError, "at least one row"),
        ((1.0,), ShapeError, "at least one row"),
        ((X, Y, 0), ArgumentError, "batch_size as a whole number >= 1, received 0"),
    ],
)
def test_batches_of_nothing(arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        Batches(*arguments)
    with pytest.raises(ArgumentError, match="seed: expected a whole number"):
        Batches(X, Y, seed=-1)
    with pytest.raises(ArgumentError, match="y with sample_weight"):
        Batches(X, sample_weight=Y)


def test_numpys_whole_numbers_are_some() -> None:
    batches = Batches(X, Y, np.int64(4), threads=np.int8(0))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert type(batches.batch_size) is int


# -- preparation -----------------------------------------------------------------------------------


@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=12), more=st.integers(0, 3))
def test_one_hot(labels: list[int], more: int) -> None:
    classes = max(labels) + 1 + more
    rows = to_categorical(labels, classes)
    assert rows.shape == (len(labels), classes) and rows.dtype == np.float32
    np.testing.assert_array_equal(rows.argmax(1), labels)
    np.testing.assert_array_equal(rows.sum(1), 1)
    np.testing.assert_array_equal(np.unique(rows), [0, 1][classes == 1 :])


def test_one_hot_of_any_shape() -> None:
    assert to_categorical(np.zeros((2, 3), int), 4, np.float64).shape == (2, 3, 4)
    assert to_categorical([True, False]).tolist() == [[0, 1], [1, 0]]


def test_one_hot_rows_of_many_classes_need_no_square_of_them() -> None:
    tracemalloc.start()
    rows = to_categorical([0, 4000], 4001)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows[1, 4000] == rows[0, 0] == 1 and most < 1 << 20


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        ([0, 3], 3, ArgumentError, "labels from 0 to 2, received 3"),
        ([-1], None, ArgumentError, "num_classes: expected a whole number >= 1, received 0"),
        ([0, -1], None, ArgumentError, "labels from 0 to 0, received -1"),
        ([0.5], None, DtypeError, "whole numbers as labels, received dtype float64"),
        (np.zeros(0, int), None, ArgumentError, "num_classes, or some labels"),
    ],
)
def test_labels_that_are_none(labels: Any, classes: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        to_categorical(labels, classes)


@given(rows=st.integers(2, 60), test=st.floats(0.01, 0.99), shuffle=st.booleans())
def test_a_split_has_every_row_on_one_side(rows: int, test: float, shuffle: bool) -> None:
    x = np.arange(rows)
    count = round(rows * test)
    if not 0 < count < rows:
        with pytest.raises(ArgumentError, match="leaves rows on both sides"):
            split(x, test=test)
        return
    train, held, y, held_y = split(x, x * 3, test=test, shuffle=shuffle, seed=0)
    assert len(held) == count
    assert sorted([*train, *held]) == list(range(rows))
    np.testing.assert_array_equal(y, train * 3)
    np.testing.assert_array_equal(held_y, held * 3)
    assert shuffle or [*train, *held] == list(range(rows))


@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=60),
    test=st.floats(0.2, 0.6),
    seed=st.integers(0, 9),
)
def test_each_class_has_its_share(labels: list[int], test: float, seed: int) -> None:
    y = np.array(labels)
    train, held = split(y, test=test, stratify=y, seed=seed)
    assert len(held) == round(len(y) * test)
    np.testing.assert_array_equal(np.sort([*train, *held]), np.sort(y))
    for label in set(labels):
        share = np.sum(y == label) * len(held) / len(y)
        assert abs(np.sum(held == label) - share) <= 1


def test_a_split_follows_the_seed() -> None:
    assert split(Y, seed=1)[1].tolist() == split(Y, seed=1)[1].tolist()
    assert split(Y, seed=1)[1].tolist() != split(Y, seed=2)[1].tolist()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, Y[:5]), {}, ShapeError, "same number of rows, received 10, 5"),
        ((), {}, ShapeError, "received nothing"),
        ((X,), {"test": 1.5}, ArgumentError, "a fraction between 0 and 1, received 1.5"),
        ((X,), {"stratify": Y, "shuffle": False}, ArgumentError, "stratify with shuffle"),
        ((X,), {"stratify": X}, ArgumentError, r"labels of shape \(10, 2\)"),
    ],
)
def test_splits_that_cannot_be(arguments: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        split(*arguments, **options)


@given(
    rows=st.integers(2, 20),
    columns=st.integers(1, 4),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_standardised_data(rows: int, columns: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(5, scale, (rows, columns))
    standardize = Standardize(x, dtype=np.float64)
    z = standardize(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(standardize.inverse(z), x, rtol=1e-9, atol=1e-9)
    other = rng.normal(size=(3, columns))
    np.testing.assert_allclose(standardize(other), (other - x.mean(0)) / x.std(0), atol=1e-9)


@given(value=st.floats(-1e6, 1e6), rows=st.integers(1, 9))
def test_a_feature_that_never_changes_becomes_zero(value: float, rows: int) -> None:
    standardize = Standardize(np.full((rows, 1), value), dtype=np.float64)
    assert standardize.std == 1
    np.testing.assert_allclose(standardize([[value]]), 0, atol=1e-9)


def test_channels_of_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    standardize = Standardize(images, axis=(0, 1, 2))
    z = standardize(images)
    assert z.dtype == np.float32 and standardize.mean.shape == (1, 1, 3)
    np.testing.assert_allclose(z.mean((0, 1, 2)), 0, atol=1e-5)


@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_features_far_from_zero_keep_their_digits(kind: Any) -> None:
    """Seconds since 1970, say, of which float32 can tell every 128th only."""
    x = 1_600_000_000 + np.arange(100)[:, None]
    z = Standardize(x.astype(kind))(x.astype(kind))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, (x - x.mean()) / x.std(), rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.ones((4, 1)), np.ones((4, 2)), 1.0])
def test_rows_of_other_features_are_not_standardised(wrong: Any) -> None:
    standardize = Standardize(np.random.default_rng(0).normal(size=(5, 3)))
    for function in (standardize, standardize.inverse):
        with pytest.raises(ShapeError, match=r"Standardize: expected .*\(3,\), received .*shape"):
            function(wrong)
    assert standardize(np.ones(3)).shape == (3,)
    with pytest.raises(DtypeError, match="Standardize: expected numbers"):
        standardize([["a", "b", "c"]])


@pytest.mark.parametrize(
    ("x", "error"),
    [
        ([["a"]], DtypeError),
        (np.zeros((0, 2)), ShapeError),
        (1.0, ShapeError),
        ([[np.nan]], NumberError),
    ],
)
def test_data_that_cannot_be_standardised(x: Any, error: Any) -> None:
    with pytest.raises(error, match="Standardize: expected"):
        Standardize(x)


# -- files -----------------------------------------------------------------------------------------

IDX = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array: Any) -> bytes:
    array = np.asarray(array)
    head = bytes([0, 0, IDX[array.dtype.str[1:]], array.ndim])
    return (
        head
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


@given(
    dtype=st.sampled_from(sorted(IDX)),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    packed=st.booleans(),
)
def test_idx_files(tmp_path_factory: Any, dtype: str, shape: list[int], packed: bool) -> None:
    array = np.random.default_rng(0).integers(-99, 99, shape).astype(dtype)
    path = tmp_path_factory.mktemp("idx") / "file"
    content = idx(array)
    path.write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(path)
    assert found.dtype == array.dtype and found.flags.writeable
    np.testing.assert_array_equal(found, array)


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"<html>", "which begins with 00 00.*received 3c 68 74 6d.*HTML page"),
        (b"\0\0\x07\x01" + GOOD[4:], "received 00 00 07 01"),
        (b"\0\0\x08\x00" + GOOD[4:], "1 to 8 axes and their lengths, received 0 axes"),
        (GOOD[:9], "received 2 axes, 5 bytes"),
        (GOOD[:-1], r"6 bytes for shape \(2, 3\), received 5"),
        (GOOD + b"\0", "received more"),
        (b"\0\0\x08\x02" + b"\xff" * 8, "at most 2,147,483,648 bytes of numbers, received 18,446"),
        (gzip.compress(GOOD)[:-9], "a whole gzip file"),
        (b"\x1f\x8b" + b"x" * 40, "a whole gzip file"),
        (gzip.compress(GOOD[:-1]), "received 5"),
    ],
    # A gzip file holds the time: as a test's name it would differ from process to process.
    ids=lambda value: value if isinstance(value, str) else "file",
)
def test_files_that_are_no_idx_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"train-images: expected .*{message}"):
        read_idx(path)


@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255), packed=st.booleans())
def test_a_damaged_file_is_an_error_or_an_array(
    tmp_path_factory: Any, place: int, byte: int, packed: bool
) -> None:
    content = bytearray(gzip.compress(GOOD) if packed else GOOD)
    content[place] = byte
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    try:
        assert isinstance(read_idx(path), np.ndarray)
    except FileError as error:
        assert str(path) in str(error)


def mnist(rows: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for part, n in (("train", rows), ("t10k", 2)):
        found[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        found[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, n, dtype=np.uint8)
    return found


@pytest.mark.parametrize("form", ["plain", "gz", "npz"])
def test_mnist(tmp_path: Path, form: str) -> None:
    arrays = mnist()
    if form == "npz":
        names = ("x_train", "y_train", "x_test", "y_test")
        np.savez(tmp_path / "mnist.npz", **dict(zip(names, arrays.values())))
    else:
        for name, array in arrays.items():
            content = idx(array)
            ending = ".gz" if form == "gz" else ""
            packed = gzip.compress(content) if ending else content
            (tmp_path / (name + ending)).write_bytes(packed)
    (x, y), (test_x, test_y) = load_mnist(tmp_path)
    for found, expected in zip((x, y, test_x, test_y), arrays.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_directory_without_mnist(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="train-images-idx3-ubyte or .*gz, or mnist.npz.*no such f"):
        load_mnist(tmp_path)
    with pytest.raises(FileError, match="no such directory"):
        load_mnist(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((3, 27, 28), np.uint8), r"received uint8 \(3, 27, 28"),
        ("train-labels-idx1-ubyte", np.zeros(4, np.uint8), r"and uint8 \(4,\)"),
        ("train-images-idx3-ubyte", np.zeros((3, 28, 28), np.int32), "received int32"),
        ("t10k-labels-idx1-ubyte", np.full(2, 10, np.uint8), "labels from 0 to 9, received 10"),
    ],
)
def test_files_that_are_no_mnist(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    for other, content in {**mnist(), name: array}.items():
        (tmp_path / other).write_bytes(idx(content))
    with pytest.raises(FileError, match=f"MNIST in .*{message}"):
        load_mnist(tmp_path)


def test_an_npz_is_not_executed(tmp_path: Path) -> None:
    evil = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "mnist.npz", x_train=evil, y_train=evil, x_test=evil, y_test=evil)
    with pytest.raises(FileError, match=r"mnist\.npz: expected arrays .*allow_pickle=False"):
        load_mnist(tmp_path)
    (tmp_path / "mnist.npz").write_bytes(b"PK no zip")
    with pytest.raises(FileError, match=r"mnist\.npz: expected arrays"):
        load_mnist(tmp_path)


def test_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    (x, y), (test_x, test_y) = load_digits()
    assert x.shape == (1437, 8, 8) and test_x.shape == (360, 8, 8)
    assert x.max() == 16 and sorted(set(y)) == sorted(set(test_y)) == list(range(10))
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"minnet\[digits\]"):
        load_digits()
