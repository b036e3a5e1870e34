"""Each kind of callback, against what its books say and against runs written out by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minnet
from minnet.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    ExcelLogger,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgressBar,
    ReduceLROnPlateau,
    TensorBoard,
)
from minnet.errors import ArgumentError, FileError, MissingDependencyError
from minnet.layers import Dense
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet.verify import verify_xlsx

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (10, 3))
Y = RNG.integers(0, 4, 10)


def classifier(lr: float = 0.1, seed: int = 0) -> Sequential:
    model = Sequential([Dense(5, "tanh", input_dim=3), Dense(4, "softmax")], seed=seed)
    model.compile(SGD(lr), "sparse_categorical_crossentropy", ["accuracy"])
    return model


class Says(Callback):
    """Puts given numbers into the logs, and the epoch into the first weight."""

    def __init__(self, values: Any, name: str = "val_loss"):
        self.values, self.name = values, name

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        logs[self.name] = self.values[epoch]
        weights = self.model.get_weights()
        weights[0][:] = epoch
        self.model.set_weights(weights)


def fit(values: Any, *callbacks: Callback, name: str = "val_loss", **options: Any) -> Sequential:
    model = classifier()
    given = [Says(values, name), *callbacks]
    model.fit(X, Y, epochs=len(values), verbose=0, callbacks=given, **options)
    return model


def epoch_of(model: Sequential) -> float:
    return float(model.get_weights()[0][0, 0])


# -- EarlyStopping ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [3, 2, 2, 1], 3),  # not better once is enough
        ({"patience": 1}, [3, 2, 2, 1], 3),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1], 6),
        ({"patience": 2}, [3, 2, 2, 2, 1], 4),
        ({"patience": 3, "mode": "max"}, [3, 2, 2, 2, 9], 4),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 1], 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 1], 4),
        ({"patience": 2, "baseline": 2}, [3, 2.5, 1], 2),
        ({"patience": 2, "baseline": 2}, [3, 1.5, 1], 3),
        ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 6], 5),
        ({"patience": 1}, [math.nan, 1, 2], 1),
    ],
)
def test_early_stopping(options: Any, values: Any, epochs: int) -> None:
    stopping = EarlyStopping(**options)
    model = fit(values, stopping)
    assert len(model.history.epoch) == epochs
    stopped = epochs < len(values) or stopping.wait > 0
    assert stopping.stopped_epoch == (epochs - 1 if stopped else None)


def test_the_name_says_what_is_better() -> None:
    model = fit([0.1, 0.2, 0.3, 0.2], EarlyStopping("val_accuracy"), name="val_accuracy")
    assert len(model.history.epoch) == 4


@given(
    values=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    patience=st.integers(1, 4),
    mode=st.sampled_from(["min", "max"]),
)
def test_the_best_weights_come_back(values: list[int], patience: int, mode: str) -> None:
    stopping = EarlyStopping(patience=patience, mode=mode, restore_best_weights=True)
    model = fit(values, stopping)
    seen = values[: len(model.history.epoch)]
    best = min(seen) if mode == "min" else max(seen)
    assert stopping.best == best
    assert epoch_of(model) == stopping.best_epoch == seen.index(best)
    if len(seen) < len(values):
        assert len(seen) - 1 - seen.index(best) == patience


def test_it_says_that_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    fit([1, 2, 3], EarlyStopping(verbose=1))
    assert capsys.readouterr().out == "EarlyStopping: stopped after epoch 2; best val_loss: 1\n"


def test_a_number_that_nobody_logs() -> None:
    with pytest.raises(ArgumentError, match="'val_loss' in the logs, received 'loss', 'accuracy'"):
        classifier().fit(X, Y, verbose=0, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(mode="least"), "mode: expected 'auto', 'min' or 'max'"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta: expected at least 0"),
        (lambda: EarlyStopping(patience=-1), "patience: expected a whole number >= 0"),
        (lambda: ReduceLROnPlateau(factor=1), "factor: expected a number from 0"),
        (lambda: ReduceLROnPlateau(factor=0), "factor: expected a finite number above 0"),
        (lambda: ReduceLROnPlateau(min_lr=-1), "min_lr: expected a finite number >= 0"),
        (lambda: ModelCheckpoint("x", save_freq="day"), "save_freq, if not 'epoch',: expected"),
        (lambda: ExcelLogger(live=(X, Y)), "live_epochs, or neither, received one of them"),
        (lambda: ExcelLogger("a.txt"), r"ExcelLogger: expected a name that ends in \.xlsx"),
        (lambda: LambdaCallback(on_epoch_ends=print), "Did you mean 'on_epoch_end'"),
    ],
)
def test_arguments_out_of_range(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


# -- rates -----------------------------------------------------------------------------------------


def test_a_schedule_of_epochs() -> None:
    model = classifier()
    history = model.fit(
        X, Y, epochs=3, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: 1 / (epoch + 1))]
    )
    assert history.history["lr"] == pytest.approx([1, 1 / 2, 1 / 3])


def test_a_schedule_of_the_rate_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    schedule = LearningRateScheduler(lambda epoch, lr: lr / 2, verbose=1)
    history = classifier(lr=8.0).fit(X, Y, epochs=2, verbose=0, callbacks=[schedule])
    assert history.history["lr"] == [4, 2]
    assert "epoch 2 has lr = 2" in capsys.readouterr().out


def test_a_rate_that_is_none() -> None:
    with pytest.raises(ArgumentError, match="schedule: expected a finite number above 0.*-1"):
        classifier().fit(X, Y, verbose=0, callbacks=[LearningRateScheduler(lambda epoch: -1)])


@pytest.mark.parametrize(
    ("options", "values", "rates"),
    [
        ({"patience": 1}, [3, 2, 2, 2, 1], [1, 1, 1, 0.5, 0.25]),
        ({"patience": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 1, 0.5, 0.5, 0.25]),
        ({"patience": 1, "cooldown": 2}, [3, 3, 3, 3, 3, 3], [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"patience": 1, "min_lr": 0.4}, [3, 3, 3, 3], [1, 1, 0.5, 0.4]),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2], [1, 1, 1, 1]),
        ({"patience": 1, "min_delta": 0.5}, [3, 2.7, 2.4], [1, 1, 0.5]),
    ],
)
def test_the_rate_is_reduced_on_a_plateau(options: Any, values: Any, rates: Any) -> None:
    model = classifier(lr=1.0)
    given = [Says(values), ReduceLROnPlateau(factor=0.5, **options)]
    history = model.fit(X, Y, epochs=len(values), verbose=0, callbacks=given)
    assert history.history["lr"] == pytest.approx(rates)


# -- files -----------------------------------------------------------------------------------------


def test_a_checkpoint_of_each_epoch(tmp_path: Path) -> None:
    path = tmp_path / "{epoch:02d}-{val_loss:.1f}.npz"
    fit([3, 2, 4], ModelCheckpoint(path, save_weights_only=True))
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["01-3.0.npz", "02-2.0.npz", "03-4.0.npz"]
    model = classifier()
    model.load_weights(tmp_path / "02-2.0.npz", print_fn=lambda _: None)
    assert epoch_of(model) == 1


@pytest.mark.parametrize(("threshold", "saved"), [(None, [1, 2, 4]), (3, [2, 4])])
def test_only_the_best_is_kept(
    tmp_path: Path, threshold: Any, saved: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"save_best_only": True, "save_weights_only": True, "verbose": 1}
    checkpoint = ModelCheckpoint(
        tmp_path / "best.npz", initial_value_threshold=threshold, **options
    )
    fit([3, 2, 2, 1, 5], checkpoint)
    text = capsys.readouterr().out
    assert [int(n) for n in re.findall(r"epoch (\d+) saved", text)] == saved
    model = classifier()
    model.load_weights(tmp_path / "best.npz", print_fn=lambda _: None)
    assert epoch_of(model) == 3


def test_a_checkpoint_after_so_many_steps(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}-{loss:.6f}.npz"
    checkpoint = ModelCheckpoint(path, save_weights_only=True, save_freq=4)
    classifier().fit(X, Y, 4, 3, 0, [checkpoint])  # 9 steps, 3 in an epoch
    assert sorted(file.name[0] for file in tmp_path.iterdir()) == ["2", "3"]


def test_a_checkpoint_is_what_all_callbacks_left(tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "w.npz", save_weights_only=True)
    model = classifier()
    model.fit(X, Y, verbose=0, callbacks=[checkpoint, Says([7])])
    model.load_weights(tmp_path / "w.npz", print_fn=lambda _: None)
    assert epoch_of(model) == 0


def test_a_whole_model_is_saved(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = classifier()
    model.fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(tmp_path / "m.safetensors")])
    same = minnet.load_model(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(same.predict(X), model.predict(X))


def test_errors_of_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="fields among epoch, loss, accuracy.*val_acc"):
        classifier().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint("{val_acc}.safetensors")])
    lost = ModelCheckpoint(tmp_path / "no" / "w.npz", save_weights_only=True)
    with pytest.raises(FileError, match="w.npz: expected the name of a file to write"):
        classifier().fit(X, Y, verbose=0, callbacks=[lost])


def rows_of(path: Path, **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), **options))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("an older one", encoding="utf-8")
    history = classifier().fit(
        X, Y, epochs=3, verbose=0, validation_split=0.2, callbacks=[CSVLogger(path, ";")]
    )
    rows = rows_of(path, delimiter=";")
    assert [int(row.pop("epoch")) for row in rows] == history.epoch
    for name, values in history.history.items():
        assert [float(row[name]) for row in rows] == values  # to the last digit


def test_csv_goes_on_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    whole = classifier().fit(X, Y, epochs=4, verbose=0)
    model = classifier()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[CSVLogger(path)])
    with path.open("a", encoding="utf-8") as file:
        file.write("2,0.5,0.5\n3,0.")  # an epoch that is trained again, and half a row
    model.fit(X, Y, epochs=4, initial_epoch=2, verbose=0, callbacks=[CSVLogger(path, append=True)])
    rows = rows_of(path)
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert [float(row["loss"]) for row in rows] == whole.history["loss"]
    model.fit(X, Y, epochs=1, verbose=0, callbacks=[CSVLogger(path)])
    assert len(rows_of(path)) == 1


@pytest.mark.parametrize("separator", ["", "ab", "\n", '"', 3])
def test_separators_that_are_none(separator: Any) -> None:
    with pytest.raises(ArgumentError, match="CSVLogger separator: expected one character"):
        CSVLogger("log.csv", separator)


def test_csv_with_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    classifier().fit(X, Y, verbose=0, callbacks=[CSVLogger(path)])
    other = {"verbose": 0, "initial_epoch": 1, "epochs": 2, "validation_split": 0.5}
    with pytest.raises(ArgumentError, match=r"columns epoch, loss, accuracy, .*val_accuracy"):
        classifier().fit(X, Y, callbacks=[CSVLogger(path, append=True)], **other)
    path.write_text("epoch,loss,accuracy\n0,1,2,3\n", encoding="utf-8")
    with pytest.raises(FileError, match="epoch 0: expected 3 columns, received more"):
        classifier().fit(X, Y, verbose=0, callbacks=[CSVLogger(path, append=True)])
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(FileError, match="a column 'epoch' of whole numbers, received a, b"):
        classifier().fit(X, Y, verbose=0, callbacks=[CSVLogger(path, append=True)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: CSVLogger(place / "no" / "l.csv"), "no directory .*no"),
        (lambda place: CSVLogger(place), "a directory"),
        (lambda place: ExcelLogger(place / "no" / "l.xlsx"), "no directory .*no"),
        (lambda place: ModelCheckpoint(place / "no" / "{epoch}.safetensors"), "no directory .*no"),
        (lambda place: ModelCheckpoint(place / "m.h5"), "a .safetensors file for a whole model"),
        (lambda place: ModelCheckpoint(place / "w.txt", save_weights_only=True), "ending in"),
    ],
)
def test_a_place_where_nothing_can_be_written(tmp_path: Path, make: Any, message: str) -> None:
    """It is an error before an epoch is trained, not after it."""
    model = classifier()
    with pytest.raises(FileError, match=message):
        model.fit(X, Y, verbose=0, callbacks=[make(tmp_path)])
    assert model.optimizer.iterations == 0


def test_directories_may_depend_on_the_epoch(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    path = tmp_path / "{epoch}" / "w.npz"
    classifier().fit(X, Y, verbose=0, callbacks=[ModelCheckpoint(path, save_weights_only=True)])
    assert (tmp_path / "1" / "w.npz").exists()


def test_lambdas() -> None:
    calls: list[Any] = []
    callback = LambdaCallback(
        on_epoch_end=lambda epoch, logs: calls.append(epoch),
        on_train_batch_end=lambda batch, logs: calls.append(f"batch {batch}"),
        on_train_end=lambda logs: calls.append("end"),
    )
    classifier().fit(X, Y, 5, verbose=0, callbacks=[callback])
    assert calls == ["batch 0", "batch 1", 0, "end"]


def events(directory: Path) -> list[tuple[str, int, float]]:
    """All scalars in TensorBoard's files, read with tensorboardX's own description of them."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(directory.glob("events.*")):
        data, at = file.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + size])
            found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
            at += 16 + size
    return found


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    board = TensorBoard(tmp_path, update_freq=2)
    history = classifier().fit(X, Y, 4, 2, 0, [board], validation_data=(X, Y)).history
    trained, validated = events(tmp_path / "train"), events(tmp_path / "validation")
    for run, prefix in ((trained, ""), (validated, "val_")):
        for name in ("loss", "accuracy"):
            values = [value for tag, _, value in run if tag == f"epoch_{name}"]
            assert values == pytest.approx(history[prefix + name], rel=1e-6)
    steps = [step for tag, step, _ in trained if tag == "batch_loss"]
    assert steps == [2, 4, 6]
    assert not [tag for tag, _, _ in validated if tag.startswith("batch")]


