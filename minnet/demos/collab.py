"""The lesson ``collab_filter``: who will like which movie, from five numbers for each of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from openpyxl.chart import LineChart, Reference
from openpyxl.utils.cell import absolute_coordinate

from minnet import ops
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Layer
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import Export
from minnet.spreadsheet.board import READING_AT, Board
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.names import a1, column_letters, quote_sheet
from minnet.spreadsheet.trace import BACKWARD, FORWARD, UPDATE
from minnet.spreadsheet.xlsx import Rows, save
from minnet.tensor import Array, Tensor

USERS = [14, 29, 72, 211, 212, 293, 310, 379, 451, 467, 508, 546, 563, 579, 623]
MOVIES = [27, 49, 57, 72, 79, 89, 92, 99, 143, 179, 180, 197, 402, 417, 505]
#: Stars by user (rows) and movie (columns) as in fast.ai's collab_filter.xlsx, which took them from
#: MovieLens (Harper & Konstan 2015); 0 where nobody rated.
RATINGS = [
    [3, 5, 1, 3, 4, 4, 5, 2, 5, 5, 4, 5, 5, 2, 5],
    [5, 5, 5, 4, 5, 4, 4, 5, 4, 4, 5, 5, 3, 4, 5],
    [4, 5, 5, 4, 5, 3, 4.5, 5, 4.5, 5, 5, 5, 4.5, 5, 4],
    [5, 4, 4, 3, 5, 3, 4, 4.5, 4, 0, 3, 3, 5, 3, 0],
    [2.5, 0, 2, 5, 0, 4, 2.5, 0, 5, 5, 3, 3, 4, 3, 2],
    [3, 0, 4, 4, 4, 3, 0, 3, 4, 4, 4.5, 4, 4.5, 4, 0],
    [3, 3, 5, 4.5, 5, 4.5, 2, 4.5, 4, 3, 4.5, 4.5, 4, 3, 4],
    [5, 5, 5, 4, 0, 4, 5, 4, 4, 4, 0, 3, 5, 4, 4],
    [4, 5, 4, 5, 4, 4, 5, 5, 4, 4, 4, 4, 2, 3.5, 5],
    [3, 3.5, 3, 2.5, 0, 0, 3, 3.5, 3.5, 3, 3.5, 3, 3, 4, 4],
    [5, 5, 4, 3, 5, 2, 4, 4, 5, 5, 5, 3, 4.5, 3, 4.5],
    [0, 5, 2, 3, 5, 0, 5, 5, 0, 2.5, 2, 3.5, 3.5, 3.5, 5],
    [1, 5, 3, 5, 4, 5, 5, 0, 2, 5, 5, 3, 3, 4, 5],
    [4.5, 4.5, 3.5, 3, 4, 4.5, 4, 4, 4, 4, 3.5, 3, 4.5, 4, 4.5],
    [0, 5, 3, 3, 0, 3, 5, 0, 5, 5, 5, 5, 2, 5, 4],
]
#: What the lesson begins with, drawn at random from 0 to 1, with two decimals.
USER_FACTORS = [
    [0.19, 0.63, 0.31, 0.44, 0.51], [0.25, 0.83, 0.71, 0.96, 0.59], [0.30, 0.44, 0.19, 0.00, 0.72],
    [0.02, 0.72, 0.69, 0.35, 0.25], [0.60, 0.87, 0.76, 0.30, 0.04], [0.73, 0.70, 0.44, 0.47, 0.29],
    [0.23, 0.81, 0.36, 0.47, 0.12], [0.68, 0.90, 0.20, 0.92, 0.74], [0.81, 0.41, 0.81, 0.15, 0.17],
    [0.70, 0.61, 0.90, 0.89, 0.24], [0.50, 0.27, 0.73, 0.44, 0.83], [0.16, 0.21, 0.75, 0.48, 0.98],
    [0.91, 0.75, 0.75, 0.24, 0.06], [0.55, 0.58, 0.68, 0.93, 0.66], [0.94, 0.25, 0.46, 0.16, 0.30],
]  # fmt: skip
MOVIE_FACTORS = [
    [0.71, 0.81, 0.74, 0.04, 0.04], [0.92, 0.55, 0.86, 0.44, 0.80], [0.68, 0.28, 0.53, 0.16, 0.94],
    [0.83, 0.88, 0.33, 0.41, 0.24], [0.60, 0.50, 0.81, 0.73, 0.53], [0.18, 0.31, 0.68, 0.39, 0.09],
    [0.26, 0.08, 0.92, 0.29, 0.74], [0.91, 0.47, 0.61, 0.94, 0.13], [0.99, 0.94, 0.46, 0.12, 0.39],
    [0.52, 0.70, 0.64, 0.67, 0.44], [0.91, 0.11, 0.24, 0.54, 0.81], [0.53, 0.87, 0.25, 0.57, 0.80],
    [0.23, 0.20, 0.83, 0.53, 0.23], [0.75, 0.47, 0.05, 0.91, 0.59], [0.43, 0.81, 0.17, 0.30, 0.29],
]  # fmt: skip
USER_BIAS = [0.72, 0.12, 0.48, 0.66, 0.49, 0.65, 0.37, 0.69, 0.87, 0.58, 0.79, 0.06, 0.97, 0.2, 0.3]
MOVIE_BIAS = [
    0.99, 0.32, 0.15, 0.99, 0.22, 0.58, 0.25, 0.51, 0.15, 0.13, 0.61, 0.32, 0.57, 0.05, 0.11
]  # fmt: skip
FACTORS = 5
RATE, STEPS, EPOCHS = 1.0, 4, 1000


class Factors(Layer):
    """How every user would rate every movie: the dot product of their factors, plus their biases.

    Its input, (users, 1), says who the rows are; it is a table of all users and looks nobody up, as
    an :class:`~minnet.Embedding` does. Output (users, movies).
    """

    def __init__(self, users: int, movies: int, bias: bool, **options: Any):
        super().__init__(**options)
        self.users, self.movies, self.bias = users, movies, bias

    def build(self, input_shape: Any) -> Any:
        self.add_parameter("users", (self.users, FACTORS), "uniform")
        self.add_parameter("movies", (FACTORS, self.movies), "uniform")
        if self.bias:
            self.add_parameter("user_bias", (self.users, 1), "zeros")
            self.add_parameter("movie_bias", (self.movies,), "zeros")
        return (self.movies,)

    def call(self, x: Tensor) -> Any:
        users, movies = self.parameters["users"], self.parameters["movies"]
        if not self.bias:
            return ops.matmul(users, movies).named("prediction")
        products = ops.linear(users, movies, self.parameters["movie_bias"])
        products.named("products + movie bias")
        return (products + self.parameters["user_bias"]).named("prediction")

    def describe(self) -> str:
        return f"{FACTORS} factors for each of {self.users} users and {self.movies} movies"


def mean_over_ratings(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean squared error of the ratings that there are; 0 is none."""
    rated = ops.sign(target).named("rated")
    seen = (prediction * rated).named("prediction, if rated")
    error = (seen - target).named("error")
    total = (error**2).named("squared error").sum().named("sum of squares")
    mean: Tensor = total / rated.sum().named("number of ratings")
    return mean


