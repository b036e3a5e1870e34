"""What a person sees: names, notes, links, pictures, classes, the page on paper."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from PIL import Image

from minnet import Conv2D, Dense, Flatten, Input, Model, Sequential, Tensor, export_xlsx, ops
from minnet.errors import ArgumentError
from minnet.losses import Loss
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.pictures import as_pixels
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.recalculate import Recalculated, libreoffice_available, libreoffice_values
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 3)), RNG.integers(0, 2, 4)
NAMES = ["=1+1", "a cat"]


def classifier(last: Any = None) -> Sequential:
    top = last or Dense(2, "softmax", name="top")
    model = Sequential([Dense(4, "relu", input_dim=3, name="hidden"), top], seed=3, name="net")
    loss = "binary_crossentropy" if top.units == 1 else "sparse_categorical_crossentropy"
    model.compile("sgd", loss)
    return model


def images(channels: int = 1, side: int = 6) -> tuple[Sequential, Array, Array]:
    layers = [Conv2D(2, 3, activation="relu", input_shape=(side, side, channels)), Flatten()]
    model = Sequential([*layers, Dense(2, "softmax")], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, RNG.uniform(size=(2, side, side, channels)), np.array([0, 1])


def exported(path: Path, *arguments: Any, **options: Any) -> Any:
    """A book as openpyxl finds it."""
    export_xlsx(*arguments, path=path, **options)
    return openpyxl.load_workbook(path)


# -- notes and links -------------------------------------------------------------------------------


def test_every_block_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    book = exported(path, classifier(), X, Y, steps=2)
    network, names = book["network"], open_book(path).names
    blocks = [n for n, area in names.items() if area.sheet == "network" and n != "learning_rate"]
    notes = {}
    for name in blocks:
        title = network.cell(names[name].row - 2, names[name].column)
        assert title.comment is not None, name
        notes[name] = title.comment.text
    assert "a row for each neuron" in notes["hidden_weight"]
    assert notes["hidden_weight"].endswith("4 neurons × 3 inputs = 12 numbers")
    assert "grows by about 0.01 times" in notes["hidden_weight_grad"]
    assert "moved against the gradient" in notes["hidden_weight_new"]
    assert "Negative numbers become 0" in notes["hidden_relu"]
    assert "probabilities" in notes["loss_softmax"]
    assert "How wrong" in notes["loss"]
    assert all(not c.comment for row in book["step 2"] for c in row)  # said once is enough


@pytest.mark.parametrize("engine", ["ironcalc", *["libreoffice"] * libreoffice_available()])
def test_a_spread_that_is_small_beside_the_mean(engine: Any, tmp_path: Path) -> None:
    path, x = tmp_path / "book.xlsx", 300 + np.arange(6.0)[:, None] / 128
    export_xlsx(Sequential([Dense(1, input_dim=1)], seed=0), x, path=path)
    cells = open_book(path).cells("contents")
    (row,) = [at[0] for at, held in cells.items() if at[1] == 1 and held.value == "inputs"]
    assert cells[row, 7].value == pytest.approx(np.sqrt(35 / 12) / 128, rel=1e-12)
    assert verify_xlsx(path, engine=engine).ok
    assert lint_xlsx(path) == []


def test_notes_of_thousands_of_blocks_are_not_all_written(tmp_path: Path) -> None:
    def chain(x: Any) -> Any:
        for _ in range(600):
            x = x * 1.001
        return x

    path = tmp_path / "book.xlsx"
    export_xlsx(chain, inputs={"x": 1.0}, path=path)
    sheet = openpyxl.load_workbook(path)["network"]
    assert sum(c.comment is not None for row in sheet for c in row) == 900
    assert verify_xlsx(path).ok


def links_of(sheet: Any) -> dict[str, str]:
    return {c.coordinate: c.hyperlink.location for row in sheet for c in row if c.hyperlink}


def test_links_lead_to_a_layer_and_back(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    book = exported(path, classifier(), X, Y, steps=3)
    contents, network = book["contents"], book["network"]
    rows = {c.value: c for row in contents for c in row if c.hyperlink}
    for layer in ("inputs", "hidden", "top", "loss"):
        sheet, _, cell = rows[layer].hyperlink.location.partition("!")
        assert sheet == "network"
        strip = network.cell(5, network[cell].column)
        assert str(strip.value).startswith(layer)
        assert strip.hyperlink.location == f"contents!{rows[layer].coordinate}"
    assert {"contents!A1", "'step 3'!A1", "network!A1"} <= set(links_of(book["step 2"]).values())


def test_arrows_and_shapes(tmp_path: Path) -> None:
    network = exported(tmp_path / "book.xlsx", classifier(), X, Y)["network"]
    texts = [c.value for row in network for c in row if isinstance(c.value, str)]
    assert "hidden · Dense 3 → 4, relu  →" in texts
    assert "←  hidden · Dense 3 → 4, relu" in texts
    assert {"x  4×3", "weight  4×3", "relu  4×4"} <= set(texts)


def test_what_is_cut_can_be_read_in_full(tmp_path: Path) -> None:
    name = "_".join(["encoder"] * 20)
    model = Sequential([Dense(2, "relu", input_shape=(3,), name=name), Dense(3, "softmax")], seed=0)
    model.compile("adam", "sparse_categorical_crossentropy")
    book = exported(tmp_path / "book.xlsx", model, X, Y)
    network = book["network"]
    strips = [c for c in network[5] if c.comment]
    assert [c.comment.text for c in strips] == [f"{name} · Dense 3 → 2, relu"]
    assert "…" in strips[0].value
    cut = [c for row in network for c in row if str(c.value).endswith("…")]
    cut = [c for c in cut if str(c.value).startswith("= ")]
    assert cut
    for cell in cut:
        title = network.cell(cell.row - 1, cell.column)
        begins = cell.value.removesuffix("…")
        (whole,) = (text for text in title.comment.text.splitlines() if begins in text)
        assert len(whole) > len(begins) + 1 and "…" not in whole
    assert book["contents"].column_dimensions["A"].width == 70
    blocks = [c.comment.text for c in book["check"]["I"] if c.comment and c.row < 10]
    assert blocks == [f"{name}_weight", f"{name}_bias"]


# -- pictures --------------------------------------------------------------------------------------


def pictures_of(sheet: Any) -> list[tuple[tuple[int, int], Array]]:
    return [
        (
            (p.anchor._from.row + 1, p.anchor._from.col + 1),
            np.asarray(Image.open(BytesIO(p._data()))),
        )
        for p in sheet._images
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_beside_their_numbers(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "book.xlsx"
    model, x, y = images(channels)
    shown = pictures_of(exported(path, model, x, y)["network"])
    area = open_book(path).names["x"]
    column = area.column + area.columns + 1
    assert [at for at, _ in shown] == [(area.row, column), (area.row + 6, column)]
    for image, (_, pixels) in zip(x, shown, strict=True):
        expected = as_pixels(image)
        times = len(pixels) // 6
        np.testing.assert_array_equal(pixels, expected.repeat(times, 0).repeat(times, 1))
    weight = open_book(path).names["conv2d_1_weight"]
    assert weight.column > column + 3  # nothing is covered
    assert verify_xlsx(path).ok


def test_features_that_are_no_pictures_are_not_shown(tmp_path: Path) -> None:
    for channels, side in ((2, 6), (1, 4)):
        model, x, y = images(channels, side)
        assert not exported(tmp_path / "book.xlsx", model, x, y)["network"]._images
    assert not exported(tmp_path / "book.xlsx", classifier(), X, Y)["network"]._images


def test_pictures_of_ones_own_go_with_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    model = Sequential([Dense(2, "softmax", input_dim=9)], seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = RNG.uniform(size=(4, 9))
    photos = RNG.integers(0, 256, (4, 200, 300, 3), np.uint8)
    book = exported(path, model, x, Y, pictures=photos, steps=2, batch_size=2)
    for step, rows in (("network", photos[:2]), ("step 2", photos[2:])):
        shown = pictures_of(book[step])
        np.testing.assert_array_equal([pixels for _, pixels in shown], rows)
        # Below the numbers, with the row's name above.
        assert [at for at, _ in shown] == [(11, 1), (11, 4)]
        assert [book[step].cell(10, c).value for c in (1, 4)] == ["row 1", "row 2"]
    gradient = open_book(path).names["x_grad"]
    assert gradient.row > 11 + 8
    with pytest.raises(ArgumentError, match="a picture for each of 4 rows, received 3"):
        export_xlsx(model, x, Y, path, pictures=photos[:3])


# -- classes ---------------------------------------------------------------------------------------


def answers(path: Path, sheet: str = "network") -> list[list[Any]]:
    """The rows of the table beside the loss: class, how sure, target."""
    cells = open_book(path).cells(sheet)
    ((row, column),) = [at for at, c in cells.items() if c.value == "class" and at[0] > 3]
    table = []
    for at in range(row + 2, row + 6):
        table.append([cells[at, column + k].value for k in range(3) if (at, column + k) in cells])
    return table


def test_each_row_has_its_class_by_name(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier()
    book = exported(path, model, X, Y, class_names=NAMES)
    p = model.astype(np.float64).predict(X)
    expected = [[NAMES[row.argmax()], row.max(), NAMES[y]] for row, y in zip(p, Y, strict=True)]
    for found, wanted in zip(answers(path), expected, strict=True):
        assert found[::2] == wanted[::2] and found[1] == pytest.approx(wanted[1])
    assert book["network"]["O3"].data_type == "f"
    assert open_book(path).cells("network")[3, 15].value == expected[0][0]
    area = open_book(path).names["class_names"]
    held = [open_book(path).cells("contents")[area.row + i, 1] for i in range(2)]
    assert held == [(name, None) for name in NAMES]  # texts, whatever they look like
    assert verify_xlsx(path).ok
    assert lint_xlsx(path) == []


@pytest.mark.parametrize("engine", ["ironcalc", *["libreoffice"] * libreoffice_available()])
def test_names_that_look_like_escapes_are_texts(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    export_xlsx(classifier(), X, Y, path, class_names=["_x000A_", "a_x0041_"])
    assert verify_xlsx(path, engine=engine).ok
    if engine == "libreoffice":
        values = libreoffice_values([path])[0].cells("network").values()
        assert {"_x005F_x000A_", "a_x005F_x0041_"} & {c.value for c in values}


def test_the_table_of_classes_stands_below_the_bar(tmp_path: Path) -> None:
    network = exported(tmp_path / "book.xlsx", classifier(), X, Y)["network"]
    (title,) = [c for row in network.iter_rows() for c in row if c.value == "answers"]
    bar = network.cell(title.row - 1, 1).fill.fgColor.rgb
    last = title.column + 2  # class, how sure, target
    assert all(network.cell(title.row - 1, c).fill.fgColor.rgb == bar for c in range(1, last + 1))
    assert network.cell(title.row - 1, last + 1).fill.fgColor.rgb != bar


def test_the_class_follows_an_edit(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier()
    export_xlsx(model, X[:1], path=path, class_names=NAMES)
    live, area = Recalculated(path), open_book(path).names["x"]
    for x in (X[:1] * 3, X[:1] * -3, X[1:2] * 5):
        live.set_array(area, x)
        live.evaluate()
        p = model.astype(np.float64).predict(x)[0]
        assert live.value("network", 3, 6) == NAMES[p.argmax()]
        assert live.value("network", 3, 9) == pytest.approx(p.max())


def test_classes_without_names_are_numbers(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier()
    export_xlsx(model, X, Y, path)
    assert [row[0] for row in answers(path)] == model.predict_classes(X).tolist()
    assert [row[2] for row in answers(path)] == Y.tolist()


def test_yes_or_no(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier(Dense(1, "sigmoid"))
    export_xlsx(model, X, Y, path, class_names=NAMES)
    p = model.astype(np.float64).predict(X)[:, 0]
    assert [row[0] for row in answers(path)] == [NAMES[int(q >= 0.5)] for q in p]
    assert [row[1] for row in answers(path)] == pytest.approx(np.maximum(p, 1 - p))
    assert verify_xlsx(path).ok


def likelihood(prediction: Tensor, target: Tensor) -> Tensor:
    return -(ops.log(prediction) * target).sum()


class Spread(Loss):
    """A loss whose targets say no class: how far apart the outputs are to be, of each row."""

    name, description = "spread", "distance from a spread"

    def __call__(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        return ((prediction[:, 0] - prediction[:, 1] - target) ** 2).sum()

    def prepare_target(self, y: Array, output_shape: Any, dtype: Any) -> Array:
        return y.astype(dtype)


@pytest.mark.parametrize(
    ("last", "loss", "y"),
    [
        (Dense(2, "softmax", name="top"), "mse", np.eye(2)[Y]),
        (Dense(2, "softmax", name="top"), likelihood, np.eye(2)[Y]),
        (Dense(1, "sigmoid", name="top"), "mse", Y),
    ],
)
def test_a_classifier_is_one_whatever_its_loss(
    last: Any, loss: Any, y: Any, tmp_path: Path
) -> None:
    path, model = tmp_path / "book.xlsx", classifier(last)
    model.compile("sgd", loss, ["accuracy"])
    book = exported(path, model, X, y, class_names=NAMES, steps=2)
    found = model.predict_classes(X).reshape(-1)
    assert [row[::2] for row in answers(path)] == [
        [NAMES[k], NAMES[y]] for k, y in zip(found, Y, strict=True)
    ]
    assert book["network"]["H3"].value == "accuracy"
    accuracy = open_book(path).cells("network")[3, 9].value
    assert accuracy == pytest.approx(model.evaluate(X, y, verbose=0)[1])
    assert verify_xlsx(path).ok
    assert lint_xlsx(path) == []


def test_targets_that_are_no_classes(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier()
    model.compile("sgd", Spread())
    book = exported(path, model, X, np.array([0.5, -0.5, 1.5, 0.0]), class_names=NAMES)
    assert [len(row) for row in answers(path)] == [2] * 4  # no target beside them
    assert book["network"]["H3"].value is None
    assert verify_xlsx(path).ok


def test_a_sigmoid_of_another_loss_is_no_class_unless_it_has_a_name(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier(Dense(1, "sigmoid"))
    model.compile("sgd", "mse")
    export_xlsx(model, X, RNG.uniform(size=4), path)
    assert "class" not in {c.value for c in open_book(path).cells("network").values()}


def test_the_output_that_classifies_need_not_be_the_first(tmp_path: Path) -> None:
    x, path = Input((3,)), tmp_path / "book.xlsx"
    model = Model(x, [Dense(1)(x), Dense(2, "softmax")(x)])
    export_xlsx(model, X, path=path, class_names=NAMES)
    expected = [NAMES[row.argmax()] for row in model.predict(X)[1]]
    assert [row[0] for row in answers(path)] == expected


def test_the_models_own_names(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier()
    model.class_names = NAMES  # type: ignore[attr-defined]
    export_xlsx(model, X, path=path)
    assert answers(path)[0][0] in NAMES


def test_names_of_a_model_that_is_no_classifier_any_more(tmp_path: Path) -> None:
    path, model = tmp_path / "book.xlsx", classifier(Dense(2))
    model.compile("sgd", "mse")
    model.class_names = NAMES  # type: ignore[attr-defined]
    export_xlsx(model, X, path=path)
    export_xlsx(model, X, np.eye(2)[Y], path)
    assert "class_names" not in open_book(path).names


@pytest.mark.parametrize(
    ("model", "names", "text"),
    [
        (classifier(), ["one"], "a name for each of 2 classes, received 1 names"),
        (classifier(), ["", "two"], "a name for each class, received an empty one"),
        (Sequential([Dense(2, input_dim=3)]), NAMES, "class_names: expected a classifier"),
    ],
)
def test_names_that_do_not_fit(model: Sequential, names: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=text):
        export_xlsx(model, X, path=tmp_path / "book.xlsx", class_names=names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [{"layout": "lesson"}, {"random_weights": "live"}, {"class_names": NAMES}, {"pictures": []}],
)
def test_functions_have_none_of_it(options: Any, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="of a function: expected options that functions have"):
        export_xlsx(lambda a: a * 2, inputs={"a": 1.0}, path=tmp_path / "book.xlsx", **options)


# -- on screen and on paper ------------------------------------------------------------------------


def test_a_wide_sheet_is_printed_on_several_pages(tmp_path: Path) -> None:
    small = exported(tmp_path / "s.xlsx", lambda a: a * 2, inputs={"a": 1.0})["network"]
    wide = Sequential([Dense(2, "softmax", input_dim=150)], seed=0)
    large = exported(tmp_path / "l.xlsx", wide, RNG.normal(size=(1, 150)))["network"]
    assert small.page_setup.fitToWidth == 1 and small.sheet_view.zoomScale == 90
    assert large.page_setup.fitToWidth == 6 and large.sheet_view.zoomScale == 70
    for sheet in (small, large):
        assert sheet.print_title_rows == "$1:$3"
        assert sheet.page_setup.orientation == "landscape"


def test_numbers_shrink_rather_than_turn_into_hashes(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    book = exported(path, classifier(), X, Y, steps=2)
    cells = open_book(path)
    for title in book.sheetnames:
        for (row, column), held in cells.cells(title).items():
            if isinstance(held.value, float):
                cell = book[title].cell(row, column)
                width = book[title].column_dimensions[cell.column_letter].width
                assert cell.alignment.shrink_to_fit or width >= 11, (title, cell.coordinate)


def test_zeros_are_counted_alike_by_every_program(tmp_path: Path) -> None:
    """Some take numbers below 1e-15 for 0 in comparisons, and others do not."""
    path = tmp_path / "book.xlsx"
    model = Sequential([Dense(4, input_dim=1, use_bias=False)], seed=0, dtype=np.float64)
    model.set_weights([np.array([[1e-17, 1e-6, 0.0, 1.0]])])
    export_xlsx(model, [[1.0]], path=path)
    cells = open_book(path).cells("contents")
    row = next(at[0] for at, c in cells.items() if c.value == "dense_1")
    assert cells[row, 8].value == 0.5
    assert verify_xlsx(path).ok
