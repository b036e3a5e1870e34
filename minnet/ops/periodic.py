"""What learning-rate schedules are made of: waves, and the whole part of a number."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.ops.base import Pointwise


class Cos(Pointwise):
    name = "cos"

    def value(self, x: Any) -> Any:
        return np.cos(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return -g * sin(x)

    def formula(self, x: str) -> str:
        return f"COS({x})"


class Sin(Pointwise):
    name = "sin"

    def value(self, x: Any) -> Any:
        return np.sin(x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g * cos(x)

    def formula(self, x: str) -> str:
        return f"SIN({x})"


class Floor(Pointwise):
    """The largest whole number that is not above x; INT in spreadsheets."""

    name = "floor"
    differentiable = False

    def value(self, x: Any) -> Any:
        return np.floor(x)

    def formula(self, x: str) -> str:
        return f"INT({x})"


cos, sin, floor = Cos(), Sin(), Floor()
