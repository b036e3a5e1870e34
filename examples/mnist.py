"""A small convolutional network, in the manner of LeNet, reads handwritten digits.

python examples/mnist.py DIRECTORY [curves.png]

DIRECTORY has MNIST's four IDX files, or mnist.npz: 60,000 images of 28 x 28 pixels to learn from
and 10,000 to be tested with; test accuracy is above 0.99 after some minutes. Without a directory,
scikit-learn's 1,797 digits of 8 x 8 pixels stand in.
"""

import sys

import minnet
from minnet.callbacks import LearningRateScheduler
from minnet.data import Batches, Standardize, load_digits, load_mnist

directory = sys.argv[1] if len(sys.argv) > 1 else None
(x, y), (test_x, test_y) = load_digits() if directory is None else load_mnist(directory)

# Mean and spread of all pixels of the training images, not of the test's.
standardize = Standardize(x.reshape(-1, 1))
x, test_x = (standardize(images[..., None]) for images in (x, test_x))

minnet.seed(0)
model = minnet.Sequential(
    [
        minnet.Conv2D(32, 3, padding="same", activation="relu", input_shape=x.shape[1:]),
        minnet.MaxPooling2D(2),
        minnet.Conv2D(64, 3, padding="same", activation="relu"),
        minnet.MaxPooling2D(2),
        minnet.Flatten(),
        minnet.Dense(128, activation="relu"),
        minnet.Dropout(0.5),
        minnet.Dense(10, activation="softmax"),
    ]
)
model.compile(minnet.Adam(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.summary()


def rate(epoch):
    """A thousandth, then a third of it from epoch to epoch towards the end."""
    return 1e-3 * min(1.0, 3.0 ** (epochs - 4 - epoch))


epochs = 8
batches = Batches(x, y, batch_size=64, seed=0, threads=1)
history = model.fit(
    batches,
    epochs=epochs,
    validation_data=(test_x, test_y),
    callbacks=[LearningRateScheduler(rate)],
)
loss, accuracy = model.evaluate(test_x, test_y, batch_size=256)
print(
    f"\ntest accuracy: {accuracy:.4f}, {round(len(test_x) * (1 - accuracy))} of {len(test_x)} wrong"
)

if len(sys.argv) > 2:
    history.plot(sys.argv[2])
    print(f"wrote {sys.argv[2]}")
