"""Workbooks from strangers: a clear error, never a hang, never more than 500 MB of memory.

The files are read in a process of its own, whose peak of memory is measured. What the reader makes
of smaller damage is in ``test_reader``.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from minnet import Dense, Sequential, export_xlsx

MEMORY = 500 * 2**20
SECONDS = 120  # of processor time for one file: a hang has no end
MUTATIONS = 120
BOOK, SHEET = "xl/workbook.xml", "xl/worksheets/sheet2.xml"
RELATIONS = "xl/_rels/workbook.xml.rels"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak of memory")


def laughing(levels: int, text: bytes) -> bytes:
    entities = [b'<!ENTITY e0 "%s">' % text]
    entities += [b'<!ENTITY e%d "%s">' % (i, b"&e%d;" % (i - 1) * 10) for i in range(1, levels)]
    head = b"<?xml version='1.0'?><!DOCTYPE x [" + b"".join(entities) + b"]>"
    return head + b"<worksheet><sheetData><row r='1'><c t='str'><v>&e%d;</v></c></row>" % (
        levels - 1
    )


def cells(rows: str) -> bytes:
    return f"<worksheet><sheetData>{rows}</sheetData></worksheet>".encode()


def noisy(count: int, cell: str) -> bytes:
    """Rows of cells whose numbers compress badly, so that the file looks harmless."""
    draw = random.Random(0).random
    per_row = 1000
    rows = (
        f'<row r="{r}">' + "".join(cell.format(draw()) for _ in range(per_row)) + "</row>"
        for r in range(1, count // per_row + 1)
    )
    return cells("".join(rows))


def with_noise(body: bytes) -> bytes:
    """The part with a comment that compresses badly, so that no ratio gives it away."""
    noise = random.Random(1).randbytes(len(body) // 150).hex().encode()
    return body + b"<!--" + noise + b"-->"


def hostile() -> dict[str, tuple[Mapping[str, bytes], str]]:
    """By name: the parts to put into a sound book, and what the error must say."""
    shared = '<c><f t="shared" ref="A1:ZZ999" si="0">' + "A1+" * 2500 + "1</f><v>1</v></c>"
    follow = '<c><f t="shared" si="0"/><v>{}</v></c>'
    array = '<c><f t="array" ref="A1:XFD1048576">1</f><v>{}</v></c>'
    names = "".join(f'<definedName name="n{i}">s!$A$1</definedName>' for i in range(200_000))
    sheets = "".join(f'<sheet name="s{i}" sheetId="{i}" r:id="rId1"/>' for i in range(1, 20_000))
    book = '<workbook xmlns:r="x"><sheets>{}</sheets><definedNames>{}</definedNames></workbook>'
    one_sheet = '<sheet name="s" sheetId="1" r:id="rId1"/>'
    return {
        "laughs": ({SHEET: laughing(12, b"ha")}, "document type or an entity"),
        "quadratic": (
            {SHEET: with_noise(laughing(2, b"x" * 100_000))},
            "document type or an entity",
        ),
        "zip bomb": ({SHEET: cells(" " * 100_000_000)}, "200 to 1"),
        "endless tag": ({SHEET: with_noise(b"<worksheet a='" + b"x" * 60_000_000)}, "a tag of"),
        "endless text": (
            {SHEET: with_noise(cells('<row><c t="str"><v>' + "x" * 60_000_000))},
            "a text of more than",
        ),
        "many cells": ({SHEET: noisy(1_310_000, "<c><v>{}</v></c>")}, "at most 1,300,000 cells"),
        "one formula for all": (
            {SHEET: noisy(20_000, follow).replace(b"<c>", shared.encode() + b"<c>", 1)},
            "characters in all cells",
        ),
        "arrays over all": ({SHEET: noisy(30_000, array)}, "few array formulas"),
        "no rows": ({SHEET: cells("<c><v>1</v></c>")}, "a cell outside of all rows"),
        "many names": ({BOOK: with_noise(book.format(one_sheet, names).encode())}, "50,000"),
        "many sheets": ({BOOK: with_noise(book.format(sheets, "").encode())}, "1,000 sheets"),
        "outside": (
            {RELATIONS: b'<R><Relationship Id="rId1" Target="file:///etc/passwd"/></R>'},
            "without it",
        ),
        "huge dimension": (
            {SHEET: b'<worksheet><dimension ref="A1:XFD1048576"/><sheetData/></worksheet>'},
            "an empty cell",
        ),
    }  # fmt: skip


def foreign() -> dict[str, Any]:
    """Sound workbooks of other kinds: what openpyxl is told to write into the book, by name."""
    return {
        "formula": lambda book: setattr(book["network"]["E8"], "value", "=1+1"),
        "text": lambda book: setattr(book["network"]["E8"], "value", "=cmd|' /C calc'!A0 "),
        "nothing": lambda book: setattr(book["network"]["E8"], "value", None),
        "no names": lambda book: book.defined_names.clear(),
        "external": lambda book: setattr(
            book.defined_names["w_weight"], "attr_text", "[1]network!$E$8:$F$9"
        ),
        "wrong shape": lambda book: setattr(
            book.defined_names["w_weight"], "attr_text", "network!$E$8:$F$10"
        ),
        "whole sheet": lambda book: setattr(
            book.defined_names["w_weight"], "attr_text", "network!$A$1:$XFD$1048576"
        ),
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A book whose weight of 2 × 2 stands in network!E8:F9."""
    model = Sequential([Dense(2, input_dim=2, use_bias=False, name="w")], seed=0)
    model.compile("sgd", "mse")
    path = tmp_path_factory.mktemp("sound") / "book.xlsx"
    export_xlsx(model, [[1.0, 2.0]], [[0.0, 1.0]], path)
    return path.read_bytes()


