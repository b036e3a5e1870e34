"""VGG16 inference on 224 x 224 images: minnet beside PyTorch and ONNX Runtime, in one run.

    python benchmarks/vgg16.py [--batches 1 4 8 16] [--rounds 7] [--layers 8] [--parts …] [--quick]

All engines have the same random weights and as many threads. Each gets its images in the layout
that it likes best, and gives logits. Parts:

speed    medians of all engines by batch, and the ratios that count: the best of PyTorch ÷ minnet
         and ONNX Runtime ÷ minnet
errors   of the logits of one image, against the same network in float64
layers   minnet layer by layer, at batch ``--layers``
memory   of processes that predict, or train on, 8 images at once; growth over many calls
start    of a first process, which compiles, and of a second one, which loads

All engines are loaded at once, which needs about 8 GB.
"""

from __future__ import annotations

import argparse
import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numba
import numpy as np
import onnxruntime
import process
import torch
from networks import Array, minnet_model, random_weights, vgg16
from peak import peak_flops
from peers import channels_first, onnx_session, torch_network
from timing import THREADS, Candidate, Table, heading, in_own_process, interleaved

import minnet

PARTS = ("speed", "errors", "layers", "memory", "start")
MEMORY_ROWS = 8
CALLS = 200
BLOCK = 0.5  # seconds of predictions in a round: a few by everybody, at batch 1
NETWORK = vgg16()


def channels_last(x: Array) -> torch.Tensor:
    """Images (n, height, width, channels) as PyTorch's channels_last tensor, without a copy."""
    return torch.from_numpy(x).permute(0, 3, 1, 2)


class Engines:
    """VGG16 in all engines."""

    def __init__(self) -> None:
        weights = random_weights(NETWORK)
        self.minnet = minnet_model(NETWORK, weights, "linear")
        weights = channels_first(NETWORK, weights)
        self.torch = torch_network(NETWORK, weights).eval()
        # The dense layers' weights stay shared, as only four axes have this layout.
        self.torch_last = torch_network(NETWORK, weights).eval()
        self.torch_last.to(memory_format=torch.channels_last)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, and fast
            traced = torch.jit.trace(self.torch, channels_last(NETWORK.images(1)).contiguous())
            self.frozen = torch.jit.optimize_for_inference(traced)
        self.onnx = onnx_session(NETWORK, weights)

    def predictions(self, rows: int) -> dict[str, Callable[[], Array]]:
        """By engine: a function that gives the logits of some images, the same for all."""
        x = NETWORK.images(rows)
        last = channels_last(x)
        first = last.contiguous()
        array = first.numpy()

        def in_torch(network: Any, images: torch.Tensor) -> Callable[[], Array]:
            def predict() -> Array:
                with torch.inference_mode():
                    return network(images).numpy()

            return predict

        return {
            "minnet": lambda: self.minnet.predict(x, batch_size=rows),
            "torch": in_torch(self.torch, first),
            "channels_last": in_torch(self.torch_last, last),
            "frozen": in_torch(self.frozen, first),
            "onnxruntime": lambda: self.onnx.run(None, {"x": array})[0],
        }


def speed(engines: Engines, batches: list[int], rounds: int) -> None:
    print(f"\nVGG16 224 x 224, {THREADS} threads, medians of {rounds} rounds in ms\n")
    columns = ["minnet", " torch", "channels_last", "frozen", "onnxruntime"]
    table = Table("batch", 5, [*columns, "torch ÷ minnet", "onnxruntime ÷ minnet"])
    for rows in batches:
        steps = {name: Candidate(step) for name, step in engines.predictions(rows).items()}
        found = interleaved(steps, rounds, BLOCK)
        peer = min(found[name] for name in ("torch", "channels_last", "frozen"))
        ratios = peer / found["minnet"], found["onnxruntime"] / found["minnet"]
        times = [f"{1000 * found[name.strip()]:.1f}" for name in columns]
        table.row(str(rows), *times, *[f"{ratio:.2f}" for ratio in ratios])


def error(found: Array, exact: Array) -> float:
    """The largest difference, as a part of the largest number."""
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def errors(engines: Engines) -> None:
    print("\nErrors of the logits of one image, against float64: max |difference| ÷ max |logit|\n")
    exact = channels_last(NETWORK.images(1)).double()
    with torch.inference_mode():
        for module in engines.torch:
            # One layer at a time: all of them in float64 are a gigabyte.
            exact = copy.deepcopy(module).double()(exact)
    table = Table("engine", 13, ["  error"])
    for name, predict in engines.predictions(1).items():
        table.row(name, f"{error(predict(), exact.numpy()):.1e}")


def rows_of(layers: Iterable[Any], starts: tuple[type, ...]) -> list[list[Any]]:
    """Layers that are timed together: a convolution and its pool, in PyTorch with their relu."""
    rows: list[list[Any]] = []
    for layer in layers:
        if isinstance(layer, starts):
            rows.append([])
        rows[-1].append(layer)
    return rows


def as_minnet(x: torch.Tensor) -> Array:
    """PyTorch's images as an array (n, height, width, channels); rows stay as they are."""
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).contiguous().numpy()


