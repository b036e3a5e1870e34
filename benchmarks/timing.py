"""What all benchmarks share: candidates that take turns, tables, and the memory of a process."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import minnet

Step = Callable[[], Any]

#: Threads for each engine that asks; NumPy and Numba read the environment themselves.
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
#: Seconds before each block, longer than any thread pool goes on spinning. After 0.1 s OpenBLAS's
#: still does: a product of ours right after one of theirs took up to three times as long.
PAUSE = 0.3
BLOCK = 0.02  # seconds of steps in a round
LONG = 1.0  # seconds of a step that needs no warming up


class Candidate(NamedTuple):
    """Something to be timed: a step, and what to do before a block of steps."""

    step: Step
    before: Step = int


def timed(step: Step, steps: int = 1) -> float:
    """Seconds per step of so many steps in a row."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def block(candidate: Candidate, steps: int, warm_up: bool = True) -> float:
    """Seconds per step in a block of so many, after a pause and a step that does not count."""
    time.sleep(PAUSE)
    candidate.before()
    if warm_up:
        candidate.step()
    return timed(candidate.step, steps)


def interleaved(
    candidates: Mapping[str, Candidate], rounds: int, seconds: float = BLOCK
) -> dict[str, float]:
    """Median seconds per step by candidate; in each round everybody has a block of steps.

    The pause before a block lets the threads of the candidate before go to sleep, which would
    otherwise slow this one. Each round starts with another candidate, every other one goes
    backwards: nobody always follows the same one. What comes before the first round (compiling,
    say) is not counted.
    """
    guesses = {}
    for name, candidate in candidates.items():
        once = block(candidate, 1)
        guesses[name] = once if once > seconds else block(candidate, 10)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for i in range(rounds):
        start = i % len(names)
        order = names[start:] + names[:start]
        for name in reversed(order) if i % 2 else order:
            steps = max(1, round(seconds / guesses[name]))
            found = block(candidates[name], steps, warm_up=guesses[name] < LONG)
            times[name].append(found)
    return {name: statistics.median(found) for name, found in times.items()}


class Table:
    """A Markdown table that is printed row by row, as the measurements come in.

    ``first``: the heading of the first column, which has ``width`` characters; the others are as
    wide as their headings and stand to the right.
    """

    def __init__(self, first: str, width: int, columns: Sequence[str]):
        self._widths = [width, *map(len, columns)]
        self._print([first, *columns])
        rules = ["-" * (width + 2), *["-" * (len(c) + 1) + ":" for c in columns]]
        print(f"|{'|'.join(rules)}|")

    def row(self, name: str, *cells: str) -> None:
        """Print a row; cells left out at its end stay empty."""
        empty = len(self._widths) - 1 - len(cells)
        self._print([name, *cells, *[""] * empty])

    def _print(self, cells: Sequence[str]) -> None:
        first, *others = zip(cells, self._widths)
        texts = [first[0].ljust(first[1]), *[cell.rjust(width) for cell, width in others]]
        print(f"| {' | '.join(texts)} |", flush=True)


def heading(*peers: ModuleType | None) -> str:
    """Versions of everything that takes part; None is a peer that is not installed."""
    names = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "numba": "Numba"}
    versions = [f"minnet {minnet.__version__}", f"NumPy {np.__version__}"]
    versions += [f"{names[p.__name__]} {p.__version__}" for p in peers if p is not None]
    return ", ".join([*versions, f"Python {platform.python_version()}"])


def peak_bytes() -> int:
    """The most memory that this process has had at once."""
    if sys.platform == "linux":
        # Not ru_maxrss: a process starts with the peak of the one that has started it.
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """The memory that this process has now, on Linux; elsewhere the most that it has had."""
    return _status("VmRSS") if sys.platform == "linux" else peak_bytes()


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def in_own_process(script: str, *arguments: str, **environment: str) -> list[float]:
    """The numbers that a script prints on its last line, run in a process of its own.

    ``environment``: variables to add to those of this process.
    """
    command = [sys.executable, script, *arguments]
    variables = os.environ | environment
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables)
    return [float(number) for number in done.stdout.splitlines()[-1].split()]
