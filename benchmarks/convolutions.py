"""Convolutions that are not VGG16's: minnet's kernels beside PyTorch's operators, in one run.

    python benchmarks/convolutions.py [--rounds 7] [--only TEXT] [--quick]

Forward, input gradient and weight gradient by themselves, with equal threads. PyTorch runs in its
default layout and in channels_last, and the faster one counts: ratios are the better PyTorch median
÷ minnet's. "differs" is the largest difference between both, of the three results, as a part of the
largest number.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch
from timing import THREADS, Candidate, Table, heading, interleaved

from minnet import kernels
from minnet.kernels.geometry import Window

DIRECTIONS = ("forward", "input", "weight")
LAYOUTS = (torch.contiguous_format, torch.channels_last)
BLOCK = 0.05

Array = np.ndarray
Result = Callable[[], Array]


@dataclass(frozen=True)
class Case:
    """A convolution of square images, padded so that stride 1 keeps the size unless ``valid``."""

    rows: int
    size: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    valid: bool = False

    @property
    def title(self) -> str:
        texts = [f"{self.kernel}x{self.kernel} {self.channels}→{self.filters} @{self.size}"]
        if self.groups == self.channels > 1:
            texts.append("depthwise")
        elif self.groups > 1:
            texts.append(f"groups {self.groups}")
        texts += [f"stride {self.stride}"] * (self.stride > 1)
        texts += [f"dilation {self.dilation}"] * (self.dilation > 1)
        return ", ".join([*texts, f"batch {self.rows}"])

    @property
    def padding(self) -> int:
        return 0 if self.valid else self.dilation * (self.kernel - 1) // 2


CASES = [
    Case(1, 224, 3, 64, 3),
    Case(8, 224, 3, 64, 3),
    Case(8, 56, 256, 64, 1),
    Case(8, 56, 64, 256, 1),
    *[Case(32, size, 6, 16, 5, valid=True) for size in (12, 16, 20, 28)],
    Case(8, 28, 32, 64, 5),
    Case(8, 27, 96, 256, 5),  # AlexNet's second layer
    Case(1, 224, 3, 64, 7, stride=2),
    Case(8, 224, 3, 64, 7, stride=2),
    Case(8, 56, 64, 128, 3, stride=2),
    *[
        Case(8, size, channels, channels, 3, stride=stride, groups=channels)
        for channels in (32, 144)
        for size in (56, 112)
        for stride in (1, 2)
    ],
    Case(8, 56, 64, 64, 3, dilation=2),
    Case(8, 28, 128, 128, 3, groups=4),
    Case(8, 30, 17, 23, 3),
    # The layers of a LeNet and of the network for 8 x 8 digits.
    Case(32, 28, 1, 6, 5, valid=True),
    Case(32, 28, 1, 20, 5, valid=True),
    Case(32, 12, 20, 50, 5, valid=True),
    Case(32, 8, 1, 8, 3),
    Case(32, 4, 8, 16, 3),
]


def arrays(case: Case) -> tuple[Array, Array, Array, Array, Window]:
    """Image, kernel, bias and the output's gradient, with the window that slides."""
    rng = np.random.default_rng(0)
    pad = (case.padding, case.padding)
    twice = {name: (n, n) for name, n in (("strides", case.stride), ("dilation", case.dilation))}
    window = Window((case.kernel, case.kernel), padding=(pad, pad), **twice)
    shapes = (
        (case.rows, case.size, case.size, case.channels),
        (case.kernel, case.kernel, case.channels // case.groups, case.filters),
        (case.filters,),
        (case.rows, *window.output_size(case.size, case.size), case.filters),
    )
    x, w, b, g = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, w, b, g, window


def in_minnet(case: Case) -> dict[str, Result]:
    x, w, b, g, window = arrays(case)
    return {
        "forward": lambda: kernels.conv2d(x, w, b, window, case.groups),
        "input": lambda: kernels.conv2d_input_gradient(g, w, window, case.groups, x.shape),
        "weight": lambda: kernels.conv2d_weight_gradient(x, g, window, case.groups),
    }


def in_torch(case: Case, layout: torch.memory_format) -> dict[str, Result]:
    """The same in PyTorch; results are given back in minnet's layouts, as views."""
    x, w, b, g, _ = arrays(case)
    image, gradient = (
        torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=layout) for a in (x, g)
    )
    kernel = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=layout)
    bias = torch.from_numpy(b)
    geometry = [case.stride] * 2, [case.padding] * 2, [case.dilation] * 2

    def forward() -> Array:
        with torch.inference_mode():
            y = torch.nn.functional.conv2d(image, kernel, bias, *geometry, case.groups)
        return y.permute(0, 2, 3, 1).numpy()

    backward = functools.partial(
        torch.ops.aten.convolution_backward,
        gradient, image, kernel, None, *geometry, False, [0, 0], case.groups,
    )  # fmt: skip
    return {
        "forward": forward,
        "input": lambda: backward([True, False, False])[0].permute(0, 2, 3, 1).numpy(),
        "weight": lambda: backward([False, True, False])[1].permute(2, 3, 1, 0).numpy(),
    }


def differs(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def main() -> None:
    parser = argparse.ArgumentParser(description="Convolutions; see the top of this file.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose title has this text")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one round")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    torch.set_num_threads(THREADS)
    print(f"{heading(torch, numba)}; {THREADS} threads, medians of {rounds} rounds in ms\n")
    columns = [f"{name} {what}" for name in DIRECTIONS for what in ("ms", "torch", "ratio")]
    table = Table("convolution", 46, [*columns, "differs"])
    ratios: dict[str, list[float]] = {name: [] for name in DIRECTIONS}
    for case in CASES:
        if options.only not in case.title:
            continue
        engines = [in_minnet(case), *[in_torch(case, layout) for layout in LAYOUTS]]
        cells, apart = [], 0.0
        for name in DIRECTIONS:
            steps = {str(i): Candidate(engine[name]) for i, engine in enumerate(engines)}
            own, *peers = interleaved(steps, rounds, BLOCK).values()
            ratio = min(peers) / own
            ratios[name].append(ratio)
            cells += [f"{1000 * own:.3f}", f"{1000 * min(peers):.3f}", f"{ratio:.2f}"]
            apart = max(apart, differs(*[engine[name]() for engine in engines[:2]]))
        table.row(case.title, *cells, f"{apart:.0e}")
    medians = []
    for found in ratios.values():
        medians += ["", "", f"{statistics.median(found):.2f}" if found else ""]
    table.row("median", *medians)


if __name__ == "__main__":
    main()