def network(bias: bool) -> Sequential:
    """With the lesson's factors, and biases, to begin with."""
    layer = Factors(len(USERS), len(MOVIES), bias, input_shape=(1,), name="factors")
    model = Sequential([layer], name="biases" if bias else "dot products", dtype=np.float64)
    weights = [np.array(USER_FACTORS), np.array(MOVIE_FACTORS).T]
    if bias:
        weights += [np.array(USER_BIAS)[:, None], np.array(MOVIE_BIAS)]
    model.set_weights(weights)
    model.compile(SGD(RATE), loss=mean_over_ratings)
    return model


def table() -> tuple[Array, Array]:
    """The users' numbers (15, 1), and the ratings (15, 15)."""
    return np.array(USERS, np.float64)[:, None], np.array(RATINGS, np.float64)


# -- the book --------------------------------------------------------------------------------------

NOTES = [
    "Every user and every movie has five numbers, its factors. Their dot product is the prediction "
    "of how many stars the user gives the movie. Nobody says what the numbers mean: they are found "
    "by making the error of the known ratings small.",
    "A sheet is a step of gradient descent: the ratings, below them the predictions with the "
    "movies' factors above and the users' on the left, to the right the error; then, in the same "
    "places, the gradients; then the new factors, with which the next sheet begins. The last sheet "
    f"of each kind shows the factors after {EPOCHS:,} steps.",
    "Change a rating on sheet 'dot step 1', or rate a movie yourself in a cell of its own that is "
    "still empty: everything follows. Empty cells are not rated and do not count; the prediction "
    "beside them is what the user would say.",
    "The table, and the first factors with two decimals, are those of fast.ai's collab_filter.xlsx "
    "(ratings from MovieLens). It was saved before Excel's Solver had run: its RMSE of 2.81 is "
    "where the search begins, as here. No Solver is needed: gradient descent is all that it does.",
    "On its sheet 'bias' the error is not divided by the number of ratings: it shows 28.96, where "
    "√(28.96² / 206) = 2.02 is right. There, too, its IF covers the dot product alone, so that "
    "movies nobody rated show the sum of two biases. Both are corrected here.",
]
_T1, _T2, _T3, _T4, _T5 = 11, 27, 43, 59, 75  # first columns of the tables, side by side
_IDS, _USERS, _USER_BIAS = 10, 5, 1
_MASKED = ("target", "rated", "prediction, if rated", "error", "squared error")
_BLANK = {*_MASKED, *(f"d {title}" for title in ("prediction", *_MASKED))}  # where nobody rated
_TAKEN = (0, 1, 2, 3, 4, 10, 20, 50, 100, 200, 500, EPOCHS)  # steps, in the table and the chart


