"""Fine-tuning VGG16: minnet beside PyTorch in eager mode, in one run.

    python benchmarks/finetune.py [--rounds 5] [--batch 8] [--files DIR] [--quick]

features     the convolutions as they are, without dense layers, on images in memory: what is done
             once for all images before a head is trained
from files   the same on all images in a directory of directories, ``--files``, some fifty of
             them: decoding, resizing and preprocessing included, which minnet's ImageFolder does
             ahead of time for both
block 5      one training step of block 5 and a new head (the mean of each feature map, a dense
             layer with relu, a last one), Adam; what comes before block 5 is frozen in both

Both have the same weights and 224 x 224 images. PyTorch runs in its default layout and in
channels_last, and the faster one counts. "differs" is the largest difference of the features, and
of block 5's first kernel after three steps, as a part of the largest number.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from networks import Array, random_weights, vgg16
from peers import channels_first, torch_network
from timing import THREADS, Candidate, Table, heading, interleaved

import minnet
from minnet.data import ImageFolder
from minnet.training import train_step
from minnet.vgg16 import VGG16, preprocess_input

LAYOUTS = {"torch": torch.contiguous_format, "channels_last": torch.channels_last}
CONVOLUTIONS = 31  # PyTorch's modules from the first convolution to the last pool
FROZEN = 24  # those before block 5
CLASSES, HIDDEN, RATE = 2, 256, 1e-5
SAME_STEPS = 3


def converted(weights: list[Array], layout: Any) -> Any:
    """The convolutions in PyTorch."""
    network = torch_network(vgg16(), [w.copy() for w in weights])
    return network[:CONVOLUTIONS].to(memory_format=layout)


class Pair:
    """VGG16's convolutions in minnet and, by layout, in PyTorch."""

    def __init__(self) -> None:
        weights = random_weights(vgg16())
        convolutions = weights[: 2 * 13]
        self.from_pixels = VGG16(include_top=False, preprocessing="caffe")
        self.from_pixels.set_weights(convolutions)
        self.minnet = self.from_pixels.after("preprocessing")
        first = channels_first(vgg16(), weights)
        self.peers = {name: converted(first, layout) for name, layout in LAYOUTS.items()}

    def features(self, x: Array) -> dict[str, Callable[[], Array]]:
        """By engine: what gives the features of images (n, 224, 224, 3)."""

        def in_torch(name: str) -> Callable[[], Array]:
            images = as_torch(x, LAYOUTS[name])

            def run() -> Array:
                with torch.inference_mode():
                    return self.peers[name](images).permute(0, 2, 3, 1).numpy()

            return run

        ours = {"minnet": lambda: self.minnet.predict(x, batch_size=len(x))}
        return ours | {name: in_torch(name) for name in self.peers}

    def from_files(self, batches: ImageFolder) -> dict[str, Callable[[], Any]]:
        """By engine: what goes through all images of a folder."""

        def in_torch(name: str) -> Callable[[], Any]:
            def run() -> None:
                for x, _ in batches.epoch(0):
                    images = as_torch(preprocess_input(x), LAYOUTS[name])
                    with torch.inference_mode():
                        self.peers[name](images)

            return run

        ours = {"minnet": lambda: self.from_pixels.predict(batches, batches.batch_size)}
        return ours | {name: in_torch(name) for name in self.peers}

    def steps(self, x: Array) -> dict[str, Callable[[], Any]]:
        """By engine: a step of block 5 and a head, whose weights are the same."""
        rng = np.random.default_rng(3)
        labels = rng.integers(0, CLASSES, len(x))
        shapes = (512, HIDDEN), (HIDDEN, CLASSES)
        kernels = [rng.normal(0, n**-0.5, (n, units)).astype(np.float32) for n, units in shapes]
        model = self.minnet
        for layer in model.layers:
            layer.trainable = layer.name.startswith("block5")
        model.add(minnet.layers.GlobalAveragePooling2D())
        for kernel, activation in zip(kernels, ("relu", "softmax")):
            model.add(minnet.Dense(kernel.shape[1], activation))
            model.layers[-1].parameters["weight"].data = kernel
        model.compile(minnet.Adam(RATE), "sparse_categorical_crossentropy")
        data = model.prepare(x.copy(), labels)
        ours = {"minnet": lambda: train_step(model, *data)}
        return ours | {name: self._torch_step(name, x, labels, kernels) for name in self.peers}

    def _torch_step(self, name: str, x: Array, labels: Array, kernels: list[Array]) -> Any:
        head: list[Any] = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        for kernel in kernels:
            dense = torch.nn.Linear(*kernel.shape)
            dense.weight = torch.nn.Parameter(torch.from_numpy(kernel.T.copy()))
            torch.nn.init.zeros_(dense.bias)
            head += [dense, torch.nn.ReLU()]
        network = torch.nn.Sequential(*self.peers[name], *head[:-1])
        for parameter in network[:FROZEN].parameters():
            parameter.requires_grad_(False)
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=RATE)
        images, y = as_torch(x, LAYOUTS[name]), torch.from_numpy(labels)
        loss_function = torch.nn.CrossEntropyLoss()

        def step() -> None:
            optimizer.zero_grad()
            loss_function(network(images), y).backward()
            optimizer.step()

        return step

    def first_kernels(self) -> dict[str, Array]:
        """Block 5's first kernel, in PyTorch's layout, by engine."""
        place = self.minnet.place_of("block5_conv1")
        ours = self.minnet.layers[place].parameters["weight"].data.transpose(3, 2, 0, 1)
        theirs = {name: peer[FROZEN].weight.detach().numpy() for name, peer in self.peers.items()}
        return {"minnet": ours, **theirs}


def as_torch(x: Array, layout: Any) -> torch.Tensor:
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def difference(found: dict[str, Array]) -> float:
    apart = np.abs(found["minnet"] - found["torch"]).max()
    return float(apart / np.abs(found["torch"]).max())


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tuning; see the top of this file.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--files", type=Path, help="a directory with directories of JPEG files")
    parser.add_argument("--quick", action="store_true", help="a smoke test: batch 1, two rounds")
    options = parser.parse_args()
    rows, rounds = (1, 2) if options.quick else (options.batch, options.rounds)
    torch.set_num_threads(THREADS)
    print(heading(torch, numba))
    print(
        f"\nVGG16, batch {rows}, {THREADS} threads, images a second, medians of {rounds} rounds\n"
    )
    columns = ["minnet", " torch", "channels_last", "minnet ÷ torch", "differs"]
    table = Table("", 10, columns)

    def row(title: str, images: int, steps: dict[str, Any], differs: str) -> None:
        found = interleaved({name: Candidate(step) for name, step in steps.items()}, rounds)
        rates = [f"{images / found[name]:.1f}" for name in steps]
        ratio = min(found[name] for name in LAYOUTS) / found["minnet"]
        table.row(title, *rates, f"{ratio:.2f}", differs)

    pair, x = Pair(), vgg16().images(rows)
    steps = pair.features(x)
    row("features", rows, steps, f"{difference({n: step() for n, step in steps.items()}):.1e}")
    if options.files is not None:
        batches = ImageFolder(options.files, rows, shuffle=False)
        row("from files", batches.rows, pair.from_files(batches), "")
    steps = pair.steps(x)
    for step in steps.values():
        for _ in range(SAME_STEPS):
            step()
    differs = f"{difference(pair.first_kernels()):.1e}"
    row("block 5", rows, steps, differs)


if __name__ == "__main__":
    main()