def layers(engines: Engines, rows: int, rounds: int) -> None:
    peak = peak_flops()
    print(f"\nminnet layer by layer, batch {rows}; the machine does {peak / 1e9:.0f} GFLOP/s.")
    print("GFLOP count the definition, whatever the algorithm; errors are those of one layer.\n")
    columns = ["     ms", "  GFLOP", "GFLOP/s", "of peak", "  error", "torch's error"]
    table = Table("layer", 19, columns)
    ours = rows_of(engines.minnet.layers, (minnet.Conv2D, minnet.Flatten, minnet.Dense))
    theirs = rows_of(engines.torch, (torch.nn.Conv2d, torch.nn.Flatten, torch.nn.Linear))
    x = channels_last(NETWORK.images(rows)).contiguous()
    given = as_minnet(x)
    total_seconds = total_flops = 0.0
    for row, modules in zip(ours, theirs):
        module = torch.nn.Sequential(*modules)
        with torch.inference_mode():
            y = module(x)
            exact = as_minnet(copy.deepcopy(module).double()(x[:1].double()))
        x = y
        if isinstance(row[0], minnet.Flatten):
            given = given.reshape(rows, -1)  # in minnet's order, which is not PyTorch's
            continue
        step = in_minnet(minnet.Sequential(row), given)
        seconds = interleaved({"": Candidate(step)}, rounds)[""]
        flops = direct_flops(row[0], rows)
        found = error(step()[:1], exact), error(as_minnet(y[:1]), exact)
        name = row[0].name + " + pool" * (len(row) - 1)
        table.row(name, *performance(seconds, flops, peak), *[f"{e:.1e}" for e in found])
        total_seconds, total_flops = total_seconds + seconds, total_flops + flops
        given = as_minnet(y)
    table.row("all", *performance(total_seconds, total_flops, peak))


def in_minnet(part: minnet.Sequential, x: Array) -> Callable[[], Array]:
    """A function that runs a part of the network, without predict's checks of its input."""
    tensor = minnet.Tensor(x)

    def call() -> Array:
        with minnet.no_grad():
            return part(tensor).data

    return call


def direct_flops(layer: minnet.Layer, rows: int) -> float:
    """A multiplication and an addition for each weight at each place of the output."""
    weight = next(iter(layer.parameters.values()))
    return 2.0 * weight.size * rows * math.prod(layer.output_shape[:-1])


def performance(seconds: float, flops: float, peak: float) -> list[str]:
    rate = flops / seconds
    numbers = f"{1000 * seconds:.2f}", f"{flops / 1e9:.2f}", f"{rate / 1e9:.0f}"
    return [*numbers, f"{rate / peak:.0%}"]


def memory() -> None:
    print("\nMemory of a process that only runs minnet, in MB\n")
    print(f"VGG16's weights alone are {4 * NETWORK.count() / 1e6:.0f} MB.\n")
    table = Table("VGG16", 52, ["before", "at most", "afterwards"])
    for task, title in (("predicting", "predicts"), ("training", "trains block 5 and the head on")):
        found = in_own_process(process.__file__, task, str(MEMORY_ROWS))
        table.row(f"{title} {MEMORY_ROWS} images, three times", *[f"{m / 1e6:.0f}" for m in found])
    grown = in_own_process(process.__file__, "growth", str(CALLS))
    predicting, training = (f"{m / 1e6:.1f}" for m in grown)
    print(f"\nA small network grows by {predicting} MB in {CALLS} predictions,")
    print(f"and by {training} MB in {CALLS} training steps.")


def start(batches: list[int]) -> None:
    names = " and ".join(map(str, batches))
    print(f"\nStart of a process that predicts batches of {names}, in seconds\n")
    columns = ["import", "kernels", "  both", "the same predictions again"]
    table = Table("cache of compiled kernels", 25, columns)
    with tempfile.TemporaryDirectory() as folder:
        for state in ("empty", "filled"):
            arguments = ["start", *map(str, batches)]
            found = in_own_process(process.__file__, *arguments, MINNET_CACHE_DIR=folder)
            imported, kernels, again = found
            seconds = imported, kernels, imported + kernels, again
            table.row(state, *[f"{t:.2f}" for t in seconds])


def main() -> None:
    parser = argparse.ArgumentParser(description="VGG16 inference; see the top of this file.")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layers", type=int, default=8, help="batch of the table by layers")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="a smoke test: batch 1, two rounds")
    options = parser.parse_args()
    if options.quick:
        options.batches, options.rounds, options.layers = [1], 2, 1
    torch.set_num_threads(THREADS)
    print(heading(torch, onnxruntime, numba))
    if {"speed", "errors", "layers"} & set(options.parts):
        engines = Engines()
        if "speed" in options.parts:
            speed(engines, options.batches, options.rounds)
        if "errors" in options.parts:
            errors(engines)
        if "layers" in options.parts:
            layers(engines, options.layers, options.rounds)
        del engines
    if "memory" in options.parts:
        memory()
    if "start" in options.parts:
        start([1] if options.quick else [1, MEMORY_ROWS])


if __name__ == "__main__":
    main()
