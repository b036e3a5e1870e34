"""A training to be stopped at any moment and run again; as a program, and as functions for tests.

Called as a program: ``python resumed_training.py KIND DIRECTORY RESULT`` trains with a backup in
the directory, says "training" once it does, and writes what came of it to the file RESULT.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from saving_cases import branched, branched_data

import minnet
from minnet import layers
from minnet.callbacks import BackupAndRestore, Callback, EarlyStopping, ReduceLROnPlateau
from minnet.optimizers import SGD

EPOCHS, ROWS, BATCH = 6, 44, 8
X = np.random.default_rng(1).normal(size=(ROWS, 5)).astype(np.float32)
Y = (X.sum(1) > 0).astype(int)


def model_of(kind: str) -> Any:
    """'seeded': a generator of its own; 'shared': the shared one, which is seeded here; 'graph':
    several inputs and outputs."""
    minnet.seed(7)
    if kind == "graph":
        graph = branched()
        losses = {"size": "mse", "kind": "sparse_categorical_crossentropy"}
        graph.compile(SGD(0.05, momentum=0.9), losses, {"kind": ["accuracy"]})
        return graph
    net = [
        minnet.Dense(9, "relu", input_dim=5),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        minnet.Dense(2, "softmax"),
    ]
    model = minnet.Sequential(net, seed=3 if kind == "seeded" else None)
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    return model


class Falling(Callback):
    """Changes the learning rate, freezes a layer on the way, and remembers the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.losses.append(logs["loss"])
        self.model.optimizer.lr = self.model.optimizer.lr * 0.9
        self.model.layers[0].trainable = epoch % 2 == 0

    def state(self) -> dict[str, Any]:
        return {"losses": list(self.losses), "last": np.array(self.losses[-1:])}

    def load_state(self, state: dict[str, Any]) -> None:
        self.losses = list(state["losses"])
        np.testing.assert_array_equal(state["last"], self.losses[-1:])


def train(kind: str, *more: Callback) -> dict[str, Any]:
    """What came of a training: arrays and numbers, to the last bit."""
    model, falling = model_of(kind), Falling()
    stopping = EarlyStopping(patience=4, restore_best_weights=True)
    callbacks: list[Callback] = [falling, stopping, ReduceLROnPlateau("loss", patience=0)]
    x, y = branched_data(ROWS) if kind == "graph" else (X, Y)
    history = model.fit(
        x, y, BATCH, EPOCHS, verbose=0, validation_split=0.2, callbacks=[*callbacks, *more]
    )
    state = model.optimizer.state_arrays()
    drawn = (model._rng or minnet.random.generator()).random(3)
    return {
        "weights": [w.tobytes().hex() for w in model.get_weights()],
        "state": {name: state[name].tobytes().hex() for name in sorted(state)},
        "rate": model.optimizer.lr.hex(),
        "history": {k: [v.hex() for v in values] for k, values in history.history.items()},
        "epochs": history.epoch,
        "losses": falling.losses,
        "trainable": [layer.trainable for layer in model.layers],
        "drawn": drawn.tolist(),
    }


class Slowly(Callback):
    """Says when training begins, and leaves time to be killed in."""

    def on_train_begin(self, logs: Any = None) -> None:
        print("training", flush=True)

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        time.sleep(0.005)


def main(kind: str, directory: str, result: str) -> None:
    found = train(kind, Slowly(), BackupAndRestore(directory, save_freq=2))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
