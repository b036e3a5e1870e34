"""A workbook of what was measured epoch by epoch, with a chart for each kind of number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from openpyxl.chart import LineChart, Reference
from openpyxl.chart.data_source import StrRef
from openpyxl.chart.series import SeriesLabel

from minnet.callbacks.curves import best_of, groups, larger_is_better
from minnet.files import PathLike
from minnet.spreadsheet.book import Book
from minnet.spreadsheet.names import column_letters
from minnet.spreadsheet.xlsx import Rows, save

#: Excel keeps the title "History" for itself.
CURVES = "curves"
_HEAD, _BEST, _BEST_EPOCH, _FIRST = 4, 5, 6, 7
_CHART_ROWS = 19


def write_curves(
    path: PathLike,
    title: str,
    epochs: Sequence[Mapping[str, float]],
    live: Mapping[int, str] | None = None,
) -> None:
    """Write one row per epoch, {'epoch': 1, 'loss': …}, the best of each number, and charts.

    ``live``: names of books that show a step, by the epoch before which it was taken.

    Raises :class:`~minnet.errors.WorkbookError` where there is no place for the file.
    """
    book, rows = Book(), Rows()
    sheet = book.sheet(CURVES, rows)
    put, style = rows.put, book.styles.text
    put(1, 1, f"{title}, epoch by epoch", style=style("heading"))
    put(2, 1, "Means over the rows of an epoch; val_: of the validation data, after the epoch. "
        "The best of each column is a formula.", style=style("note"))  # fmt: skip
    names = list(dict.fromkeys(name for row in epochs for name in row if name != "epoch"))
    last = _FIRST + len(epochs) - 1
    put(_HEAD, 1, "epoch", style=style("column"))
    put(_BEST, 1, "best", style=style("label"))
    put(_BEST_EPOCH, 1, "in epoch", style=style("label"))
    for column, name in enumerate(names, 2):
        put(_HEAD, column, name, style=style("number column"))
        letters = column_letters(column)
        larger = larger_is_better(name)
        best = best_of([row[name] for row in epochs if name in row], larger)
        if name == "lr" or best is None:
            continue
        area = f"{letters}${_FIRST}:{letters}${last}"
        put(_BEST, column, best, f"{'MAX' if larger else 'MIN'}({area})", style("decimal"))
        first = next(row["epoch"] for row in epochs if row.get(name) == best)
        where = f"INDEX($A${_FIRST}:$A${last},MATCH({letters}{_BEST},{area},0))"
        put(_BEST_EPOCH, column, first, where, style("integer"))
    for row, values_of_epoch in enumerate(epochs, _FIRST):
        put(row, 1, values_of_epoch["epoch"], style=style("integer"))
        for column, name in enumerate(names, 2):
            if name in values_of_epoch:
                value = float(values_of_epoch[name])
                # As text, which MIN and MAX leave out: they would take over an error.
                shown = value if math.isfinite(value) else str(value)
                put(row, column, shown, style=style("decimal"))
        step = (live or {}).get(int(values_of_epoch["epoch"]))
        if step is not None:
            put(row, len(names) + 3, f"its first step, live: {step}", style=style("note"))
    for column in range(1, len(names) + 2):
        sheet.column_dimensions[column_letters(column)].width = 14
    sheet.freeze_panes = f"B{_FIRST}"
    place = column_letters(len(names) + (3 if not live else 7))
    for number, (kind, members) in enumerate(groups(names).items()):
        chart = _chart(kind, [names.index(name) + 2 for name in members], sheet, last)
        sheet.add_chart(chart, f"{place}{_HEAD + number * _CHART_ROWS}")
    save(book.workbook, {CURVES: rows}, path)


def _chart(title: str, columns: Sequence[int], sheet: object, last: int) -> LineChart:
    chart = LineChart()
    chart.title = title
    chart.height, chart.width = 9, 18
    for column in columns:
        values = Reference(sheet, min_col=column, min_row=_FIRST, max_row=last)
        chart.add_data(values)
        series = chart.series[-1]
        # Its name stands above the rows of the best one, so not next to the values.
        head = f"'{CURVES}'!${column_letters(column)}${_HEAD}"
        series.tx = SeriesLabel(strRef=StrRef(head))
        series.smooth = False
        series.marker.symbol = "circle" if last - _FIRST < 40 else "none"
    chart.set_categories(Reference(sheet, min_col=1, min_row=_FIRST, max_row=last))
    # openpyxl hides both axes unless told otherwise.
    chart.x_axis.delete = chart.y_axis.delete = False
    chart.x_axis.title = "epoch"
    return chart
