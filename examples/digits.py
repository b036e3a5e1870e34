"""A network without convolutions reads handwritten digits; needs scikit-learn for the images.

pip install "minnet[digits]"
python examples/digits.py [digits.xlsx]
"""

import sys

from minnet import SGD, Dense, Flatten, Sequential, export_xlsx
from minnet.demos.digits import load

path = sys.argv[1] if len(sys.argv) > 1 else "digits.xlsx"
data = load()  # images (n, 8, 8, 1) from 0 to 1, and what they show

model = Sequential(
    [
        Flatten(input_shape=(8, 8, 1)),
        Dense(16, activation="tanh"),
        Dense(10, activation="softmax"),
    ]
)
model.compile(SGD(lr=0.3), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(
    data.x, data.y, epochs=15, batch_size=32, validation_data=(data.test_x, data.test_y)
)
print(f"accuracy on unseen images: {history.history['val_accuracy'][-1]:.3f}")

image, label = data.test_x[:1], data.test_y[:1]
for row in image[0, :, :, 0]:
    print("".join(" .:-=+*#%@"[int(9 * pixel)] * 2 for pixel in row))
print(f"the network reads {model.predict_classes(image)[0]}, the label says {label[0]}")

# One image is enough to see every weight at work.
export = export_xlsx(model, image, label, path, check=False, title="A handwritten digit")
print(f"wrote {export.path}: {export.formulas:,} live formulas")
