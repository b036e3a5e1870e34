"""The lesson's convolutional network, every step of it: filters found by training, then a book.

pip install "minnet[digits]"
python examples/conv.py [conv.xlsx]
"""

import sys

import numpy as np

from minnet import (
    SGD,
    Activation,
    Conv2D,
    Flatten,
    MaxPooling2D,
    Sequential,
    export_xlsx,
    verify_xlsx,
)
from minnet.demos.conv import load

path = sys.argv[1] if len(sys.argv) > 1 else "conv.xlsx"
data = load()  # scikit-learn's digits, at the size of MNIST's

model = Sequential(
    [
        Conv2D(2, 3, activation="relu", input_shape=(28, 28, 1), name="conv1"),
        Conv2D(2, 3, activation="relu", name="conv2"),
        MaxPooling2D(2, name="maxpool"),
        Conv2D(10, 12, name="dense"),  # a dense layer: its window is the whole image
        Flatten(name="scores"),
        Activation("softmax", name="digit"),
    ],
    dtype=np.float64,
    seed=0,
)
model.summary()
model.compile(SGD(lr=0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(data.x, data.y, epochs=3, validation_data=(data.test_x, data.test_y), verbose=2)

np.set_printoptions(precision=2, suppress=True)
kernel, bias = model.get_weights()[:2]
for number in range(2):
    print(f"filter {number + 1} of conv1, bias {bias[number]:.2f}:\n{kernel[:, :, 0, number]}")

# Type another pixel or weight into the book, and see which of its 29,000 formulas follow.
export_xlsx(model, data.test_x[:1], data.test_y[:1], path, check=False)
print(verify_xlsx(path).summary())
