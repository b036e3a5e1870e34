"""What is wrong with one formula, for any of the spreadsheet programs that should read it."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import NamedTuple

from minnet.spreadsheet.formula import Token, tokens

MAX_FORMULA = 8192  # with its equals sign
MAX_NESTING = 64
MAX_ARGUMENTS = 255
MAX_TEXT = 255


class _Function(NamedTuple):
    """How many arguments a function takes, and which of them may be ranges."""

    least: int
    most: int
    ranges: Container[int] = ()


_FUNCTIONS = {
    **dict.fromkeys(("EXP", "LN", "SQRT", "TANH", "ABS", "COS", "SIN", "INT"), _Function(1, 1)),
    "GAMMADIST": _Function(4, 4),
    **dict.fromkeys(
        ("SUMPRODUCT", "SUM", "MAX", "MIN", "AVERAGE", "VARP", "COUNT", "AND"),
        _Function(1, MAX_ARGUMENTS, range(MAX_ARGUMENTS)),
    ),
    "IF": _Function(2, 3),
    "SUMXMY2": _Function(2, 2, (0, 1)),
    "SUMIF": _Function(2, 3, (0, 2)),
    "INDEX": _Function(2, 3, (0,)),
    "MATCH": _Function(2, 3, (1,)),
    "CHOOSE": _Function(2, MAX_ARGUMENTS),
}
ALLOWED_FUNCTIONS = frozenset(_FUNCTIONS)

_VOLATILE = {"RAND", "RANDBETWEEN", "NOW", "TODAY", "OFFSET", "INDIRECT", "CELL", "INFO"}
_OPERANDS = {"number", "text", "cell", "range", "name", "error", "function", "open"}
_END = Token("end", "")


_DRAW = re.compile(r"NORMINV\(RAND\(\),0,\$?[A-Z]{1,3}\$?[0-9]+\)")


def is_draw(formula: str) -> bool:
    """Whether a formula draws a random weight: the one volatile formula of our books."""
    return _DRAW.fullmatch(formula) is not None


class Problem(NamedTuple):
    """The rule that a formula breaks, and how."""

    rule: str
    detail: str


def check_formula(formula: str, names: Mapping[str, bool], sheets: Container[str]) -> list[Problem]:
    """What is wrong with a formula, given without its ``=``.

    ``names`` are the defined names and whether they are of many cells, ``sheets`` the titles that
    exist; both in lower case.
    """
    return _Checker(names, sheets).check(formula)


class _Level:
    """An open parenthesis, of a function's arguments or of a group; or the whole formula."""

    __slots__ = ("argument", "function", "negated")

    def __init__(self, function: str = "") -> None:
        self.function = function
        self.argument = 0
        self.negated = False  # the operand being read has a minus sign of its own


