"""Adagrad and its kin: each weight has a rate of its own, smaller where gradients were large."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.checks import fraction, not_negative, positive, whole
from minnet.configs import Config
from minnet.ops.pointwise import sqrt
from minnet.optimizers.base import Optimizer, State, rest
from minnet.schedules import Schedule
from minnet.tensor import Array, called


class Adagrad(Optimizer):
    """Duchi, Hazan & Singer 2011: w − lr · g / √(sum of all g² so far + epsilon).

    ``initial_accumulator_value``: what the sum starts from. ``**options``: those of
    :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    rule = "sum of squares ← sum + gradient²; new weight = weight − rate × gradient / √sum"

    def __init__(
        self,
        lr: float | Schedule | None = None,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        super().__init__(lr, **options)
        name = "Adagrad initial_accumulator_value"
        self.initial_accumulator_value = not_negative(name, initial_accumulator_value)
        self.epsilon = not_negative("Adagrad epsilon", epsilon)

    def start(self, parameter: Array) -> State:
        return {"squares": np.full_like(parameter, self.initial_accumulator_value)}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        state["squares"] = state["squares"] + gradient * gradient
        return parameter - lr * gradient / sqrt(state["squares"] + self.epsilon)

    def config(self) -> Config:
        initial = self.initial_accumulator_value
        return {
            **super().config(), "initial_accumulator_value": initial, "epsilon": self.epsilon
        }  # fmt: skip


class EpochAdagrad(Optimizer):
    """Adagrad as the lesson's ``graddesc.xlsm`` has it: w − lr · g / (scale + epsilon).

    The scale of an epoch is √(sum of g² in the epoch before) / ``period``, where ``period`` is the
    number of steps in an epoch; the first epoch's is ``initial_scale``. So earlier epochs are
    forgotten, and the rate does not fall for ever as :class:`Adagrad`'s does; but a weight without
    gradients for a whole epoch then makes a huge step. ``**options``: those of
    :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    rule = "new weight = weight − rate × gradient / scale, from the squares of the epoch before"

    def __init__(
        self,
        lr: float | Schedule | None = None,
        period: int = 1,
        initial_scale: float = 1e4,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        super().__init__(lr, **options)
        self.epsilon = not_negative("EpochAdagrad epsilon", epsilon)
        self.period = whole("EpochAdagrad period", period, 1)
        self.initial_scale = positive("EpochAdagrad initial_scale", initial_scale)

    def start(self, parameter: Array) -> State:
        scale = np.full_like(parameter, self.initial_scale)
        return {"squares": np.zeros_like(parameter), "scale": scale, "steps": 0}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        square = gradient * gradient
        if state["steps"] >= self.period:  # an epoch begins
            state["scale"] = sqrt(state["squares"]) / self.period
            state["squares"], state["steps"] = square, state["steps"] - self.period + 1
        else:
            state["squares"], state["steps"] = state["squares"] + square, state["steps"] + 1
        return parameter - lr * gradient / (state["scale"] + self.epsilon)

    def config(self) -> Config:
        own = {"period": self.period, "initial_scale": self.initial_scale}
        return {**super().config(), **own, "epsilon": self.epsilon}


class Adadelta(Optimizer):
    """Zeiler 2012: steps as long as the steps so far, where gradients are as large as those so far.

    With running means of squares a ← rho · a + (1 − rho) · g² and, of the moves m = g · √(b +
    epsilon) / √(a + epsilon), b ← rho · b + (1 − rho) · m²: w − lr · m. The paper's lr is 1.
    ``**options``: those of :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    rule = (
        "move = gradient × √mean of moves² / √mean of gradients²; new weight = weight − rate × move"
    )

    def __init__(
        self,
        lr: float | Schedule | None = None,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ):
        super().__init__(lr, **options)
        self.rho = fraction("Adadelta rho", rho)
        self.epsilon = positive("Adadelta epsilon", epsilon)  # without it nothing ever moves

    def start(self, parameter: Array) -> State:
        return {"squares": np.zeros_like(parameter), "moves": np.zeros_like(parameter)}

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        rho, epsilon = self.rho, self.epsilon
        state["squares"] = rho * state["squares"] + rest(rho) * (gradient * gradient)
        ratio = sqrt(state["moves"] + epsilon) / sqrt(state["squares"] + epsilon)
        move = called("move", gradient * ratio)
        state["moves"] = rho * state["moves"] + rest(rho) * (move * move)
        return parameter - lr * move

    def config(self) -> Config:
        return {**super().config(), "rho": self.rho, "epsilon": self.epsilon}
