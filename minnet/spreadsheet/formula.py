"""Formulas as text: cut into tokens, and moved to another cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from minnet.spreadsheet.names import a1, parse_a1

_TOKEN = re.compile(
    r"""
      (?P<text>"(?:[^"]|"")*")
    | (?P<sheet>(?:'(?:[^']|'')+'|[^\W\d][\w.]*)!)
    | (?P<error>\#(?:N/A|[A-Z0-9/]+[!?]))
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<function>[^\W\d][\w.]*\()
    | (?P<cell>\$?[A-Za-z]{1,3}\$?[0-9]{1,7}(?![\w.?\\]))
    | (?P<name>[^\W\d][\w.?\\]*|\\[\w.?\\]*)
    | (?P<operator><>|<=|>=|[-+*/^&=<>%])
    | (?P<open>\()
    | (?P<close>\))
    | (?P<comma>,)
    | (?P<colon>:)
    | (?P<space>\s+)
    | (?P<unknown>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_PARTS = re.compile(r"(\$?)([A-Za-z]+)(\$?)([0-9]+)")


class Token(NamedTuple):
    """A piece of a formula.

    Kinds: text, sheet (``'my sheet'!``), error, number, function (``SUM(``), cell, name,
    operator, open, close, comma, colon, space, unknown. Put together, the texts of all tokens are
    the formula.
    """

    kind: str
    text: str


def tokens(formula: str) -> Iterator[Token]:
    """The tokens of a formula, which is given as in the file, without its ``=``."""
    for match in _TOKEN.finditer(formula):
        kind, text = match.lastgroup or "unknown", match[0]
        if kind == "cell" and parse_a1(text) is None:  # XFE1 is no cell any more
            kind = "name"
        yield Token(kind, text)


def moved(formula: str, rows: int, columns: int) -> str:
    """The formula as it reads when copied so many rows down and columns to the right."""
    return "".join(
        _moved_cell(text, rows, columns) if kind == "cell" else text
        for kind, text in tokens(formula)
    )


def _moved_cell(reference: str, rows: int, columns: int) -> str:
    match = _PARTS.fullmatch(reference)
    at = parse_a1(reference)
    assert match is not None and at is not None
    column_fixed, _, row_fixed, _ = match.groups()
    row, column = at[0] + (0 if row_fixed else rows), at[1] + (0 if column_fixed else columns)
    try:
        target = a1(row, column)
    except ValueError:
        return "#REF!"
    letters = target.rstrip("0123456789")
    return f"{column_fixed}{letters}{row_fixed}{row}"
