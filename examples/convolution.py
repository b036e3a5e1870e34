"""A convolutional network reads handwritten digits; an image's whole pass opens in a spreadsheet.

pip install "minnet[digits]"
python examples/convolution.py [convolution.xlsx]
"""

import sys

import numpy as np

from minnet import SGD, Conv2D, Dense, Flatten, MaxPooling2D, Sequential, export_xlsx
from minnet.demos.digits import load

path = sys.argv[1] if len(sys.argv) > 1 else "convolution.xlsx"
data = load()
train_x = data.x.reshape(-1, 8, 8, 1).astype(np.float32)  # (rows, height, width, channels)
test_x = data.test_x.reshape(-1, 8, 8, 1).astype(np.float32)

model = Sequential(
    [
        Conv2D(8, 3, padding="same", activation="relu", input_shape=(8, 8, 1), name="conv1"),
        MaxPooling2D(2, name="pool1"),
        Conv2D(16, 3, padding="same", activation="relu", name="conv2"),
        MaxPooling2D(2, name="pool2"),
        Flatten(name="flat"),
        Dense(10, activation="softmax", name="digit"),
    ],
    seed=0,
)
model.summary()
model.compile(SGD(lr=0.2), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    train_x, data.y, epochs=15, batch_size=32, validation_data=(test_x, data.test_y), verbose=2
)
print(f"accuracy on unseen images: {history.history['val_accuracy'][-1]:.3f}")

# Every window, filter and gradient of one image, live: change a pixel and see what becomes of it.
image, label = test_x[:1], data.test_y[:1]
export = export_xlsx(model, image, label, path, check=False, title="A convolutional network")
print(f"wrote {export.path}: {export.formulas:,} live formulas")
