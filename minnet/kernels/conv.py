"""The convolutions that the engine calls for float32, and which algorithm each of them gets.

Arguments and results are those of :mod:`minnet.kernels.reference`.
"""

from __future__ import annotations

from functools import lru_cache

from minnet.kernels import (
    depthwise,
    depthwise_gradients,
    direct,
    direct_gradients,
    pool,
    products,
    winograd,
    winograd_tiles,
    winograd_weights,
)
from minnet.kernels.geometry import NO_PADDING, Padding, Window
from minnet.kernels.prepared import prepared, seen
from minnet.kernels.reference import HALVING
from minnet.tensor import Array

Shape = tuple[int, ...]


def conv2d(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int = 1,
    relu: bool = False,
    pool: bool = False,
) -> Array:
    """See :func:`minnet.kernels.reference.conv2d`."""
    again = seen(w, "forward")
    algorithm, m = _algorithm(x.shape, w.shape, window, groups, again)
    if algorithm == "winograd":
        u = prepared(w, (m, False), lambda: winograd.transform_weights(w, m), again)
        return winograd.forward(x, u, b, window.padding, w.shape[3], len(w), relu, pool)
    if algorithm == "depthwise":
        y = depthwise.forward(x, w, b, window, relu)
    elif algorithm == "product":
        y = products.matmul(_rows(x), w[0, 0], b, relu).reshape(*x.shape[:3], w.shape[3])
    else:
        packed = prepared(w, groups, lambda: direct.pack_weights(w, groups), again)
        y = direct.forward(x, w, b, window, groups, relu, packed)
    return _halved(y) if pool else y


def _halved(y: Array) -> Array:
    return pool.max_pool(y, HALVING)


def conv2d_input_gradient(
    g: Array, w: Array, window: Window, groups: int, input_shape: Shape
) -> Array:
    """See :func:`minnet.kernels.reference.conv2d_input_gradient`."""
    again = seen(w, "backward")
    algorithm, m = _algorithm(input_shape, w.shape, window, groups, again)
    if algorithm == "winograd":
        u = prepared(w, (m, True), lambda: winograd.transform_weights(w, m, True), again)
        return winograd.forward(g, u, None, _opposite(window), w.shape[2], len(w))
    if algorithm == "depthwise":
        return depthwise_gradients.input_gradient(g, w, window, input_shape)
    if algorithm == "product":
        return products.matmul(_rows(g), w[0, 0].T).reshape(input_shape)
    return direct_gradients.input_gradient(g, w, window, groups, input_shape)


def conv2d_weight_gradient(x: Array, g: Array, window: Window, groups: int) -> Array:
    """See :func:`minnet.kernels.reference.conv2d_weight_gradient`."""
    shape = *window.size, x.shape[3] // groups, g.shape[3]
    algorithm, m = _algorithm(x.shape, shape, window, groups, True)
    if algorithm == "winograd":
        return winograd_weights.weight_gradient(x, g, window.padding, window.size[0], m)
    if algorithm == "depthwise":
        return depthwise_gradients.weight_gradient(x, g, window)
    if algorithm == "product":
        return products.matmul(_rows(x).T, _rows(g)).reshape(shape)
    return direct_gradients.weight_gradient(x, g, window, groups)


@lru_cache(maxsize=1024)
def _algorithm(
    images: Shape, kernel: Shape, window: Window, groups: int, again: bool
) -> tuple[str, int]:
    """Its name, and for Winograd's algorithm the side of a tile of results.

    ``again``: these weights have been seen before, so rearranging them costs nothing.
    """
    inputs, filters = kernel[2:]
    if groups > 1 and inputs == 1 and filters == groups:
        return "depthwise", 0
    plain = groups == 1 and window.strides == window.dilation == (1, 1)
    if plain and window.size == (1, 1) and window.padding == NO_PADDING:
        return "product", 0
    if winograd_tiles.accepts(kernel, window, groups):
        places = window.output_size(images[1], images[2])
        m = winograd_tiles.plan(window.size[0], images[0], *places, inputs, filters, again)
        if m is not None:
            return "winograd", m
    return "direct", 0


def _rows(images: Array) -> Array:
    """All pixels as the rows of a matrix."""
    return images.reshape(-1, images.shape[3])


def _opposite(window: Window) -> Padding:
    """The padding with which the gradient, seen through the turned kernel, becomes the input's."""
    (height, width), ((top, bottom), (left, right)) = window.size, window.padding
    return (height - 1 - top, height - 1 - bottom), (width - 1 - left, width - 1 - right)
