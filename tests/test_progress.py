"""The bar, the lines and the summary, to the letter."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

from minnet import progress
from minnet.callbacks import ProgressBar
from minnet.layers import Dense
from minnet.progress import Progress
from minnet.sequential import Sequential


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


VALUES = {"loss": 0.69314, "accuracy": 0.5}


def shown(stream: io.StringIO) -> list[str]:
    """The lines as a terminal would show them."""
    lines = []
    for line in stream.getvalue().split("\n"):
        screen = ""
        for part in line.split("\r"):
            screen = part + screen[len(part) :]
        lines.append(screen.rstrip())
    return lines


@pytest.mark.parametrize("verbose", [1, 2])
def test_without_an_output(verbose: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without a terminal on Windows."""
    monkeypatch.setattr("sys.stdout", None)
    model = Sequential([Dense(1, input_shape=(1,))], seed=0)
    model.compile("sgd", "mse")
    history = model.fit(np.ones((4, 1)), np.ones(4), epochs=2, verbose=verbose)
    assert len(history.epoch) == 2


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (VALUES, " - loss: 0.6931 - accuracy: 0.5000"),
        ({"loss": 0.0}, " - loss: 0.0000"),
        ({"loss": 0.00012345}, " - loss: 1.2345e-04"),
        ({"loss": 1234567.0}, " - loss: 1.2346e+06"),
        ({"loss": -12.5}, " - loss: -12.5000"),
        ({"loss": float("nan")}, " - loss: nan"),
        ({}, ""),
    ],
)
def test_values(values: dict[str, float], text: str) -> None:
    assert progress.format_values(values) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.9, "59s"), (65, "1:05"), (3600, "1:00:00"), (7265, "2:01:05")],
)
def test_time(seconds: float, text: str) -> None:
    assert progress.format_time(seconds) == text


@pytest.mark.parametrize(
    ("done", "rows", "text"),
    [
        (320, 1000, " 320/1000 [=========>....................]"),
        (1, 1000, "   1/1000 [>.............................]"),
        (999, 1000, " 999/1000 [=============================>]"),
        (1000, 1000, "1000/1000 [==============================]"),
        (3, 3, "3/3 [==============================]"),
    ],
)
def test_bar(done: int, rows: int, text: str) -> None:
    assert progress.format_bar(done, rows) == text


def test_a_terminal_gets_a_heading_and_a_bar_drawn_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stream, clock = Terminal(), Clock()
    bar = Progress(1000, 5, 1, stream, clock)
    assert bar.live
    bar.begin(1)
    clock.now += 2
    bar.update(400, lambda: VALUES)
    assert shown(stream) == [
        "Epoch 2/5",
        " 400/1000 [============>.................] - ETA: 3s - loss: 0.6931 - accuracy: 0.5000",
    ]
    clock.now += 3
    bar.end({"loss": 0.5, "val_loss": 0.6})
    assert shown(stream) == [
        "Epoch 2/5",
        "1000/1000 [==============================] - 5s - loss: 0.5000 - val_loss: 0.6000",
        "",
    ]


def test_a_shorter_line_leaves_nothing_of_the_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    stream, clock = Terminal(), Clock()
    bar = Progress(10, 1, 1, stream, clock)
    bar.begin(0)
    clock.now += 1
    bar.update(5, lambda: {"a_metric_with_a_very_long_name": 1.0})
    assert shown(stream)[1].endswith("- ETA: 1s - a_metric_with_a_very_long_name: 1.0000")
    bar.end({"loss": 1.0})
    assert shown(stream)[1] == "10/10 [==============================] - 1s - loss: 1.0000"


def test_a_bar_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream, clock = Terminal(), Clock()
    bar = Progress(10, 1, 1, stream, clock)
    bar.begin(0)
    clock.now += 1
    bar.update(5, lambda: {"a_metric_with_a_very_long_name": 1.0})
    assert len(shown(stream)[1]) == 59


def test_drawing_is_rare() -> None:
    stream, clock = Terminal(), Clock()
    bar = Progress(1000, 1, 1, stream, clock)
    asked = []

    def values() -> dict[str, float]:
        asked.append(clock.now)
        return VALUES

    bar.begin(0)
    for done in range(1, 1001):
        clock.now += 0.001
        bar.update(done, values)
    assert 8 <= len(asked) <= 10


