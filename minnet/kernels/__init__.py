"""The calculations that take the time: arrays in, arrays out.

Nothing is imported before its first use: Numba takes longer to load than all the rest of minnet.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minnet.kernels.reference import (
        average_pool,
        average_pool_gradient,
        channel_sums,
        conv2d,
        conv2d_input_gradient,
        conv2d_weight_gradient,
        descend,
        matmul,
        max_pool,
        max_pool_gradient,
        max_pool_places,
        max_pool_take,
        relu_gradient,
        relu_gradient_and_sums,
    )

__all__ = [
    "average_pool",
    "average_pool_gradient",
    "channel_sums",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "descend",
    "matmul",
    "max_pool",
    "max_pool_gradient",
    "max_pool_places",
    "max_pool_take",
    "relu_gradient",
    "relu_gradient_and_sums",
]


def __getattr__(name: str) -> Any:
    """A function at its first use; from then on it is found without asking here."""
    if name in __all__:
        from minnet.kernels import reference

        function = globals()[name] = getattr(reference, name)
        return function
    raise AttributeError(f"module 'minnet.kernels' has no attribute {name!r}")
