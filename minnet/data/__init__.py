"""Data on their way into a model: batches, labels, splits, standardisation, readers of files."""

from minnet.data.batches import Batches

__all__ = ["Batches"]
