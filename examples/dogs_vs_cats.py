"""Cats or dogs: a new head on VGG16's features, then its last block goes on learning.

    python examples/dogs_vs_cats.py DIR WEIGHTS [FEATURES]

DIR has train/cats, train/dogs, valid/cats and valid/dogs, full of photographs, as in fast.ai's
lesson; WEIGHTS are ImageNet's (``minnet weights vgg16 --notop`` downloads them). FEATURES is a
directory to keep features in, so that a second run has them at once. Without arguments everything
is small and made up: reddish and bluish squares, and a thin net with random weights.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import minnet
from minnet.callbacks import ProgressBar
from minnet.vgg16 import VGG16, Vgg16

MADE_UP = 64  # height and width of the squares


def make_up(root: Path) -> tuple[Path, Path]:
    """Squares of two colours in the lesson's folders, and random weights."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 32), ("valid", 16)):
        for name, colour in (("cats", (190, 90, 60)), ("dogs", (60, 90, 190))):
            (root / part / name).mkdir(parents=True)
            for k in range(count):
                noisy = rng.normal(colour, 60, (MADE_UP, MADE_UP, 3)).clip(0, 255)
                Image.fromarray(noisy.astype(np.uint8)).save(root / part / name / f"{k}.png")
    net = VGG16(width=1 / 8, include_top=False, input_shape=(MADE_UP, MADE_UP, 3), seed=0)
    net.save_weights(root / "random.npz")
    return root, root / "random.npz"


def main(data: Path, weights: Path, cache: Path, size: int) -> None:
    minnet.seed(0)
    began = time.perf_counter()
    vgg = Vgg16(weights, size=(size, size))
    batches = vgg.get_batches(data / "train", batch_size=16)
    val_batches = vgg.get_batches(data / "valid", batch_size=16, shuffle=False)

    # A new head. The frozen layers see each image once, the head sees their features 12 times.
    vgg.finetune(batches)
    head = vgg.fit_features(batches, val_batches, 12, cache, batch_size=64)
    print(f"head: {head.history['val_accuracy'][-1]:.4f}, {time.perf_counter() - began:.0f} s")

    # The last block learns on, a hundred times more slowly.
    vgg.unfreeze("block5_conv1")
    vgg.compile(lr=1e-5)
    block5 = vgg.fit(batches, val_batches, 1, callbacks=[ProgressBar(unit="images")])
    print(f"block 5: {block5.history['val_accuracy'][-1]:.4f}, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if len(sys.argv) > 2:
            cache = sys.argv[3] if len(sys.argv) > 3 else temporary
            main(Path(sys.argv[1]), Path(sys.argv[2]), Path(cache), 224)
        else:
            print("No pictures and no weights given: coloured squares and random weights instead.")
            main(*make_up(Path(temporary)), Path(temporary), MADE_UP)
