"""Arrays as pictures for a sheet: all channels of a layer, the filters of the first, a photograph.

Pictures are PNG files in memory, with a colour table of 256 entries for what is no photograph.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from minnet.tensor import Array

WIDEST = 960  # pixels of a mosaic
GAP = 1  # between its tiles, in pixels
GREY = 255  # the colour between tiles: the last of each table
#: From no activity over orange to the most; about 0 from blue over white to red, as on the sheets.
_ACTIVE = ((255, 255, 255), (251, 194, 143), (197, 90, 17), (70, 20, 0))
_SIGNED = ((31, 78, 121), (142, 180, 227), (255, 255, 255), (247, 169, 168), (150, 0, 0))


def mosaic(channels: Array) -> bytes:
    """The channels of images (height, width, channels) as tiles of one picture.

    All share one scale: white is 0, the darkest what 1 in 200 numbers exceeds; blue is below 0.
    """
    height, width, count = channels.shape
    across = _columns(height, width, count)
    size = max(1, (WIDEST // across - GAP) / width)
    factor = int(size) if size >= 1 else 1
    step = 1 if size >= 1 else math.ceil(width / (WIDEST // across - GAP))
    tiles = _means(channels, step)
    shades = np.repeat(np.repeat(_shades(tiles), factor, 0), factor, 1)
    high, wide = shades.shape[0] + GAP, shades.shape[1] + GAP
    down = -(-count // across)
    canvas = np.full((down * high + GAP, across * wide + GAP), GREY, np.uint8)
    for k in range(count):
        row, column = divmod(k, across)
        top, left = row * high + GAP, column * wide + GAP
        canvas[top : top + high - GAP, left : left + wide - GAP] = shades[:, :, k]
    return _paletted(canvas, _SIGNED if channels.min() < 0 else _ACTIVE)


def grid(vector: Array) -> Array:
    """A vector as an image (height, width, 1) that is about square, the rest 0."""
    width = math.ceil(math.sqrt(vector.size))
    height = -(-vector.size // width)
    image = np.zeros(height * width, vector.dtype)
    image[: vector.size] = vector
    return image.reshape(height, width, 1)


def filter_tiles(kernel: Array, reverse: bool) -> bytes:
    """The filters (kh, kw, 3, filters) as tiles in colour; grey is 0.

    ``reverse``: the channels are blue, green, red.
    """
    kh, kw, _, count = kernel.shape
    weights = kernel[:, :, ::-1] if reverse else kernel
    largest = float(np.abs(weights).max()) or 1.0
    colours = np.clip(127.5 + 127.5 * weights / largest, 0, 255).astype(np.uint8)
    across = math.ceil(math.sqrt(count))
    factor = max(1, 480 // (across * (kw + 1)))
    down = -(-count // across)
    high, wide = kh * factor + GAP, kw * factor + GAP
    canvas = np.full((down * high + GAP, across * wide + GAP, 3), 255, np.uint8)
    for k in range(count):
        row, column = divmod(k, across)
        tile = np.repeat(np.repeat(colours[..., k], factor, 0), factor, 1)
        top, left = row * high + GAP, column * wide + GAP
        canvas[top : top + high - GAP, left : left + wide - GAP] = tile
    return _png(canvas)


def photograph(pixels: Array) -> tuple[bytes, str]:
    """An image (height, width, 1 or 3) as a picture, and how its numbers were made colours."""
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and 1 < high <= 255:
        scale, words = (0.0, 255.0), "0 is black, 255 is white"
    elif low >= 0 and high <= 1:
        scale, words = (0.0, 1.0), "0 is black, 1 is white"
    else:
        scale, words = (low, high), f"{low:.4g} is black, {high:.4g} is white"
    span = (scale[1] - scale[0]) or 1.0
    colours = np.round((pixels.astype(np.float64) - scale[0]) / span * 255).astype(np.uint8)
    factor = max(1, 224 // max(pixels.shape[:2]))
    colours = np.repeat(np.repeat(colours, factor, 0), factor, 1)
    return _png(colours[..., 0] if pixels.shape[2] == 1 else colours), words


def _columns(height: int, width: int, count: int) -> int:
    """How many tiles side by side: a picture about twice as wide as high, without empty places."""
    ideal = math.sqrt(2 * count * height / width)
    full = [n for n in range(1, count + 1) if count % n == 0 and ideal / 2 <= n <= 2 * ideal]
    return min(full, key=lambda n: abs(math.log(n / ideal)), default=min(count, round(ideal)) or 1)


def _means(channels: Array, step: int) -> Array:
    """Images made smaller by whole steps, each pixel the mean of those that it stands for."""
    if step == 1:
        return channels
    height, width, count = channels.shape
    rows, columns = -(-height // step), -(-width // step)
    room = (0, rows * step - height), (0, columns * step - width), (0, 0)
    padded = np.pad(channels, room, mode="edge")
    smaller: Array = padded.reshape(rows, step, columns, step, count).mean((1, 3))
    return smaller


def _shades(values: Array) -> Array:
    """Numbers as entries 0 … 254 of a colour table."""
    reach = float(np.quantile(np.abs(values), 0.995)) or float(np.abs(values).max()) or 1.0
    parts = values / reach
    # Most numbers of a layer are far below the largest: the root makes them visible.
    parts = np.sign(parts) * np.sqrt(np.abs(parts))
    if values.min() < 0:
        parts = (parts + 1) / 2
    shades: Array = np.clip(np.round(parts * 254), 0, 254).astype(np.uint8)
    return shades


def _paletted(shades: Array, stops: tuple[tuple[int, int, int], ...]) -> bytes:
    from PIL import Image

    places = np.linspace(0, 254, len(stops))
    table = np.stack([np.interp(np.arange(256), places, c) for c in zip(*stops)], 1)
    table[GREY] = 217
    image = Image.fromarray(shades, "P")
    image.putpalette(table.astype(np.uint8).tobytes())
    return _encoded(image)


def _png(pixels: Array) -> bytes:
    from PIL import Image

    return _encoded(Image.fromarray(np.ascontiguousarray(pixels)))


def _encoded(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
