"""RMSprop: Adagrad that forgets."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.checks import fraction, not_negative
from minnet.configs import Config
from minnet.ops.pointwise import sqrt
from minnet.optimizers.base import Optimizer, State, rest
from minnet.schedules import Schedule
from minnet.tensor import Array


class RMSprop(Optimizer):
    """Tieleman & Hinton 2012: w − lr · g / √(running mean of g² + epsilon).

    The mean is s ← rho · s + (1 − rho) · g². ``momentum``: the steps go into a velocity, which is
    subtracted. ``centered`` (Graves 2013): the square of g's running mean is subtracted from s, so
    that the root is g's standard deviation. ``**options``: those of
    :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    rule = (
        "mean square ← rho × mean square + (1 − rho) × gradient²; "
        "new weight = weight − rate × gradient / √mean square"
    )

    def __init__(
        self,
        lr: float | Schedule | None = None,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ):
        super().__init__(lr, **options)
        self.rho = fraction("RMSprop rho", rho)
        self.momentum = fraction("RMSprop momentum", momentum)
        self.epsilon = not_negative("RMSprop epsilon", epsilon)
        self.centered = bool(centered)

    def start(self, parameter: Array) -> State:
        names = ["squares"] + ["mean"] * self.centered + ["velocity"] * bool(self.momentum)
        return {name: np.zeros_like(parameter) for name in names}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        rho = self.rho
        state["squares"] = rho * state["squares"] + rest(rho) * (gradient * gradient)
        variance = state["squares"]
        if self.centered:
            state["mean"] = rho * state["mean"] + rest(rho) * gradient
            variance = variance - state["mean"] * state["mean"]
        move = lr * gradient / sqrt(variance + self.epsilon)
        if not self.momentum:
            return parameter - move
        state["velocity"] = self.momentum * state["velocity"] + move
        return parameter - state["velocity"]

    def config(self) -> Config:
        own = {"rho": self.rho, "momentum": self.momentum, "epsilon": self.epsilon}
        return {**super().config(), **own, "centered": self.centered}