def test_tensorboard_where_no_logs_can_be(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileError, match="file: expected a directory .*Not a directory"):
        classifier().fit(X, Y, verbose=0, callbacks=[TensorBoard(tmp_path / "file")])


def test_tensorboard_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(MissingDependencyError, match=r"TensorBoard needs.*minnet\[tensorboard\]"):
        TensorBoard()


# -- workbooks and pictures ------------------------------------------------------------------------


def test_excel(tmp_path: Path) -> None:
    path = tmp_path / "training.xlsx"
    logger = ExcelLogger(path, live=(X[:2], Y[:2]), live_epochs=[1, 3])
    model, other = classifier(), classifier()
    history = model.fit(X, Y, epochs=3, verbose=0, validation_split=0.3, callbacks=[logger]).history
    other.fit(X, Y, epochs=3, verbose=0, validation_split=0.3)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # looking on changes nothing

    report = verify_xlsx(path)
    assert report.ok and report.cells == 8, report.summary()
    sheet = openpyxl.load_workbook(path, data_only=True)["curves"]
    heads = [cell.value for cell in sheet[4]][:5]
    assert heads == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]
    for column, name in enumerate(heads[1:], 2):
        values = [sheet.cell(row, column).value for row in (7, 8, 9)]
        assert values == history[name]
        best = (max if "acc" in name else min)(values)
        assert sheet.cell(5, column).value == best
        assert sheet.cell(6, column).value == values.index(best) + 1
    charts = openpyxl.load_workbook(path)["curves"]._charts
    assert [len(chart.series) for chart in charts] == [2, 2]
    for epoch in (1, 3):
        assert verify_xlsx(logger.live_path(epoch)).ok
    assert not logger.live_path(2).exists()


