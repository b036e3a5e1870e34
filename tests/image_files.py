"""Pictures on disk for tests: small, and different enough for a net to tell their classes apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

#: Reddish pictures are of cats, bluish ones of dogs.
COLOURS = {"cats": (200, 60, 40), "dogs": (40, 60, 200)}


def pixels(name: str, number: int, size: int = 40) -> np.ndarray:
    """Noise about the colour of a class, uint8 (size, size + number % 5, 3)."""
    rng = np.random.default_rng([len(name), ord(name[0]), number])
    noise = rng.normal(0, 25, (size, size + number % 5, 3))
    return np.clip(noise + COLOURS[name], 0, 255).astype(np.uint8)


def write_folder(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    """``root``/cats/cats.0.png, …: so many pictures of each class."""
    for name, count in counts.items():
        directory = root / name
        directory.mkdir(parents=True)
        for number in range(start, start + count):
            Image.fromarray(pixels(name, number)).save(directory / f"{name}.{number}.png")
    return root
