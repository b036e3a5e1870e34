"""Convolutions together with what so often follows them: relu, and a pooling that halves images."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from minnet import kernels
from minnet.kernels.geometry import Window
from minnet.ops.base import Fused
from minnet.ops.conv import Convolution, convolution, window_for
from minnet.ops.pointwise import relu, where
from minnet.ops.pool import MaxPool2D

#: The pooling that goes together with a convolution.
HALVING = MaxPool2D(Window((2, 2), (2, 2)))


class Conv2DRelu(Convolution, Fused):
    """relu(conv2d(x, w, b)); its gradient needs the result alone, not what came before relu."""

    name = "conv2d_relu"
    together = True

    def value(self, x: Any, w: Any, b: Any = None) -> Any:
        self.check(x, w, b)
        return kernels.conv2d(x, w, b, self.window, self.groups, relu=True)

    def gradient(self, index: int, g: Any, out: Any, x: Any, w: Any, b: Any = None) -> Any:
        return super().gradient(index, where(out > 0, g, 0), out, x, w, b)

    def gradients(
        self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any, w: Any, b: Any = None
    ) -> Any:
        g, sums = _gated(wanted, g, out)
        return self.products(wanted, g, sums, x, w)

    def steps(self, x: Any, w: Any, *b: Any) -> Any:
        return relu(convolution(self.window, self.groups)(x, w, *b))


class Conv2DReluPool(Convolution, Fused):
    """Every 2x2 maximum of relu(conv2d(x, w, b)).

    Where nothing is differentiated the images before pooling never exist. Otherwise they are
    forgotten at once: the gradient needs but the maxima and where they were. relu gates the maxima
    instead of the images, which gives the same, as an image's gradient is 0 elsewhere.
    """

    name = "conv2d_relu_pool"
    together = True
    keeps = True  # the maxima and their places

    def value(self, x: Any, w: Any, b: Any = None) -> Any:
        self.check(x, w, b)
        return kernels.conv2d(x, w, b, self.window, self.groups, relu=True, pool=True)

    def value_and_kept(self, x: Any, w: Any, b: Any = None) -> tuple[Any, Any]:
        self.check(x, w, b)
        images = kernels.conv2d(x, w, b, self.window, self.groups, relu=True)
        maxima, places = HALVING.value_and_kept(images)
        return maxima, (maxima, places)

    def gradient(self, index: int, g: Any, out: Any, *inputs: Any) -> Any:
        images = self._unpooled(*inputs)
        g = HALVING.gradient(0, g, out, images)
        return convolution_relu(self.window, self.groups).gradient(index, g, images, *inputs)

    def gradients(
        self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any, w: Any, b: Any = None
    ) -> Any:
        maxima, places = out
        g, sums = _gated(wanted, g, maxima)
        shape = (x.shape[0], *self.window.output_size(*x.shape[1:3]), w.shape[3])
        g = kernels.max_pool_gradient(g, places, HALVING.window, shape)
        return self.products(wanted, g, sums, x, w)

    def _unpooled(self, *inputs: Any) -> Any:
        return convolution_relu(self.window, self.groups)(*inputs)

    def steps(self, *inputs: Any) -> Any:
        return HALVING(self._unpooled(*inputs))


def _gated(wanted: tuple[bool, ...], g: Any, out: Any) -> tuple[Any, Any]:
    """The gradient of what relu was given, and its sums if that of a bias is wanted."""
    if wanted[2:] == (True,):
        return kernels.relu_gradient_and_sums(g, out)
    return kernels.relu_gradient(g, out), None


convolution_relu = lru_cache(maxsize=1024)(Conv2DRelu)
convolution_relu_pool = lru_cache(maxsize=1024)(Conv2DReluPool)


def conv2d_relu(
    x: Any, w: Any, b: Any = None, strides: Any = 1, padding: Any = "valid", dilation: Any = 1,
    groups: int = 1, pool: bool = False,
) -> Any:  # fmt: skip
    """relu(conv2d(…)) in one go, with ``pool`` the maximum of every 2x2 of its numbers as well.

    Arguments and errors are those of :func:`conv2d`.
    """
    window = window_for(x, w, strides, padding, dilation)
    op = (convolution_relu_pool if pool else convolution_relu)(window, groups)
    return op(x, w) if b is None else op(x, w, b)