def test_an_interrupted_line_is_left() -> None:
    stream, clock = Terminal(), Clock()
    bar = Progress(10, 1, 1, stream, clock)
    bar.begin(0)
    clock.now += 1
    bar.update(5, lambda: VALUES)
    bar.close()
    bar.close()
    assert len(shown(stream)) == 3
    assert shown(stream)[-1] == ""


@pytest.mark.parametrize(
    ("stream", "verbose"), [(io.StringIO(), 1), (io.StringIO(), 2), (Terminal(), 2)]
)
def test_one_line_per_epoch_elsewhere(stream: io.StringIO, verbose: int) -> None:
    clock = Clock()
    bar = Progress(10, 2, verbose, stream, clock)
    assert not bar.live
    for epoch in range(2):
        bar.begin(epoch)
        clock.now += 1.5
        bar.update(5, lambda: VALUES)
        bar.end(VALUES)
    bar.close()
    assert stream.getvalue() == (
        "Epoch 1/2 - 1s - loss: 0.6931 - accuracy: 0.5000\n"
        "Epoch 2/2 - 1s - loss: 0.6931 - accuracy: 0.5000\n"
    )


def test_a_notebook_gets_a_bar() -> None:
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    assert Progress(10, 1, 1, stream).live
    assert not Progress(10, 1, 2, stream).live


def test_batches_of_unknown_number() -> None:
    stream, clock = Terminal(), Clock()
    bar = Progress(None, 1, 1, stream, clock)
    bar.begin(0)
    clock.now += 2
    bar.update(7, lambda: VALUES)
    assert shown(stream)[1] == "7/? - 2s - loss: 0.6931 - accuracy: 0.5000"
    clock.now += 1
    bar.end(VALUES)
    assert shown(stream)[1] == "7/7 - 3s - loss: 0.6931 - accuracy: 0.5000"


def test_rows_in_a_second_are_those_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that were there before; and the time after the last of them does not count."""
    monkeypatch.setenv("COLUMNS", "200")
    stream, clock = Terminal(), Clock()
    bar = Progress(1000, 1, 1, stream, clock, unit="images")
    bar.begin(0, "features", done=400)
    clock.now += 10
    bar.update(500, dict)
    half = " 500/1000 [===============>..............] - ETA: 50s - 10.0 images/s"
    assert shown(stream) == ["features", half]
    clock.now += 20
    bar.update(1000, dict)
    clock.now += 30  # validation
    bar.end(VALUES)
    rest = " - 1:00 - 20.0 images/s - loss: 0.6931 - accuracy: 0.5000"
    assert shown(stream)[1] == f"1000/1000 [{'=' * 30}]{rest}"


def test_fit_tells_images_in_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    fit(callbacks=[ProgressBar(unit="images")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        (rate,) = re.findall(r" - 0s - (\d+\.\d) images/s - loss: ", line)
        assert float(rate) > 0


def test_silent() -> None:
    stream = Terminal()
    bar = Progress(10, 1, 0, stream)
    bar.begin(0)
    bar.update(10, lambda: VALUES)
    bar.end(VALUES)
    bar.close()
    assert stream.getvalue() == ""


# -- through fit -----------------------------------------------------------------------------------


def fit(**options: Any) -> None:
    model = Sequential([Dense(1, input_dim=1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, 1)), np.ones(8), epochs=3, validation_split=0.5, **options)


@pytest.mark.parametrize("options", [{}, {"verbose": 2}])
def test_fit_prints_one_line_per_epoch(
    capsys: pytest.CaptureFixture[str], options: dict[str, int]
) -> None:
    fit(**options)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for i, line in enumerate(lines):
        assert line.startswith(f"Epoch {i + 1}/3 - 0s - loss: ")
        assert " - val_loss: " in line


def test_fit_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    fit(verbose=0)
    assert capsys.readouterr().out == ""


def test_ctrl_c_on_a_terminal_leaves_the_bars_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr(progress, "INTERVAL", 0)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("minnet.fitting.evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit()
    assert len(shown(stream)) == 3
    assert shown(stream)[-1] == ""


def test_fit_draws_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr(progress, "INTERVAL", 0)
    monkeypatch.setenv("COLUMNS", "200")
    fit(batch_size=2)
    lines = shown(stream)
    assert len(lines) == 7
    assert lines[0::2] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3", ""]
    assert all(f"4/4 [{'=' * 30}] - 0s - loss: " in line for line in lines[1::2])
    assert "\r2/4 [===============>..............] - ETA: 0s - loss: " in stream.getvalue()
