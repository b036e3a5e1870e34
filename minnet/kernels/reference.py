"""Every kernel in readable NumPy: what the fast ones are measured against.

These functions run in any float dtype, without Numba, and know nothing of the fast paths. They are
the tests' oracle, and what the engine runs in float64 and where there is no compiler.

Images are ``(n, height, width, channels)`` and kernels ``(kh, kw, channels // groups, filters)``. A
window of kh x kw taps is worked off tap by tap: what one tap sees from all its places at once is a
strided view of the padded image, so a convolution is a sum of kh x kw matrix products and a pooling
a running maximum or sum over kh x kw views.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import numpy as np

from minnet.kernels.geometry import Window
from minnet.tensor import Array

Shape = tuple[int, ...]

#: The pooling that :func:`conv2d` can apply to its result.
HALVING = Window((2, 2), (2, 2))


# -- windows ---------------------------------------------------------------------------------------


def _padded(x: Array, window: Window, value: float = 0.0) -> Array:
    return np.pad(x, ((0, 0), *window.padding, (0, 0)), constant_values=value)


def _unpadded(padded: Array, window: Window) -> Array:
    (top, bottom), (left, right) = window.padding
    height, width = padded.shape[1] - bottom, padded.shape[2] - right
    return np.ascontiguousarray(padded[:, top:height, left:width])


def _padded_zeros(shape: Shape, window: Window, dtype: np.dtype[np.generic]) -> Array:
    (top, bottom), (left, right) = window.padding
    n, height, width, channels = shape
    return np.zeros((n, top + height + bottom, left + width + right, channels), dtype)


def _taps(padded: Array, window: Window, places: tuple[int, int]) -> Iterator[Array]:
    """For each tap in row-major order, the view ``(n, *places, channels)`` of what it sees."""
    (sh, sw), (dh, dw) = window.strides, window.dilation
    tall, wide = (places[0] - 1) * sh + 1, (places[1] - 1) * sw + 1
    for r, s in np.ndindex(window.size):
        top, left = r * dh, s * dw
        yield padded[:, top : top + tall : sh, left : left + wide : sw]


def _places(x: Array, window: Window) -> tuple[int, int]:
    return window.output_size(x.shape[1], x.shape[2])


def _inside(shape: Shape, window: Window) -> Array:
    """An image of one channel: True, with padding of False."""
    return _padded(np.ones((1, *shape[1:3], 1), bool), window, False)


# -- convolution -----------------------------------------------------------------------------------


def _by_group(a: Array, groups: int) -> Array:
    """``(..., channels)`` as a stack of matrices ``(groups, rows, channels // groups)``."""
    rows, channels = math.prod(a.shape[:-1]), a.shape[-1]
    return a.reshape(rows, groups, channels // groups).swapaxes(0, 1)


def _from_groups(stack: Array, shape: Shape) -> Array:
    return stack.swapaxes(0, 1).reshape(shape)


def _tap_matrices(w: Array, groups: int) -> Iterator[Array]:
    """For each tap in row-major order ``(groups, channels // groups, filters // groups)``."""
    kh, kw, inputs, filters = w.shape
    yield from w.reshape(kh * kw, inputs, groups, filters // groups).transpose(0, 2, 1, 3)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int = 1,
    relu: bool = False,
    pool: bool = False,
) -> Array:
    """Slide the kernel over the images (cross-correlation): ``(n, *places, filters)``.

    ``y[n, i, j, f] = b[f] + sum over r, s, c of x[n, i*sh + r*dh - top, j*sw + s*dw - left, c] *
    w[r, s, c, f]``, zero outside the image. With ``groups`` the channels and the filters are split
    into as many equal parts, and part k of the filters sees part k of the channels. ``relu``
    replaces negative results by 0, ``pool`` then keeps the maximum of every 2x2 block (an odd last
    row or column is dropped).
    """
    places, filters = _places(x, window), w.shape[3]
    stack = np.zeros((groups, x.shape[0] * places[0] * places[1], filters // groups), x.dtype)
    taps = _taps(_padded(x, window), window, places)
    for tap, matrix in zip(taps, _tap_matrices(w, groups), strict=True):
        stack += _by_group(tap, groups) @ matrix
    y = _from_groups(stack, (x.shape[0], *places, filters))
    y = finished(y, b, relu)
    return max_pool(y, HALVING) if pool else y


def conv2d_input_gradient(
    g: Array, w: Array, window: Window, groups: int, input_shape: Shape
) -> Array:
    """How the images' gradient follows from ``g``, the output's: shape ``input_shape``."""
    padded = _padded_zeros(input_shape, window, g.dtype)
    stack = _by_group(g, groups)
    taps = _taps(padded, window, g.shape[1:3])
    for tap, matrix in zip(taps, _tap_matrices(w, groups), strict=True):
        tap += _from_groups(stack @ matrix.swapaxes(1, 2), tap.shape)
    return _unpadded(padded, window)


def conv2d_weight_gradient(x: Array, g: Array, window: Window, groups: int) -> Array:
    """The kernel's gradient ``(kh, kw, channels // groups, filters)``, ``g`` being the output's."""
    inputs, filters = x.shape[3] // groups, g.shape[3]
    stack = _by_group(g, groups)
    taps = _taps(_padded(x, window), window, g.shape[1:3])
    products = [_by_group(tap, groups).swapaxes(1, 2) @ stack for tap in taps]
    by_tap = np.stack(products).transpose(0, 2, 1, 3)
    return by_tap.reshape(*window.size, inputs, filters)


# -- matrices and elements -------------------------------------------------------------------------


def matmul(a: Array, b: Array, bias: Array | None = None, relu: bool = False) -> Array:
    """``a @ b``, plus ``bias`` in every row, negative results replaced by 0 with ``relu``."""
    return finished(a.dot(b), bias, relu)


def finished(y: Array, bias: Array | None, relu: bool) -> Array:
    """``y``, plus ``bias`` in every row, negative results replaced by 0 with ``relu``; in place."""
    if bias is not None:
        y += bias
    if relu:
        np.maximum(y, 0, out=y)
    return y


def channel_sums(g: Array) -> Array:
    """The sum over all axes but the last, ``(channels,)``: a bias's gradient."""
    return cast(Array, g.sum(axis=tuple(range(g.ndim - 1))))


def relu_gradient(g: Array, y: Array) -> Array:
    """``g`` where ``y``, relu's output, is positive, and 0 elsewhere (so too where it is NaN)."""
    # All bits or none, by "and": choosing by a condition, NumPy takes ten times as long.
    positive = (y > 0).view(np.int8)
    bits = np.negative(positive, dtype=f"i{g.itemsize}")
    return cast(Array, (g.view(bits.dtype) & bits).view(g.dtype))


def relu_gradient_and_sums(g: Array, y: Array) -> tuple[Array, Array]:
    """:func:`relu_gradient` and its :func:`channel_sums`."""
    gated = relu_gradient(g, y)
    return gated, channel_sums(gated)


def descend(p: Array, g: Array, rate: float) -> Array:
    """One step of gradient descent: ``p - rate * g``, a new array."""
    return cast(Array, p - g.dtype.type(rate) * g)


# -- pooling ---------------------------------------------------------------------------------------


def max_pool(x: Array, window: Window) -> Array:
    """The largest element of each window and channel, ``(n, *places, channels)``.

    The padding counts as -infinity. A window with a NaN gives NaN.
    """
    first, *others = _taps(_padded(x, window, -np.inf), window, _places(x, window))
    y = first.copy()
    for tap in others:
        np.maximum(y, tap, out=y)
    return y


def max_pool_places(x: Array, window: Window) -> tuple[Array, Array]:
    """:func:`max_pool`, and for each of its elements (int32) which tap it came from.

    Tap (r, s) has the number ``r * kw + s``. Among equals the first counts, as in ``np.argmax``: so
    does the first NaN. It is a tap inside the image, unless the whole window is padding: then 0.
    """
    size = _places(x, window)
    y = np.full((x.shape[0], *size, x.shape[3]), -np.inf, x.dtype)
    places = np.zeros(y.shape, np.int32)
    found = np.zeros((1, *size, 1), bool)
    taps = _taps(_padded(x, window, -np.inf), window, size)
    insides = _taps(_inside(x.shape, window), window, size)
    for k, (tap, inside) in enumerate(zip(taps, insides, strict=True)):
        better = (tap > y) | (np.isnan(tap) & ~np.isnan(y)) | (inside & ~found)
        y = np.where(better, tap, y)
        places[better] = k
        found |= inside
    return y, places


def max_pool_gradient(g: Array, places: Array, window: Window, input_shape: Shape) -> Array:
    """Each element of ``g`` goes to where its maximum was; shape ``input_shape``."""
    padded = _padded_zeros(input_shape, window, g.dtype)
    for k, tap in enumerate(_taps(padded, window, g.shape[1:3])):
        tap += np.where(places == k, g, g.dtype.type(0))
    return _unpadded(padded, window)


def max_pool_take(h: Array, places: Array, window: Window) -> Array:
    """What ``h`` (shaped like the pooled images) has where the maxima were; shape of ``places``.

    The adjoint, and so the gradient, of :func:`max_pool_gradient`.
    """
    taken = np.zeros(places.shape, h.dtype)
    for k, tap in enumerate(_taps(_padded(h, window), window, places.shape[1:3])):
        taken = np.where(places == k, tap, taken)
    return taken


def _tap_counts(shape: Shape, window: Window, count_padding: bool) -> Array:
    """By what to divide the sum of each window: ``(1, *places, 1)``."""
    places = window.output_size(shape[1], shape[2])
    if count_padding:
        return np.full((1, *places, 1), math.prod(window.size))
    inside = sum(tap.astype(int) for tap in _taps(_inside(shape, window), window, places))
    return np.maximum(inside, 1)  # a window that is all padding has the mean 0


def average_pool(x: Array, window: Window, count_padding: bool = False) -> Array:
    """The mean of each window and channel, ``(n, *places, channels)``.

    The padding counts as zeros with ``count_padding``; otherwise it is left out of the mean.
    """
    y = np.zeros((x.shape[0], *_places(x, window), x.shape[3]), x.dtype)
    for tap in _taps(_padded(x, window), window, y.shape[1:3]):
        y += tap
    y /= _tap_counts(x.shape, window, count_padding)
    return y


def average_pool_gradient(
    g: Array, window: Window, input_shape: Shape, count_padding: bool = False
) -> Array:
    """Each element of ``g`` in equal shares to the taps of its window; shape ``input_shape``."""
    share = g / _tap_counts(input_shape, window, count_padding).astype(g.dtype)
    padded = _padded_zeros(input_shape, window, g.dtype)
    for tap in _taps(padded, window, g.shape[1:3]):
        tap += share
    return _unpadded(padded, window)
