"""The commands for saved models: predictions as lines and as a table, summaries."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest
from image_files import write_folder
from typer.testing import CliRunner

from minnet import cli, load_model, saving
from minnet.errors import FileError
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.verify import verify_xlsx
from minnet.vgg16 import VGG16, Vgg16


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="minnet")
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("model")
    folder = write_folder(root / "train", {"cats": 2, "dogs": 1})
    vgg = Vgg16(None, width=1 / 16, size=(32, 32), seed=0)
    vgg.finetune(vgg.get_batches(folder))
    vgg.save(root / "pets.safetensors")
    return root / "pets.safetensors", folder


def test_predictions_as_lines_and_as_a_table(saved: tuple[Path, Path], tmp_path: Path) -> None:
    model, folder = saved
    files = [folder / "cats" / "cats.0.png", folder / "dogs" / "dogs.0.png"]
    code, stdout, _ = run("predict", model, *files, "--top", 2)
    lines = [line.split("\t") for line in stdout.splitlines()]
    assert code == 0 and [len(line) for line in lines] == [4] * 4
    table = tmp_path / "out.csv"
    assert run("predict", model, *files, "--csv", table)[:2] == (0, "")
    with table.open(newline="", encoding="utf-8") as content:
        header, *rows = csv.reader(content)
    assert header == ["file", "place", "class", "probability"]
    assert [row[0] for row in rows] == [str(file) for file in files for _ in range(2)]
    for first, second in (rows[:2], rows[2:]):
        assert {first[2], second[2]} == {"cats", "dogs"}
        assert float(first[3]) >= float(second[3])
        assert float(first[3]) + float(second[3]) == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are Unicode there")
def test_names_that_are_no_utf8(saved: tuple[Path, Path], tmp_path: Path) -> None:
    """The table has the bytes of the file's name; of a class, too."""
    model, folder = saved
    odd = os.fsdecode(b"c\xe4t")
    saving.save(load_model(model), tmp_path / "odd", class_names=[odd, "dogs"])
    image = tmp_path / f"{odd}.png"
    shutil.copy(folder / "cats" / "cats.0.png", image)
    table = tmp_path / "out.csv"
    assert run("predict", tmp_path / "odd", image, "--csv", table) == (0, "", ANY)
    _, *rows = csv.reader(table.read_text("utf-8", "surrogateescape").splitlines())
    assert {row[0] for row in rows} == {str(image)} and {row[2] for row in rows} == {odd, "dogs"}


def test_a_table_takes_no_files_place(saved: tuple[Path, Path], tmp_path: Path) -> None:
    """--csv photos/*.jpg makes the first photograph the table, were it not for this."""
    model, folder = saved
    first, second = (tmp_path / name for name in ("first.png", "second.png"))
    for image in (first, second):
        shutil.copy(folder / "cats" / "cats.0.png", image)
    before = first.read_bytes()
    code, stdout, stderr = run("predict", model, "--csv", first, second)
    assert (code, stdout, first.read_bytes()) == (2, "", before)
    assert "first.png: expected a new file" in stderr and "--force" in stderr
    assert run("predict", model, "--csv", first, second, "--force")[0] == 0
    assert first.read_text().startswith("file,place,class,probability\n")


def test_what_cannot_be_predicted(saved: tuple[Path, Path], tmp_path: Path) -> None:
    model, _ = saved
    code, _, stderr = run("predict", model, tmp_path / "none.png", "--csv", tmp_path / "t.csv")
    assert code == 2 and "none.png" in stderr and not (tmp_path / "t.csv").exists()
    code, _, stderr = run("predict", model, tmp_path / "none.png")
    assert (code, stderr.count("\n")) == (2, 1)  # and no rate of nothing


def test_an_image_that_is_damaged_among_good_ones(saved: tuple[Path, Path], tmp_path: Path) -> None:
    """It is reported, the others are predicted, and the exit code tells."""
    model, folder = saved
    good = [folder / "cats" / "cats.0.png", folder / "dogs" / "dogs.0.png"]
    damaged, table = tmp_path / "damaged.png", tmp_path / "out.csv"
    damaged.write_bytes(good[0].read_bytes()[:300])
    files = good[0], damaged, tmp_path / "none.png", good[1]
    code, stdout, stderr = run("predict", model, *files, "--top", 1)
    assert code == 2
    assert [line.split("\t")[0] for line in stdout.splitlines()] == [str(file) for file in good]
    first, second, rate = stderr.splitlines()
    assert "damaged.png" in first and "none.png" in second and rate.endswith(" images/s")
    assert run("predict", model, *files, "--csv", table)[0] == 2
    with table.open(newline="", encoding="utf-8") as content:
        rows = list(csv.DictReader(content))
    assert [row["file"] for row in rows] == [str(file) for file in good for _ in range(2)]


