"""The calculations that take the time: arrays in, arrays out.

Nothing is imported before its first use: Numba takes longer to load than all the rest of minnet.
"""

import functools
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from minnet.kernels.conv import conv2d, conv2d_input_gradient, conv2d_weight_gradient
    from minnet.kernels.pointwise import (
        channel_sums,
        descend,
        relu_gradient,
        relu_gradient_and_sums,
    )
    from minnet.kernels.pool import max_pool, max_pool_places
    from minnet.kernels.pool_gradients import (
        average_pool_gradient,
        max_pool_gradient,
        max_pool_take,
    )
    from minnet.kernels.pool_means import average_pool
    from minnet.kernels.products import linear, matmul

_FAST = np.dtype(np.float32)

__all__ = [
    "average_pool",
    "average_pool_gradient",
    "channel_sums",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "descend",
    "linear",
    "matmul",
    "max_pool",
    "max_pool_gradient",
    "max_pool_places",
    "max_pool_take",
    "relu_gradient",
    "relu_gradient_and_sums",
]

#: The modules of the fast functions, which are for float32.
_HOMES = {
    "average_pool": "pool_means",
    "average_pool_gradient": "pool_gradients",
    "channel_sums": "pointwise",
    "conv2d": "conv",
    "conv2d_input_gradient": "conv",
    "conv2d_weight_gradient": "conv",
    "descend": "pointwise",
    "max_pool": "pool",
    "max_pool_gradient": "pool_gradients",
    "max_pool_places": "pool",
    "max_pool_take": "pool_gradients",
    "relu_gradient": "pointwise",
    "relu_gradient_and_sums": "pointwise",
}


def __getattr__(name: str) -> Any:
    """A function at its first use; from then on it is found without asking here."""
    if name in _HOMES:
        function = _by_dtype(name)
    elif name in ("linear", "matmul"):
        function = getattr(importlib.import_module("minnet.kernels.products"), name)
    else:
        raise AttributeError(f"module 'minnet.kernels' has no attribute {name!r}")
    globals()[name] = function
    return function


def _by_dtype(name: str) -> Any:
    """The fast function for float32, the exact one for all else and where nothing is compiled.

    float64 is for checking and for workbooks, whose tiny shapes are not worth compiling for.
    """
    exact = getattr(importlib.import_module("minnet.kernels.reference"), name)
    if not importlib.import_module("minnet.kernels.products").compiles():
        return exact
    fast: Any = None

    def function(array: Any, *others: Any, **options: Any) -> Any:
        nonlocal fast
        if array.dtype != _FAST:
            return exact(array, *others, **options)
        if fast is None:
            fast = getattr(importlib.import_module(f"minnet.kernels.{_HOMES[name]}"), name)
        return fast(array, *others, **options)

    return functools.update_wrapper(function, exact)