def places(bias: bool) -> dict[tuple[str, str], tuple[int, int]]:
    """Where each block of a step stands: movies above the predictions, users on their left."""
    below = 4 if bias else 0
    top, side = 23 + below, 31 + below  # rows in the band FORWARD: of the movies, of the users
    found = {
        (FORWARD, "target"): (4, _T1),
        (FORWARD, "rated"): (4, _T2),
        (FORWARD, "moviesᵀ"): (4, _T3),
        (FORWARD, "number of ratings"): (4, _T4),
        (FORWARD, "sum of squares"): (8, _T4),
        (FORWARD, "loss"): (12, _T4),
        (FORWARD, "movie bias"): (23, _T1),
        (FORWARD, "movies"): (top, _T1),
        (FORWARD, "user bias"): (side, _USER_BIAS),
        (FORWARD, "users"): (side, _USERS),
        (FORWARD, "x"): (side, _IDS),
        (FORWARD, "prediction"): (side, _T1),
        (FORWARD, "prediction, if rated"): (side, _T2),
        (FORWARD, "error"): (side, _T3),
        (FORWARD, "squared error"): (side, _T4),
        (FORWARD, "products + movie bias"): (side, _T5),
        (BACKWARD, "d loss"): (4, _T4),
        (BACKWARD, "d sum of squares"): (8, _T4),
    }
    top, side = 4 + below, 12 + below
    for band, title in ((BACKWARD, "d {}"), (UPDATE, "new {}")):
        found |= {
            (band, title.format("movie bias")): (4, _T1),
            (band, title.format("movies")): (top, _T1),
            (band, title.format("user bias")): (side, _USER_BIAS),
            (band, title.format("users")): (side, _USERS),
        }
    backward = {"prediction": _T1, "prediction, if rated": _T2, "error": _T3}
    backward |= {"squared error": _T4, "products + movie bias": _T5}
    return found | {(BACKWARD, f"d {title}"): (side, at) for title, at in backward.items()}


def _board(book: Book, title: str, heading: str, model: Sequential, before: list[Board]) -> Board:
    """A step with the names of users and movies, and the error on top."""
    x, y = table()
    bias = len(model.get_weights()) > 2
    board = Board(book, title, heading, model, x, y, places(bias), _BLANK, before)
    for name in ("target", "prediction"):
        row, column = board.at(FORWARD, name)
        for k, movie in enumerate(MOVIES):
            board.put(row + len(USERS), column + k, movie, None, "edge")
        board.put(row + len(USERS), _IDS, "movie", None, "label")
        for k, user in enumerate(USERS if name == "target" else []):
            board.put(row + k, _IDS, user, None, "edge")
    row, column = board.at(FORWARD, "loss")
    value = _root(board.taken.step.result.value)
    put = board.put
    put(3, 6, "RMSE", None, "label")
    put(*READING_AT, value, f"SQRT({a1(row, column)})", "reading")
    return board


def _root(loss: Any) -> float:
    return math.sqrt(float(loss))