@pytest.mark.parametrize(
    ("values", "best", "epoch"),
    [
        ([math.nan, 0.5, 0.25, math.inf], 0.25, 3),
        ([0.5, 0.75, math.nan], 0.5, 1),
        ([-math.inf, 0.5, math.nan], 0.5, 2),
        ([math.inf, math.inf], None, None),
        ([math.nan], None, None),
    ],
)
@pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
def test_numbers_that_are_none(
    name: str, values: list[float], best: float, epoch: int, tmp_path: Path
) -> None:
    larger = name == "val_accuracy"
    path, sign = tmp_path / "training.xlsx", -1 if larger else 1
    fit([sign * value for value in values], ExcelLogger(path), name=name)
    sheet = openpyxl.load_workbook(path, data_only=True)["curves"]
    column = next(cell.column for cell in sheet[4] if cell.value == name)
    shown = [sheet.cell(row, column).value for row in range(5, 7 + len(values))]
    texts = [sign * value if np.isfinite(value) else str(sign * value) for value in values]
    assert shown == [best and sign * best, epoch, *texts]
    assert verify_xlsx(path).ok
    pytest.importorskip("matplotlib")
    history = classifier().fit(X, Y, epochs=1, verbose=0)
    history.epoch, history.history = list(range(len(values))), {name: values}
    history.plot(tmp_path / "curves.svg")


