"""One training step of small networks: minnet beside PyTorch in eager mode, in one run.

    python benchmarks/small.py [rounds]

Candidates take turns, a block of steps each, with a pause in between: threads that a candidate has
left spinning would otherwise slow the next one. A block's time per step is one measurement; the
table shows medians over all rounds. PyTorch runs with two threads and with one, and the faster of
the two counts. Without PyTorch only minnet is timed.

"model" is a step of ``Sequential.fit``: an epoch of STEPS batches, shuffling and bookkeeping
included, divided by its steps; "engine" is the same step written with operations and ``grad``, as a
training loop of one's own would be; PyTorch's is such a loop too.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
from timing import Candidate, Step, Table, heading, interleaved

import minnet
from minnet import ops

try:
    import torch
except ImportError:
    torch = None

ROUNDS = 40
RATE = 0.01
STEPS = 30  # batches in an epoch of fit
SIZES = (64, 32, 10)  # of the network with a hidden layer


def linear_data() -> tuple[np.ndarray, np.ndarray]:
    x = np.array([[0.25, -0.5]], np.float32)
    return x, x @ np.array([[2.0], [3.0]], np.float32) + 1


def mlp_data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, SIZES[0])).astype(np.float32)
    return x, np.eye(SIZES[-1], dtype=np.float32)[rng.integers(0, SIZES[-1], rows)]


def linear_model() -> Step:
    model = minnet.Sequential([minnet.Dense(1, input_dim=2)], seed=0)
    model.compile(minnet.SGD(lr=RATE), loss="mse")
    return epoch_of(model, *linear_data())


def linear_engine() -> Step:
    x, y = map(minnet.Tensor, linear_data())
    w = minnet.Tensor([[1.0], [1.0]], requires_grad=True)
    b = minnet.Tensor([1.0], requires_grad=True)

    def step() -> None:
        loss = ops.mean_squared_error(ops.linear(x, w, b), y)
        for parameter, gradient in zip((w, b), minnet.grad(loss, (w, b))):
            parameter.data = parameter.data - RATE * gradient.data

    return step


def linear_torch() -> Step:
    layer = torch.nn.Linear(2, 1)
    loss_function = torch.nn.MSELoss()
    return torch_step(layer, loss_function, *map(torch.from_numpy, linear_data()))


def mlp_model(rows: int) -> Step:
    model = minnet.Sequential(
        [
            minnet.Dense(SIZES[1], activation="relu", input_dim=SIZES[0]),
            minnet.Dense(SIZES[2], activation="softmax"),
        ],
        seed=0,
    )
    model.compile(minnet.SGD(lr=RATE), loss="categorical_crossentropy")
    return epoch_of(model, *mlp_data(rows))


def epoch_of(model: minnet.Sequential, x: np.ndarray, y: np.ndarray) -> Step:
    many_x, many_y = np.tile(x, (STEPS, 1)), np.tile(y, (STEPS, 1))
    return lambda: model.fit(many_x, many_y, batch_size=len(x), verbose=0)


def mlp_engine(rows: int) -> Step:
    x, y = map(minnet.Tensor, mlp_data(rows))
    rng = np.random.default_rng(0)
    parameters = []
    for n, m in itertools.pairwise(SIZES):
        weights = (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32)
        parameters.append(minnet.Tensor(weights, requires_grad=True))
        parameters.append(minnet.Tensor(np.zeros(m, np.float32), requires_grad=True))
    w1, b1, w2, b2 = parameters

    def step() -> None:
        hidden = ops.relu(ops.linear(x, w1, b1))
        loss = ops.softmax_cross_entropy(ops.linear(hidden, w2, b2), y)
        for parameter, gradient in zip(parameters, minnet.grad(loss, parameters)):
            parameter.data = parameter.data - RATE * gradient.data

    return step


def mlp_torch(rows: int) -> Step:
    network = torch.nn.Sequential(
        torch.nn.Linear(SIZES[0], SIZES[1]),
        torch.nn.ReLU(),
        torch.nn.Linear(SIZES[1], SIZES[2]),
    )
    x, y = mlp_data(rows)
    labels = torch.from_numpy(y.argmax(1))
    return torch_step(network, torch.nn.CrossEntropyLoss(), torch.from_numpy(x), labels)


def torch_step(network: Any, loss_function: Any, x: Any, y: Any) -> Step:
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_function(network(x), y)
        loss.backward()
        optimizer.step()

    return step


def with_threads(threads: int, step: Step) -> Candidate:
    return Candidate(step, lambda: torch.set_num_threads(threads))


def candidates() -> dict[str, dict[str, Candidate]]:
    """By network and candidate."""
    networks: dict[str, tuple[Step, Step, Step]] = {
        "linear, batch 1": (linear_model, linear_engine, linear_torch),
        "MLP 64-32-10, batch 1": (
            lambda: mlp_model(1),
            lambda: mlp_engine(1),
            lambda: mlp_torch(1),
        ),
        "MLP 64-32-10, batch 32": (
            lambda: mlp_model(32),
            lambda: mlp_engine(32),
            lambda: mlp_torch(32),
        ),
    }
    table = {}
    for network, (model, engine, peer) in networks.items():
        table[network] = {"model": Candidate(model()), "engine": Candidate(engine())}
        if torch is not None:
            for threads in (1, 2):
                table[network][f"torch, {threads}"] = with_threads(threads, peer())
    return table


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Medians in microseconds, by network and candidate."""
    medians = {}
    for network, steps in candidates().items():
        medians[network] = {name: 1e6 * t for name, t in interleaved(steps, rounds).items()}
        medians[network]["model"] /= STEPS
    return medians


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(f"{heading(torch)}; medians of {rounds} rounds\n")
    columns = ["model µs", "engine µs", "torch µs", "threads", "torch ÷ model", "torch ÷ engine"]
    table = Table("one SGD step", 22, columns)
    for network, found in measure(rounds).items():
        cells = [f"{found['model']:.1f}", f"{found['engine']:.1f}"]
        if torch is not None:
            threads = min((1, 2), key=lambda n: found[f"torch, {n}"])
            best = found[f"torch, {threads}"]
            cells += [f"{best:.1f}", str(threads)]
            cells += [f"{best / found['model']:.2f}", f"{best / found['engine']:.2f}"]
        table.row(network, *cells)


if __name__ == "__main__":
    main()
