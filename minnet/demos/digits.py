"""A small convolutional network reads handwritten digits: scikit-learn's 1797 images, 8×8."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minnet.data import load_digits
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Conv2D, Dense, Flatten, MaxPooling2D
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array

NOTES = [
    "Strip 'inputs' has four handwritten digits, from top to bottom; the network reads three of "
    "them rightly. Block 'softmax' of strip 'loss' has a row of ten probabilities for each, for "
    "the digits 0 to 9, and 'target' the digit that it is.",
    "Each filter of 3×3 weights slides over a digit and answers where it finds its pattern: follow "
    "a row of tiles from left to right. Max-pooling keeps the strongest answer of 2×2; the dense "
    "layer weighs what is left. On the way back, the gradient returns to that strongest one alone.",
]


class Digits(NamedTuple):
    """Images (n, 8, 8, 1) from 0 to 1 with their labels, to learn from and to be tested with."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


def load() -> Digits:
    """The images; every fifth one is for the test.

    Raises :class:`~minnet.errors.MissingDependencyError` without scikit-learn.
    """
    (x, y), (test_x, test_y) = load_digits()
    images, test_images = (given[..., None] / 16.0 for given in (x, test_x))
    return Digits(images, y.astype(np.int64), test_images, test_y.astype(np.int64))


def network() -> Sequential:
    """8×8 → 6×6×4 → 3×3×4 → 10, in float64, as a spreadsheet computes."""
    layers = [
        Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1), name="conv"),
        MaxPooling2D(2, name="maxpool"),
        Flatten(name="flatten"),
        Dense(10, activation="softmax", name="digit"),
    ]
    model = Sequential(layers, name="digits", dtype=np.float64, seed=0)
    model.compile(SGD(lr=0.2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def accuracy_on_test(model: Sequential, data: Digits) -> float:
    """The fraction of the test images that the model reads rightly."""
    return float(np.mean(model.predict_classes(data.test_x) == data.test_y))


def four_images(model: Sequential, data: Digits) -> tuple[Array, Array]:
    """Test images: three different digits that the model reads rightly, and one it does not."""
    right = model.predict_classes(data.test_x) == data.test_y
    first: dict[int, int] = {}
    for image in np.flatnonzero(right).tolist():
        first.setdefault(int(data.test_y[image]), image)
    chosen = [*list(first.values())[:3], *np.flatnonzero(~right)[:1]]
    return data.test_x[chosen], data.test_y[chosen]


def run(output: PathLike = "digits.xlsx") -> Sequential:
    """Train the network, test it, and write a training step on four images as a live book."""
    path = workbook_path(output)
    data = load()
    model = network()
    print("8x8 -> four filters of 3x3 -> max-pool -> dense, ", end="")
    print(f"{len(data.x)} images to learn from, {len(data.test_x)} to test\n")
    model.fit(data.x, data.y, epochs=20)
    print(f"\ntest accuracy: {accuracy_on_test(model, data):.4f}")

    x, y = four_images(model, data)
    title = "minnet: four digits through a convolution, max-pooling and a dense layer"
    export = export_xlsx(model, x, y, path, title=title, notes=NOTES)
    found = model.predict_classes(x)
    print(f"The book's four images show {', '.join(map(str, y))}; ", end="")
    print(f"the network reads {', '.join(map(str, found))}.")
    print("Its four filters, and what each finds in the images: the tiles of strip 'conv'.")
    print_export(export)
    return model
