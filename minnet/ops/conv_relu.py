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
        sums = None
        if wanted[2:] == (True,):
            g, sums = kernels.relu_gradient_and_sums(g, out)
        else:
            g = kernels.relu_gradient(g, out)
        return self.products(wanted, g, sums, x, w)

    def steps(self, x: Any, w: Any, *b: Any) -> Any:
        return relu(convolution(self.window, self.groups)(x, w, *b))


class Conv2DReluPool(Convolution, Fused):
    """Every 2x2 maximum of relu(conv2d(x, w, b)), whose images never exist: for inference.

    The gradient has to calculate them again.
    """

    name = "conv2d_relu_pool"
    together = True

    def value(self, x: Any, w: Any, b: Any = None) -> Any:
        self.check(x, w, b)
        return kernels.conv2d(x, w, b, self.window, self.groups, relu=True, pool=True)

    def gradient(self, index: int, g: Any, out: Any, *inputs: Any) -> Any:
        images = self._unpooled(*inputs)
        g = HALVING.gradient(0, g, out, images)
        return convolution_relu(self.window, self.groups).gradient(index, g, images, *inputs)

    def gradients(self, wanted: tuple[bool, ...], g: Any, out: Any, *arrays: Any) -> Any:
        images = self._unpooled(*arrays)
        g = HALVING.gradient(0, g, out, images)
        return convolution_relu(self.window, self.groups).gradients(wanted, g, images, *arrays)

    def _unpooled(self, *inputs: Any) -> Any:
        return convolution_relu(self.window, self.groups)(*inputs)

    def steps(self, *inputs: Any) -> Any:
        return HALVING(self._unpooled(*inputs))


convolution_relu = lru_cache(maxsize=1024)(Conv2DRelu)
convolution_relu_pool = lru_cache(maxsize=1024)(Conv2DReluPool)


def conv2d_relu(
    x: Any, w: Any, b: Any = None, strides: Any = 1, padding: Any = "valid", dilation: Any = 1,
    groups: int = 1, pool: bool = False,
) -> Any:  # fmt: skip
    """relu(conv2d(…)) in one go, with ``pool`` the maximum of every 2x2 of its numbers as well.

    Arguments and errors are those of :func:`conv2d`. Pooled results are cheap to calculate but not
    to differentiate.
    """
    window = window_for(x, w, strides, padding, dilation)
    op = (convolution_relu_pool if pool else convolution_relu)(window, groups)
    return op(x, w) if b is None else op(x, w, b)
