"""Weights in files: one reader and writer for each format, one way from a file into layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike, replacing, require_file
from minnet.layers import Layer
from minnet.weights import conventions
from minnet.weights.conventions import Convention
from minnet.weights.convert import convert
from minnet.weights.formats import format_of
from minnet.weights.match import load_into
from minnet.weights.report import LoadReport
from minnet.weights.stored import Match
from minnet.weights.vgg16 import Vgg16Layer, Vgg16Report, opened_vgg16, read_vgg16

__all__ = [
    "Convention",
    "LoadReport",
    "Vgg16Layer",
    "Vgg16Report",
    "convert",
    "load",
    "opened_vgg16",
    "read_vgg16",
    "save",
]


def save(layers: Sequence[Layer], path: PathLike) -> None:
    """See :meth:`minnet.model.Model.save_weights`."""
    chosen = format_of(path)
    with replacing(path, "weights") as file:
        chosen.write(file, layers, conventions.of_model(layers))


def load(
    layers: Sequence[Layer],
    path: PathLike,
    strict: bool = True,
    by_name: bool | None = None,
    print_fn: Callable[[str], Any] = print,
) -> LoadReport:
    """See :meth:`minnet.model.Model.load_weights`."""
    chosen, file = format_of(path), require_file(path, "weights")
    if not any(layer.parameters for layer in layers):
        advice = "Give the first layer its input_shape, or call model.build(shape)."
        raise ArgumentError(mismatch(str(file), "a model with weights", "one without", advice))
    with chosen.opened(file) as stored:
        match = stored.match
        if by_name is not None:
            match = Match.NAME if by_name else Match.ORDER
        report = load_into(layers, stored, str(file), strict, match)
    if not report.is_complete:
        print_fn(str(report))
    return report