class _Checker:
    """Reads a formula from left to right, knowing whether an operand or an operator is due."""

    def __init__(self, names: Mapping[str, bool], sheets: Container[str]) -> None:
        self.names = names
        self.sheets = sheets
        self.levels = [_Level()]
        self.operand_due = True
        self.deepest = 0
        self.problems: list[Problem] = []

    def note(self, rule: str, detail: str) -> None:
        self.problems.append(Problem(rule, detail))

    def check(self, formula: str) -> list[Problem]:
        length = len(formula) + 1
        if length > MAX_FORMULA:
            self.note("length", f"{length:,} characters, more than {MAX_FORMULA:,}")
        items = self.items(formula)
        for before, item, after in zip([_END, *items], items, [*items[1:], _END], strict=False):
            if item.kind in _OPERANDS:
                self.operand(item, before, after)
            elif item.kind == "operator":
                self.operator(item.text)
            elif item.kind == "comma":
                self.comma()
            elif item.kind == "close":
                self.close()
            else:
                self.note("syntax", f"{item.text!r} has no place here")
        if self.operand_due:
            self.note("syntax", "the formula ends too early")
        if len(self.levels) > 1:
            self.note("syntax", f"{len(self.levels) - 1} parentheses are not closed")
        if self.deepest > MAX_NESTING:
            self.note("nesting", f"functions nested {self.deepest} deep, more than {MAX_NESTING}")
        return self.problems

    def items(self, formula: str) -> list[Token]:
        """The tokens without spaces and sheets, two cells around a colon as one range."""
        items: list[Token] = []
        for token in tokens(formula):
            kind, text = token
            if kind == "sheet":
                self.sheet(text[:-1])
            elif kind == "cell" and [item.kind for item in items[-2:]] == ["cell", "colon"]:
                items[-2:] = [Token("range", f"{items[-2].text}:{text}")]
            elif kind != "space":
                items.append(token)
        return items

    def sheet(self, quoted: str) -> None:
        title = quoted[1:-1].replace("''", "'") if quoted[0] == "'" else quoted
        if title.startswith("["):
            self.note("external", f"{quoted} is in another file")
        elif title.lower() not in self.sheets:
            self.note("sheet", f"there is no sheet {title!r}")

    def operand(self, item: Token, before: Token, after: Token) -> None:
        kind, text = item
        if not self.operand_due:
            self.note("syntax", f"no operator before {text!r}")
        self.operand_due = False
        if kind == "function":
            self.function(text[:-1].upper())
        elif kind == "open":
            self.open(_Level())
        elif kind == "error":
            self.note("error", f"it contains {text}")
        elif kind == "text" and len(text) - 2 > MAX_TEXT:
            self.note("text", f"it contains a text of more than {MAX_TEXT} characters")
        elif kind == "name" and text.upper() not in ("TRUE", "FALSE"):
            if text.lower() not in self.names:
                self.note("name", f"nothing has the name {text!r}")
            elif self.names[text.lower()]:
                kind = "range"
        if kind == "range":
            starts = before.kind in ("function", "comma")
            ends = after.kind in ("close", "comma")
            if not self.takes_range(alone=starts and ends and self.levels[-1].function != ""):
                self.note("range", f"Excel would take one cell of {text} by implicit intersection")

    def function(self, name: str) -> None:
        if name in _VOLATILE:
            self.note("volatile", f"{name} changes at every recalculation")
        elif name not in ALLOWED_FUNCTIONS:
            self.note("function", f"{name} is not in the vocabulary")
        self.open(_Level(name))
        self.deepest = max(self.deepest, sum(level.function != "" for level in self.levels))

    def open(self, level: _Level) -> None:
        self.levels.append(level)
        self.operand_due = True

    def close(self) -> None:
        if self.operand_due:
            self.note("syntax", "nothing before a closing parenthesis")
        self.operand_due = False
        if len(self.levels) == 1:
            self.note("syntax", "a closing parenthesis too many")
            return
        level = self.levels.pop()
        function = _FUNCTIONS.get(level.function)
        if function and not function.least <= level.argument + 1 <= function.most:
            self.note("arguments", f"{level.function} has {level.argument + 1} arguments")

    def comma(self) -> None:
        if self.operand_due or not self.levels[-1].function:
            self.note("syntax", "a comma that does not stand between two arguments")
        self.operand_due = True
        self.levels[-1].argument += 1
        self.levels[-1].negated = False

    def operator(self, text: str) -> None:
        level = self.levels[-1]
        if self.operand_due and text not in "+-":
            self.note("syntax", f"nothing before {text!r}")
        if text == "^" and level.negated:
            self.note("minus", "spreadsheets read -x^2 as (-x)^2; write -(x^2)")
        if text != "%":
            level.negated = self.operand_due and (text == "-" or level.negated)
            self.operand_due = True

    def takes_range(self, alone: bool) -> bool:
        """Whether a range may stand here: alone as an argument, or anywhere in SUMPRODUCT's."""
        level = next((level for level in reversed(self.levels) if level.function), self.levels[0])
        function = _FUNCTIONS.get(level.function)
        if function is None or level.argument not in function.ranges:
            return False
        return alone or level.function == "SUMPRODUCT"
