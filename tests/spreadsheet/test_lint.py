from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minnet.errors import WorkbookError
from minnet.spreadsheet.formula import moved, tokens
from minnet.spreadsheet.formula_check import check_formula
from minnet.spreadsheet.lint import ALLOWED_FUNCTIONS, lint_xlsx

MakeBook = Callable[..., Path]

NAMES = {"lr": False, "fc1_weight": True, "größe": False}
SHEETS = {"network", "it's", "step 2"}


def rules(formula: str) -> list[str]:
    return [problem.rule for problem in check_formula(formula, NAMES, SHEETS)]


# Formulas


@pytest.mark.parametrize(
    "formula",
    [
        "SUMPRODUCT(A1:C1,$A$2:$C$2)+$D$2",
        "SUMPRODUCT(A1:C3,$E$1:$G$3)+SUMPRODUCT(A4:C6,$E$4:$G$6)+H$1",
        "SUMPRODUCT((A1:A9>0)*B1:B9)",
        "MAX(0,A1)",
        "IF(A1>0,B1,0)",
        "IF(AND(A1=B2,C1<B2),D1,0)",
        "EXP(A1-$B1)/SUM(EXP(1),2)",
        "B1+LN(C1)-SUMPRODUCT(D1:F1,G1:I1)",
        "IF(A1>=0,1/(1+EXP(-A1)),EXP(A1)/(1+EXP(A1)))",
        "A1-lr*B1",
        "A1-LR*größe",
        "SUM(fc1_weight)",
        "(A1-B1)/SQRT(VARP(A1:A9)+1E-05)",
        "GAMMADIST(A1,0.5,1,1)*TANH(ABS(-2.5e+3))",
        "-(A1^2)",
        "2^-A1-B1^2",
        "A1*-(B1)",
        "-A1*B1^2",
        "IF(A1>0,-B1,C1^2)",
        "SUMXMY2(A1:A3,B1:B3)",
        'SUMIF(A1:A9,">0",B1:B9)',
        "INDEX(A1:C3,MATCH(2,A1:A3,0),2)",
        "CHOOSE(A1,B1,C1)",
        "'step 2'!A1+'it''s'!$B$2+NETWORK!C3",
        "AVERAGE(network!A1:A9)",
        "MIN('step 2'!A1:A9,3)",
        "MAX(A1:A3,fc1_weight)",
        'IF(A1<>"it\'s ""fine"" :)","a,b","")',
        "IF(TRUE,A1,5%)",
        " A1 + B1 ",
    ],
)
def test_good_formulas(formula: str) -> None:
    assert rules(formula) == []


@pytest.mark.parametrize(
    ("formula", "rule"),
    [
        ("MMULT(A1:B2,C1:D2)", "function"),
        ("SUMPRODUCT(A1:B1,TRANSPOSE(C1:C2))", "function"),
        ("_xlfn.STDEV.P(A1:A3)", "function"),
        ("LOG10(A1)", "function"),
        ("POWER(A1,2)", "function"),
        ("RAND()", "volatile"),
        ("OFFSET(A1,1,1)", "volatile"),
        ("A1:A3*2", "range"),
        ("A1:A3", "range"),
        ("SUM(A1:A3*2)", "range"),
        ("SUM(-A1:A3)", "range"),
        ("MAX(IF(A1:A3>0,B1:B3))", "range"),
        ("IF(A1:A3>0,1,0)", "range"),
        ("EXP(A1:A3)", "range"),
        ("MATCH(A1:A3,B1:B3,0)", "range"),
        ("SUMIF(A1:A3,B1:B3)", "range"),
        ("INDEX(A1:A3,B1:B3)", "range"),
        ("CHOOSE(1,A1:A3,B1:B3)", "range"),
        ("SUMPRODUCT(ABS(A1:A3))", "range"),
        ("fc1_weight*2", "range"),
        ("A1+fc1_weight", "range"),
        ("-A1^2", "minus"),
        ("B1*-A1^2", "minus"),
        ("-(A1)^2", "minus"),
        ("-SUM(A1:A2)^2", "minus"),
        ("IF(A1>0,-A1^2,0)", "minus"),
        ("--2^2", "minus"),
        ("EXP(A1,B1)", "arguments"),
        ("IF(A1)", "arguments"),
        ("SUM(" + ",".join(["A1"] * 256) + ")", "arguments"),
        ("(" * 3 + "A1" + ")" * 2, "syntax"),
        ("A1)", "syntax"),
        ("A1+", "syntax"),
        ("*A1", "syntax"),
        ("A1 B1", "syntax"),
        ("SUM(A1,,B1)", "syntax"),
        ("SUM()", "syntax"),
        ("(A1,B1)", "syntax"),
        ("A1,B1", "syntax"),
        ("", "syntax"),
        ("{1,2}", "syntax"),
        ("SUM(A:A)", "syntax"),
        ("SUM(A1:B2:C3)", "syntax"),
        ("@A1", "syntax"),
        ("A1#", "syntax"),
        ("Table1[x]", "syntax"),
        ("A1;B1", "syntax"),
        ("fc2_weight", "name"),
        ("XFE1+A1048577", "name"),
        ("#REF!+1", "error"),
        ("SUM(#N/A)", "error"),
        ("other!A1", "sheet"),
        ("'step 3'!A1", "sheet"),
        ("'[1]network'!A1", "external"),
        ("EXP(" * 65 + "A1" + ")" * 65, "nesting"),
        ("+".join(["A1234"] * 1400), "length"),
        ('IF(A1=1,"' + "x" * 256 + '","")', "text"),
    ],
)
def test_bad_formulas(formula: str, rule: str) -> None:
    assert rule in rules(formula)


