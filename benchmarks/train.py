"""Training steps of convolutional networks: minnet beside PyTorch in eager mode, in one run.

    python benchmarks/train.py [--rounds 7] [--batch 8] [--parts vgg16 small] [--quick]

A step is forward, backward and update: the cross-entropy of random labels, stochastic gradient
descent. Both start from the same weights. "differs" shows that both do the same work: the largest
difference between their weights after a few steps, as a part of the largest weight; "of change" is
the same as a part of the largest change. "torch's own" is how much of the change PyTorch's two
layouts differ: at the kinks of relu and pools gradients jump, and rounding decides which way.

VGG16 (224 x 224, 1000 classes) trains as a whole or in part; what is frozen needs no gradients.
PyTorch runs in its default layout and in channels_last, and the faster one counts. Small networks
run in PyTorch with one thread and with two, and the faster counts; "step" is minnet's bare step on
prepared arrays, as PyTorch's is, and "model" is ``train_on_batch``, which checks its data first.

VGG16 in three copies, with gradients, needs about 6 GB.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch
from networks import Array, Network, digits, lenet, minnet_model, random_weights, vgg16
from peers import channels_first, torch_network
from timing import THREADS, Candidate, Step, Table, heading, interleaved

import minnet
from minnet.training import train_step

LAYOUT = "contiguous_format"  # the default
PARTS = ("small", "vgg16")
RATE, VGG16_RATE = 1e-3, 1e-5  # a larger one overshoots from VGG16's random weights
SAME_STEPS = 3  # after which both must have the same weights
SMALL_BATCH = 32
SMALL_NETWORKS = {
    "LeNet 6-16-120": lenet(6, 16, 120),
    "LeNet 20-50-500": lenet(20, 50, 500),
    "8 x 8 digits": digits(),
}
#: By case: whether a layer of VGG16 is trained, given its name and its place from the end.
CASES: dict[str, Callable[[str, int], bool]] = {
    "last dense layer": lambda name, place: place == 1,
    "head (three dense layers)": lambda name, place: not name.startswith("block"),
    "block 5 and head": lambda name, place: name.startswith("block5") or "block" not in name,
    "everything": lambda name, place: True,
}


class Pair:
    """A network in minnet and, by layout, in PyTorch, which train on the same batch."""

    def __init__(self, network: Network, rows: int, rate: float, layouts: tuple[str, ...]):
        self.network, self.rate = network, rate
        self.start = random_weights(network)
        self.model = minnet_model(network, self.start, "softmax")
        self.model.compile(minnet.SGD(rate), loss="sparse_categorical_crossentropy")
        self.images, self.labels = network.images(rows), network.labels(rows)
        # A copy, as the engine makes the arrays that it has recorded read-only.
        self.data = self.model.prepare(self.images.copy(), self.labels)
        self.peers = {layout: self._peer(layout) for layout in layouts}

    def _peer(self, layout: str) -> Any:
        own = [w.copy() for w in channels_first(self.network, self.start)]
        return torch_network(self.network, own).to(memory_format=getattr(torch, layout))

    def trains(self, chosen: list[bool]) -> None:
        """Start again from the same weights; train the layers with weights that are chosen."""
        self.model.set_weights(self.start)
        for layer, trainable in zip(self.weighted(), chosen):
            layer.trainable = trainable
        start = channels_first(self.network, self.start)
        for peer in self.peers.values():
            for i, (parameter, value) in enumerate(zip(peer.parameters(), start)):
                parameter.requires_grad_(chosen[i // 2])
                parameter.grad = None
                with torch.no_grad():
                    parameter.copy_(torch.from_numpy(value))

    def weighted(self) -> list[minnet.Layer]:
        return [layer for layer in self.model.layers if layer.parameters]

    def step(self) -> None:
        train_step(self.model, *self.data)

    def peer_step(self, layout: str) -> Step:
        peer = self.peers[layout]
        trained = [p for p in peer.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr=self.rate)
        loss_function = torch.nn.CrossEntropyLoss()
        x = torch.from_numpy(self.images).permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=getattr(torch, layout))
        y = torch.from_numpy(self.labels)

        def step() -> None:
            optimizer.zero_grad()
            loss = loss_function(peer(x), y)
            loss.backward()
            optimizer.step()

        return step

    def train_the_same(self) -> None:
        """A few steps of everybody; afterwards all weights should agree."""
        for step in (self.step, *map(self.peer_step, self.peers)):
            for _ in range(SAME_STEPS):
                step()

    def weights(self, layout: str | None = None) -> list[Array]:
        """PyTorch's in this layout, or minnet's, in the same order and shape."""
        if layout is None:
            return channels_first(self.network, self.model.get_weights())
        return [p.detach().numpy() for p in self.peers[layout].parameters()]

    def difference(self, ours: list[Array], theirs: list[Array]) -> tuple[float, float]:
        """The largest difference ÷ the largest weight, and ÷ the largest change from the start.

        The worst of all parameters; frozen ones have not changed.
        """
        of_weight, of_change = [], []
        for our, their, before in zip(ours, theirs, channels_first(self.network, self.start)):
            apart, change = largest(our - their), largest(their - before)
            of_weight.append(apart / largest(their))
            if change:
                of_change.append(apart / change)
        return max(of_weight), max(of_change)


def largest(x: Array) -> float:
    return float(np.abs(x).max())


def train_vgg16(cases: list[str], rows: int, rounds: int) -> None:
    print(f"\nVGG16, a step at batch {rows}, {THREADS} threads, medians of {rounds} rounds in ms\n")
    columns = [" minnet", "  torch", "channels_last", "torch ÷ minnet"]
    table = Table("trained", 25, [*columns, "differs", "of change", "torch's own"])
    layouts = {"torch": LAYOUT, "channels_last": "channels_last"}
    pair = Pair(vgg16(), rows, VGG16_RATE, tuple(layouts.values()))
    names = [layer.name for layer in pair.weighted()]
    for case in cases:
        pair.trains([CASES[case](name, len(names) - i) for i, name in enumerate(names)])
        pair.train_the_same()
        default, other = map(pair.weights, layouts.values())
        apart = [*pair.difference(pair.weights(), default), pair.difference(other, default)[1]]
        steps = {"minnet": Candidate(pair.step)}
        steps |= {name: Candidate(pair.peer_step(layout)) for name, layout in layouts.items()}
        found = interleaved(steps, rounds)
        ratio = min(found[name] for name in layouts) / found["minnet"]
        times = [f"{1000 * found[name]:.1f}" for name in steps]
        table.row(case, *times, f"{ratio:.2f}", *[f"{a:.1e}" for a in apart])


def train_small(rounds: int) -> None:
    print(f"\nSmall networks, a step at batch {SMALL_BATCH}, medians of {rounds} rounds in µs\n")
    columns = ["  model", "   step", "  torch", "threads", "torch ÷ step", "differs", "of change"]
    table = Table("network", 15, columns)
    for name, network in SMALL_NETWORKS.items():
        pair = Pair(network, SMALL_BATCH, RATE, (LAYOUT,))
        pair.trains([True] * len(pair.weighted()))
        pair.train_the_same()
        apart = pair.difference(pair.weights(), pair.weights(LAYOUT))
        found = interleaved(small_steps(pair), rounds)
        best, threads = min((found[str(n)], n) for n in {1, THREADS})
        times = [f"{1e6 * t:.0f}" for t in (found["model"], found["step"], best)]
        ratio = best / found["step"]
        table.row(name, *times, str(threads), f"{ratio:.2f}", *[f"{a:.1e}" for a in apart])


def small_steps(pair: Pair) -> dict[str, Candidate]:
    """minnet's model and bare step; PyTorch's by the number of its threads."""
    steps = {
        "model": Candidate(lambda: pair.model.train_on_batch(pair.images, pair.labels)),
        "step": Candidate(pair.step),
    }
    for threads in {1, THREADS}:
        step = pair.peer_step(LAYOUT)
        steps[str(threads)] = Candidate(step, functools.partial(torch.set_num_threads, threads))
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description="Training steps; see the top of this file.")
    parser.add_argument("--rounds", type=int, default=7, help="of VGG16; small networks: 3 times")
    parser.add_argument("--batch", type=int, default=8, help="of VGG16")
    parser.add_argument(
        "--parts", nargs="+", choices=("vgg16", "small"), default=("vgg16", "small")
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="of VGG16")
    parser.add_argument("--quick", action="store_true", help="a smoke test: batch 1, two rounds")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.rounds = 1, 2
        options.cases = options.cases[-1:]
    torch.set_num_threads(THREADS)
    print(heading(torch, numba))
    if "small" in options.parts:
        train_small(3 * options.rounds)
        torch.set_num_threads(THREADS)
    if "vgg16" in options.parts:
        train_vgg16(options.cases, options.batch, options.rounds)


if __name__ == "__main__":
    main()
