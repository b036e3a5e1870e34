from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from minnet.spreadsheet.verify import verify_xlsx

EXAMPLES = Path(__file__).parent.parent / "examples"

WRITING = [
    "entropy",
    "function",
    "graddesc",
    "layers",
    "linear",
    "optimizers",
    "random_weights",
    "universal",
    "xor",
    *(
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec("sklearn") is None, reason="scikit-learn is missing"
            ),
        )
        for name in ("conv", "digits")
    ),
]


def run(name: str, directory: Path, *arguments: str) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout


@pytest.mark.slow  # what they show, the demos' tests see as well
@pytest.mark.parametrize("name", WRITING)
def test_an_example_runs_and_its_book_is_right(name: str, tmp_path: Path) -> None:
    run(name, tmp_path)
    report = verify_xlsx(tmp_path / f"{name}.xlsx")
    assert report.ok, report.summary()
    assert [file.name for file in tmp_path.iterdir()] == [f"{name}.xlsx"]


def test_the_movies_are_learned_and_drawn(tmp_path: Path) -> None:
    run("collab", tmp_path)
    report = verify_xlsx(tmp_path / "collab.xlsx")
    assert report.ok, report.summary()
    assert (tmp_path / "collab.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_an_example_writes_where_it_is_told_to(tmp_path: Path) -> None:
    run("function", tmp_path, "elsewhere.xlsx")
    assert [file.name for file in tmp_path.iterdir()] == ["elsewhere.xlsx"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
