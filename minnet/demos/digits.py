"""A small network reads handwritten digits: scikit-learn's 1797 images of 8×8 pixels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minnet.data import load_digits
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array


class Digits(NamedTuple):
    """Images (n, 64) from 0 to 1 with their labels, to learn from and to be tested with."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


def load() -> Digits:
    """The images; every fifth one is for the test.

    Raises :class:`~minnet.errors.MissingDependencyError` without scikit-learn.
    """
    (x, y), (test_x, test_y) = load_digits()
    flat, test_flat = (images.reshape(-1, 64) / 16.0 for images in (x, test_x))
    return Digits(flat, y.astype(np.int64), test_flat, test_y.astype(np.int64))


def network() -> Sequential:
    """64 → 24 → 10, in float64, as a spreadsheet computes."""
    layers = [Dense(24, activation="relu", input_dim=64), Dense(10, activation="softmax")]
    model = Sequential(layers, name="digits", dtype=np.float64, seed=0)
    model.compile(SGD(lr=0.2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def accuracy_on_test(model: Sequential, data: Digits) -> float:
    """The fraction of the test images that the model reads rightly."""
    return float(np.mean(model.predict_classes(data.test_x) == data.test_y))


def four_images(model: Sequential, data: Digits) -> tuple[Array, Array]:
    """Three test images that the model reads rightly and the first that it does not."""
    right = model.predict_classes(data.test_x) == data.test_y
    chosen = [*np.flatnonzero(right)[:3], *np.flatnonzero(~right)[:1]]
    return data.test_x[chosen], data.test_y[chosen]


def run(output: PathLike = "digits.xlsx") -> Sequential:
    """Train the network, test it, and write a training step on four images as a live book."""
    path = workbook_path(output)
    data = load()
    model = network()
    print(f"64 -> 24 -> 10, {len(data.x)} images to learn from, {len(data.test_x)} to test\n")
    model.fit(data.x, data.y, epochs=20)
    print(f"\ntest accuracy: {accuracy_on_test(model, data):.4f}")

    x, y = four_images(model, data)
    export = export_xlsx(model, x, y, path)
    found = model.predict_classes(x)
    print(f"The book's four images show {', '.join(map(str, y))}; ", end="")
    print(f"the network reads {', '.join(map(str, found))}.")
    print_export(export)
    return model
