"""Adam and what was made of it: momentum and a rate for each weight together."""

from __future__ import annotations

from typing import Any

import numpy as np

from minnet.checks import fraction, not_negative, positive
from minnet.configs import Config
from minnet.errors import ArgumentError, mismatch
from minnet.ops.pointwise import absolute, maximum, minimum, sqrt
from minnet.optimizers.base import Optimizer, State, rest
from minnet.schedules import Schedule
from minnet.tensor import Array, called


class Adam(Optimizer):
    """Kingma & Ba 2015: w − lr · m / (√v + epsilon), with running means m of g and v of g².

    m ← beta_1 · m + (1 − beta_1) · g, v ← beta_2 · v + (1 − beta_2) · g². Both start at 0 and are
    too small at first: ``bias_correction`` multiplies the rate of a parameter's step t = 1, 2, … by
    √(1 − beta_2^t) / (1 − beta_1^t), in the order of the end of the paper's section 2. The lesson's
    Adam goes without. ``**options``: those of :class:`~minnet.optimizers.Optimizer`.
    """

    elementwise = True
    rule = (
        "m ← beta_1 × m + (1 − beta_1) × gradient; v ← beta_2 × v + (1 − beta_2) × gradient²; "
        "new weight = weight − rate × m / √v"
    )

    def __init__(
        self,
        lr: float | Schedule | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        bias_correction: bool = True,
        **options: Any,
    ):
        super().__init__(lr, **options)
        kind = type(self).__name__
        self.beta_1 = fraction(f"{kind} beta_1", beta_1)
        self.beta_2 = fraction(f"{kind} beta_2", beta_2)
        self.epsilon = not_negative(f"{kind} epsilon", epsilon)
        self.bias_correction = bool(bias_correction)

    def start(self, parameter: Array) -> State:
        state: State = {"m": np.zeros_like(parameter), "v": np.zeros_like(parameter)}
        # Each parameter counts its own steps: one that is unfrozen late is corrected as well.
        return {**state, "steps": 0} if self.bias_correction else state

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        beta_1, beta_2 = self.beta_1, self.beta_2
        state["m"] = beta_1 * state["m"] + rest(beta_1) * gradient
        state["v"] = beta_2 * state["v"] + rest(beta_2) * (gradient * gradient)
        if self.bias_correction:
            t = state["steps"] = state["steps"] + 1
            lr = called("rate", lr * ((1 - beta_2**t) ** 0.5 / (1 - beta_1**t)))
        return parameter - lr * state["m"] / (sqrt(state["v"]) + self.epsilon)

    def config(self) -> Config:
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().config(), **own, "bias_correction": self.bias_correction}


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

    Before Adam's step each weight is multiplied by 1 − lr · ``weight_decay``, biases too, so that
    the decay is not divided by √v as that of a penalty in the loss would be. ``**options``: those
    of :class:`Adam`.
    """

    elementwise = True
    rule = f"weight ← weight × (1 − rate × weight decay); {Adam.rule}"

    def __init__(
        self, lr: float | Schedule | None = None, weight_decay: float = 0.004, **options: Any
    ):
        super().__init__(lr, **options)
        self.weight_decay = not_negative("AdamW weight_decay", weight_decay)

    def update(self, parameter: Any, gradient: Any, lr: Any, state: State) -> Any:
        decayed = called("decayed", parameter - lr * parameter * self.weight_decay)
        return super().update(decayed, gradient, lr, state)

    def config(self) -> Config:
        return {**super().config(), "weight_decay": self.weight_decay}


class Eve(Adam):
    """Adam whose rate follows the loss (Koushik & Hayashi 2016; the lesson's ``graddesc.xlsm``).

    The rate is divided by d ← beta_3 · d + (1 − beta_3) · r, where r = |loss − loss before| /
    (the smaller of the two) is how much the loss has changed since the step before: a loss that
    jumps makes steps shorter, one that hardly moves makes them longer. r is kept within ``limits``,
    or not at all with None, as in the lesson, which also compares the losses of epochs.
    ``**options``: those of :class:`Adam`.
    """

    elementwise = True
    rule = f"d ← beta_3 × d + (1 − beta_3) × change of the loss; rate = rate / d; {Adam.rule}"
    shared_names = ("iterations", "d", "loss")

    def __init__(
        self,
        lr: float | Schedule | None = None,
        beta_3: float = 0.999,
        limits: tuple[float, float] | None = (0.1, 10.0),
        **options: Any,
    ):
        super().__init__(lr, **options)
        self.beta_3 = fraction("Eve beta_3", beta_3)
        self.limits: tuple[float, float] | None = None
        if limits is not None:
            low, high = (positive("Eve limits", limit) for limit in limits)
            if low > high:
                raise ArgumentError(mismatch("Eve limits", "the lower one first", f"{limits}"))
            self.limits = low, high

    def shared_start(self) -> State:
        return {**super().shared_start(), "d": 1.0}

    def rate(self, lr: Any, shared: State, loss: Any) -> Any:
        if loss is not None:
            if "loss" in shared:
                before = shared["loss"]
                r = absolute(loss - before) / maximum(minimum(loss, before), self.epsilon)
                if self.limits is not None:
                    r = minimum(maximum(r, self.limits[0]), self.limits[1])
                r = called("change", r)
                shared["d"] = self.beta_3 * shared["d"] + rest(self.beta_3) * r
            shared["loss"] = loss
        return super().rate(lr, shared, loss) / shared["d"]

    def config(self) -> Config:
        limits = None if self.limits is None else list(self.limits)
        return {**super().config(), "beta_3": self.beta_3, "limits": limits}
