"""Training that is stopped at any moment and taken up again: the same weights to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resumed_training
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resumed_training import BATCH, EPOCHS, X, Y, model_of, train

import minnet
from minnet import optimizers
from minnet.callbacks import BackupAndRestore, Callback, EarlyStopping
from minnet.errors import ArgumentError, FileError
from minnet.kernels.products import compiles
from minnet.optimizers import SGD

pytest.importorskip("safetensors")

KINDS = ["seeded", "shared", "graph"]


class StopProcess(Exception):
    """Stands for the end of the process: nothing that it knew is left."""


class StopAt(Callback):
    """Ends training by force in the middle: after so many batches or epochs."""

    def __init__(self, batches: int, where: str = "batch end"):
        self._left, self._where = batches, where

    def _count(self, where: str) -> None:
        if where == self._where:
            self._left -= 1
            if self._left < 0:
                raise StopProcess

    def on_train_batch_begin(self, batch: int, logs: Any) -> None:
        self._count("batch begin")

    def on_train_batch_end(self, batch: int, logs: Any) -> None:
        self._count("batch end")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._count("epoch begin")

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self._count("epoch end")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def whole(kind: str) -> dict[str, Any]:
    """What comes of a training that nobody stops."""
    return train(kind)


@given(
    stops=st.lists(
        st.tuples(
            st.integers(0, 12),
            st.sampled_from(["batch begin", "batch end", "epoch begin", "epoch end"]),
        ),
        max_size=5,
    ),
    every=st.sampled_from(["epoch", 1, 2, 3]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_any_interruptions_make_no_difference(
    tmp_path_factory: Any, kind: str, whole: dict[str, Any], stops: Any, every: Any
) -> None:
    directory = tmp_path_factory.mktemp("backup") / "b"
    for batches, where in stops:
        try:
            train(kind, BackupAndRestore(directory, every), StopAt(batches, where))
        except StopProcess:
            continue
        break
    else:
        assert train(kind, BackupAndRestore(directory, every)) == whole
    assert not directory.exists()


def large(kind: str) -> Any:
    """A net whose products and convolutions may be worked out in more ways than one."""
    minnet.seed(0)
    first: dict[str, list[minnet.Layer]] = {
        "frozen dense": [minnet.Dense(1024, "relu", input_dim=1024)],
        "frozen convolution": [
            minnet.Conv2D(256, 3, padding="same", activation="relu", input_shape=(4, 4, 256)),
            minnet.Conv2D(256, 3, padding="same", activation="relu"),
            minnet.Flatten(),
        ],
        "threads later": [minnet.Dense(256, input_dim=256), minnet.Dense(4096)],
    }
    model = minnet.Sequential([*first[kind], minnet.Dense(2, "softmax")])
    model.layers[0].trainable = not kind.startswith("frozen")
    model.compile(SGD(0.01), "sparse_categorical_crossentropy")
    return model


def trained(kind: str, directory: Path, *more: Callback) -> list[Any]:
    """The weights after four epochs, in what is a new process as far as threads are concerned."""
    if compiles():
        from minnet.kernels import jit

        jit._Threads.started = False
    model = large(kind)
    rows = 64 if kind == "threads later" else 8
    shape = rows, *model.layers[0].input_shape
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    y = np.arange(rows) % 2
    size = 32 if kind == "threads later" else 2
    backup = BackupAndRestore(directory)
    validation = (x[: 2 * size], y[: 2 * size])
    options: Any = {"epochs": 4, "verbose": 0, "callbacks": [backup, *more]}
    model.fit(x, y, size, validation_data=validation, **options)
    return [p.data for p in model.parameters()]


@pytest.mark.parametrize("kind", ["frozen dense", "frozen convolution", "threads later"])
def test_how_large_layers_are_worked_out_makes_no_difference(kind: str, tmp_path: Path) -> None:
    """Neither does it matter which weights were used before, nor whether threads were running."""
    whole = trained(kind, tmp_path / "whole")
    with pytest.raises(StopProcess):
        trained(kind, tmp_path / "b", StopAt(2, "epoch begin"))
    for stopped, never in zip(trained(kind, tmp_path / "b"), whole, strict=True):
        np.testing.assert_array_equal(stopped, never)


def test_the_comparison_can_fail(kind: str, whole: dict[str, Any], tmp_path: Path) -> None:
    """A backup that forgets the generators would not go unnoticed."""

    class Forgetful(BackupAndRestore):
        def _restore(self) -> None:
            super()._restore()
            self.loop._generator().random()

    with pytest.raises(StopProcess):
        train(kind, BackupAndRestore(tmp_path / "b", 1), StopAt(7))
    assert train(kind, Forgetful(tmp_path / "b", 1)) != whole


def run_and_kill(kind: str, directory: Path, kills: int, seed: int) -> dict[str, Any]:
    """The program, killed (-9) at random moments of its training and started again each time."""
    rng, result = np.random.default_rng(seed), directory / "result.json"
    program = [sys.executable, resumed_training.__file__, kind, str(directory / "b"), str(result)]
    killed = 0
    while not result.exists():
        with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"training\n"
            try:
                if killed < kills:
                    process.wait(rng.uniform(0, 0.2))
                assert process.wait(60) == 0
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
    return json.loads(result.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_killing_the_process_makes_no_difference(
    kind: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    assert run_and_kill(kind, tmp_path, 2, seed=0) == json.loads(json.dumps(whole))
    assert {file.name for file in tmp_path.iterdir()} == {"result.json"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killing_the_process_many_times(
    kind: str, whole: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    assert run_and_kill(kind, tmp_path, 15, seed) == json.loads(json.dumps(whole))
    assert {file.name for file in tmp_path.iterdir()} == {"result.json"}


# -- what may be resumed ---------------------------------------------------------------------------


def stopped(directory: Path, **options: Any) -> None:
    """A backup of a training of :func:`model_of` 'seeded'."""
    with pytest.raises(StopProcess):
        model_of("seeded").fit(
            X, Y, BATCH, EPOCHS, verbose=0, callbacks=[BackupAndRestore(directory, 1), StopAt(3)]
        )


def resume(directory: Path, model: Any = None, batch: int = BATCH, *more: Callback) -> Any:
    model = model or model_of("seeded")
    return model.fit(X, Y, batch, EPOCHS, verbose=0, callbacks=[BackupAndRestore(directory), *more])


def test_a_backup_of_another_training_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path)

    def refused(what: str, *arguments: Any) -> None:
        with pytest.raises(FileError, match=f"a backup of this training.*other {what}.*Delete it"):
            resume(tmp_path, *arguments)

    other = minnet.Sequential([minnet.Dense(2, "softmax")])
    other.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    refused("layers", other)
    model = model_of("seeded")
    model.compile("sgd", model.loss, ["accuracy"])
    refused("optimizer", model)
    model = model_of("seeded")
    model.compile("adam", model.loss)
    refused("loss or metrics", model)
    refused("batch size or data", None, BATCH + 1)
    refused("callbacks", None, BATCH, EarlyStopping("loss"))


def test_a_learning_rate_that_was_changed_is_taken_up(tmp_path: Path) -> None:
    stopped(tmp_path)
    model = model_of("seeded")
    model.compile(optimizers.Adam(123.0), model.loss, ["accuracy"])
    resume(tmp_path, model)
    assert model.optimizer.lr == model_of("seeded").optimizer.lr


def test_a_backup_is_a_model(tmp_path: Path) -> None:
    stopped(tmp_path)
    assert minnet.load_model(tmp_path / "backup.safetensors").predict(X).shape == (len(X), 2)


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    backup = BackupAndRestore(tmp_path, delete_checkpoint=False)
    model = model_of("seeded")
    first = model.fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    again = model_of("seeded")
    second = again.fit(X, Y, epochs=2, verbose=0, callbacks=[backup])
    assert second.history == first.history
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.fit(X, Y, epochs=3, verbose=0, callbacks=[backup]).epoch == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(5000)])
def test_a_damaged_backup_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "backup.safetensors").write_bytes(content)
    with pytest.raises(FileError, match=r"backup\.safetensors: expected a safetensors file"):
        resume(tmp_path)


def test_a_saved_model_is_no_backup(tmp_path: Path) -> None:
    model_of("seeded").save(tmp_path / "backup.safetensors")
    with pytest.raises(FileError, match="expected a backup of a training"):
        resume(tmp_path)


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    leftover = tmp_path / "backup.safetensorsabc.part"
    leftover.mkdir()
    (leftover / "half").write_bytes(bytes(10))
    (tmp_path / "mine.part").write_bytes(b"")
    resume(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.part"]


def test_arguments(tmp_path: Path) -> None:
    for wrong in (0, -1, "batch", 1.5):
        with pytest.raises(ArgumentError, match="BackupAndRestore save_freq"):
            BackupAndRestore(tmp_path, wrong)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileError, match="file: expected a directory for backups"):
        resume(tmp_path / "file")


def test_what_cannot_be_saved_is_said_before_training(tmp_path: Path) -> None:
    model = minnet.Sequential([minnet.Dense(2, lambda x: x, input_dim=5)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(ArgumentError, match="saving layer 'dense_1'"):
        model.fit(X, X[:, :2], verbose=0, callbacks=[BackupAndRestore(tmp_path)])
    np.testing.assert_array_equal(before[0], model.get_weights()[0])


@pytest.mark.parametrize("kind_of_source", ["batches", "generator"])
@pytest.mark.parametrize("stop", [1, 4, 6, 11])
def test_batches_from_elsewhere_are_passed_over(
    tmp_path: Path, kind_of_source: str, stop: int
) -> None:
    """Data that come in batches start anew in the next process; what was trained on is left out."""

    def source() -> Any:
        if kind_of_source == "batches":
            return minnet.data.Batches(X, Y, batch_size=BATCH, seed=11)
        rng = np.random.default_rng(4)
        return iter(lambda: (X[rows := rng.integers(0, len(X), BATCH)], Y[rows]), None)

    def run(*callbacks: Callback) -> list[np.ndarray]:
        model = model_of("seeded")
        model.fit(source(), epochs=3, steps_per_epoch=4, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    expected = run()
    with pytest.raises(StopProcess):
        run(BackupAndRestore(tmp_path, 1), StopAt(stop))
    for one, other in zip(expected, run(BackupAndRestore(tmp_path, 1)), strict=True):
        np.testing.assert_array_equal(one, other)
