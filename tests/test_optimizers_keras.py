"""Optimizers and schedules against Keras's own, with their epsilons and defaults."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import pytest

from minnet import optimizers, schedules
from minnet.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop
from minnet.tensor import Tensor, wrap

if importlib.util.find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras's own

STEPS = 100
RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(3, 2))
GRADIENTS = RNG.normal(size=(STEPS, 3, 2))

#: Ours, and the same for Keras; with epsilons that show.
BY_KERAS: dict[str, tuple[Optimizer, str, dict[str, Any]]] = {
    "sgd": (SGD(0.05), "SGD", {"learning_rate": 0.05}),
    "momentum": (SGD(0.05, 0.9), "SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": (
        SGD(0.05, 0.9, True),
        "SGD",
        {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
    ),
    "clipnorm": (SGD(0.05, clipnorm=1.5), "SGD", {"learning_rate": 0.05, "clipnorm": 1.5}),
    "clipvalue": (SGD(0.05, clipvalue=0.5), "SGD", {"learning_rate": 0.05, "clipvalue": 0.5}),
    "adagrad": (
        Adagrad(0.05, 0.2, 0.01),
        "Adagrad",
        {"learning_rate": 0.05, "initial_accumulator_value": 0.2, "epsilon": 0.01},
    ),
    "adadelta": (
        Adadelta(1.0, 0.9, 0.01),
        "Adadelta",
        {"learning_rate": 1.0, "rho": 0.9, "epsilon": 0.01},
    ),
    "rmsprop": (RMSprop(0.05, epsilon=0.01), "RMSprop", {"learning_rate": 0.05, "epsilon": 0.01}),
    "rmsprop, all on": (
        RMSprop(0.05, 0.8, 0.7, 0.01, centered=True),
        "RMSprop",
        {"learning_rate": 0.05, "rho": 0.8, "momentum": 0.7, "epsilon": 0.01, "centered": True},
    ),
    "adam": (Adam(0.05, epsilon=0.01), "Adam", {"learning_rate": 0.05, "epsilon": 0.01}),
    "adamw": (
        AdamW(0.05, 0.1, epsilon=0.01),
        "AdamW",
        {"learning_rate": 0.05, "weight_decay": 0.1, "epsilon": 0.01},
    ),
    **{f"{kind}'s defaults": (optimizers.get(kind), kind, {}) for kind in (
        "SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW"
    )},
}  # fmt: skip


@pytest.mark.parametrize("name", BY_KERAS)
def test_as_keras_does(name: str) -> None:
    """Keras keeps its rates and counters in float32: as near as that allows."""
    ours, kind, options = BY_KERAS[name]
    theirs = getattr(keras.optimizers, kind)(**options)
    variable = keras.Variable(FIRST, dtype="float64")
    parameter = Tensor(FIRST, requires_grad=True)
    for step, gradient in enumerate(GRADIENTS):
        theirs.apply([keras.ops.convert_to_tensor(gradient, dtype="float64")], [variable])
        ours.step([parameter], [wrap(gradient)])
        expected = keras.ops.convert_to_numpy(variable.value)
        np.testing.assert_allclose(
            parameter.data, expected, rtol=2e-5, atol=2e-6, err_msg=f"{step}"
        )


SCHEDULES: dict[str, tuple[schedules.Schedule, str, tuple[Any, ...]]] = {
    "step": (schedules.StepDecay(0.5, 30, 0.2), "ExponentialDecay", (0.5, 30, 0.2, True)),
    "exponential": (schedules.ExponentialDecay(0.5, 30, 0.2), "ExponentialDecay", (0.5, 30, 0.2)),
    "cosine": (schedules.CosineDecay(0.5, 60, 0.1), "CosineDecay", (0.5, 60, 0.1)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_as_keras_has_them(name: str) -> None:
    ours, kind, arguments = SCHEDULES[name]
    theirs = getattr(keras.optimizers.schedules, kind)(*arguments)
    found = [float(keras.ops.convert_to_numpy(theirs(step))) for step in range(STEPS)]
    np.testing.assert_allclose([ours(step) for step in range(STEPS)], found, rtol=1e-5)
