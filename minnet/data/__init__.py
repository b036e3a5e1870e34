"""Data on their way into a model: batches, labels, splits, standardisation, readers of files."""

from minnet.data.batches import Batches
from minnet.data.files import read_rows
from minnet.data.images import ImageFolder, load_image
from minnet.data.preparation import Standardize, split, to_categorical
from minnet.data.readers import load_digits, load_mnist, read_idx

__all__ = [
    "Batches",
    "ImageFolder",
    "Standardize",
    "load_digits",
    "load_image",
    "load_mnist",
    "read_idx",
    "read_rows",
    "split",
    "to_categorical",
]
