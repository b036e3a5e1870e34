from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from minnet.demos import digits, entropy, layers, linear
from minnet.errors import MissingDependencyError
from minnet.spreadsheet.names import parse_a1
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

LESSON = Path(os.environ.get("MINNET_LESSON", "not given"))


def named(path: Path, name: str, sheet: str | None = None) -> Array:
    """A block as it is stored, by its name in the workbook or on one sheet."""
    book = open_book(path)
    area = (book.names if sheet is None else book.local_names[sheet])[name]
    return book.numbers(area, name, formulas=True)


# -- linear ----------------------------------------------------------------------------------------


def deviations(seed: int) -> tuple[float, float]:
    """How far the farthest weight is from the truth after 5 epochs, and after 50."""
    model = linear.network(seed)
    x, y = linear.points(seed)
    found = []
    for begin, end in ((0, 5), (5, 50)):
        model.fit(x, y, batch_size=1, epochs=end, initial_epoch=begin, shuffle=False, verbose=0)
        learned = linear.learned(model)
        found.append(max(abs(learned[name] - wanted) for name, wanted in linear.TRUTH.items()))
    return found[0], found[1]


def assert_learned(seed: int) -> None:
    after_5, after_50 = deviations(seed)
    assert after_5 < 0.1
    assert after_50 < 0.001


@pytest.mark.parametrize("seed", range(10))
def test_linear_finds_the_weights(seed: int) -> None:
    assert_learned(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 100))
def test_linear_finds_the_weights_whatever_the_seed(seed: int) -> None:
    assert_learned(seed)


def test_linear_draws_points_and_weights_by_seed() -> None:
    x, y = linear.points(3)
    assert x.shape == (30, 2) and y.shape == (30, 1)
    assert (x >= -1).all() and (x < 1).all()
    np.testing.assert_allclose(y[:, 0], 2 * x[:, 0] + 3 * x[:, 1] + 1)
    assert (linear.points(3)[0] == x).all() and (linear.points(4)[0] != x).all()
    first, again = linear.network(3), linear.network(3)
    assert linear.learned(first) == linear.learned(again) != linear.learned(linear.network(4))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 12), (8, 5)])
def test_the_linear_book_takes_the_same_steps_as_the_training(
    tmp_path: Path, batch_size: int, steps: int
) -> None:
    """Also after another learning rate has been typed into the book."""
    path = tmp_path / "linear.xlsx"
    linear.run(path, epochs=1, batch_size=batch_size, seed=5, steps=steps)
    report = verify_xlsx(path)
    assert report.ok, report.summary()
    book, live = open_book(path), Recalculated(path)
    last = book.local_names[f"step {steps}"]
    # The last of them may be shorter.
    slices = [slice(start, start + batch_size) for start in range(0, 30, batch_size)]
    for lr in (0.1, 0.03):
        live.set_array(book.names["learning_rate"], np.array([[lr]]))
        live.evaluate()
        model = linear.network(5, lr)
        x, y = linear.points(5)
        for step in range(steps):
            rows = slices[step % len(slices)]
            model.train_on_batch(x[rows], y[rows])
        weight, bias = model.get_weights()
        np.testing.assert_allclose(live.array(last["dense_1_weight_new"]), weight.T, rtol=1e-12)
        np.testing.assert_allclose(live.array(last["dense_1_bias_new"])[0], bias, rtol=1e-12)
        if lr == 0.1:
            stored = named(path, "dense_1_weight_new", f"step {steps}")
            np.testing.assert_allclose(stored, weight.T, rtol=1e-12)


def test_the_linear_book_ends_where_the_training_does(tmp_path: Path) -> None:
    """One epoch of thirty steps, all of them in the book."""
    path = tmp_path / "linear.xlsx"
    model = linear.run(path, epochs=1, steps=30)
    weight, bias = model.get_weights()
    stored = [named(path, f"dense_1_{name}_new", "step 30") for name in ("weight", "bias")]
    np.testing.assert_allclose(stored[0], weight.T, rtol=1e-12)
    np.testing.assert_allclose(stored[1][0], bias, rtol=1e-12)


def test_linear_prints_what_it_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = linear.run(tmp_path / "linear.xlsx", epochs=50, steps=1)
    printed = capsys.readouterr().out
    assert "w1    2.00000       2\nw2    3.00000       3\nbias  1.00000       1\n" in printed
    assert model.history.epoch == list(range(50))
    assert "loss before: 3.45411\n" in printed


# -- layers ----------------------------------------------------------------------------------------

#: Cells of the lesson's sheet 'fixed', under the demo's names for them.
EXPECTED = {
    "linear 1": [-1.8080136943993983, 2.0546240832582936, -0.48544006822998753, 2.328596288820703],
    "activations 1": [0, 2.0546240832582936, 0, 2.328596288820703],
    "linear 2": [-1.729390714321143, 1.9800815400133929, 0.22084812224211148],
    "activations 2": [0, 1.9800815400133929, 0.22084812224211148],
    "linear 3": [0.8960519801955558, 0.030563604986242374],
    "softmax": [0.7038060563380121, 0.2961939436619878],
    "dl/dw 3": [
        [0, 0],
        [1.3935933799045237, -1.393593379904524],
        [0.15543424596487568, -0.1554342459648757],
    ],
    "new weights 3": [
        [-0.3083335159846231, 0.03396564389822082],
        [0.39314994805726183, 0.021166148566343402],
        [0.40591455253578296, 0.07512159777627571],
    ],
}
CELLS = {
    "linear 1": "B9:E9",
    "activations 1": "B12:E12",
    "linear 2": "B19:D19",
    "activations 2": "B22:D22",
    "linear 3": "B28:C28",
    "softmax": "B30:C30",
    "dl/dw 3": "H24:I26",
    "new weights 3": "B45:C47",
}
LOG10_LOSS = 0.5284238258319255  # E32: the sheet's LOG has base 10

