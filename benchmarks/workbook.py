"""Exporting, recalculating and reading workbooks of 100,000 and of 1,000,000 formulas.

    python benchmarks/workbook.py

A dense network's training step, and one of a convolutional network, are exported without their
check sheets. Every measurement runs in a process of its own, so that its peak memory is its own
too; 35 MB of it is Python with NumPy. Recalculating needs IronCalc and is skipped without it.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from timing import Table, heading, in_own_process, peak_bytes

import minnet

#: A model with the inputs and the targets of its training step.
Step = tuple[minnet.Model, np.ndarray, np.ndarray]
CONVOLUTIONAL = "130,000, images"
#: The widths of a network with two layers, and the rows of its batch.
NETWORKS = {"100,000": (110, 195, 10, 32), "1,000,000": (400, 655, 10, 64)}


def dense(widths: tuple[int, int, int, int]) -> Step:
    inputs, hidden, classes, rows = widths
    model = minnet.Sequential(
        [
            minnet.Dense(hidden, activation="relu", input_dim=inputs),
            minnet.Dense(classes, activation="softmax"),
        ],
        seed=0,
    )
    model.compile("sgd", loss="categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, inputs)).astype(np.float32)
    return model, x, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, rows)]


def convolutional() -> Step:
    """A step on four images of 20×20×3: two convolutions, pooling, a dense layer."""
    model = minnet.Sequential(
        [
            minnet.Conv2D(8, 3, activation="relu", input_shape=(20, 20, 3)),
            minnet.Conv2D(8, 3, activation="relu"),
            minnet.MaxPooling2D(2),
            minnet.Flatten(),
            minnet.Dense(10, activation="softmax"),
        ],
        seed=0,
    )
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 20, 20, 3)).astype(np.float32)
    return model, x, rng.integers(0, 10, 4)


def export(step: Step, path: str) -> int:
    model, x, y = step
    written = minnet.export_xlsx(model, x, y, path=path, check=False, max_formulas=2_000_000)
    return written.formulas


def recalculate(path: str) -> int:
    from minnet.spreadsheet.recalculate import Recalculated

    loss = Recalculated(path).value("network", 3, 6)
    assert isinstance(loss, float)
    return 0


def read(path: str) -> int:
    from minnet.spreadsheet.reader import open_book

    book = open_book(path)
    return sum(1 for title in book.sheets for _ in book.cells(title))


def read_names(path: str) -> int:
    """All named numbers, as reading back finds them."""
    from minnet.spreadsheet.reader import open_book

    book = open_book(path)
    return sum(book.numbers(area, name, formulas=True).size for name, area in book.names.items())


def run(task: str, size: str, path: str) -> None:
    """What a process of its own does: one task; prints cells, seconds and peak bytes."""
    if task == "export":
        step = convolutional() if size == CONVOLUTIONAL else dense(NETWORKS[size])
        step[0].predict(step[1])  # compiles its kernels, or loads them
        work = partial(export, step)
    else:
        work = globals()[task]
    start = time.perf_counter()
    count = work(path)
    seconds = time.perf_counter() - start
    print(count, seconds, peak_bytes())


def main() -> None:
    print(f"{heading()}\n")
    table = Table("task", 34, ["    cells", "   s", "peak MB", "file MB"])
    tasks = ["export", "read", "read_names"]
    if importlib.util.find_spec("ironcalc") is not None:
        tasks.append("recalculate")
    with tempfile.TemporaryDirectory() as folder:
        for size in (*NETWORKS, CONVOLUTIONAL):
            path = Path(folder, "network.xlsx")
            for task in tasks:
                count, seconds, peak = in_own_process(__file__, task, size, str(path))
                cells = f"{count:,.0f}" if count else ""
                file = path.stat().st_size / 1e6
                row = [cells, f"{seconds:.1f}", f"{peak / 1e6:.0f}", f"{file:.1f}"]
                table.row(f"{task.replace('_', ' ')}, about {size}", *row)


if __name__ == "__main__":
    run(*sys.argv[1:]) if len(sys.argv) > 1 else main()
