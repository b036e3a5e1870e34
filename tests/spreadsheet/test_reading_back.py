"""Every kind of net comes back from a workbook that a person edited in another program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pytest

import minnet
from minnet import (
    BatchNormalization,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    MaxPooling2D,
    Sequential,
    read_xlsx,
)
from minnet.errors import WorkbookError
from minnet.spreadsheet import diff_xlsx
from minnet.spreadsheet.blocks import FILTERS, arrange
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.recalculate import libreoffice_available
from minnet.tensor import Array

RNG = np.random.default_rng(0)


def images() -> tuple[Sequential, Array, Array]:
    layers = [
        Conv2D(2, (3, 2), activation="relu", input_shape=(6, 5, 2), name="conv"),
        BatchNormalization(name="norm"),
        MaxPooling2D(2),
        Flatten(),
        Dense(3, "softmax", name="last"),
    ]
    model = Sequential(layers, seed=1)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model, RNG.random((2, 6, 5, 2)), np.array([2, 0])


def words() -> tuple[Sequential, Array, Array]:
    layers = [Embedding(5, 3, name="table", input_length=2), Flatten(), Dense(1, name="last")]
    model = Sequential(layers, seed=1)
    model.compile("sgd", "mse")
    return model, np.array([[0, 4], [3, 3]]), np.array([[1.0], [0.5]])


NETS = {"images": (images, "conv_weight"), "words": (words, "table_embeddings")}


def named_cell(path: Path, name: str) -> tuple[str, int, int]:
    area = open_book(path).names[name]
    return area.sheet, area.row + 1, area.column + 1


def index_of(model: Sequential, name: str, row: int, column: int) -> tuple[int, ...]:
    """Which number of a parameter stands in that row and column of its block, from 0."""
    (parameter,) = (p for p in model.parameters() if p.name == name)
    shape = parameter.shape
    order = arrange(shape, FILTERS if len(shape) == 4 else "normal")
    return tuple(int(i) for i in np.unravel_index(order[row, column], shape))


def check(net: str, path: Path, model: Sequential, value: float) -> None:
    """What was typed into the second row and column has come back, and nothing else has changed."""
    _, name = NETS[net]
    before = {p.name: p.numpy() for p in model.parameters()}
    index = index_of(model, name, 1, 1)
    found = read_xlsx(path, model)
    (change,) = found.changes
    assert (change.name, change.differing, change.size) == (name, 1, before[name].size)
    assert (change.place, change.before, change.after) == (index, before[name][index], value)
    before[name][index] = value
    for p in model.parameters():
        np.testing.assert_array_equal(p.data, before[p.name])
    assert read_xlsx(path, model).changes == []


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("trained", [True, False])
def test_an_edited_number_is_reported_with_its_place(
    net: str, trained: bool, tmp_path: Path
) -> None:
    make, name = NETS[net]
    model, x, y = make()
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y if trained else None, path)
    assert read_xlsx(path, model).changes == []
    sheet, row, column = named_cell(path, name)
    book = openpyxl.load_workbook(path)
    book[sheet].cell(row, column).value = 7.25
    book.save(path)
    check(net, path, model, 7.25)


def test_a_sheet_renamed_behind_the_back_of_its_names(tmp_path: Path) -> None:
    model, x, y = words()
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path, check=False)
    book = openpyxl.load_workbook(path)
    book["network"].title = "mine"
    book.save(path)
    lost = r"no sheet 'network' any more.*title 'network' again"
    with pytest.raises(WorkbookError, match=rf"table_embeddings.*'contents', 'mine'.*{lost}"):
        read_xlsx(path, model)
    with pytest.raises(WorkbookError, match=lost):
        diff_xlsx(path, path)
    book["mine"].title = "network"
    book.save(path)
    assert read_xlsx(path, model).changes == []


@pytest.mark.parametrize("name", ["last_weight", "learning_rate", "x"])
def test_a_name_whose_cells_were_deleted(name: str, tmp_path: Path) -> None:
    model, x, y = words()
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path, check=False)
    book = openpyxl.load_workbook(path)
    book.defined_names[name].attr_text = "network!#REF!"
    book.save(path)
    with pytest.raises(WorkbookError, match=rf"by the name '{name}'.*network!#REF!.*undo"):
        read_xlsx(path, model)


def python_with_uno() -> str | None:
    for python in (shutil.which("python3", path="/usr/bin"), sys.executable):
        if (
            python
            and not subprocess.run([python, "-c", "import uno"], capture_output=True).returncode
        ):
            return python
    return None


@pytest.mark.skipif(
    not (libreoffice_available() and python_with_uno()), reason="LibreOffice's uno is not installed"
)
@pytest.mark.parametrize("net", NETS)
def test_rows_inserted_sheet_renamed_saved_by_libreoffice(net: str, tmp_path: Path) -> None:
    make, name = NETS[net]
    model, x, y = make()
    source, target = tmp_path / "book.xlsx", tmp_path / "edited.xlsx"
    model.export_xlsx(x, y, source, steps=2)
    sheet, row, column = named_cell(source, name)
    number = open_book(source).sheets.index(sheet)
    (tmp_path / "profile").mkdir()
    script = Path(__file__).with_name("edit_in_libreoffice.py")
    files = [source, target, tmp_path / "profile"]
    command = [str(python_with_uno()), script, *files, str(number), a1(row, column)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    assert named_cell(target, name) == ("it's mine", row + 2, column + 1)
    check(net, target, model, 9.25)
    assert minnet.verify_xlsx(target).ok
