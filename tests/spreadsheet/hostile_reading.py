"""Reads workbooks that may be hostile; test_hostile.py runs it in a process of its own.

Prints what came of each file and how long it took, and at last the peak of memory in bytes.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from minnet import Dense, Sequential
from minnet.errors import WorkbookError
from minnet.spreadsheet import read_xlsx
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import open_book


def read_back(path: Path) -> None:
    model = Sequential([Dense(2, input_dim=2, use_bias=False, name="w")], seed=0)
    model.compile("sgd", "mse")
    read_xlsx(path, model)


def read_all(path: Path) -> None:
    book = open_book(path)
    for title in book.sheets:
        book.cells(title)
    for name, area in book.names.items():
        book.numbers(area, name, formulas=True)


LARGE = 100_000  # bytes of a file that takes long: to read all its cells once is enough

for file in sorted(Path(sys.argv[1]).glob("*.xlsx")):
    large = file.stat().st_size > LARGE
    for read in (read_back, lint_xlsx) if large else (read_back, read_all, lint_xlsx):
        start = time.process_time()
        try:
            read(file)
            outcome = "read"
        except WorkbookError as error:
            outcome = str(error)
        print(json.dumps([file.stem, read.__name__, outcome, time.process_time() - start]))
# Not resource's ru_maxrss: that begins with what the process had that started this one.
peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text("ascii"))
assert peak is not None
print(json.dumps(int(peak[1]) * 1024))
