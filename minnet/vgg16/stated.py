"""What a file of weights says of the net that it is for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minnet.files import PathLike
from minnet.vgg16.architecture import BLOCKS, SMALLEST
from minnet.weights import Vgg16Layer, opened_vgg16
from minnet.weights.vgg16 import CONVOLUTIONS


def settings_of(weights: PathLike) -> dict[str, Any]:
    """What a file of weights says of its net: options of :func:`VGG16`, and the size of images.

    Raises what :func:`minnet.weights.opened_vgg16` raises.
    """
    with opened_vgg16(weights) as (layers, report):
        widths = {layer.name: layer.bias.shape[0] for layer in layers}
        size = report.convention.size or _size_of(layers)
    *units, classes = [width for name, width in widths.items() if name[:5] != "block"] or [0]
    top = {"units": units, "classes": classes} if classes else {}
    return {
        "size": size,
        "preprocessing": report.convention.preprocessing,
        "include_top": bool(top),
        "width": widths["block1_conv1"] / BLOCKS[0][0],
        **top,
    }


def _size_of(layers: Sequence[Vgg16Layer]) -> tuple[int, int] | None:
    """(height, width) of the square images that a file's dense layers are for, if it has any."""
    *_, last = (layer for layer in layers if layer.name in CONVOLUTIONS)
    dense = next((layer for layer in layers if layer.name not in CONVOLUTIONS), None)
    if dense is None:
        return None
    side = math.isqrt(dense.kernel.shape[0] // last.bias.shape[0])  # of a feature map
    rows = side * side * last.bias.shape[0]
    return (SMALLEST * side, SMALLEST * side) if rows == dense.kernel.shape[0] else None
