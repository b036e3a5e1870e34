"""The commands for saved models: predictions as lines and as a table, summaries."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from image_files import write_folder
from typer.testing import CliRunner

from minnet import cli
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
    vgg = Vgg16(width=1 / 16, size=(32, 32), seed=0)
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


def test_what_cannot_be_predicted(saved: tuple[Path, Path], tmp_path: Path) -> None:
    model, _ = saved
    code, _, stderr = run("predict", model, tmp_path / "none.png", "--csv", tmp_path / "t.csv")
    assert code == 2 and "none.png" in stderr and not (tmp_path / "t.csv").exists()


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


def test_a_summary(saved: tuple[Path, Path]) -> None:
    code, stdout, _ = run("summary", saved[0])
    assert code == 0 and "block5_conv3" in stdout
