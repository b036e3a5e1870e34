"""What the demos have in common: where their book goes, and what they say about it."""

from __future__ import annotations

import os
from pathlib import Path

from minnet.errors import WorkbookError, mismatch
from minnet.spreadsheet import Export

PathLike = str | os.PathLike[str]


def workbook_path(output: PathLike) -> Path:
    """The output as a path; asked for before a demo starts to work.

    Raises :class:`~minnet.errors.WorkbookError` where a workbook cannot go.
    """
    path = Path(output)
    where = f"output {str(path)!r}"
    if path.suffix.lower() != ".xlsx":
        raise WorkbookError(mismatch(where, "a name that ends in .xlsx", "another ending"))
    if path.is_dir():
        raise WorkbookError(mismatch(where, "a file", "a directory"))
    if not path.parent.is_dir():
        raise WorkbookError(mismatch(where, "a directory that exists", f"{str(path.parent)!r}"))
    return path


def print_export(export: Export) -> None:
    """Say where the book is, how many live formulas it has and how to check them."""
    print(f"\nWrote {export.path}: {export.formulas:,} live formulas.")
    if export.live_end:
        print(export.live_end)
    print(f"Recalculate and compare them: minnet check {export.path}")
