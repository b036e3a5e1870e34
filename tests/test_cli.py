from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import minnet
from minnet import cli
from minnet.demos import layers
from minnet.spreadsheet.recalculate import libreoffice_available

PROGRAM = [sys.executable, "-c", "from minnet.cli import main; main()"]

runner = CliRunner()


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8")


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """A real run: exit code, stdout and stderr."""
    process = start(*arguments)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    """The same within this process, which is faster."""
    result = runner.invoke(cli.app, list(map(str, arguments)), prog_name="minnet")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refused(*arguments: str | Path) -> str:
    """The one line that a command fails with."""
    code, _, stderr = invoke(*arguments)
    assert code == 2
    assert stderr.startswith("minnet: ")
    assert stderr.count("\n") == 1 and stderr.endswith("\n")
    return stderr


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "layers.xlsx"
    layers.run(path)
    return path


def edited(book: Path, target: Path, pattern: str, replacement: str) -> Path:
    """A copy whose sheet ``network`` (the second) has one place changed."""
    with zipfile.ZipFile(book) as source, zipfile.ZipFile(target, "w") as copy:
        for part in source.namelist():
            data = source.read(part).decode() if part.endswith(".xml") else source.read(part)
            if part == "xl/worksheets/sheet2.xml":
                assert isinstance(data, str)
                data, count = re.subn(pattern, replacement, data, count=1)
                assert count == 1
            copy.writestr(part, data)
    return target


def wrong(book: Path, target: Path) -> Path:
    """A copy with another number stored beside one formula."""
    return edited(book, target, r"(<f>MAX\(0,[A-Z]+8\)</f><v>)[^<]*", r"\g<1>7.5")


# -- the commands as such --------------------------------------------------------------------------


def test_version() -> None:
    assert run("--version") == (0, f"minnet {minnet.__version__}\n", "")


def test_help_lists_the_commands_and_loads_none_of_them() -> None:
    code = (
        "import sys\n"
        "from minnet.cli import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "heavy = ('sklearn', 'ironcalc', 'minnet.demos.')\n"
        "print([m for m in sys.modules if m.startswith(heavy)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert "check" in done.stdout and "demo" in done.stdout
    assert done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    "name", ["linear", "layers", "random", "entropy", "digits", "conv", "graddesc"]
)
def test_every_demo_has_help(name: str) -> None:
    code, stdout, _ = invoke("demo", name, "--help")
    assert code == 0
    assert "--output" in stdout
    assert f"[default: {name}.xlsx]" in " ".join(stdout.split())
    assert name in invoke("demo", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["demo", "liner"], "No such command 'liner'"),
        (["demo", "linear", "--speed", "3"], "No such option"),
        (["demo", "linear", "--epochs", "many"], "'--epochs'"),
        (["demo", "linear", "--epochs", "-1"], "'--epochs'"),
        (["demo", "linear", "--steps", "0"], "'--steps'"),
        (["check"], "Missing argument"),
        (["check", "a.xlsx", "--engine", "abacus"], "'--engine'"),
        (["check", "a.xlsx", "--tolerance", "-1"], "'--tolerance'"),
    ],
)
def test_wrong_calls_get_the_usual_message(arguments: list[str], message: str) -> None:
    code, stdout, stderr = invoke(*arguments)
    assert code == 2
    assert not stdout
    assert message in stderr and "Usage: minnet" in stderr


@pytest.mark.parametrize("arguments", [[], ["demo"]])
def test_without_a_command_there_is_help(arguments: list[str]) -> None:
    code, stdout, stderr = invoke(*arguments)
    assert code == 2
    assert "Commands:" in stdout + stderr


# -- demos -----------------------------------------------------------------------------------------


