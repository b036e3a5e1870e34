"""What a process of its own is needed for: the time that VGG16 takes to start, and its memory.

    python benchmarks/process.py start ROWS … | predicting ROWS | training ROWS | growth CALLS

Each task prints numbers on its last line; ``vgg16.py`` runs them and makes tables. Only minnet is
loaded, and only inside the task, so that its import is timed too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any


def start(*batches: str) -> list[float]:
    """Seconds to import minnet, to load or compile kernels, and for the same predictions again."""
    begin = time.perf_counter()
    import minnet  # noqa: F401 - timed

    imported = time.perf_counter() - begin
    from networks import minnet_model, vgg16
    from timing import timed

    network = vgg16()
    model = minnet_model(network, None, "linear")
    images = [network.images(int(rows)) for rows in batches]

    def predictions() -> None:
        for x in images:
            model.predict(x, batch_size=len(x))

    first = timed(predictions)
    again = min(timed(predictions) for _ in range(3))
    return [imported, first - again, again]


def predicting(rows: str) -> list[float]:
    """Bytes of VGG16 before its first prediction of so many images, at most, and afterwards."""
    from networks import minnet_model, vgg16

    network = vgg16()
    model = minnet_model(network, None, "linear")
    x = network.images(int(rows))
    return _memory(lambda: model.predict(x, batch_size=len(x)))


def training(rows: str) -> list[float]:
    """The same of VGG16 that trains its last block and the dense layers."""
    from networks import minnet_model, vgg16

    network = vgg16()
    model = minnet_model(network, None, "softmax")
    for layer in model.layers:
        layer.trainable = layer.name.startswith("block5") or "block" not in layer.name
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    x, labels = network.images(int(rows)), network.labels(int(rows))
    return _memory(lambda: model.train_on_batch(x, labels))


def _memory(step: Any) -> list[float]:
    from timing import peak_bytes, resident_bytes

    before = resident_bytes()
    if sys.platform == "linux":
        # Making random weights takes more memory than using them: let the peak count from here.
        Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        step()
    return [before, peak_bytes(), resident_bytes()]


def growth(calls: str) -> list[float]:
    """Bytes by which a small network grows in so many predictions, and in so many training steps.

    A tenth as many calls come before, in which everything finds its size.
    """
    from networks import Conv, Dense, Network, Pool, minnet_model

    network = Network((32, 32, 3), (Conv(16), Pool(), Conv(32), Pool(), Dense(10)))
    model = minnet_model(network, None, "softmax")
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    x, labels = network.images(32), network.labels(32)
    count = int(calls)
    grown = _grown(lambda: model.predict(x, batch_size=32), count)
    return [grown, _grown(lambda: model.train_on_batch(x, labels), count)]


def _grown(step: Any, calls: int) -> int:
    from timing import resident_bytes

    for _ in range(calls // 10):
        step()
    before = resident_bytes()
    for _ in range(calls):
        step()
    return resident_bytes() - before


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    tasks = {"start": start, "predicting": predicting, "training": training, "growth": growth}
    print(*tasks[task](*arguments))
