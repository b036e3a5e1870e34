"""The demos ``universal`` and ``xor``."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from minnet.demos import universal, xor
from minnet.spreadsheet.book import CONTENTS
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx

FIRST = 14  # row of the first bar, and of the first point


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("universal") / "universal.xlsx"
    universal.run(path)
    return path


def test_the_network_is_the_bars() -> None:
    x = universal.between(1000)
    given = universal.network(10, steepness=1e6).predict(x)[:, 0]
    np.testing.assert_allclose(given, np.repeat(universal.heights(10), 100), atol=1e-9)


def test_more_bars_come_nearer() -> None:
    x = universal.between(2000)
    far = [universal.error(universal.network(bars, 400.0 * bars), x) for bars in (10, 20, 40, 80)]
    for some, twice_as_many in pairwise(far):
        assert twice_as_many < 0.6 * some


def test_the_book_is_right_everywhere(path: Path) -> None:
    report = verify_xlsx(path)
    assert report.ok, report.summary()
    assert not lint_xlsx(path)


def test_heights_ends_and_steepness_change_the_network(path: Path) -> None:
    live, x = Recalculated(path), universal.between(universal.POINTS)
    heights, ends = np.linspace(1, 2, 10), np.linspace(0.2, 1, 10) ** 2
    live.set_array(Area(CONTENTS, FIRST, 4, 10, 1), heights[:, None])
    live.set_array(Area(CONTENTS, FIRST, 3, 10, 1), ends[:, None])
    live.set_array(Area(CONTENTS, 9, 2, 1, 1), np.array([[50.0]]))
    live.evaluate()

    def sigmoid(z: float) -> float:
        return 1 / (1 + np.exp(-z))

    begins = [0, *ends[:-1]]
    expected = [
        sum(h * (sigmoid(50 * (p - a)) - sigmoid(50 * (p - b)))
            for h, a, b in zip(heights, begins, ends, strict=True))
        for p in x[:, 0]
    ]  # fmt: skip
    given = live.array(Area(CONTENTS, FIRST, 9, len(x), 1))[:, 0]
    np.testing.assert_allclose(given, expected, rtol=1e-9)
    np.testing.assert_allclose(live.array(open_book(path).names["sum_out"])[:, 0], given)
    curve = universal.target(x[:, 0])
    difference = live.array(Area(CONTENTS, 11, 2, 1, 1)).item()
    assert difference == pytest.approx(np.sqrt(np.mean((given - curve) ** 2)), rel=1e-9)


def test_xor_is_solved_by_two_layers_and_not_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "xor.xlsx"
    model = xor.run(path)
    wanted = xor.Y[:, 0]
    assert np.abs(xor.answers(model) - wanted).max() < 0.1
    one = xor.network(hidden=0)
    one.fit(xor.X, xor.Y, batch_size=4, epochs=1000, verbose=0)
    np.testing.assert_allclose(xor.answers(one), 0.5, atol=1e-6)
    assert " 1  0       1      0.497       0.933\n" in capsys.readouterr().out

    report = verify_xlsx(path)
    assert report.ok, report.summary()
    assert not lint_xlsx(path)
    last = open_book(path).local_names[f"step {xor.STEPS}"]
    weight, bias = (model.layers[0].parameters[name].data for name in ("weight", "bias"))
    live = Recalculated(path)
    np.testing.assert_allclose(live.array(last["hidden_weight_new"]), weight.T, rtol=1e-10)
    np.testing.assert_allclose(live.array(last["hidden_bias_new"])[:, 0], bias, rtol=1e-10)
