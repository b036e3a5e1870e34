"""The XML inside an .xlsx: cells of a worksheet and shared strings, found as they stream by."""

from __future__ import annotations

from typing import NamedTuple
from xml.sax import SAXException
from xml.sax.xmlreader import AttributesImpl

from minnet.errors import WorkbookError
from minnet.spreadsheet.names import a1, parse_a1
from minnet.spreadsheet.package import Handler


class RawCell(NamedTuple):
    """A cell as the file has it.

    ``kind`` is its type (n, b, e, s, str, inlineStr, d), ``formula_kind`` that of its formula
    (empty, shared, array, dataTable), ``group`` and ``span`` the shared formula's number and the
    cells that it covers. ``text`` is None where no value is stored.
    """

    reference: str
    kind: str
    text: str | None
    formula: str | None
    formula_kind: str
    group: str
    span: str


class CellsHandler(Handler[RawCell]):
    """Finds the cells of a worksheet."""

    def __init__(self) -> None:
        super().__init__()
        self._row = 0
        self._inside = self._phonetic = False
        self._reference = self._kind = ""
        self._value: str | None = None
        self._formula: str | None = None
        self._about = ("", "", "")

    def begin(self, name: str, attrs: AttributesImpl) -> None:
        if name == "c":
            self._inside, self._value, self._formula, self._about = True, None, None, ("", "", "")
            self._kind = attrs.get("t", "n")
            self._reference = attrs.get("r") or self._next()
        elif name == "row":
            number = attrs.get("r", "")
            self._row = int(number) if number else self._row + 1
            self._reference = ""
        elif self._inside:
            if name in ("v", "t"):
                self.listen()
            elif name == "f":
                get = attrs.get
                self._about = (get("t", ""), get("si", ""), get("ref", ""))
                self.listen()
            elif name == "rPh":
                self._phonetic = True

    def _next(self) -> str:
        """The cell after the one before: a file need not say which it is."""
        before = parse_a1(self._reference)
        try:
            return a1(self._row, before[1] + 1 if before else 1)
        except WorkbookError:  # which names no file; the parser's own errors are given its name
            raise SAXException("a cell outside of all rows or columns") from None

    def finish(self, name: str) -> None:
        if not self._inside:
            return
        if name == "v":
            self._value = self.take_text()
        elif name == "f":
            self._formula = self.take_text()
        elif name == "t":
            if not self._phonetic:
                self._value = (self._value or "") + self.take_text()
        elif name == "rPh":
            self._phonetic = False
        elif name == "c":
            self._inside = False
            self.found.append(
                RawCell(self._reference, self._kind, self._value, self._formula, *self._about)
            )


class StringsHandler(Handler[str]):
    """Finds the shared strings, without their phonetic readings."""

    def __init__(self) -> None:
        super().__init__()
        self._string: list[str] = []
        self._phonetic = False

    def begin(self, name: str, attrs: AttributesImpl) -> None:
        if name == "si":
            self._string = []
        elif name == "rPh":
            self._phonetic = True
        elif name == "t":
            self.listen()

    def finish(self, name: str) -> None:
        if name == "t":
            text = self.take_text()
            if not self._phonetic:
                self._string.append(text)
        elif name == "rPh":
            self._phonetic = False
        elif name == "si":
            self.found.append("".join(self._string))