def outcomes(folder: Path) -> tuple[dict[str, dict[str, str]], int]:
    """What came of each file by each way of reading, and the peak of memory."""
    script = Path(__file__).with_name("hostile_reading.py")
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, peak = map(json.loads, done.stdout.splitlines())
    found: dict[str, dict[str, str]] = {}
    for name, way, outcome, seconds in lines:
        assert seconds < SECONDS, (name, way)
        assert outcome == "read" or name in outcome, outcome  # errors name their file
        found.setdefault(name, {})[way] = outcome
    return found, peak


@pytest.mark.slow
def test_hostile_files_are_refused_within_limits(sound: bytes, tmp_path: Path) -> None:
    cases = hostile()
    for name, (parts, _) in cases.items():
        with (
            zipfile.ZipFile(BytesIO(sound)) as source,
            zipfile.ZipFile(tmp_path / f"{name}.xlsx", "w", zipfile.ZIP_DEFLATED) as copy,
        ):
            for part in source.namelist():
                copy.writestr(part, parts.get(part, source.read(part)))
    found, peak = outcomes(tmp_path)
    for name, (_, text) in cases.items():
        said = " ".join(found[name].values())
        assert text in said, (name, found[name])
        assert found[name]["read_back"] != "read", name
    assert peak < MEMORY


def test_foreign_files_are_refused_by_name(sound: bytes, tmp_path: Path) -> None:
    for name, change in foreign().items():
        book = openpyxl.load_workbook(BytesIO(sound))
        change(book)
        book.save(tmp_path / f"{name}.xlsx")
    (tmp_path / "pdf.xlsx").write_bytes(b"%PDF-1.7\n" + bytes(1000))
    (tmp_path / "old.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(1000))
    empty = openpyxl.Workbook()
    empty.save(tmp_path / "empty.xlsx")
    found, peak = outcomes(tmp_path)
    expected = {
        "formula": "E8: expected a number, received the formula =1+1",
        "text": "E8: expected a number, received the ",
        "nothing": "E8: expected a number, received an empty cell",
        "no names": "an area named 'w_weight'",
        "external": "own cells, received [1]network!",
        "wrong shape": "cells for shape (2, 2)",
        "whole sheet": "cells for shape (2, 2)",
        "pdf": "no zip",
        "old": "an old .xls file",
        "empty": "an area named 'w_weight'",
    }
    for name, text in expected.items():
        assert text in found[name]["read_back"], (name, found[name])
    assert peak < MEMORY


@pytest.mark.slow
def test_mutations_are_read_or_refused(sound: bytes, tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(MUTATIONS):
        damaged = bytearray(sound)
        for _ in range(draw.randint(1, 12)):
            kind, at = draw.randrange(3), draw.randrange(len(damaged))
            if kind == 0:
                damaged[at] = draw.randrange(256)
            elif kind == 1:
                del damaged[at : at + draw.randint(1, 200)]
            else:
                damaged[at:at] = damaged[at : at + draw.randint(1, 200)]
        (tmp_path / f"mutation{number}.xlsx").write_bytes(damaged)
    found, peak = outcomes(tmp_path)
    assert len(found) == MUTATIONS
    assert peak < MEMORY
