"""Steps of training: what an optimizer does to a parameter, in one pass over its numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet import kernels
from minnet.ops.base import Fused
from minnet.ops.reduce import sum as total

#: Parameters of fewer numbers are NumPy's: its two passes over them stay in the cache.
SMALL = 1 << 18


class Descend(Fused):
    """p - rate·g: one step of gradient descent on a parameter p whose gradient is g.

    A new array each time, since a graph may hold the old one.
    """

    name = "descend"

    def value(self, p: Any, g: Any, rate: Any) -> Any:
        large = type(rate) is float and type(g) is np.ndarray and g.size >= SMALL
        return kernels.descend(p, g, rate) if large else p - rate * g

    def gradient(self, index: int, g: Any, out: Any, p: Any, slope: Any, rate: Any) -> Any:
        if index == 0:
            return g
        return -rate * g if index == 1 else -total(slope * g)

    def steps(self, p: Any, g: Any, rate: Any) -> Any:
        return p - rate * g


descend = Descend()
