"""How other libraries lay out the numbers of a layer, as views of ours in their order.

Ours are Keras's: a convolution's kernel is (height, width, in, out), a dense one's (in, out), and
images are (height, width, channels), also when they are flattened. Written into such a view, a
file's numbers come to lie as ours do; none of these rules changes a number.
"""

from __future__ import annotations

import numpy as np

from minnet.tensor import Array


def oihw(kernel: Array) -> Array:
    """A kernel (height, width, in, out) as (out, in, height, width), PyTorch's and ONNX's."""
    return kernel.transpose(3, 2, 0, 1)


def turned(kernel: Array) -> Array:
    """A kernel (height, width, …) turned by 180°.

    Theano convolves as mathematics does, from the kernel's end to its beginning; everybody else
    slides the kernel as it is (cross-correlation).
    """
    return kernel[::-1, ::-1]


def channels_first(kernel: Array, channels: int, height: int, width: int) -> Array:
    """The first dense kernel (in, out) as (channels, height, width, out).

    Its rows are the last feature maps, flattened: row (y·width + x)·channels + c is here, and in
    libraries that keep channels first, row c·height·width + y·width + x.
    """
    return kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)


def out_first(kernel: Array) -> Array:
    """A dense kernel (in, …, out) as (out, in, …), PyTorch's."""
    return np.moveaxis(kernel, -1, 0)