def test_limits_are_exact() -> None:
    assert rules("EXP(" * 64 + "A1" + ")" * 64) == []
    assert rules("SUM(" + ",".join(["A1"] * 255) + ")") == []
    assert rules("1+" * 4095 + "1") == []
    assert rules("1+" * 4095 + "11") == ["length"]
    assert rules('"' + "x" * 255 + '"') == []


def test_the_vocabulary() -> None:
    words = """SUMPRODUCT SUM MAX MIN IF AND EXP LN SQRT TANH ABS GAMMADIST COS SIN INT AVERAGE
    VARP COUNT SUMXMY2 SUMIF INDEX MATCH CHOOSE"""
    assert set(words.split()) == ALLOWED_FUNCTIONS


@given(st.text(alphabet="AB1:,()+-*^'\"!#$%.<>=[]{} \nfc_lrSUM\\?&;@é", max_size=60))
def test_any_text_is_checked_without_an_exception(formula: str) -> None:
    assert "".join(token.text for token in tokens(formula)) == formula
    check_formula(formula, NAMES, SHEETS)


def test_moved() -> None:
    assert moved("A1+$B2*C$3-$D$4+'A1'!A1&\"A1\"+LOG10(A1)+fc1_x", 2, 1) == (
        "B3+$B4*D$3-$D$4+'A1'!B3&\"A1\"+LOG10(B3)+fc1_x"
    )
    assert moved("A1+B2", -1, 0) == "#REF!+B1"


# Workbooks


GOOD: dict[str, Any] = {
    "A1": 2.0,
    "B1": "=cmd",
    "C1": True,
    "A2": ("SUMPRODUCT(A1:A1,'step 2'!A1:A1)", 6.0),
    "B2": ('IF(A1>3,"x","")', ""),
    "C2": ("LN(0)", "#NUM!"),
}
STEP = {"A1": 3.0, "A2": ("A1*scale", 6.0)}


def test_a_good_workbook(make_book: MakeBook) -> None:
    names = [("lr", "network!$A$1"), ("scale", "network!$A$1", 1), ("W", "network!$A$1:$A$2")]
    names += [("W", "network!$A$1", 1)]
    hyperlink = (
        '<Relationships><Relationship Id="rId1" Type="t/hyperlink" Target="https://example.org" '
        'TargetMode="External"/></Relationships>'
    )
    path = make_book(
        {"network": GOOD, "step 2": STEP},
        names,
        {"xl/worksheets/_rels/sheet1.xml.rels": hyperlink},
    )
    assert lint_xlsx(path) == []


def found(path: Path) -> list[tuple[str, str]]:
    return [(finding.rule, finding.where) for finding in lint_xlsx(path)]