def test_a_demo_prints_its_results_and_where_the_book_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.xlsx"
    code, stdout, stderr = run("demo", "linear", "-o", path, "--epochs", "3", "--steps", "2")
    assert (code, stderr) == (0, "")
    assert "loss before: " in stdout and "loss after: " in stdout
    assert "Epoch 3/3" in stdout and "Epoch 4" not in stdout
    assert re.search(rf"Wrote {re.escape(str(path))}: \d+ live formulas\.", stdout)
    assert f"minnet check {path}\n" in stdout
    assert run("check", path)[0] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["mine.xlsx"]


def test_a_demo_replaces_the_book_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "book.XLSX"
    path.write_text("an old file")
    assert invoke("demo", "layers", "--output", path)[0] == 0
    assert zipfile.is_zipfile(path)


def test_a_demo_refuses_outputs_that_cannot_be(tmp_path: Path) -> None:
    directory = tmp_path / "folder.xlsx"
    directory.mkdir()
    assert "a directory" in refused("demo", "layers", "-o", directory)
    assert "ends in .xlsx" in refused("demo", "layers", "-o", tmp_path / "book.csv")
    assert "ends in .xlsx" in refused("demo", "layers", "-o", tmp_path)
    nowhere = tmp_path / "nowhere"
    assert str(nowhere) in refused("demo", "entropy", "-o", nowhere / "book.xlsx")
    assert [file.name for file in tmp_path.iterdir()] == ["folder.xlsx"]


def test_an_output_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", forbidden)
    assert "Permission denied" in refused("demo", "layers", "-o", tmp_path / "book.xlsx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lr", ["0", "nan", "-0.1"])
def test_errors_of_minnet_are_one_line(tmp_path: Path, lr: str) -> None:
    message = refused("demo", "linear", "-o", tmp_path / "book.xlsx", "--lr", lr)
    assert "lr: expected a finite number above 0" in message


def test_training_that_diverges_is_one_line(tmp_path: Path) -> None:
    arguments = ("demo", "linear", "-o", tmp_path / "book.xlsx", "--lr", "1000", "--epochs", "50")
    assert "Lower the learning rate" in refused(*arguments)


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Path) -> None:
        raise MemoryError("Unable to allocate 9 EiB")

    monkeypatch.setattr(layers, "run", run)
    message = refused("demo", "layers", "-o", tmp_path / "book.xlsx")
    assert message == "minnet: out of memory. Unable to allocate 9 EiB\n"


