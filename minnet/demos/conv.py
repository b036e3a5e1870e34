"""The lesson ``conv-example`` with what it leaves out: relu, biases, softmax, loss and gradients.

A digit of 28×28 pixels, two filters of 3×3, two more, max-pooling, and a dense layer. The dense
layer is written as a convolution whose window is the whole image: the same sums, and in the book
its weights lie as the lesson has them, tile by tile over the pixels that they multiply.
"""

from __future__ import annotations

import numpy as np

from minnet.demos import digits
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Activation, Conv2D, Flatten, MaxPooling2D
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array

SIDE, BOX = 28, 20  # as in MNIST: a digit fills a box of 20×20 in the middle of 28×28
EPOCHS = 6
DIGIT = 7  # the book shows the first one of the test images

NOTES = [
    "The lesson's conv-example.xlsx stops at one activation, a sum of products. Here biases, relu, "
    "softmax over ten digits, the loss and the backward pass follow.",
    "Its second convolution is 25 columns wide (BM:CK). A window of 3 fits into 26 columns 24 "
    "times: the last column reads cells beside the image. So do its 13 columns of max-pooling.",
    "Layer 'dense' is the lesson's: 2 × 12 × 12 weights for each digit, multiplied with what lies "
    "under them. A dense layer over images is a convolution with a window as large as the image.",
]


def enlarge(images: Array) -> Array:
    """Images (n, 8, 8) as (n, 28, 28, 1): linear between pixels, with an empty frame."""
    place = np.linspace(0, images.shape[1] - 1, BOX)
    nearness = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(images.shape[1])))
    margin = (SIDE - BOX) // 2
    frame = ((0, 0), (margin, margin), (margin, margin))
    return np.pad(nearness @ images @ nearness.T, frame)[..., None]


def load() -> digits.Digits:
    """scikit-learn's digits at the size of MNIST's, (n, 28, 28, 1) from 0 to 1.

    Raises :class:`~minnet.errors.MissingDependencyError` without scikit-learn.
    """
    data = digits.load()
    x, test_x = (enlarge(images[..., 0]) for images in (data.x, data.test_x))
    return data._replace(x=x, test_x=test_x)


def network(classes: int = 10) -> Sequential:
    """28×28 → 26×26×2 → 24×24×2 → 12×12×2 → classes, in float64, as a spreadsheet computes."""
    layers = [
        Conv2D(2, 3, activation="relu", input_shape=(SIDE, SIDE, 1), name="conv1"),
        Conv2D(2, 3, activation="relu", name="conv2"),
        MaxPooling2D(2, name="maxpool"),
        Conv2D(classes, 12, name="dense"),
        Flatten(name="scores"),
        Activation("softmax", name="digit"),
    ]
    model = Sequential(layers, name="conv", dtype=np.float64, seed=0)
    model.compile(SGD(lr=0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def run(output: PathLike = "conv.xlsx") -> Sequential:
    """Train the network, and write one image's whole training step as a live book."""
    path = workbook_path(output)
    data = load()
    model = network()
    print(f"28x28 -> conv -> conv -> max-pool -> dense, {len(data.x)} images to learn from\n")
    model.fit(data.x, data.y, epochs=EPOCHS)
    print(f"\ntest accuracy: {digits.accuracy_on_test(model, data):.4f}")

    first = np.flatnonzero(data.test_y == DIGIT)[:1]
    x, y = data.test_x[first], data.test_y[first]
    title = "minnet: a digit through two convolutions, max-pooling and a dense layer"
    export = export_xlsx(model, x, y, path, check=False, title=title, notes=NOTES)
    probability = model.predict(x)[0, y[0]]
    print(f"The book's digit is a {y[0]}; the network gives that {probability:.4f}.")
    print("A dense layer over images is a convolution with a window as large as the image.")
    print_export(export)
    return model
