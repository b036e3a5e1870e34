"""The lesson ``graddesc``: y = a·x + b by eight optimizers, a row of cells for each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from openpyxl.chart import LineChart, Reference

from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.optimizers import SGD, Adam, EpochAdagrad, Eve, Optimizer, RMSprop
from minnet.schedules import AdagradAnnealing, AdamAnnealing
from minnet.sequential import Sequential
from minnet.spreadsheet import Export
from minnet.spreadsheet.book import CONTENTS, Book
from minnet.spreadsheet.ledger import Extra, Ledger
from minnet.spreadsheet.names import column_letters, quote_sheet
from minnet.spreadsheet.xlsx import Rows, save
from minnet.tensor import Array

#: The 29 x of the lesson's sheets, which drew them between 1 and 100; y = 2·x + 30.
X = [
    14, 86, 28, 51, 28, 29, 72, 62, 84, 15, 42, 62, 47, 35, 9, 38, 44, 99, 13, 21, 28, 20, 8, 64,
    99, 70, 27, 17, 8,
]  # fmt: skip
SLOPE, CONSTANT = 2.0, 30.0
EPOCHS = 6
NUDGE = 0.01  # the lesson's, for its gradients by difference

NOTES = (
    "Find a (weight) and b (bias) of y = a·x + b. On each sheet a row is a step, computed from the "
    "row above; a thick line begins the next epoch. All epochs are live: no macro runs them.",
    "Change the learning rate of a sheet in its cell B4, and watch the chart. Beside the gradients "
    "of backpropagation stand those by difference: the loss a little to the right less the loss a "
    "little to the left.",
    "fast.ai's graddesc.xlsm has 29 steps a sheet, and macros that copy the result to the top; "
    "there all sheets but 'adagrad' lose the last step of each epoch (they copy row 32's a and b "
    "from before its step).",
    "What its sheets call rmse is the root of the sum of squares; here it is that of their mean.",
    "Its RMSprop divides by the mean of the row before, which does not know the row's own gradient "
    "yet; here by the mean after it. Its momentum is a mean, here a sum with a tenth of the rate: "
    "the same steps. Its Adagrad divides by the last epoch's gradients; so does this one. Its Adam "
    "and Eve correct no bias; nor do these. Eve looks at the loss once an epoch there, and at each "
    "step here.",
    "Annealing: the last row of each epoch measures the gradients ('size'), compares them with "
    "those of earlier epochs ('reference') and cuts the rate of the next epoch if they have grown. "
    "Its macro repeats an epoch of Adagrad with the lower rate; here the next epoch has it.",
    "In its sheet adam_ann, J5 reads Intro!F5, an empty cell of another sheet, where it should "
    "read F5, the gradient of b beside it. Here every row has its own gradient.",
)


def points() -> tuple[Array, Array]:
    """x and y, (29, 1) each."""
    x = np.array(X, np.float64)[:, None]
    return x, SLOPE * x + CONSTANT


def optimizers() -> dict[str, Optimizer]:
    """By the names of their sheets, with the lesson's rates and betas where it has them."""
    epoch = len(X)
    betas: dict[str, Any] = {"beta_1": 0.7, "beta_2": 0.9, "bias_correction": False}
    return {
        "SGD": SGD(1e-4),
        "momentum": SGD(1e-5, momentum=0.9),
        "Adagrad": EpochAdagrad(1e-3, epoch, initial_scale=1e3),
        "RMSprop": RMSprop(0.02),
        "Adam": Adam(1.0, **betas),
        "Eve": Eve(1.0, beta_3=0.9, limits=None, **betas),
        "Adagrad annealed": EpochAdagrad(AdagradAnnealing(0.5, epoch), epoch, initial_scale=1e6),
        "Adam annealed": Adam(AdamAnnealing(3.0, epoch), 0.9, 0.95, bias_correction=False),
    }


def network(optimizer: Optimizer) -> Sequential:
    """One neuron with the lesson's first guesses, a = 1 and b = 1."""
    model = Sequential([Dense(1, input_dim=1, name="line")], name="graddesc", dtype=np.float64)
    model.set_weights([[[1.0]], [1.0]])
    model.compile(optimizer, loss="mse")
    return model


