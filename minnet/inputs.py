"""What comes into a model, as its first layers calculate with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.layers import Layer
from minnet.losses import as_finite
from minnet.tensor import Array


def prepare_input(array: Array, layer: Layer, dtype: npt.DTypeLike, where: str) -> Array:
    """Rows of the layer's ``input_shape`` and of ``dtype``, or int64 where it takes indices.

    Raises :class:`~minnet.errors.ShapeError` for other rows, :class:`~minnet.errors.NumberError`
    for NaN or infinity, :class:`~minnet.errors.ArgumentError` for indices that are not whole.
    """
    if array.shape[1:] != layer.input_shape:
        expected = f"rows of shape {layer.input_shape}"
        advice = "One row alone is x[None]." if array.shape == layer.input_shape else ""
        raise ShapeError(mismatch(where, expected, f"an array of shape {array.shape}", advice))
    if not layer.takes_indices:
        return as_finite(where, array, dtype)
    if array.dtype.kind == "f":
        as_finite(where, array, array.dtype)
        fractional = array != np.floor(array)
        if fractional.any():
            received = f"{array[fractional][0]}"
            raise ArgumentError(mismatch(where, "whole numbers, as indices", received))
    return array.astype(np.int64, copy=False)


def as_columns(x: Any, names: list[str], where: str) -> list[Any]:
    """The arrays for several inputs or outputs, given in order or by name.

    Raises :class:`~minnet.errors.ArgumentError` unless there is one for each name.
    """
    expected = f"{len(names)} arrays: a list, or a dict of {', '.join(names)}"
    if isinstance(x, dict):
        if x.keys() != set(names):
            raise ArgumentError(mismatch(where, expected, f"a dict of {', '.join(map(str, x))}"))
        return [x[name] for name in names]
    if not isinstance(x, (list, tuple)) or len(x) != len(names):
        count = f" of {len(x)}" if isinstance(x, (list, tuple)) else ""
        raise ArgumentError(mismatch(where, expected, f"{type(x).__name__}{count}"))
    return list(x)
