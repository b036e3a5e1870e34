"""Fine-tuning from the command line: folders and weights to models; features; what is refused."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from image_files import write_folder
from typer.testing import CliRunner

from minnet import cli, load_model
from minnet.vgg16 import VGG16, Vgg16

SMALL = ("--size", 32, "--seed", 0)
QUICK = ("--epochs", 40, "--lr", 0.01)


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="minnet")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pets")
    write_folder(root / "train", {"cats": 9, "dogs": 8})
    write_folder(root / "valid", {"cats": 3, "dogs": 3}, start=9)
    return root


@pytest.fixture(scope="module")
def notop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "notop.npz"
    VGG16(width=1 / 8, include_top=False, input_shape=(32, 32, 3), seed=0).save_weights(file)
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    VGG16(width=1 / 16, input_shape=(32, 32, 3), seed=0).save_weights(file)
    return file


# -- minnet finetune -------------------------------------------------------------------------------


def test_a_new_head_and_then_the_last_block(pets: Path, notop: Path, tmp_path: Path) -> None:
    model = tmp_path / "pets.safetensors"
    command = ("finetune", pets, "--weights", notop, *SMALL, *QUICK, "-o", model)
    code, out, _ = run(*command)
    first, second, *epochs, last = out.splitlines()
    assert code == 0
    assert re.fullmatch(r"features - \d+s - \d+\.\d images/s", first)
    assert second.startswith("features")
    assert len(epochs) == 40 and epochs[-1].endswith("val_accuracy: 1.0000")
    assert last == f"Wrote {model}: cats, dogs. The features are in {model}.features."
    head_alone = load_model(model).get_weights()

    code, out, _ = run(*command, "--from", "block5_conv2", "--from-epochs", 2, "--force")
    lines = out.splitlines()
    assert code == 0
    assert not lines[0].startswith("features")  # they are there already
    assert [line[:9] for line in lines[40:-1]] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(" images/s - loss: " in line for line in lines[40:-1])
    learned = load_model(model)
    changed = [not np.array_equal(a, b) for a, b in zip(head_alone, learned.get_weights())]
    names = [p.name for layer in learned.layers for p in layer.parameters.values()]
    unfrozen = [
        name.startswith(("block5_conv2", "block5_conv3", "fc1", "predict")) for name in names
    ]
    assert changed == unfrozen

    images = sorted((pets / "valid").rglob("*.png"))
    table = tmp_path / "table.csv"
    assert run("predict", model, *images, "--top", 1, "--csv", table)[0] == 0
    with table.open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    assert [row["class"] for row in rows] == [path.parent.name for path in images]


def test_weights_with_dense_layers_lose_the_last_one(
    pets: Path, whole: Path, tmp_path: Path
) -> None:
    model = tmp_path / "pets.safetensors"
    command = ("finetune", pets, "--weights", whole, *SMALL, "--epochs", 2, "-o", model)
    assert run(*command, "--from", "fc2", "--cache", tmp_path / "kept")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "pets.safetensors"]
    vgg = Vgg16.load(model)
    assert vgg.classes == ["cats", "dogs"] and vgg.model.output_shape == (2,)
    before = VGG16(whole, input_shape=(32, 32, 3), width=1 / 16).get_weights()
    changed = [
        a.shape != b.shape or not np.array_equal(a, b)
        for a, b in zip(before, vgg.model.get_weights(), strict=True)
    ]
    assert changed == [False] * 28 + [True] * 4  # all but fc2 and predictions


def test_the_images_a_file_of_weights_is_for(pets: Path, notop: Path, tmp_path: Path) -> None:
    made = {}
    for mode in ("caffe", "rescale"):
        model = tmp_path / f"{mode}.safetensors"
        wanted = ("--preprocessing", mode, "-o", model)
        assert run("finetune", pets, "--weights", notop, *SMALL, "--epochs", 1, *wanted)[0] == 0
        layer = load_model(model).layers[0]
        made[mode] = layer.mode
    assert made == {"caffe": "caffe", "rescale": "rescale"}
    code, _, err = run(
        "features", pets, "--weights", notop, "--preprocessing", "none", "-o", tmp_path / "cache"
    )
    assert code == 2 and "none" in err and "rescale" in err


def test_what_is_interrupted_has_written_what_it_had(
    pets: Path, notop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Ctrl-C in the second of three epochs of block 5: the model is that after the first."""
    stopped, whole = tmp_path / "stopped.safetensors", tmp_path / "whole.safetensors"
    command = (
        "finetune",
        pets,
        "--weights",
        notop,
        *SMALL,
        "--epochs",
        1,
        "--cache",
        tmp_path / "f",
    )
    block5 = ("--from", "block5_conv1", "--from-lr", 0.01)
    assert run(*command, *block5, "-o", whole)[0] == 0
    save, calls = Vgg16.save, list[Path]()

    def interrupted(vgg: Vgg16, path: Path) -> None:
        calls.append(path)
        if len(calls) > 2:
            raise KeyboardInterrupt
        save(vgg, path)

    monkeypatch.setattr(Vgg16, "save", interrupted)
    code, out, err = run(*command, *block5, "--from-epochs", 3, "-o", stopped)
    assert code == 130 and "Wrote" not in out
    assert (
        err == f"minnet: stopped; {stopped} has the new head, 1 of 3 epochs from block5_conv1 on\n"
    )
    assert stopped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "rates",
    [("--lr", 1e30), ("--from", "block5_conv3", "--from-lr", 1e30, "--batch-size", 64)],
)
def test_a_loss_that_is_lost_takes_no_models_place(
    pets: Path, notop: Path, tmp_path: Path, rates: tuple[object, ...]
) -> None:
    """The last step ruins the model, which training itself would see at the next one."""
    model = tmp_path / "pets.safetensors"
    command = ("finetune", pets, "--weights", notop, *SMALL, "--epochs", 1, "--cache", tmp_path)
    assert run(*command, "-o", model)[0] == 0
    good = model.read_bytes()
    code, out, err = run(*command, "-o", model, "--force", *rates)
    assert code == 2 and "Wrote" not in out and model.read_bytes() == good
    assert "finite numbers after an epoch, received val_loss nan" in err and "(now 1e+30)" in err