def test_looking_on_draws_no_random_numbers(tmp_path: Path) -> None:
    weights = []
    for looks in (False, True):
        minnet.seed(0)
        model = Sequential(
            [Dense(5, "tanh", input_dim=3), minnet.Dropout(0.5), Dense(4, "softmax")]
        )
        model.compile("sgd", "sparse_categorical_crossentropy")
        logger = ExcelLogger(tmp_path / "t.xlsx", live=(X[:2], Y[:2]), live_epochs=[1, 2])
        model.fit(X, Y, 4, 2, 0, [logger] if looks else [])
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_live_sheets_show_the_weights_of_their_epoch(tmp_path: Path) -> None:
    model = classifier()
    logger = ExcelLogger(tmp_path / "t.xlsx", live=(X[:2], Y[:2]), live_epochs=[2])
    expected: list[Any] = []
    spy = LambdaCallback(on_epoch_begin=lambda epoch, logs: expected.append(model.get_weights()))
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[logger, spy])
    minnet.read_xlsx(logger.live_path(2), model)
    for a, b in zip(model.get_weights(), expected[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_a_picture_of_the_curves(tmp_path: Path, ending: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"curves.{ending}"
    history = classifier().fit(X, Y, epochs=3, verbose=0, validation_split=0.3)
    history.plot(path)
    assert path.read_bytes().startswith(magic)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["curves", "curves.foo"])
def test_a_picture_of_no_kind(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    history = classifier().fit(X, Y, verbose=0)
    with pytest.raises(ArgumentError, match=rf"{name}': expected a \.png, \.svg or \.pdf file"):
        history.plot(tmp_path / name)


def test_a_picture_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match="at least one finished epoch"):
        minnet.History().plot(tmp_path / "c.png")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"history needs.*minnet\[plots\]"):
        classifier().fit(X, Y, verbose=0).plot(tmp_path / "c.png")


# -- the bar ---------------------------------------------------------------------------------------


def test_a_bar_of_ones_own_takes_the_place_of_fits(capsys: pytest.CaptureFixture[str]) -> None:
    log = io.StringIO()
    classifier().fit(X, Y, epochs=2, callbacks=[ProgressBar(2, stream=log)])
    assert capsys.readouterr().out == ""
    assert len(log.getvalue().splitlines()) == 2


# -- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda path: EarlyStopping("loss", patience=9, restore_best_weights=True),
        lambda path: ReduceLROnPlateau("loss", patience=1),
        lambda path: LearningRateScheduler(lambda epoch, lr: lr / 2),
        lambda path: ModelCheckpoint(path / "w.npz", save_weights_only=True, save_freq=2),
        lambda path: CSVLogger(path / "l.csv"),
        lambda path: ExcelLogger(path / "t.xlsx"),
    ],
    ids=["stopping", "plateau", "scheduler", "checkpoint", "csv", "excel"],
)
def test_states_survive_json_apart_from_arrays(make: Any, tmp_path: Path) -> None:
    callback, again = make(tmp_path), make(tmp_path)
    classifier().fit(X, Y, epochs=2, verbose=0, callbacks=[callback])
    state = callback.state()
    numbers = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    again.load_state({**json.loads(json.dumps(numbers)), **arrays})
    np.testing.assert_equal(again.state(), state)
