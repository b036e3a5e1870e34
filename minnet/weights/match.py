"""From an open file into a model's layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from minnet.errors import FileError, mismatch
from minnet.layers import Layer
from minnet.tensor import Array, Tensor
from minnet.weights.report import LoadReport
from minnet.weights.stored import Match, Stored, StoredArray, StoredLayer, kind_keys

Pair = tuple[Layer | None, StoredLayer | None]


def load_into(
    layers: Sequence[Layer], stored: Stored, path: str, strict: bool, match: Match
) -> LoadReport:
    """Give the parameters of ``layers`` the numbers of the file; all that fit, or none.

    Raises :class:`~minnet.errors.FileError`, with the report as its ``report``, if ``strict`` and
    the arrays are not the same ones.
    """
    report = LoadReport(path)
    found: list[tuple[Tensor, StoredArray]] = []
    for layer, theirs in _pairs(layers, stored.layers, match):
        _compare(layer, theirs, report, found)
    if strict and not report.is_complete:
        raise _incomplete(report)
    new = [_read(path, array, parameter) for parameter, array in found]
    for (parameter, _), array in zip(found, new, strict=True):
        parameter.data = array
    return report


def _pairs(layers: Sequence[Layer], stored: Sequence[StoredLayer], match: Match) -> list[Pair]:
    """Layers that belong together; None where one side has none. Those without arrays are out."""
    theirs = [layer for layer in stored if layer.arrays]
    keyed = zip(layers, kind_keys(layers), strict=True)
    ours = [(layer, key) for layer, key in keyed if layer.parameters]
    if match is Match.ORDER:
        return list(zip_longest((layer for layer, _ in ours), theirs))
    by_name = match is Match.NAME
    index = {layer.name if by_name else layer.key: layer for layer in theirs}
    pairs: list[Pair] = [
        (layer, index.pop(layer.name if by_name else key, None)) for layer, key in ours
    ]
    return pairs + [(None, layer) for layer in index.values()]


def _compare(
    layer: Layer | None,
    stored: StoredLayer | None,
    report: LoadReport,
    found: list[tuple[Tensor, StoredArray]],
) -> None:
    """Sort a layer's arrays into the report; those that fit are also ``found``."""
    parameters = {} if layer is None else layer.parameters
    arrays = {} if stored is None else dict(stored.arrays)
    if stored is not None and not stored.named_arrays:
        names = [*parameters, *list(arrays)[len(parameters) :]]
        arrays = dict(zip(names, arrays.values(), strict=False))
    for name, parameter in parameters.items():
        title, array = f"{layer.name}/{name}" if layer else name, arrays.pop(name, None)
        if array is None:
            report.missing.append(title)
        elif array.shape != parameter.shape:
            report.mismatched.append((title, parameter.shape, array.shape))
        else:
            report.matched.append(title)
            found.append((parameter, array))
            if array.dtype != parameter.dtype:
                report.converted.append((title, str(array.dtype)))
    report.unexpected += [array.name for array in arrays.values()]


def _read(path: str, stored: StoredArray, parameter: Tensor) -> Array:
    """The numbers in the parameter's dtype."""
    if stored.dtype.kind not in "fiu":
        where, expected = f"{path}: {stored.name}", "numbers of a dtype that NumPy has"
        raise FileError(mismatch(where, expected, f"dtype {stored.dtype}"))
    return stored.read(parameter.dtype)


def _incomplete(report: LoadReport) -> FileError:
    parts = [f"{words}: {', '.join(names)}" for words, names in report.differences()]
    error = FileError(
        mismatch(
            report.path,
            "the arrays of this model and no others",
            f"arrays {'; '.join(parts)}",
            "Nothing was loaded; load_weights(path, strict=False) loads what fits.",
        )
    )
    error.report = report
    return error
