"""Finding in a workbook what some spreadsheet program would refuse, repair or work out otherwise.

LibreOffice is lenient, so that a workbook opens there says little about Excel. These rules are
what Excel 2010 and later, LibreOffice and Google Sheets have in common.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from minnet.spreadsheet.formula_check import ALLOWED_FUNCTIONS, check_formula, is_draw
from minnet.spreadsheet.names import folded, is_legal_name, is_legal_title, parse_a1
from minnet.spreadsheet.reader import Area, Book, open_book
from minnet.spreadsheet.sheet_xml import RawCell

__all__ = ["ALLOWED_FUNCTIONS", "Finding", "lint_xlsx"]

MAX_TEXT = 32_767  # characters in a cell
MAX_FINDINGS = 100_000


class Finding(NamedTuple):
    """Something that breaks a rule: the rule's name, the place, and what is wrong there."""

    rule: str
    where: str
    detail: str


_FOREIGN_PARTS = (
    "xl/activex/",
    "xl/connections",
    "xl/embeddings/",
    "xl/externallinks/",
    "xl/macrosheets/",
    "xl/querytables/",
    "xl/vbaproject",
)


def lint_xlsx(path: str | os.PathLike[str]) -> list[Finding]:
    """All that breaks a rule in a workbook; an empty list if it is fine everywhere.

    Weights that a book draws at random, as ``random_weights="live"`` asks for, are findings of the
    rule ``draw``: the only ones of a book of ours, and only there.

    Of more than 100,000 findings the rest is left out. A file that cannot be read at all is a
    WorkbookError.
    """
    book = open_book(path)
    findings = [*_parts(book), *_titles(book), *_names(book)]
    for title in book.sheets:
        sheet = _Sheet.of(book, title)
        for cell in book.raw_cells(title):
            where = f"{title}!{cell.reference}"
            findings += (Finding(rule, where, detail) for rule, detail in _cell(cell, sheet))
            if len(findings) > MAX_FINDINGS:
                return [*findings, Finding("more", title, "and more, which are not listed")]
    return findings


def _parts(book: Book) -> Iterator[Finding]:
    for part in book.package.parts:
        if part.lower().startswith(_FOREIGN_PARTS):
            yield Finding("part", part, "macros, links and data from outside are not ours")
        if part.endswith(".rels"):
            for _, about, _ in book.package.elements(part, "Relationship"):
                external = about.get("TargetMode") == "External"
                if external and not about.get("Type", "").endswith("/hyperlink"):
                    yield Finding("part", part, f"it needs {about.get('Target')!r} from outside")


def _titles(book: Book) -> Iterator[Finding]:
    count = Counter(folded(title) for title in book.sheets)
    for title in book.sheets:
        reason = is_legal_title(title)
        if reason:
            yield Finding("title", title, reason)
        if count[folded(title)] > 1:
            yield Finding("title", title, "another sheet has this title")


def _names(book: Book) -> Iterator[Finding]:
    count = Counter((scope, folded(name)) for name, scope, _ in book.defined_names)
    for name, scope, text in book.defined_names:
        reason = is_legal_name(name)
        if reason:
            yield Finding("name", name, reason)
        if count[scope, folded(name)] > 1:
            yield Finding("name", name, "another area has this name, ignoring case")
        if "#REF!" in text or "[" in text:
            yield Finding("name", name, f"it refers to {text}")


@dataclass(frozen=True)
class _Sheet:
    """What formulas on a sheet may refer to; names and sheets in lower case.

    The names tell whether they are of many cells.
    """

    names: Mapping[str, bool]
    titles: frozenset[str]

    @classmethod
    def of(cls, book: Book, title: str) -> _Sheet:
        areas: dict[str, Area | None] = {
            name.name: None for name in book.defined_names if name.scope in (None, title)
        }
        areas.update(book.names)
        areas.update(book.local_names.get(title, {}))
        names = {
            name.lower(): area is not None and area.rows * area.columns > 1
            for name, area in areas.items()
        }
        return cls(names, frozenset(sheet.lower() for sheet in book.sheets))


def _cell(cell: RawCell, sheet: _Sheet) -> Iterator[tuple[str, str]]:
    """Rules and details of what is wrong with one cell."""
    if parse_a1(cell.reference) is None:
        yield "limits", "it is outside the 1,048,576 rows and 16,384 columns of a sheet"
    text = cell.text or ""
    if cell.kind == "n" and text and not _is_finite(text):
        yield "number", f"{text[:40]!r} is not a finite number"
    if len(text) > MAX_TEXT and cell.kind in ("str", "inlineStr"):
        yield "text", f"{len(text):,} characters, more than {MAX_TEXT:,}"
    if cell.formula is None:
        return
    if cell.formula_kind in ("array", "dataTable"):
        yield "array", f"a formula of the kind {cell.formula_kind!r} over {cell.span or 'a cell'}"
    if cell.text is None or not (cell.text or cell.kind == "str"):
        yield "cached", "the formula has no stored value"
    if is_draw(cell.formula):
        yield "draw", "it draws a random number, another one at every recalculation"
    elif cell.formula or cell.formula_kind != "shared":
        yield from check_formula(cell.formula, sheet.names, sheet.titles)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
