"""Names that every spreadsheet program accepts: of cells, of sheets, of named areas."""

from __future__ import annotations

import functools
import itertools
import re
import string
import unicodedata

from minnet.errors import WorkbookError, mismatch

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_NAME = 255
MAX_TITLE = 31
SHARES = "shares"  # of a probe's histogram
PROBE = "probe_"  # the names of what a probe sheet shows of a layer begin so

_CELL = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")
_LOOKS_LIKE_CELL = re.compile(r"([A-Za-z]{1,3})([0-9]+)")
_LOOKS_LIKE_R1C1 = re.compile(r"[Rr][0-9]*([Cc][0-9]*)?|[Cc][0-9]*")
#: How workbooks write a character that XML cannot hold; in a text it is that character.
ESCAPE = "_x[0-9A-Fa-f]{4}_"
# IronCalc reads no "!"; the last ones are characters that XML cannot hold.
_FORBIDDEN_IN_TITLE = re.compile(rf"[\[\]:*?/\\!\x00-\x1f\ud800-\udfff\ufffe\uffff]|{ESCAPE}")


class DoesNotFit(WorkbookError):
    """More than a formula, a sheet or a book takes."""


@functools.cache
def _columns() -> list[str]:
    letters = itertools.chain.from_iterable(
        itertools.product(string.ascii_uppercase, repeat=size) for size in (1, 2, 3)
    )
    return ["", *("".join(letter) for letter in itertools.islice(letters, MAX_COLUMNS))]


@functools.cache
def _column_numbers() -> dict[str, int]:
    return {letters: number for number, letters in enumerate(_columns()) if number}


@functools.cache
def column_letters(column: int) -> str:
    """The letters of a column counted from 1: 1 is ``A``, 27 is ``AA``, 16384 is ``XFD``."""
    if not 1 <= column <= MAX_COLUMNS:
        raise WorkbookError(
            mismatch("a column of a sheet", f"1 to {MAX_COLUMNS:,}", f"{column:,}", "Show less.")
        )
    return _columns()[column]


def a1(row: int, column: int) -> str:
    """A cell as spreadsheets write it, both counted from 1: row 6, column 3 is ``C6``."""
    if not 1 <= row <= MAX_ROWS:
        raise WorkbookError(
            mismatch("a row of a sheet", f"1 to {MAX_ROWS:,}", f"{row:,}", "Show less.")
        )
    return f"{column_letters(column)}{row}"


def parse_a1(reference: str) -> tuple[int, int] | None:
    """The row and column of ``C6`` or ``$C$6``; None if that is no cell of any sheet."""
    match = _CELL.fullmatch(reference)
    if match is None:
        return None
    row, column = int(match[2]), _column_numbers().get(match[1].upper())
    return (row, column) if column is not None and 1 <= row <= MAX_ROWS else None


def is_legal_name(name: str) -> str | None:
    """The reason why spreadsheets refuse this as the name of an area, or None if it is legal."""
    if not name:
        return "it is empty"
    if _length(name) > MAX_NAME:
        return f"it is longer than {MAX_NAME} characters"
    if not (name[0].isalpha() or name[0] in "_\\"):
        return f"it begins with {name[0]!r}, not with a letter or an underscore"
    for character in name[1:]:
        if not (character.isalnum() or character in "_.\\?"):
            return f"it contains {character!r}"
    if name.upper() in ("TRUE", "FALSE"):
        return "it is a truth value"
    if _LOOKS_LIKE_R1C1.fullmatch(name):
        return "it looks like a cell in R1C1 notation"
    match = _LOOKS_LIKE_CELL.fullmatch(name)
    if match and match[1].upper() in _column_numbers() and int(match[2][:8]) <= MAX_ROWS:
        return "it looks like a cell"
    return None


def legal_name(text: str) -> str:
    """A legal name for an area, as near to the text as can be: ``fc1`` becomes ``fc1_``.

    Two different texts may give the same name; names differ ignoring case.
    """
    # Only letters, digits and underscores, because Google Sheets refuses points.
    kept = (
        character if character.isalpha() or character in string.digits else "_"
        for character in unicodedata.normalize("NFC", text.strip())
    )
    name = "".join(kept) or "unnamed"
    if not (name[0].isalpha() or name[0] == "_"):
        name = "_" + name
    if _length(name) >= MAX_NAME:  # its end tells a weight from a bias
        name = f"{_cut(name, MAX_NAME // 2 - 1)}_{_cut(name[::-1], MAX_NAME // 2 - 1)[::-1]}"
    return name if is_legal_name(name) is None else name + "_"


def folded(name: str) -> str:
    """The same text for names that some program takes for one: A and a, σ and ς, ß and SS."""
    return name.upper().casefold()


def probe_name(layer: str, of: str = "") -> str:
    """The name of a probed neuron's value, or of something else on its layer's sheet."""
    return legal_name(f"{PROBE}{layer}{f'_{of}' if of else ''}")


def table_name(weight: str) -> str:
    """The name that says of a weight that it is a table: a row on the sheet is one of the array."""
    return legal_name(f"{weight}_by_index")


def is_legal_title(title: str) -> str | None:
    """The reason why spreadsheets refuse this as a sheet's title, or None if it is legal."""
    if not title.strip():
        return "it is empty"
    if _length(title) > MAX_TITLE:
        return f"it is longer than {MAX_TITLE} characters"
    forbidden = _FORBIDDEN_IN_TITLE.search(title)
    if forbidden:
        return f"it contains {forbidden[0]!r}"
    if title[0] == "'" or title[-1] == "'":
        return "it begins or ends with an apostrophe"
    if title.lower() == "history":
        return "Excel keeps the title History for itself"
    return None


def quote_sheet(title: str) -> str:
    """A sheet's title as formulas write it before the ``!``: quoted where it must be."""
    if title.isascii() and "." not in title and is_legal_name(title) is None:
        return title
    return "'" + title.replace("'", "''") + "'"


def _length(text: str) -> int:
    """The length as Excel counts it, in UTF-16 units: an emoji counts as two."""
    return len(text) + sum(character > "\uffff" for character in text)


def _cut(text: str, length: int) -> str:
    while _length(text) > length:
        text = text[:-1]
    return text
