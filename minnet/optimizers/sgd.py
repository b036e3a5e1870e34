"""Gradient descent, with or without momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.checks import fraction
from minnet.configs import Config
from minnet.errors import ArgumentError, mismatch
from minnet.ops.update import descend
from minnet.optimizers.base import Optimizer, State
from minnet.schedules import Schedule
from minnet.tensor import Array, called


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins & Monro 1951): w − lr · dLoss/dw; ``lr`` is 0.01.

    With ``momentum`` (Polyak 1964) a velocity v ← momentum · v − lr · g is added to the weight;
    with ``nesterov`` as well (Nesterov 1983, in the form of Sutskever et al. 2013) momentum · v −
    lr · g is, with the new v. ``**options``: those of :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    default_lr = 0.01

    def __init__(
        self,
        lr: float | Schedule | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ):
        super().__init__(lr, **options)
        self.momentum = fraction(f"{type(self).__name__} momentum", momentum)
        self.nesterov = bool(nesterov)
        if self.nesterov and not self.momentum:
            raise ArgumentError(mismatch("SGD", "momentum above 0 with nesterov=True", "0"))

    @property
    def rule(self) -> str:
        if not self.momentum:
            return "new weight = weight − learning rate × gradient"
        velocity = "velocity ← momentum × velocity − learning rate × gradient"
        if self.nesterov:
            return (
                f"{velocity}; new weight = weight + momentum × velocity − learning rate × gradient"
            )
        return f"{velocity}; new weight = weight + velocity"

    def start(self, parameter: Array) -> State:
        return {"velocity": np.zeros_like(parameter)} if self.momentum else {}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        if not self.momentum:
            return descend(parameter, gradient, lr)
        move = called("move", lr * gradient) if self.nesterov else lr * gradient
        state["velocity"] = self.momentum * state["velocity"] - move
        if self.nesterov:
            return parameter + self.momentum * state["velocity"] - move
        return parameter + state["velocity"]

    def config(self) -> Config:
        return {**super().config(), "momentum": self.momentum, "nesterov": self.nesterov}