def _by_difference(title: str) -> Extra:
    """The slope of the loss for the weight or the bias, from two losses nearby."""

    def expression(row: Mapping[str, str], nudge: str) -> str:
        weight, bias = row["weight"], row["bias"]
        if title == "weight":
            weight = f"({weight}{nudge})"
        else:
            bias = f"({bias}{nudge})"
        return f"({weight}*{row['x']}+{bias}-{row['target']})^2"

    def formula(row: Mapping[str, str]) -> str:
        ahead, behind = (expression(row, f"{sign}{NUDGE}") for sign in "+-")
        return f"({ahead}-{behind})/{2 * NUDGE}"

    def value(row: Mapping[str, float]) -> float:
        losses = []
        for shift in (NUDGE, -NUDGE):
            weight, bias = row["weight"], row["bias"]
            weight, bias = (weight + shift, bias) if title == "weight" else (weight, bias + shift)
            losses.append((weight * row["x"] + bias - row["target"]) ** 2)
        return (losses[0] - losses[1]) / (2 * NUDGE)

    return Extra(f"≈ d {title}", f"by difference, ± {NUDGE}", value, formula)


EXTRAS = (_by_difference("weight"), _by_difference("bias"))


def run(output: PathLike = "graddesc.xlsx") -> dict[str, list[float]]:
    """Train by each optimizer, print and write all steps; the root mean square errors by epoch."""
    path = workbook_path(output)
    book, first = Book(), Rows()
    sheet = book.sheet(CONTENTS, first)
    x, y = points()
    ledgers: dict[str, Ledger] = {}
    print(f"y = 2*x + 30 from {len(x)} points and a = b = 1, {EPOCHS} epochs\n")
    print(f"{'':17}{'a':>10}{'b':>10}{'error':>10}")
    errors: dict[str, list[float]] = {}
    for name, optimizer in optimizers().items():
        model = network(optimizer)
        heading = f"{name}: y = a·x + b, a row for each step"
        ledgers[name] = Ledger(book, name, heading, model, x, y, EPOCHS, EXTRAS)
        errors[name] = [math.sqrt(np.mean(ledgers[name].losses(e))) for e in range(EPOCHS)]
        (a,), (b,) = (w.ravel() for w in model.get_weights())
        print(f"{name:17}{a:10.4f}{b:10.4f}{errors[name][-1]:10.4f}")

    put, style = first.put, book.styles.text
    put(1, 1, "minnet: gradient descent, step by step", style=style("heading"))
    row = 3
    for note in NOTES:
        put(row, 1, note, style=style("wrapped"))
        sheet.merge_cells(start_row=row, end_row=row, start_column=1, end_column=9)
        first.heights[row] = 15 * math.ceil(len(note) / 150)
        row += 1
    top = row + 2
    put(top - 1, 1, "root mean square error of each epoch, by sheet", style=style("label"))
    put(top, 1, "epoch", style=style("column"))
    for epoch in range(1, EPOCHS + 1):
        put(top + epoch, 1, epoch, style=style("integer"))
    for column, (name, ledger) in enumerate(ledgers.items(), 2):
        book.link(CONTENTS, (top, column), name, name, style="link column")
        for epoch, error in enumerate(errors[name]):
            area = f"{quote_sheet(name)}!{ledger.area('squares', epoch)}"
            put(top + 1 + epoch, column, error, f"SQRT(AVERAGE({area}))", style("decimal"))
    for column in range(1, 10):
        sheet.column_dimensions[column_letters(column)].width = 16
    chart = LineChart()
    chart.title, chart.height, chart.width = "root mean square error by epoch", 9, 22
    values = Reference(
        sheet, min_col=2, max_col=1 + len(ledgers), min_row=top, max_row=top + EPOCHS
    )
    chart.add_data(values, titles_from_data=True)
    chart.set_categories(Reference(sheet, min_col=1, min_row=top + 1, max_row=top + EPOCHS))
    chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl hides them unless told otherwise
    chart.x_axis.title, chart.y_axis.title = "epoch", "error"
    chart.y_axis.number_format, chart.y_axis.majorGridlines = "0", None
    for series in chart.series:
        series.smooth = False
    sheet.add_chart(chart, f"A{top + EPOCHS + 2}")

    save(book.workbook, book.rows, path)
    formulas = sum(rows.formulas for rows in book.rows.values())
    print("\nThe annealed ones begin with a rate that is too high, and cut it where the gradients")
    print("grow: see the columns size, reference and cut at the end of each epoch.")
    print_export(Export(path, formulas, list(book.rows), []))
    return errors
