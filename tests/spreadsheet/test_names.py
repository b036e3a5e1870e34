from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils import get_column_letter

from minnet.errors import WorkbookError
from minnet.spreadsheet.names import (
    a1,
    column_letters,
    is_legal_name,
    is_legal_title,
    legal_name,
    parse_a1,
    quote_sheet,
)


def test_columns_agree_with_openpyxl() -> None:
    assert all(column_letters(n) == get_column_letter(n) for n in range(1, 16_385))


@pytest.mark.parametrize("column", [0, -1, 16_385])
def test_columns_outside_the_sheet_are_refused(column: int) -> None:
    with pytest.raises(WorkbookError, match=r"1 to 16,384"):
        column_letters(column)


@pytest.mark.parametrize("row", [0, 1_048_577])
def test_rows_outside_the_sheet_are_refused(row: int) -> None:
    with pytest.raises(WorkbookError, match=r"1 to 1,048,576"):
        a1(row, 1)


@given(st.integers(1, 1_048_576), st.integers(1, 16_384))
def test_a_cell_survives_writing_and_parsing(row: int, column: int) -> None:
    assert parse_a1(a1(row, column)) == (row, column)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("C6", (6, 3)),
        ("$C$6", (6, 3)),
        ("c6", (6, 3)),
        ("XFD1048576", (1_048_576, 16_384)),
        ("XFE1", None),
        ("A1048577", None),
        ("A0", None),
        ("A", None),
        ("6", None),
        ("A1 ", None),
        ("", None),
    ],
)
def test_parse_a1(text: str, cell: tuple[int, int] | None) -> None:
    assert parse_a1(text) == cell


@pytest.mark.parametrize(
    "name",
    ["lr", "fc1_weight", "_1", "größe", "a.b", "layer1", "XFE1", "A1048577", "RCC", "x" * 255],
)
def test_legal_names(name: str) -> None:
    assert is_legal_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("", "W1", "fc1", "FC1", "A1", "xfd1048576", "R", "c", "R1C1", "rc", "R2C", "RC3", "C7"),
        *("2nd", "a b", "a-b", "TRUE", "false", "x" * 256, ".x", "a!b", "a/b"),
    ],
)
def test_illegal_names_have_a_reason(name: str) -> None:
    assert is_legal_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("fc1", "fc1_"),
        ("W1", "W1_"),
        ("my layer/kernel", "my_layer_kernel"),
        ("2nd", "_2nd"),
        ("R", "R_"),
        ("größe", "größe"),
        ("gro\u0308ße", "größe"),
        ("", "unnamed"),
        ("true", "true_"),
        ("fc1_weight", "fc1_weight"),
    ],
)
def test_legal_name_examples(text: str, name: str) -> None:
    assert legal_name(text) == name


@given(st.text(max_size=300))
def test_legal_name_makes_a_legal_name_of_anything(text: str) -> None:
    assert is_legal_name(legal_name(text)) is None
    assert legal_name(legal_name(text)) == legal_name(text)


@pytest.mark.parametrize("letter", ["a", "2", "\N{MATHEMATICAL BOLD SMALL A}"])
def test_a_long_name_keeps_its_ends(letter: str) -> None:
    text = f"of_{letter * 300}_weight_grad"
    name = legal_name(text)
    assert is_legal_name(name) is None and legal_name(name) == name
    assert name.startswith(f"of_{letter}") and name.endswith(f"{letter}_weight_grad")
    assert legal_name(letter * 300).strip("_") != name


@pytest.mark.parametrize(
    "title",
    [
        *("", " ", "x" * 32, "\N{GRINNING FACE}" * 16, "a/b", "a:b", "[a]", "a?", "a*", "a\\b"),
        *("'a", "a'", "History", "history", "a\nb", "a\uffff", "a!b", "a_x0041_"),
    ],
)
def test_illegal_titles_have_a_reason(title: str) -> None:
    assert is_legal_title(title)


@pytest.mark.parametrize(
    ("title", "quoted"),
    [
        ("network", "network"),
        ("step 2", "'step 2'"),
        ("it's", "'it''s'"),
        ("fc1", "'fc1'"),
        ("R", "'R'"),
        ("größe", "'größe'"),
        ("2nd", "'2nd'"),
    ],
)
def test_quote_sheet(title: str, quoted: str) -> None:
    assert quote_sheet(title) == quoted
