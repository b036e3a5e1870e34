"""The demo ``collab``: the lesson's ratings and numbers, and a book whose steps are the training.

The lesson's workbook is not part of minnet: the directory that holds it is named by the environment
variable MINNET_LESSON. openpyxl cannot open it.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from minnet.demos import collab
from minnet.errors import WorkbookError
from minnet.spreadsheet import diff_xlsx
from minnet.spreadsheet.board import READING_AT, Board
from minnet.spreadsheet.book import Book
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import a1, parse_a1
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.trace import FORWARD, UPDATE
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

LESSON = Path(os.environ.get("MINNET_LESSON", "not given")) / "collab_filter.xlsx"
no_lesson = pytest.mark.skipif(not LESSON.is_file(), reason="no collab_filter.xlsx here")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("collab") / "collab.xlsx"
    collab.run(path)
    return path


def block(path: Path, sheet: str, title: str, shape: tuple[int, int], band: str = FORWARD) -> Area:
    """A block of a step's sheet, where the demo puts it."""
    down, column = collab.places(sheet.startswith("bias"))[band, title]
    return Area(sheet, bars(path, sheet)[band] + down, column, *shape)


@cache
def bars(path: Path, sheet: str) -> dict[str, int]:
    """The rows of the bands' bars."""
    cells = open_book(path).cells(sheet).items()
    return {str(c.value).split()[0].lower(): r for (r, k), c in cells if k == 1 and c.value}


# -- the lesson ------------------------------------------------------------------------------------


@cache
def lesson(sheet: str, area: str) -> Array:
    """Numbers of a sheet; empty cells are 0."""
    cells = open_book(LESSON).cells(sheet)
    first, last = (parse_a1(cell) for cell in area.split(":"))
    assert first is not None and last is not None
    rows, columns = (range(a, b + 1) for a, b in zip(first, last, strict=True))
    values = [[cells[r, c].value if (r, c) in cells else 0 for c in columns] for r in rows]
    return np.array([[float(v or 0) for v in row] for row in values])


def set_factors(model: collab.Sequential, sheet: str) -> None:
    """The lesson's own first numbers, with all their decimals."""
    if sheet == "dotprod":
        model.set_weights([lesson(sheet, "B25:F39"), lesson(sheet, "H19:V23")])
        return
    model.set_weights([
        lesson(sheet, "B26:F40"), lesson(sheet, "H20:V24"),
        lesson(sheet, "A26:A40"), lesson(sheet, "H19:V19")[0],
    ])  # fmt: skip


@no_lesson
def test_the_table_and_the_first_factors_are_the_lessons() -> None:
    assert (lesson("dotprod", "H2:V16") == collab.table()[1]).all()
    assert (lesson("dotprod", "G2:G16")[:, 0] == collab.USERS).all()
    assert (lesson("dotprod", "H1:V1")[0] == collab.MOVIES).all()
    for name, bias in (("dotprod", False), ("bias", True)):
        model = collab.network(bias)
        rounded = model.get_weights()
        set_factors(model, name)
        for exact, short in zip(model.get_weights(), rounded, strict=True):
            np.testing.assert_allclose(short, exact, atol=0.005000001)


@no_lesson
def test_the_dot_products_have_the_lessons_numbers() -> None:
    model, (x, y) = collab.network(bias=False), collab.table()
    set_factors(model, "dotprod")
    np.testing.assert_allclose(
        np.where(y > 0, model.predict(x), 0), lesson("dotprod", "H25:V39"), rtol=1e-12
    )
    rmse = math.sqrt(model.evaluate(x, y))  # type: ignore[arg-type]
    assert rmse == pytest.approx(lesson("dotprod", "V41:V41").item(), rel=1e-12)
    assert rmse == pytest.approx(lesson("movielens_emb", "AA3:AA3").item(), rel=1e-12)


@no_lesson
def test_with_biases_the_numbers_are_the_lessons_but_for_its_two_mistakes() -> None:
    model, (x, y) = collab.network(bias=True), collab.table()
    set_factors(model, "bias")
    theirs, (_, _, users, movies) = lesson("bias", "H26:V40"), model.get_weights()
    np.testing.assert_allclose(np.where(y > 0, model.predict(x), users + movies), theirs)
    rmse = math.sqrt(model.evaluate(x, y))  # type: ignore[arg-type]
    shown = lesson("bias", "V42:V42").item()
    assert shown == pytest.approx(28.96, abs=0.005)
    assert rmse == pytest.approx(shown / math.sqrt(np.count_nonzero(y)), rel=1e-12)


# -- the book --------------------------------------------------------------------------------------


def test_the_book_is_right_everywhere(path: Path) -> None:
    report = verify_xlsx(path)
    assert report.ok, report.summary()
    assert not lint_xlsx(path)


