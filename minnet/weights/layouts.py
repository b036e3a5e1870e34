"""How other libraries lay out the numbers of a layer, as rules from array to array.

Ours are Keras's: a convolution's kernel is (height, width, in, out), a dense one's (in, out), and
images are (height, width, channels), also when they are flattened. None of these rules changes a
number; they only move them.
"""

from __future__ import annotations

import numpy as np

from minnet.tensor import Array


def hwio_from_oihw(kernel: Array) -> Array:
    """(out, in, height, width), PyTorch's and ONNX's, to (height, width, in, out)."""
    return kernel.transpose(2, 3, 1, 0)


def turned(kernel: Array) -> Array:
    """A kernel (height, width, …) turned by 180°.

    Theano convolves as mathematics does, from the kernel's end to its beginning; everybody else
    slides the kernel as it is (cross-correlation).
    """
    return kernel[::-1, ::-1]


def in_out_from_out_in(kernel: Array) -> Array:
    """(out, in), PyTorch's, to (in, out); (out, channels, 1, 1) is taken as well."""
    return kernel.reshape(kernel.shape[0], -1).T


def rows_from_channels_first(kernel: Array, channels: int, height: int, width: int) -> Array:
    """The rows of the first dense kernel (in, out), for images that are flattened channels last.

    Row c·height·width + y·width + x becomes row (y·width + x)·channels + c.
    """
    parts = kernel.reshape(channels, height, width, -1)
    return parts.transpose(1, 2, 0, 3).reshape(channels * height * width, -1)


def swapped_red_and_blue(kernel: Array) -> Array:
    """The first kernel (height, width, 3, out) for images with their channels the other way round.

    What is subtracted from the channels has to change places as well.
    """
    return np.asarray(kernel[:, :, ::-1])
