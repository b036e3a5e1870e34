"""XOR, the smallest problem that one layer cannot solve and two layers can, learned in one book."""

from __future__ import annotations

import numpy as np

from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float64)
Y = np.array([[0], [1], [1], [0]], np.float64)
HIDDEN, STEPS = 3, 12  # with the seed below, twelve steps are all it takes

NOTES = [
    "XOR is 1 where exactly one of two inputs is 1. No straight line parts the corners (0, 1) and "
    "(1, 0) from the other two, so a single neuron never does better than 0.5 for all four.",
    "Each of the three hidden neurons draws a line of its own; the last one combines them. Follow "
    "the block 'sigmoid' of strip 'loss' from sheet to sheet: it begins near 0.5 and ends near 0, "
    "1, 1, 0. Sheet 'training' has the loss and the share of right answers of all steps.",
    "Change a weight on sheet 'network', or the learning rate, and learn again: with another "
    "beginning it may take longer, or end where it does not move.",
]


def network(hidden: int = HIDDEN, seed: int = 9) -> Sequential:
    """2 → ``hidden`` → 1, or without a hidden layer; in float64, as a spreadsheet computes."""
    layers = [Dense(hidden, activation="tanh", input_dim=2, name="hidden")] if hidden else []
    output = Dense(1, activation="sigmoid", input_dim=None if hidden else 2, name="output")
    model = Sequential([*layers, output], name="xor", dtype=np.float64, seed=seed)
    model.compile(SGD(lr=3.0, momentum=0.5), loss="binary_crossentropy", metrics=["accuracy"])
    return model


def answers(model: Sequential) -> Array:
    """What the model gives for the four rows of ``X``, (4,)."""
    given: Array = model.predict(X)[:, 0]
    return given


def run(output: PathLike = "xor.xlsx") -> Sequential:
    """Train one layer and two layers, and write all steps of the two as a live book."""
    path = workbook_path(output)
    one, two = network(hidden=0), network()
    export = export_xlsx(two, X, Y, path, steps=STEPS, title="minnet: XOR", notes=NOTES)
    for model in (one, two):
        model.fit(X, Y, batch_size=len(X), epochs=STEPS, shuffle=False, verbose=0)
    print(f"XOR: two inputs, four rows, {STEPS} steps\n")
    print("x1 x2  wanted  one layer  two layers")
    for x, y, a, b in zip(X, Y, answers(one), answers(two), strict=True):
        print(f"{x[0]:2.0f} {x[1]:2.0f}{y[0]:8.0f}{a:11.3f}{b:12.3f}")
    loss_one, loss_two = (model.history.history["loss"][-1] for model in (one, two))
    print(f"loss{loss_one:20.3f}{loss_two:12.3f}")
    print(
        "\nOne layer parts the four rows by a straight line, which cannot be done; two layers can."
    )
    print_export(export)
    print(f"Training steps in it: {STEPS}, one sheet each. See the chart on sheet 'training'.")
    return two