@pytest.mark.parametrize(
    ("cell", "rule"),
    [
        ('<c r="B3"><f t="array" ref="B3:B4">A1*2</f><v>1</v></c>', "array"),
        ('<c r="B3"><f t="dataTable" ref="B3:B4" r1="A1">A1</f><v>1</v></c>', "array"),
        ('<c r="B3"><f>A1*2</f></c>', "cached"),
        ('<c r="B3"><f>A1*2</f><v></v></c>', "cached"),
        ('<c r="B3" t="str"><f>A1</f></c>', "cached"),
        ('<c r="B3"><v>nan</v></c>', "number"),
        ('<c r="B3"><f>A1</f><v>inf</v></c>', "number"),
        ('<c r="B3"><v>1e999</v></c>', "number"),
        ('<c r="B3"><v>one</v></c>', "number"),
        (f'<c r="B3" t="inlineStr"><is><t>{"x" * 32_768}</t></is></c>', "text"),
        ('<c r="B3"><f>-A1^2</f><v>4</v></c>', "minus"),
        ('<c r="B3"><f>A1:A3</f><v>4</v></c>', "range"),
        ('<c r="B3"><f>lr*2</f><v>4</v></c>', "name"),
    ],
)
def test_bad_cells(make_book: MakeBook, cell: str, rule: str) -> None:
    path = make_book({"network": f'<row r="3">{cell}</row>'})
    assert found(path) == [(rule, "network!B3")]


@pytest.mark.parametrize("reference", ["XFE1", "A1048577", "A0"])
def test_cells_outside_the_sheet(make_book: MakeBook, reference: str) -> None:
    path = make_book({"s": f'<row><c r="{reference}"><v>1</v></c></row>'})
    assert found(path) == [("limits", f"s!{reference}")]


def test_followers_of_a_shared_formula_are_fine(make_book: MakeBook) -> None:
    cells = (
        '<c r="A1"><f t="shared" ref="A1:B1" si="0">A3+1</f><v>1</v></c>'
        '<c r="B1"><f t="shared" si="0"/><v>1</v></c>'
    )
    assert found(make_book({"s": f'<row r="1">{cells}</row>'})) == []


def test_names(make_book: MakeBook) -> None:
    names = [
        ("W1", "s!$A$1"),
        ("ok", "s!$A$1"),
        ("OK", "s!$A$2"),
        ("ok", "s!$A$1", 0),
        ("gone", "#REF!"),
        ("far", "[1]x!$A$1"),
        ("R", "s!$A$1", 0),
    ]
    path = make_book({"s": {"A1": 1.0}}, names)
    expected = ["W1", "ok", "OK", "gone", "far", "R"]
    assert found(path) == [("name", name) for name in expected]


def test_names_belong_to_their_sheet(make_book: MakeBook) -> None:
    sheet = {"A1": 1.0, "A2": ("own*2", 2.0)}
    path = make_book({"s": sheet, "t": sheet}, [("own", "s!$A$1", 0)])
    assert found(path) == [("name", "t!A2")]
    path = make_book({"s": sheet, "t": sheet}, [("own", "s!$A$1"), ("own", "t!$A$1:$B$1", 1)])
    assert found(path) == [("range", "t!A2")]


def test_titles(make_book: MakeBook) -> None:
    titles = ["a/b", "History", "x" * 32, "Step", "step", "fine"]
    path = make_book({title: {} for title in titles})
    assert found(path) == [("title", title) for title in titles[:-1]]


@pytest.mark.parametrize(
    ("part", "data"),
    [
        ("xl/vbaProject.bin", "x"),
        ("xl/externalLinks/externalLink1.xml", "<externalLink/>"),
        (
            "xl/worksheets/_rels/sheet1.xml.rels",
            '<Relationships><Relationship Id="rId1" Type="t/image" Target="https://example.org/" '
            'TargetMode="External"/></Relationships>',
        ),
    ],
)
def test_parts_from_outside(make_book: MakeBook, part: str, data: str) -> None:
    assert found(make_book({"s": {}}, parts={part: data})) == [("part", part)]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError):
        lint_xlsx(tmp_path / "nowhere.xlsx")