def test_the_name_of_a_model_may_end_in_anything(saved: tuple[Path, Path], tmp_path: Path) -> None:
    model, folder = saved
    image = folder / "cats" / "cats.0.png"
    for name in ("pets", "pets.bin"):
        (tmp_path / name).write_bytes(model.read_bytes())
        code, stdout, _ = run("predict", tmp_path / name, image, "--top", 1)
        assert code == 0 and stdout.startswith(str(image))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (0.5, "odd: expected a list of the classes' names"),
        ({}, "odd: expected a list of the classes' names"),
        (["cats"], "classes of 'vgg16': expected the names of 2, received 1"),
        ([], "classes of 'vgg16': expected the names of 2, received 0"),
    ],
)
def test_names_of_classes_that_cannot_be(
    saved: tuple[Path, Path], tmp_path: Path, names: object, message: str
) -> None:
    saving.save(load_model(saved[0]), tmp_path / "odd", metadata={"classes": names})
    image = saved[1] / "cats" / "cats.0.png"
    code, stdout, stderr = run("predict", tmp_path / "odd", image)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1) and message in stderr


def test_convolutions_alone_predict_nothing(saved: tuple[Path, Path], tmp_path: Path) -> None:
    base = VGG16(width=1 / 64, include_top=False, input_shape=(32, 32, 3), seed=0)
    base.save_weights(tmp_path / "base.npz")
    image = saved[1] / "cats" / "cats.0.png"
    code, stdout, stderr = run("predict", tmp_path / "base.npz", image)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "convolutions alone" in stderr and "minnet finetune" in stderr


@pytest.mark.slow  # at the size of photographs
def test_weights_alone_become_a_book(saved: tuple[Path, Path], tmp_path: Path) -> None:
    weights, book = tmp_path / "base.npz", tmp_path / "book.xlsx"
    base = VGG16(width=1 / 16, include_top=False, input_shape=(32, 32, 3), seed=0)
    base.save_weights(weights)
    image = saved[1] / "cats" / "cats.0.png"
    place = ("--probe", "block1_conv2,100,90,3", "--probe-layers", 1)
    code, stdout, _ = run("export", weights, "--input", image, *place, "-o", book)
    assert code == 0 and "live formulas" in stdout
    assert {"block1_conv2", "chain"} <= set(open_book(book).sheets)
    assert verify_xlsx(book).ok
    (tmp_path / "text.npz").write_text("no weights")
    code, _, stderr = run("export", tmp_path / "text.npz", "--input", image, "-o", book, "--force")
    assert code == 2 and "text.npz" in stderr


def test_converted_weights_take_no_files_place(tmp_path: Path) -> None:
    source, target = tmp_path / "w.npz", tmp_path / "w.safetensors"
    VGG16(width=1 / 64, include_top=False, input_shape=(32, 32, 3), seed=0).save_weights(source)
    target.write_text("mine")
    code, stdout, stderr = run("convert", source, target)
    assert (code, stdout, target.read_text()) == (2, "", "mine")
    assert "w.safetensors: expected a new file" in stderr and "--force" in stderr
    code, stdout, _ = run("convert", source, target, "--force")
    assert code == 0 and "26 of 26 arrays" in stdout and run("summary", target)[0] == 0


def test_a_whole_model_with_a_head_of_its_own_is_not_converted(tmp_path: Path) -> None:
    """Its dense layers have the names of a VGG16's, and see one number of each map."""
    base = VGG16(width=1 / 64, include_top=False, input_shape=(64, 64, 3), seed=0)
    base.save_weights(tmp_path / "base.npz")
    vgg = Vgg16(tmp_path / "base.npz", size=64)
    vgg.ft(2)
    vgg.save(tmp_path / "pets.safetensors")
    code, _, stderr = run("convert", tmp_path / "pets.safetensors", tmp_path / "w.npz")
    assert code == 2 and not (tmp_path / "w.npz").exists()
    assert "pets.safetensors: expected the arrays of a VGG16" in stderr
    assert "head, for the mean of each feature map" in stderr and "Vgg16.load" in stderr
    with pytest.raises(FileError, match=r"Vgg16\.load"):
        Vgg16(tmp_path / "pets.safetensors")


def test_a_summary(saved: tuple[Path, Path]) -> None:
    code, stdout, _ = run("summary", saved[0])
    assert code == 0 and "block5_conv3" in stdout


def test_a_summary_of_weights_alone(tmp_path: Path) -> None:
    VGG16(width=1 / 64, input_shape=(64, 64, 3), seed=0).save_weights(tmp_path / "w.h5")
    code, stdout, _ = run("summary", tmp_path / "w.h5")
    assert code == 0 and "(None, 64, 64, 1)" in stdout and "predictions" in stdout
    (tmp_path / "text").write_text("no model")
    code, _, stderr = run("summary", tmp_path / "text")
    assert code == 2 and "text: expected a name ending in .safetensors, .npz" in stderr
