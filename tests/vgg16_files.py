"""Thin VGG16s in PyTorch, and the numbers of their layers as Keras would have them."""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTHS = (4, 5, 6, 7, 8)
#: Those of a VGG16, with a sixteenth of its filters.
SIXTEENTH = (4, 8, 16, 32, 32)
BLOCKS = (2, 2, 3, 3, 3)
SIDE = 2  # of the last feature maps: images of 64 × 64
IMAGE = (64, 64, 3)
NAMES = [f"block{b}_conv{c}" for b, n in enumerate(BLOCKS, 1) for c in range(1, n + 1)]
TOP = ["fc1", "fc2", "predictions"]

Layers = list[tuple[str, np.ndarray, np.ndarray]]


def torch_vgg16(widths: tuple[int, ...] = WIDTHS, side: int = SIDE, fc: int = 9) -> Any:
    """torchvision's ``vgg16``: the same modules with the same names, which its files have."""
    from torch import nn

    features: list[Any] = []
    before = 3
    for width, count in zip(widths, BLOCKS):
        for _ in range(count):
            features += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        features.append(nn.MaxPool2d(2))
    top = [nn.Linear(before * side**2, fc), nn.ReLU(), nn.Dropout()]
    top += [nn.Linear(fc, fc), nn.ReLU(), nn.Dropout(), nn.Linear(fc, 10)]

    class VGG(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*features)
            self.classifier = nn.Sequential(*top)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).flatten(1))

    return VGG().eval()


def random_layers(seed: int = 0, side: int = SIDE, widths: tuple[int, ...] = WIDTHS) -> Layers:
    """The layers of a thin VGG16, as Keras's lie."""
    rng = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = []
    before = 3
    for width, count in zip(widths, BLOCKS):
        for _ in range(count):
            shapes.append((3, 3, before, width))
            before = width
    shapes += [(side * side * before, 9), (9, 9), (9, 10)]
    return [
        (name, rng.normal(0, 0.2, shape).astype("f4"), rng.normal(0, 0.2, shape[-1]).astype("f4"))
        for name, shape in zip(NAMES + TOP, shapes)
    ]
