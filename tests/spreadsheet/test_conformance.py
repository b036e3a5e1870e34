"""Programs that know nothing of minnet find the same numbers and the same formulas in our books."""

from __future__ import annotations

import functools
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas
import pytest

from minnet import Conv2D, Dense, Flatten, MaxPooling2D, Sequential, export_xlsx
from minnet.spreadsheet.formula import tokens
from minnet.spreadsheet.names import parse_a1
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.recalculate import libreoffice_available, libreoffice_values

RNG = np.random.default_rng(0)
SHEETJS = "xlsx@0.18.5"  # the last one on npm
#: By sheet and cell: the value stored, and the formula or None.
Found = dict[tuple[str, int, int], tuple[Any, "str | None"]]

_READ_WITH_SHEETJS = """
const book = require("xlsx").readFile(process.argv[2], {cellFormula: true, sheetStubs: true});
const found = [];
for (const title of book.SheetNames) {
  for (const [at, cell] of Object.entries(book.Sheets[title])) {
    if (at[0] !== "!" && (cell.v !== undefined || cell.f !== undefined)) {
      found.push([title, at, cell.v === undefined ? null : cell.v, cell.f || null]);
    }
  }
}
console.log(JSON.stringify(found));
"""


def dense(path: Path) -> None:
    layers = [Dense(4, "relu", input_dim=3), Dense(2, "softmax")]
    model = Sequential(layers, name="=1+1 & <b>", seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = RNG.normal(size=(4, 3)), [0, 1, 1, 0]
    export_xlsx(model, x, y, path, steps=2, class_names=["=cmd", "ein „Hund“"])


def conv(path: Path) -> None:
    layers = [Conv2D(2, 3, activation="relu", input_shape=(6, 6, 1)), MaxPooling2D(2), Flatten()]
    model = Sequential([*layers, Dense(3, "softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    export_xlsx(model, RNG.uniform(size=(2, 6, 6, 1)), [0, 2], path)


BOOKS: dict[str, Callable[[Path], None]] = {"dense": dense, "conv": conv}


@pytest.fixture(scope="module", params=BOOKS)
def book(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("books") / f"{request.param}.xlsx"
    BOOKS[request.param](path)
    return path


def ours(path: Path) -> Found:
    found = open_book(path)
    return {
        (title, *at): (content.value, content.formula)
        for title in found.sheets
        for at, content in found.cells(title).items()
    }


def assert_same(path: Path, others: Found, digits: float = 0.0, formulas: bool = True) -> None:
    mine = ours(path)
    assert sum(formula is not None for _, formula in mine.values()) > 300
    for at, (value, formula) in mine.items():
        other, other_formula = others.get(at, (None, None))
        if isinstance(value, float):
            assert isinstance(other, (int, float)), (at, value, other)
            assert math.isclose(value, other, rel_tol=digits, abs_tol=digits * 1e-3), at
        else:
            assert value == other, at
        if formulas:
            assert plain(formula) == plain(other_formula), at


def plain(formula: str | None) -> str | None:
    """A formula without what programs may write otherwise: blanks, quotes of sheets, numbers."""
    if formula is None:
        return None
    texts = []
    for kind, text in tokens(formula):
        if kind == "number":
            texts.append(repr(float(text)))
        elif kind != "space":
            texts.append(text.replace("'", "") if kind == "sheet" else text)
    return "".join(texts)


def test_openpyxl(book: Path) -> None:
    texts, values = (openpyxl.load_workbook(book, data_only=d) for d in (False, True))
    found: Found = {}
    for sheet in values:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.value is not None:
                    text = texts[sheet.title][cell.coordinate]
                    formula = text.value[1:] if text.data_type == "f" else None
                    found[sheet.title, cell.row, cell.column] = cell.value, formula
    assert_same(book, found)


def test_pandas(book: Path) -> None:
    frames = pandas.read_excel(book, sheet_name=None, header=None)
    found: Found = {
        (title, row + 1, column + 1): (value, None)
        for title, frame in frames.items()
        for (row, column), value in np.ndenumerate(frame.to_numpy(object))
        if value is not None and value == value  # NaN: an empty cell
    }
    assert_same(book, found, formulas=False)


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_libreoffice(book: Path) -> None:
    (saved,) = libreoffice_values([book])
    found: Found = {
        (title, *at): (content.value, content.formula)
        for title in saved.sheets
        for at, content in saved.cells(title).items()
    }
    assert_same(book, found, digits=1e-12)  # it saves 15 digits, and calculates itself


@functools.cache
def folder_with_sheetjs(parent: Path) -> Path:
    folder = parent / "sheetjs"
    folder.mkdir(exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), SHEETJS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm has not installed {SHEETJS} in two minutes")
    if done.returncode:
        pytest.skip(f"npm does not install {SHEETJS}: {done.stderr[-200:]}")
    (folder / "read.js").write_text(_READ_WITH_SHEETJS, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no node")
def test_sheetjs(book: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = folder_with_sheetjs(tmp_path_factory.getbasetemp())
    done = subprocess.run(
        ["node", str(folder / "read.js"), str(book)], capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    found: Found = {}
    for title, at, value, formula in json.loads(done.stdout):
        place = parse_a1(at)
        assert place is not None
        found[title, place[0], place[1]] = value, formula
    assert_same(book, found)