def test_a_model_may_be_tuned_further(pets: Path, notop: Path, tmp_path: Path) -> None:
    """Its head is new, all else as it has learned, images as it takes them."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    command = ("finetune", pets, "--weights", notop, *SMALL, "--preprocessing", "torch")
    unfrozen = ("--epochs", 1, "--from", "block5_conv3", "--from-lr", 0.01)
    assert run(*command, *unfrozen, "-o", first)[0] == 0
    command = ("finetune", pets, "--weights", first, "--epochs", 1, "-o", second)
    assert run(*command)[0] == 0
    models = [load_model(file) for file in (first, second)]
    assert models[1].layers[0].mode == "torch"
    same = [np.array_equal(a, b) for a, b in zip(*(model.get_weights() for model in models))]
    assert same == [True] * 26 + [False] * 4
    code, _, err = run(*command, "--force", "--size", 64)
    assert code == 2 and "first.safetensors: expected images of 32 × 32" in err


def test_the_size_is_that_of_the_weights(pets: Path, whole: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    command = ("finetune", pets, "--weights", whole, "--epochs", 1, "-o", model)
    assert run(*command)[0] == 0
    assert load_model(model).layers[0].output_shape == (32, 32, 3)
    code, _, err = run(*command, "--force", "--size", 64)
    assert code == 2 and "whole.safetensors: expected the arrays of this VGG16" in err


def test_the_same_seed_gives_the_same_model(pets: Path, notop: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a.safetensors", "b.safetensors"):
        options = ("--epochs", 2, "--from", "block5_conv3", "--cache", tmp_path / "kept")
        code, *_ = run(
            "finetune", pets, "--weights", notop, *SMALL, *options, "-o", tmp_path / name
        )
        assert code == 0
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_what_finetune_refuses(pets: Path, notop: Path, tmp_path: Path) -> None:
    """Each is one line, said before the images are gone through; no file is left."""
    good = {"": pets, "--weights": notop, "--size": 32, "-o": tmp_path / "m.safetensors"}
    empty = shutil.copytree(pets, tmp_path / "empty")
    (empty / "train" / "birds").mkdir()
    others = shutil.copytree(pets, tmp_path / "others")
    (others / "valid" / "dogs").rename(others / "valid" / "wolves")
    (tmp_path / "only" / "train").mkdir(parents=True)
    write_folder(tmp_path / "only" / "train", {"cats": 1})
    for part in ("train", "valid"):
        write_folder(tmp_path / "one" / part, {"cats": 1})
    half = tmp_path / "half.npz"
    half.write_bytes(notop.read_bytes()[:5000])
    other = tmp_path / "other.npz"
    np.savez(other, a=np.ones(3))
    there = tmp_path / "there.safetensors"
    there.write_text("mine")
    cases: list[tuple[dict[str, object], str]] = [
        ({"": tmp_path / "none"}, "none/train: expected a directory with one directory of images"),
        ({"": tmp_path / "only"}, "only/valid: expected a directory with one directory of images"),
        ({"": tmp_path / "one"}, "one/train: expected directories of at least two classes"),
        ({"": empty}, "empty/train: expected images in each directory, received none in birds"),
        ({"": others}, "expected the directories cats, dogs, received cats, wolves"),
        ({"--from": "block5_conv9"}, "Did you mean 'block5_conv3'?"),
        (
            {"--weights": tmp_path / "none.h5"},
            "none.h5: expected a file with a saved model or weights",
        ),
        ({"--weights": there}, "there.safetensors: expected"),
        ({"--weights": half}, "half.npz: expected an .npz file"),
        ({"--weights": other}, "expected the arrays of a VGG16"),
        ({"--weights": pets / "valid" / "cats" / "cats.9.png"}, "expected a name ending in"),
        ({"-o": there}, "there.safetensors: expected a new file, received one that exists"),
        ({"-o": tmp_path / "no" / "m.safetensors"}, "received no directory"),
        ({"-o": tmp_path / "m.h5"}, "expected a .safetensors file for a whole model"),
        ({"-o": tmp_path / "m.onnx"}, "expected a .safetensors file for a whole model"),
        ({"--lr": 0}, "learning rate"),
        ({"--from": "block5_conv1", "--from-lr": "nan"}, "learning rate"),
        ({"--from-lr": 1e-4}, "--batch-size with --from, received no --from"),
        ({"--from-epochs": 2}, "--batch-size with --from, received no --from"),
        ({"--batch-size": 8}, "--batch-size with --from, received no --from"),
    ]
    files = set(tmp_path.rglob("*.safetensors"))
    for change, message in cases:
        arguments = [x for pair in (good | change).items() for x in pair if x != ""]
        code, out, err = run("finetune", *arguments)
        assert (code, err.count("\n")) == (2, 1) and message in err, (change, out, err)
        assert "Epoch" not in out and "features" not in out
    assert set(tmp_path.rglob("*.safetensors")) == files and there.read_text() == "mine"


def test_what_writes_the_model_is_asked_for_before_training(
    pets: Path, notop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    command = ("finetune", pets, "--weights", notop, *SMALL, "-o", tmp_path / "m.safetensors")
    code, out, err = run(*command)
    assert (code, out, err.count("\n")) == (2, "", 1) and not list(tmp_path.iterdir())
    assert "needs the package 'safetensors'" in err and "minnet[safetensors]" in err


def test_images_that_are_damaged_are_told_at_once_and_at_the_end(
    pets: Path, notop: Path, tmp_path: Path
) -> None:
    folder, model = shutil.copytree(pets, tmp_path / "pets"), tmp_path / "m.safetensors"
    (folder / "train" / "cats" / "cats.3.png").write_bytes(b"no picture")
    code, out, err = run("finetune", folder, "--weights", notop, *SMALL, "-o", model)
    first, second = err.splitlines()
    assert (code, out) == (2, "") and not model.exists()
    assert second.startswith("minnet: ") and "cats.3.png: expected an image" in second
    assert first == f"{second} The others are calculated first."


def test_what_is_left_out_is_one_line(pets: Path, notop: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pets, tmp_path / "pets")
    (folder / "valid" / "cats" / "notes.txt").write_text("no picture")
    options = ("--weights", notop, *SMALL, "--epochs", 1, "-o", tmp_path / "m.safetensors")
    code, _, err = run("finetune", folder, *options)
    assert code == 0 and err.count("\n") == 1
    assert err.startswith(f"minnet: {folder / 'valid'}: left out") and "cats/notes.txt" in err


# -- minnet features -------------------------------------------------------------------------------


def test_features_for_finetune_and_for_others(pets: Path, notop: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    code, out, _ = run("features", pets, "--weights", notop, "--size", 32, "-o", cache)
    lines = [line for line in out.splitlines() if not line.startswith("features - ")]
    assert code == 0 and len(lines) == 2
    part, text = lines[0].split(": ")
    assert part == str(pets / "train") and text.startswith("float32 (17, 64) in ")
    array = Path(text.partition(" in ")[2])
    vgg = Vgg16(notop, size=(32, 32))
    vgg.ft(2)
    images = vgg.get_batches(pets / "train", shuffle=False)
    base = vgg.model.upto("global_average_pooling2d")
    np.testing.assert_allclose(np.load(array), base.predict(images), rtol=1e-4, atol=1e-6)
    with array.with_name("files.csv").open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    assert [row["file"] for row in rows] == images.files
    assert [row["class"] for row in rows] == ["cats"] * 9 + ["dogs"] * 8

    model = tmp_path / "m.safetensors"
    command = ("finetune", pets, "--weights", notop, *SMALL, "--epochs", 1, "-o", model)
    out = run(*command, "--cache", cache)[1]
    assert len(out.splitlines()) == 2  # an epoch, and what was written

    one = ("features", pets / "valid", "--weights", notop, "--size", 64, "-o", cache)
    code, out, _ = run(*one, "--upto", "block4_pool")
    assert code == 0 and "valid: float32 (6, 4, 4, 64) in " in out
    code, _, err = run(*one, "--upto", "block6_pool")
    assert code == 2 and "Did you mean 'block5_pool'?" in err


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_features_go_on_after_kill_9(notop: Path, tmp_path: Path) -> None:
    """Killed in the middle: what was done is not done again, and the array is the same."""
    folder = write_folder(tmp_path / "many", {"cats": 60, "dogs": 60})
    cache = tmp_path / "cache"
    options = ["--weights", str(notop), "--size", "96"]
    command = ["features", str(folder), *options, "-o", str(cache)]
    program = [sys.executable, "-m", "minnet", *command]

    def done() -> int:
        """Rows of other numbers than the file began with."""
        arrays = list(cache.rglob("features.npy"))
        return int(np.load(arrays[0]).any(1).sum()) if arrays else 0

    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as process:
        while done() <= 8 and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was through before it could be killed"
    (array,) = cache.rglob("features.npy")
    rows = done() - 8  # the last batch may have been written and not noted
    assert 0 < rows < 112
    before = np.load(array)[:rows].copy()
    stamp = np.full_like(before, 7)
    np.load(array, mmap_mode="r+")[:rows] = stamp  # to see that they are not calculated again
    assert run(*command)[0] == 0
    after = np.load(array)
    assert list(cache.rglob("features.npy")) == [array]
    np.testing.assert_array_equal(after[:rows], stamp)
    whole = run("features", folder, *options, "-o", tmp_path / "other")[1]
    expected = np.load(whole.splitlines()[-1].partition(" in ")[2])
    np.testing.assert_allclose(before, expected[:rows], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(after[rows:], expected[rows:], rtol=1e-5, atol=1e-7)