#: The same blocks by their names in our book, where a weight block has one row per neuron.
BLOCKS = {
    "linear 1": "dense_1_out",
    "activations 1": "dense_1_relu",
    "linear 2": "dense_2_out",
    "activations 2": "dense_2_relu",
    "linear 3": "dense_3_out",
    "softmax": "loss_softmax",
    "dl/dw 3": "dense_3_weight_grad",
    "new weights 3": "dense_3_weight_new",
}


def same(values: Array, expected: object) -> None:
    np.testing.assert_allclose(values, np.atleast_2d(np.array(expected)), rtol=0, atol=1e-12)


def test_layers_gives_the_lessons_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "layers.xlsx"
    values = layers.run(path)
    for name, expected in EXPECTED.items():
        same(values[name], expected)
    assert float(values["loss"]) == pytest.approx(LOG10_LOSS * math.log(10), abs=1e-12)
    printed = capsys.readouterr().out
    assert "1.2167" in printed and "0.5284" in printed and "base 10" in printed

    report = verify_xlsx(path)
    assert report.ok, report.summary()
    book, live = open_book(path), Recalculated(path)
    for name, expected in EXPECTED.items():
        block = live.array(book.names[BLOCKS[name]])
        same(block.T if "weight" in BLOCKS[name] else block, expected)
    same(live.array(book.names["loss"]), LOG10_LOSS * math.log(10))
    # The gradient of the logits is prediction minus target.
    same(live.array(book.names["dense_3_out_grad"]), [0.7038060563380121, -0.7038060563380122])


@pytest.mark.skipif(not (LESSON / "layers_example.xlsx").exists(), reason="no lesson here")
def test_layers_has_the_numbers_of_the_lessons_file() -> None:
    book = open_book(LESSON / "layers_example.xlsx")

    def cells(area: str) -> Array:
        first, _, last = area.partition(":")
        begin, end = parse_a1(first), parse_a1(last or first)
        assert begin is not None and end is not None
        (row, column), (bottom, right) = begin, end
        place = Area("fixed", row, column, bottom - row + 1, right - column + 1)
        return book.numbers(place, area, formulas=True)

    inputs = {"B3:D3": layers.X, "G3:H3": layers.Y, "B5:E7": layers.WEIGHTS[0]}
    inputs |= {"B14:D17": layers.WEIGHTS[1], "B24:C26": layers.WEIGHTS[2]}
    for area, numbers in inputs.items():
        assert (cells(area) == numbers).all()
    values = layers.train_one_step(layers.network(lr=cells("H22").item()))
    for name, area in CELLS.items():
        same(values[name], cells(area))
        same(cells(area), EXPECTED[name])
    same(values["loss"] / math.log(10), cells("E32"))


# -- entropy ---------------------------------------------------------------------------------------

# D2:D6 of the lesson's sheet 'softmax', and D2:D6 of its sheet 'entropy' (in base 10).
SOFTMAX = [
    0.013594323773306157, 0.09688771265735466, 0.38575929563145, 0.04182187541340556,
    0.4619367925244835,
]  # fmt: skip
BINARY = [0.3010299956639812, 0.00877392430750515, 1, 0.3010299956639812, 0.045757490560675115]


def test_entropy_gives_the_lessons_numbers_in_nats(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "entropy.xlsx"
    entropy.run(path)
    printed = capsys.readouterr().out
    for number in (*SOFTMAX, *BINARY):
        assert f"{number:.4f}" in printed
    assert "base 10" in printed

    report = verify_xlsx(path)
    assert report.ok, report.summary()
    book, live = open_book(path), Recalculated(path)
    categorical, binary = -math.log(SOFTMAX[0]), np.array(BINARY) * math.log(10)
    same(live.array(book.names["softmax"]), SOFTMAX)
    same(live.array(book.names["categorical_loss"]), categorical)
    same(live.array(book.names["binary_losses"]).T, binary)
    same(live.array(book.names["binary_loss"]), binary.mean())
    same(live.array(book.names["total"]), categorical + binary.mean())
    same(live.array(book.names["scores_grad"]), SOFTMAX - np.eye(5)[0])
    truth = np.where(entropy.IS_CAT, entropy.PREDICTIONS, np.subtract(1, entropy.PREDICTIONS))
    slopes = np.where(entropy.IS_CAT, -1, 1) / truth / 5
    same(live.array(book.names["predictions_grad"]).T, slopes)


# -- digits ----------------------------------------------------------------------------------------


def test_digits_learns_and_its_book_is_right(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    path = tmp_path / "digits.xlsx"
    model = digits.run(path)
    data = digits.load()
    assert data.x.shape == (1437, 8, 8, 1) and data.test_x.shape == (360, 8, 8, 1)
    assert digits.accuracy_on_test(model, data) >= 0.95

    report = verify_xlsx(path)
    assert report.ok, report.summary()
    x, y = digits.four_images(model, data)
    book, live = open_book(path), Recalculated(path)
    assert (live.array(book.names["x"]) == x.reshape(4 * 8, 8)).all()
    probabilities = live.array(book.names["loss_softmax"])
    np.testing.assert_allclose(probabilities, model.predict(x), rtol=0, atol=1e-12)
    assert (probabilities.argmax(1) == y).tolist() == [True, True, True, False]


def test_digits_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"'scikit-learn'.*minnet\[digits\]"):
        digits.run(tmp_path / "digits.xlsx")
    assert not list(tmp_path.iterdir())
