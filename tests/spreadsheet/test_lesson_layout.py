"""The lesson's form of a sheet, and weights that the sheet itself draws at random."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest

from minnet import (
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Input,
    Model,
    Sequential,
    export_xlsx,
    read_xlsx,
)
from minnet.errors import ArgumentError, WorkbookError
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Book, open_book
from minnet.spreadsheet.recalculate import (
    Recalculated,
    libreoffice_available,
    libreoffice_values,
)
from minnet.spreadsheet.verify import verify_xlsx

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 3)), RNG.integers(0, 2, 4)


def chain(optimizer: Any = "sgd", **options: Any) -> Sequential:
    layers = [
        Dense(4, "relu", input_dim=3, name="fc1", **options),
        Dropout(0.25),
        Activation("tanh"),
    ]
    model = Sequential([*layers, Dense(2, "softmax", name="fc2", **options)], seed=3)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def exported(path: Path, model: Sequential, **options: Any) -> Book:
    export_xlsx(model, X, Y, path, **{"layout": "lesson", **options})
    return open_book(path)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_forward_down_the_left_gradients_beside_new_weights_below(
    tmp_path: Path, optimizer: str
) -> None:
    book = exported(tmp_path / "book.xlsx", chain(optimizer))
    names = book.names
    down = ["x", "fc1_weight", "fc1_out", "fc1_relu", "fc2_weight", "fc2_out", "loss"]
    new = ["fc1_weight_new", "fc2_weight_new"]
    assert {names[n].column for n in (*down, *new)} == {2}
    rows = [names[n].row for n in (*down, *new)]
    assert rows == sorted(rows) and len(set(rows)) == len(rows)
    for name in down:
        beside = names[f"{name}_grad"]
        assert beside.row == names[name].row, name
        assert beside.column > max(area.column for n, area in names.items() if "_grad" not in n)
    weight, bias = names["fc1_weight"], names["fc1_bias"]
    assert (bias.row, bias.column) == (weight.row, weight.column + 3)
    assert names["fc1_bias_new"].row == names["fc1_weight_new"].row


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_recalculates_and_reads_back(tmp_path: Path, optimizer: str) -> None:
    path, model = tmp_path / "book.xlsx", chain(optimizer)
    book = exported(path, model, steps=2)
    report = verify_xlsx(path)
    assert report.ok, report.summary()
    assert lint_xlsx(path) == []
    occupied: set[Any] = set()
    for area in book.names.values():
        cells = {
            (area.sheet, area.row + i, area.column + j)
            for i in range(area.rows)
            for j in range(area.columns)
        }
        assert not cells & occupied
        occupied |= cells
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    read_xlsx(path, model)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_numbers_and_formulas_as_in_strips(tmp_path: Path) -> None:
    lesson, strips = (
        export_xlsx(chain(), X, Y, tmp_path / f"{layout}.xlsx", layout=layout)
        for layout in ("lesson", "strips")
    )
    assert lesson.formulas == strips.formulas
    books = [open_book(export.path) for export in (lesson, strips)]
    assert books[0].names.keys() == books[1].names.keys()
    for name in books[0].names:
        one, other = (book.numbers(book.names[name], name, formulas=True) for book in books)
        np.testing.assert_array_equal(one, other, name)


def test_a_prediction_has_no_gradients_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    export_xlsx(chain(), X, path=path, layout="lesson")
    assert verify_xlsx(path).ok
    texts = {c.value for c in open_book(path).cells("network").values() if isinstance(c.value, str)}
    assert not any("BACKWARD" in text or "UPDATE" in text for text in texts)


def functional() -> Model:
    a = Input((3,))
    return Model(a, Dense(2, "softmax")(a))


OTHERS: dict[str, tuple[Any, Any, str]] = {
    "convolution": (
        Sequential([Conv2D(1, 2, input_shape=(3, 3, 1)), Flatten(), Dense(2, "softmax")], seed=0),
        RNG.normal(size=(1, 3, 3, 1)), "conv2d_1",
    ),
    "embedding": (
        Sequential([Embedding(4, 2, input_length=2), Flatten(), Dense(2, "softmax")], seed=0),
        [[0, 1]], "embedding_1",
    ),
    "graph": (functional(), X[:1], "a Functional model"),
    "rows of rows": (
        Sequential([Dense(2, "softmax", input_shape=(2, 3))], seed=0), RNG.normal(size=(1, 2, 3)),
        "dense_1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_others_than_chains_of_dense_layers_are_refused(name: str, tmp_path: Path) -> None:
    model, x, text = OTHERS[name]
    with pytest.raises(ArgumentError, match=f"a chain of dense layers.*received .*{text}"):
        export_xlsx(model, x, path=tmp_path / "book.xlsx", layout="lesson")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layout": "lessons"}, "unknown layout.*Did you mean 'lesson'"),
        ({"random_weights": "dead"}, "unknown random_weights"),
    ],
)
def test_unknown_words(options: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=text):
        export_xlsx(chain(), X, Y, tmp_path / "book.xlsx", **options)


# -- weights that are drawn ------------------------------------------------------------------------


def live(path: Path, **options: Any) -> tuple[Sequential, Book]:
    model = chain(kernel_initializer=options.pop("initializer", "he_normal"), use_bias=True)
    return model, exported(path, model, random_weights="live", **options)


def test_draws_are_the_lessons_with_the_right_deviation(tmp_path: Path) -> None:
    model, book = live(tmp_path / "book.xlsx")
    cells, names = book.cells("network"), book.names
    weight, scale = names["fc1_weight"], names["fc1_weight_scale"]
    at = f"${openpyxl.utils.get_column_letter(scale.column)}${scale.row}"
    for i in range(weight.rows):
        for j in range(weight.columns):
            held = cells[weight.row + i, weight.column + j]
            assert held.formula == f"NORMINV(RAND(),0,{at})"
            # Beside it is the weight from which all other numbers of the file come.
            assert held.value == float(model.layers[0].parameters["weight"].data[j, i])
    row = names["x"].row
    held = cells[scale.row, scale.column]
    assert held.formula == f"SQRT(2/COUNT(B{row}:D{row}))"
    assert held.value == pytest.approx(np.sqrt(2 / 3))
    bias = names["fc1_bias"]
    assert cells[bias.row, bias.column].formula is None


@pytest.mark.parametrize(
    ("initializer", "formula", "value"),
    [
        ("glorot_uniform", r"SQRT\(2/\(COUNT\(\w+:\w+\)\+COUNT\(.*\)\)\)", np.sqrt(2 / 7)),
        ("lecun_normal", r"SQRT\(1/COUNT\(\w+:\w+\)\)", np.sqrt(1 / 3)),
    ],
)
def test_the_deviation_is_that_of_the_initializer(
    initializer: str, formula: str, value: float, tmp_path: Path
) -> None:
    path = tmp_path / "book.xlsx"
    _, book = live(path, initializer=initializer)
    scale = book.names["fc1_weight_scale"]
    held = book.cells("network")[scale.row, scale.column]
    assert re.fullmatch(formula, str(held.formula))
    assert held.value == pytest.approx(value)
    assert Recalculated(path).array(scale) == pytest.approx(value)


@pytest.mark.parametrize("layout", ["lesson", "strips"])
@pytest.mark.parametrize("engine", ["ironcalc", "libreoffice"])
def test_all_but_the_draws_is_checked(layout: str, engine: Any, tmp_path: Path) -> None:
    if engine == "libreoffice" and not libreoffice_available():
        pytest.skip("LibreOffice is not installed")
    path = tmp_path / "book.xlsx"
    _, book = live(path, layout=layout, steps=2)
    report = verify_xlsx(path, engine=engine)
    assert report.ok, report.summary()
    drawn = sum(
        book.names[f"fc{n}_weight"].rows * book.names[f"fc{n}_weight"].columns for n in (1, 2)
    )
    assert report.draws == drawn
    assert f"{drawn} random draws held" in report.summary()
    findings = lint_xlsx(path)
    assert {finding.rule for finding in findings} == {"draw"} and len(findings) == drawn


def test_a_wrong_number_behind_draws_is_found(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    live(path)
    bad = tmp_path / "bad.xlsx"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(bad, "w") as copy:
        for part in source.namelist():
            copy.writestr(part, source.read(part).replace(b"<f>SUMPRODUCT", b"<f>2*SUMPRODUCT", 1))
    assert verify_xlsx(path).ok and not verify_xlsx(bad).ok


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_another_program_draws_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minnet.spreadsheet import recalculate

    monkeypatch.setattr(recalculate, "_DRAW", re.compile(rb"(?!)"))
    path = tmp_path / "book.xlsx"
    _, book = live(path)
    (drawn,) = libreoffice_values([path])
    name = book.names["fc1_weight"]
    one, other = (b.numbers(name, "weight", formulas=True) for b in (book, drawn))
    assert (one != other).all()
    assert 0.1 < float(other.std()) < 3


def test_a_volatile_formula_elsewhere_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    exported(path, chain())
    book = openpyxl.load_workbook(path)
    book["network"]["B9"] = "=NORMINV(RAND(),0,B8)+RAND()"
    book.save(path)
    assert "volatile" in {finding.rule for finding in lint_xlsx(path)}


def test_drawn_weights_cannot_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    model, _ = live(path)
    with pytest.raises(WorkbookError, match=r"the formula =NORMINV\(RAND"):
        read_xlsx(path, model)


def test_a_model_with_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="expected a layer with weights.*received 'sequential'"):
        live(tmp_path / "book.xlsx", initializer="zeros")


def test_convolutions_are_drawn_too(tmp_path: Path) -> None:
    layers = [Conv2D(2, 2, input_shape=(4, 4, 1), name="c"), Flatten(), Dense(2, "softmax")]
    model = Sequential(layers, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    path = tmp_path / "book.xlsx"
    export_xlsx(model, RNG.normal(size=(1, 4, 4, 1)), [1], path, random_weights="live")
    assert verify_xlsx(path).ok
    scale = open_book(path).names["c_weight_scale"]
    formula = open_book(path).cells("network")[scale.row, scale.column].formula
    assert formula == "SQRT(2/(4+8))"
