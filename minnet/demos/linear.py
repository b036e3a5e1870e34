"""One neuron learns y = 2·x1 + 3·x2 + 1 from thirty points."""

from __future__ import annotations

import numpy as np

from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.optimizers import SGD
from minnet.random import generator_from
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array

TRUTH = {"w1": 2.0, "w2": 3.0, "bias": 1.0}


def points(seed: int = 0) -> tuple[Array, Array]:
    """Thirty points (30, 2), uniform in [-1, 1), and their y (30, 1)."""
    x = generator_from(seed).uniform(-1, 1, (30, 2))
    return x, x @ [[TRUTH["w1"]], [TRUTH["w2"]]] + TRUTH["bias"]


def network(seed: int = 0, lr: float = 0.1) -> Sequential:
    """The neuron with weights as the seed draws them; in float64, as a spreadsheet computes."""
    # Seed + 1, because the same seed would draw the first point again.
    model = Sequential([Dense(1, input_dim=2)], name="linear", dtype=np.float64, seed=seed + 1)
    model.compile(SGD(lr=lr), loss="mse")
    return model


def learned(model: Sequential) -> dict[str, float]:
    """The neuron's numbers under the names of those that it should find."""
    weight, bias = model.get_weights()
    return dict(zip(TRUTH, [*weight.ravel().tolist(), *bias.tolist()], strict=True))


def run(
    output: PathLike = "linear.xlsx",
    *,
    epochs: int = 5,
    batch_size: int = 1,
    lr: float = 0.1,
    seed: int = 0,
    steps: int = 10,
) -> Sequential:
    """Train the neuron, print what it learns, and write the first ``steps`` steps as a book.

    Step k of the book is step k of the training, so the points are not shuffled. Gives the trained
    model.
    """
    path = workbook_path(output)
    x, y = points(seed)
    model = network(seed, lr)
    export = export_xlsx(model, x, y, path, steps=steps, batch_size=batch_size)

    print(f"One neuron, {len(x)} points, y = 2*x1 + 3*x2 + 1\n")
    print(f"loss before: {model.evaluate(x, y):.6g}")
    model.fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=False)
    print(f"loss after:  {model.evaluate(x, y):.6g}\n")
    print("      learned  wanted")
    for name, value in learned(model).items():
        print(f"{name:4}{value:9.5f}{TRUTH[name]:8g}")
    print_export(export)
    print(f"Training steps in it: {steps}, one sheet each, from the same first weights.")
    return model