def rated(value: float) -> Array:
    """The ratings, with one by user 72 for movie 27 changed, and one given that was missing."""
    y = collab.table()[1].copy()
    assert y[3, 9] == 0
    y[2, 0], y[3, 9] = value, value
    return y


@pytest.mark.parametrize("kind", ["dot", "bias"])
def test_the_sheets_are_the_steps_also_of_other_ratings(path: Path, kind: str) -> None:
    """And at another rate."""
    live, (x, _) = Recalculated(path), collab.table()
    y = rated(1.5)
    live.set_array(block(path, f"{kind} step 1", "target", (15, 15)), y)
    live.set_array(Area(f"{kind} step 1", 3, 3, 1, 1), np.array([[0.5]]))
    live.evaluate()
    model = collab.network(kind == "bias")
    model.optimizer.lr = 0.5
    for number in range(1, collab.STEPS + 1):
        sheet = f"{kind} step {number}"
        found = live.array(block(path, sheet, "prediction", (15, 15)))
        np.testing.assert_allclose(found, model.predict(x), rtol=1e-12)
        loss = model.train_on_batch(x, y)
        assert live.array(Area(sheet, *READING_AT, 1, 1)) == pytest.approx(math.sqrt(loss))
        users, movies = model.get_weights()[:2]
        for title, array in (("users", users), ("movies", movies)):
            area = block(path, sheet, f"new {title}", array.shape, UPDATE)
            np.testing.assert_allclose(live.array(area), array, rtol=1e-12)


def test_training_is_the_steps_and_finds_the_ratings(path: Path) -> None:
    model, (x, y) = collab.network(bias=False), collab.table()
    model.fit(x, y, batch_size=15, epochs=collab.EPOCHS, shuffle=False, verbose=0)
    book = open_book(path)
    area = block(path, "dot trained", "users", (15, 5))
    np.testing.assert_allclose(book.numbers(area, "users", True), model.get_weights()[0])
    reading = book.cells("dot trained")[READING_AT].value
    assert float(reading) == pytest.approx(0.393, abs=0.001)
    # The gradient has all but vanished: the bottom of a valley.
    before = math.sqrt(model.evaluate(x, y))  # type: ignore[arg-type]
    model.train_on_batch(x, y)
    assert before - math.sqrt(model.evaluate(x, y)) < 1e-5  # type: ignore[arg-type]


def test_embeddings_look_up_the_same_numbers() -> None:
    """The net of the example is the table, rating by rating."""
    from minnet import Add, Dot, Embedding, Flatten, Input, Model

    def row(count: int, width: int, index: object) -> object:
        return Flatten()(Embedding(count, width)(index))

    user, movie = Input((1,), int, "user"), Input((1,), int, "movie")
    match = Dot(1)([row(15, 5, user), row(15, 5, movie)])
    stars = Add()([match, row(15, 1, user), row(15, 1, movie)])
    net = Model([user, movie], stars).astype(np.float64)
    whole, (x, y) = collab.network(bias=True), collab.table()
    users, movies, user_bias, movie_bias = whole.get_weights()
    net.set_weights([users, movies.T, user_bias, movie_bias[:, None]])
    rows, columns = np.nonzero(y)
    found = net.predict([rows[:, None], columns[:, None]])[:, 0]
    np.testing.assert_allclose(found, whole.predict(x)[rows, columns], rtol=1e-12)


def test_boards_have_names_notes_and_a_validated_rate(path: Path) -> None:
    assert diff_xlsx(path, path).equal > 200
    book = openpyxl.load_workbook(path)
    for sheet in book.worksheets[1:]:
        first = sheet.title.endswith(("step 1", "trained"))
        assert len(sheet.data_validations.dataValidation) == first
        assert "loss" in sheet.defined_names and "factors_users_new" in sheet.defined_names
        notes = [cell.comment.text for row in sheet for cell in row if cell.comment]
        assert len(notes) > 20
        assert not any("looked up" in note for note in notes)


def test_every_block_of_a_board_has_its_place() -> None:
    model, (x, y) = collab.network(bias=False), collab.table()
    places = {key: at for key, at in collab.places(bias=False).items() if key[1] != "rated"}
    with pytest.raises(WorkbookError, match=r"a place for 'rated' \(forward\), received none"):
        Board(Book(), "step", "step", model, x, y, places)


def test_a_board_says_where_its_blocks_are() -> None:
    model, (x, y) = collab.network(bias=False), collab.table()
    board = Board(Book(), "a step", "step", model, x, y, collab.places(bias=False))
    row, column = board.at(FORWARD, "users")
    assert board.area(FORWARD, "users").replace("$", "") == (
        f"'a step'!{a1(row, column)}:{a1(row + 14, column + 4)}"
    )
