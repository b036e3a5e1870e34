"""Preparing arrays: classes as rows of zeros with a one, splits, standardisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet import random
from minnet.checks import number, whole
from minnet.errors import ArgumentError, DtypeError, NumberError, ShapeError, mismatch
from minnet.tensor import DEFAULT_DTYPE, Array


def to_categorical(
    labels: npt.ArrayLike, num_classes: int | None = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Labels 0 … n−1, of any shape, as one-hot rows: (…) to (…, n).

    ``num_classes``: n; one more than the largest label if None.

    Raises :class:`~minnet.errors.DtypeError` for labels that are not whole numbers and
    :class:`~minnet.errors.ArgumentError` for one out of range.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iub":
        received = f"dtype {array.dtype}"
        raise DtypeError(mismatch("to_categorical", "whole numbers as labels", received))
    if not array.size and num_classes is None:
        raise ArgumentError(mismatch("to_categorical", "num_classes, or some labels", "neither"))
    if num_classes is None:
        num_classes = int(array.max()) + 1
    n = whole("to_categorical num_classes", num_classes, 1)
    bad = (array < 0) | (array >= n)
    if bad.any():
        received = str(array[bad][0])
        raise ArgumentError(mismatch("to_categorical", f"labels from 0 to {n - 1}", received))
    rows = np.zeros((array.size, n), dtype)
    rows[np.arange(array.size), array.reshape(-1).astype(np.int64)] = 1
    return rows.reshape(*array.shape, n)


def split(
    *arrays: Any,
    test: float = 0.25,
    shuffle: bool = True,
    stratify: npt.ArrayLike | None = None,
    seed: int | None = None,
) -> list[Array]:
    """Rows to train on and rows to test with: ``x, test_x, y, test_y = split(x, y)``.

    ``test``: the fraction of the rows that is for the test, rounded to a whole number of them.
    Without ``shuffle`` it is the end. ``stratify``: labels (rows,); each class then has its share
    of the test rows, give or take one. Without ``seed`` the shared generator is used.

    Raises :class:`~minnet.errors.ShapeError` for arrays of different lengths and
    :class:`~minnet.errors.ArgumentError` unless both parts have rows.
    """
    given = [np.asarray(array) for array in arrays]
    labels = None if stratify is None else np.asarray(stratify)
    lengths = [len(a) if a.ndim else 0 for a in (*given, *(() if labels is None else (labels,)))]
    if not lengths or len(set(lengths)) != 1:
        received = ", ".join(map(str, lengths)) or "nothing"
        raise ShapeError(mismatch("split", "arrays with the same number of rows", received))
    if labels is not None and not (shuffle and labels.ndim == 1):
        received = f"shuffle={shuffle} and labels of shape {labels.shape}"
        raise ArgumentError(mismatch("split", "stratify with shuffle and labels (rows,)", received))
    rows = lengths[0]
    fraction = number("split test", test, "a fraction between 0 and 1", 0, 1, above=True)
    count = round(rows * fraction)
    if not 0 < count < rows:
        expected = "a fraction that leaves rows on both sides"
        raise ArgumentError(mismatch("split", expected, f"{test} of {rows} rows"))
    order = np.arange(rows)
    if shuffle:
        rng = random.generator() if seed is None else random.generator_from(seed)
        order = rng.permutation(rows)
    chosen = np.zeros(rows, bool)
    if labels is None:
        chosen[rows - count :] = True
    else:
        # In the order of classes, and evenly along it: each class gets its share.
        order = order[np.argsort(labels[order], kind="stable")]
        chosen[(np.arange(count) * rows + rows // 2) // count] = True
    train_rows, test_rows = order[~chosen], order[chosen]
    if labels is not None:
        train_rows, test_rows = rng.permutation(train_rows), rng.permutation(test_rows)
    return [part for a in given for part in (a[train_rows], a[test_rows])]


def _numbers(x: npt.ArrayLike) -> Array:
    data = np.asarray(x)
    if data.dtype.kind not in "fiub":
        raise DtypeError(mismatch("Standardize", "numbers", f"dtype {data.dtype}"))
    return data


class Standardize:
    """Makes each feature have mean 0 and standard deviation 1, as measured on training data.

    >>> standardize = Standardize(x)
    >>> x, test_x = standardize(x), standardize(test_x)

    ``x``: the training data alone: what is measured on test data makes the test too easy.
    ``axis``: over which to measure: 0, the rows, for features in columns; (0, 1, 2) for the
    channels of images. ``mean`` and ``std`` can be multiplied with ``x``; a feature that never
    changes only has its mean taken away.

    Raises :class:`~minnet.errors.DtypeError` for anything but numbers,
    :class:`~minnet.errors.ShapeError` for no rows, and :class:`~minnet.errors.NumberError` for NaN
    or infinity.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        axis: int | Sequence[int] = 0,
        dtype: npt.DTypeLike = DEFAULT_DTYPE,
    ):
        data = _numbers(x)
        if not data.size or not data.ndim:
            expected, received = "at least one row of numbers", f"shape {data.shape}"
            raise ShapeError(mismatch("Standardize", expected, received))
        axes = axis if isinstance(axis, int) else tuple(axis)
        mean = data.mean(axes, np.float64, keepdims=True)
        std = data.std(axes, np.float64, keepdims=True)
        if not (np.isfinite(mean).all() and np.isfinite(std).all()):
            raise NumberError(mismatch("Standardize", "finite numbers", "NaN or infinity"))
        # A spread below what rounding makes of a constant is none.
        constant = std <= np.abs(mean) * np.finfo(np.float64).eps * 8
        std[constant] = 1.0
        self._mean, self._std = mean[0], std[0]
        self.mean, self.std = mean[0].astype(dtype), std[0].astype(dtype)
        self.dtype = np.dtype(dtype)

    def __call__(self, x: npt.ArrayLike) -> Array:
        """(x − mean) / std, of ``dtype``.

        Raises :class:`~minnet.errors.ShapeError` for rows of other features than were measured, and
        :class:`~minnet.errors.DtypeError` for anything but numbers.
        """
        data, mean, std = self._as_exact(x)
        return np.asarray((data - mean) / std, self.dtype)

    def inverse(self, z: npt.ArrayLike) -> Array:
        """What has been standardised, on its old scale: z · std + mean. Raises the same."""
        data, mean, std = self._as_exact(z)
        return np.asarray(data * std + mean, self.dtype)

    def _as_exact(self, x: npt.ArrayLike) -> tuple[Array, Array, Array]:
        """These numbers, mean and std, in a dtype that holds all of the numbers' digits: with fewer
        nothing may be left of the differences between large ones."""
        data = _numbers(x)
        try:
            fits = np.broadcast_shapes(data.shape, self.mean.shape) == data.shape
        except ValueError:
            fits = False
        if not fits:
            expected = f"an array whose last axes fit the mean's shape {self.mean.shape}"
            raise ShapeError(mismatch("Standardize", expected, f"one of shape {data.shape}"))
        exact = np.result_type(data.dtype, self.dtype)
        return data.astype(exact, copy=False), self._mean.astype(exact), self._std.astype(exact)