def test_a_book_that_would_be_too_large_is_one_line(tmp_path: Path) -> None:
    arguments = ("demo", "linear", "-o", tmp_path / "book.xlsx", "--steps", "50000")
    assert "live formulas" in refused(*arguments)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c(tmp_path: Path) -> None:
    # A program in the background of a shell, as a whole test run may be, inherits deafness to it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start("demo", "linear", "-o", tmp_path / "book.xlsx", "--epochs", "1000000")
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("Epoch 3/"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr


# -- check -----------------------------------------------------------------------------------------


def test_check_of_a_right_book(book: Path) -> None:
    code, stdout, stderr = invoke("check", book)
    assert (code, stderr) == (0, "")
    assert re.fullmatch(
        r"layers\.xlsx: [\d,]+ formula cells recalculated by IronCalc; largest difference .*\n",
        stdout,
    )


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is missing")
def test_check_by_libreoffice(book: Path) -> None:
    code, stdout, _ = invoke("check", book, "--engine", "libreoffice")
    assert code == 0
    assert "recalculated by LibreOffice" in stdout


def test_check_finds_a_wrong_number(book: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run("check", wrong(book, tmp_path / "wrong.xlsx"))
    assert (code, stderr) == (1, "")
    first, *rest = stdout.splitlines()
    assert first.startswith("wrong.xlsx: ") and "1 differ by more than 1e-09" in first
    assert rest[0].startswith("  network!") and "=MAX(0," in rest[0]
    assert "7.5 stored, 0.0 recalculated" in rest[0]
    assert rest[1:] == ["    difference 1"]


def test_check_finds_a_missing_number(book: Path, tmp_path: Path) -> None:
    missing = edited(book, tmp_path / "missing.xlsx", r"(<f>MAX\(0,[^<]*</f>)<v>[^<]*</v>", r"\1")
    code, stdout, _ = invoke("check", missing)
    assert code == 1
    assert "nothing stored, 0.0 recalculated" in stdout and "difference inf" in stdout


def test_check_lists_the_worst_few(book: Path, tmp_path: Path) -> None:
    # A mistake, beside which no rounding is excused.
    code, stdout, _ = invoke("check", wrong(book, tmp_path / "wrong.xlsx"), "--tolerance", "0")
    assert code == 1
    assert stdout.count("    difference ") == cli.WORST
    differences = [float(far) for far in re.findall("    difference (.*)", stdout)]
    assert differences == sorted(differences, reverse=True)


def test_check_tolerates_what_it_is_told_to(book: Path, tmp_path: Path) -> None:
    path = wrong(book, tmp_path / "wrong.xlsx")
    assert invoke("check", path, "--tolerance", "1.5")[0] == 0


def test_check_prints_every_cell(book: Path) -> None:
    code, stdout, _ = invoke("check", book, "--cells")
    assert code == 0
    summary, head, *rows = stdout.splitlines()
    assert head.split("\t") == [
        "sheet", "cell", "formula", "stored", "recalculated", "difference"
    ]  # fmt: skip
    cells = int(re.findall(r": ([\d,]+) formula cells", summary)[0].replace(",", ""))
    assert len(rows) == cells
    for row in rows:
        _, cell, formula, stored, recalculated, difference = row.split("\t")
        assert re.fullmatch("[A-Z]+[0-9]+", cell) and formula.startswith("=")
        assert stored and recalculated and float(difference) < 1e-9


def test_check_goes_on_after_a_bad_file(book: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.xlsx"
    text.write_text("no workbook")
    bad = wrong(book, tmp_path / "wrong.xlsx")
    code, stdout, stderr = run("check", tmp_path / "nowhere.xlsx", text, tmp_path, bad, book)
    assert code == 2
    assert [line.split(":")[0] for line in stderr.splitlines()] == ["minnet"] * 3
    assert "nowhere.xlsx" in stderr and "text.xlsx" in stderr and "directory" in stderr
    assert "wrong.xlsx: " in stdout and "layers.xlsx: " in stdout
    assert invoke("check", book, bad)[0] == invoke("check", bad, book)[0] == 1


def test_texts_of_a_file_stay_on_one_line(book: Path, tmp_path: Path) -> None:
    """A formula may hold line breaks, and characters that steer a terminal."""
    formula = "(<f>)MAX\\(0,[A-Z]+8\\)(</f>)"
    odd = edited(book, tmp_path / "odd.xlsx", formula, "\\g<1>IF(1,\n\t&quot;\x9b2J&quot;)\\2")
    code, stdout, _ = invoke("check", odd, "--cells")
    assert code == 1
    assert '=IF(1,\\n\\t"\\x9b2J")\t' in stdout
    assert all(line.count("\t") == 5 for line in stdout.splitlines()[1:])


@pytest.mark.skipif(sys.platform == "win32", reason="the shell's")
@pytest.mark.parametrize("closed", ["1", "2"])
def test_an_output_that_is_closed(closed: str, book: Path, tmp_path: Path) -> None:
    """Nothing is said there, nor instead on the other one; all else is as usual."""

    def run(*arguments: object) -> tuple[int, str]:
        command = ["sh", "-c", f'"$@" {closed}>&-', "sh", *PROGRAM, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    path = tmp_path / "book.xlsx"
    code, said = run("demo", "linear", "-o", path, "--epochs", 2)
    assert (code, "Epoch 2/2" in said) == (0, closed == "2") and zipfile.is_zipfile(path)
    code, said = run("check", tmp_path / "nowhere.xlsx")
    assert (code, "nowhere.xlsx" in said) == (2, closed == "1") and "Traceback" not in said


def test_a_reader_that_leaves_early_is_no_error(book: Path) -> None:
    process = start("check", "--cells", *[book] * 12)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.wait(timeout=30)
    process.stderr.close()