def run(output: PathLike = "collab.xlsx") -> dict[str, list[float]]:
    """Train with and without biases, print how near they come, and write both as a live book.

    The root mean square errors before each of the 1,001 steps, by the model's name.
    """
    path = workbook_path(output)
    book, first = Book(), Rows()
    sheet = book.sheet(CONTENTS, first)
    errors: dict[str, list[float]] = {}
    live: dict[str, dict[int, str]] = {}  # cells of RMSE by the steps taken before
    x, y = table()
    for kind, bias in (("dot", False), ("bias", True)):
        model = network(bias)
        boards: list[Board] = []
        for number in range(1, STEPS + 1):
            heading = f"{model.name}: step {number} of gradient descent"
            boards.append(_board(book, f"{kind} step {number}", heading, model, boards))
        found = [_root(board.taken.step.result.value) for board in boards]
        while len(found) < EPOCHS:
            found.append(_root(model.train_on_batch(x, y)))
        heading = f"{model.name}: after {EPOCHS:,} steps"
        boards.append(_board(book, f"{kind} trained", heading, model, []))
        found.append(_root(boards[-1].taken.step.result.value))
        errors[model.name] = found
        shown = [*range(STEPS), EPOCHS]
        cell = absolute_coordinate(a1(*READING_AT))
        live[model.name] = {
            n: f"{quote_sheet(b.title)}!{cell}" for n, b in zip(shown, boards, strict=True)
        }
    _contents(book, sheet, first, errors, live)
    save(book.workbook, book.rows, path)

    ratings = int(np.count_nonzero(y))
    print(f"{len(USERS)} users, {len(MOVIES)} movies, {ratings} ratings, {FACTORS} factors each\n")
    print(f"root mean square error{'dot products':>16}{'with biases':>14}")
    for taken in _TAKEN:
        dot, with_bias = (found[taken] for found in errors.values())
        print(f"after {taken:5,} steps{dot:22.4f}{with_bias:14.4f}")
    print("\nThe lesson's sheets begin at 2.81, and at 28.96, which is 2.02 when it is divided by")
    print("the number of ratings. Its Solver does what gradient descent does here.")
    formulas = sum(rows.formulas for rows in book.rows.values())
    print_export(Export(path, formulas, list(book.rows), []))
    print("Begin at sheet 'dot step 1': rate a movie in an empty cell, and watch the next sheets.")
    return errors


def _contents(
    book: Book,
    sheet: Any,
    rows: Rows,
    errors: dict[str, list[float]],
    live: dict[str, dict[int, str]],
) -> None:
    put, style = rows.put, book.styles.text
    put(1, 1, "minnet: who will like which movie", style=style("heading"))
    row = 3
    for note in NOTES:
        put(row, 1, note, style=style("wrapped"))
        sheet.merge_cells(start_row=row, end_row=row, start_column=1, end_column=9)
        rows.heights[row] = 15 * math.ceil(len(note) / 160)
        row += 1
    top = row + 2
    put(top - 1, 1, "root mean square error of the known ratings", style=style("label"))
    put(top, 1, "after steps", style=style("column"))
    for column, (name, found) in enumerate(errors.items(), 2):
        put(top, column, name, style=style("number column"))
        for k, taken in enumerate(_TAKEN, 1):
            put(top + k, column, found[taken], live[name].get(taken), style("decimal"))
    for k, taken in enumerate(_TAKEN, 1):
        put(top + k, 1, taken, style=style("integer"))
    put(top, 5, "sheets", style=style("column"))
    for column in (6, 7):
        put(top, column, None, style=style("column"))
    titles = [title for title in book.rows if title != CONTENTS]
    for k, title in enumerate(titles):
        book.link(CONTENTS, (top + 1 + k % (STEPS + 1), 5 + k // (STEPS + 1)), title, title)
    last = top + len(_TAKEN)
    put(last + 1, 1, "The first four and the last are live; those between are numbers, as minnet "
        "trained.", style=style("note"))  # fmt: skip
    for column in range(1, 10):
        sheet.column_dimensions[column_letters(column)].width = 15
    chart = LineChart()
    chart.title, chart.height, chart.width = "root mean square error by step", 9, 22
    values = Reference(sheet, min_col=2, max_col=3, min_row=top, max_row=last)
    chart.add_data(values, titles_from_data=True)
    chart.set_categories(Reference(sheet, min_col=1, min_row=top + 1, max_row=last))
    chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl hides them unless told otherwise
    chart.x_axis.title, chart.y_axis.number_format = "steps taken", "0.0"
    chart.y_axis.scaling.min = 0
    for series in chart.series:
        series.smooth, series.marker.symbol = False, "circle"
    sheet.add_chart(chart, f"A{last + 3}")
