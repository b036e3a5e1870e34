"""``minnet export``, ``diff`` and ``read``: saved models to workbooks and back."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from PIL import Image
from test_cli import invoke, refused, run

import minnet
from minnet import Conv2D, Dense, Embedding, Flatten, Input, Sequential, saving
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.verify import verify_xlsx
from minnet.weights.safetensors import opened_with


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of images, saved."""
    layers = [
        Conv2D(2, 3, activation="relu", input_shape=(5, 6, 3), name="conv"),
        Flatten(),
        Dense(3, "softmax", name="last"),
    ]
    model = Sequential(layers, name="reader", seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    folder = tmp_path_factory.mktemp("models")
    model.save(folder / "reader.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "reader.safetensors"


def right(path: Path) -> None:
    report = verify_xlsx(path)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []


def test_a_photograph_through_a_saved_model(reader: Path, tmp_path: Path) -> None:
    path, photo = tmp_path / "book.xlsx", reader.with_name("photo.png")
    code, stdout, stderr = run("export", reader, "--input", photo, "--divide-by", "255", "-o", path)
    assert (code, stderr) == (0, "")
    formulas, kilobytes = re.findall(r"Writing ([\d,]+) live formulas, about (\d+) kB", stdout)[0]
    assert f"Wrote {path}: {formulas} live formulas." in stdout
    assert 0.6 < int(kilobytes) * 1000 / path.stat().st_size < 1.6
    right(path)
    x = minnet.data.read_rows([photo], (5, 6, 3)) / 255
    predicted = minnet.load_model(reader).predict(x)
    book = open_book(path)
    shown = book.numbers(book.names["last_softmax"], "p", formulas=True)
    np.testing.assert_allclose(shown, predicted, rtol=1e-5)
    header = book.cells("network")
    assert header[3, 6].value == predicted.argmax() and header[3, 6].formula
    assert header[3, 9].value == pytest.approx(predicted.max(), rel=1e-5)
    assert "learning_rate" not in book.names and "x_grad" not in book.names


def test_names_in_the_file_of_what_is_no_classifier(tmp_path: Path) -> None:
    model = Sequential([Dense(3, input_dim=2)], seed=0)
    model.compile("sgd", "mse")
    saving.save(model, tmp_path / "scores.safetensors", class_names=["a", "b", "c"])
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    arguments = ("--input", tmp_path / "x.csv", "-o", tmp_path / "book.xlsx")
    assert invoke("export", tmp_path / "scores.safetensors", *arguments)[0] == 0
    right(tmp_path / "book.xlsx")


def test_training_steps_with_targets(reader: Path, tmp_path: Path) -> None:
    path, photo = tmp_path / "book.xlsx", reader.with_name("photo.png")
    arguments = ("--input", photo, "--input", photo, "--divide-by", "255", "-o", path)
    assert invoke("export", reader, *arguments, "--target", "1,0", "--steps", "2")[0] == 0
    right(path)
    book = open_book(path)
    assert "step 2" in book.sheets and "training" in book.sheets
    np.testing.assert_array_equal(book.numbers(book.names["target"], "t").ravel(), [1, 0])
    (tmp_path / "y.csv").write_text("label\n1\n0\n")
    other = tmp_path / "other.xlsx"
    arguments = (*arguments[:-1], other, "--target", tmp_path / "y.csv", "--steps", "2")
    assert invoke("export", reader, *arguments)[0] == 0
    assert invoke("diff", path, other)[0] == 0


def test_numbers_of_classes_where_the_loss_wants_rows(reader: Path, tmp_path: Path) -> None:
    """As a model of minnet finetune has it: 1 is then the row 0, 1, 0."""
    model, photo = minnet.load_model(reader), reader.with_name("photo.png")
    model.compile("sgd", "categorical_crossentropy")
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "rows.csv").write_text("0,1,0\n1,0,0\n")
    files = ("--input", photo, "--input", photo, "--divide-by", "255")
    for target in ("1,0", tmp_path / "rows.csv"):
        path = tmp_path / "book.xlsx"
        arguments = ("export", tmp_path / "m.safetensors", *files, "-o", path, "--force")
        assert invoke(*arguments, "--target", target)[0] == 0
        right(path)
        book = open_book(path)
        shown = book.numbers(book.names["target"], "t")
        np.testing.assert_array_equal(shown, [[0, 1, 0], [1, 0, 0]])
    assert "labels from 0 to 2, received 3" in refused(*arguments, "--target", "1,3")
    assert "rows of shape (3,)" in refused(*arguments, "--target", "0.5,0")
    assert "rows of shape (3,)" in refused(*arguments, "--target", "nan,0")


def test_a_target_without_a_loss(reader: Path, tmp_path: Path) -> None:
    minnet.load_model(reader, compile=False).save(tmp_path / "m.safetensors")
    files = ("--input", reader.with_name("photo.png"), "--target", "1", "-o", tmp_path / "b.xlsx")
    message = refused("export", tmp_path / "m.safetensors", *files)
    assert "m.safetensors: expected a model with a loss for --target" in message
    assert "Weights alone have none" in message


def test_tables_and_indices(tmp_path: Path) -> None:
    model = Sequential([Embedding(4, 2, input_length=2), Flatten(), Dense(1)], seed=0)
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "x.csv").write_text("a,b\n0,3\n2,2\n")
    np.save(tmp_path / "y.npy", [[0.5], [1.0]])
    path = tmp_path / "book.xlsx"
    files = ("--input", tmp_path / "x.csv", "--target", tmp_path / "y.npy", "-o", path)
    assert invoke("export", tmp_path / "m.safetensors", *files)[0] == 0
    right(path)


def test_several_inputs_by_name(tmp_path: Path) -> None:
    a, b = Input((2,), name="a"), Input((1,), name="b")
    model = minnet.Model([a, b], Dense(1)(minnet.Concatenate()([a, b])))
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "a.csv").write_text("1,2\n")
    (tmp_path / "b.csv").write_text("3\n")
    path = tmp_path / "book.xlsx"
    both = ("--input", f"b={tmp_path / 'b.csv'}", "--input", f"a={tmp_path / 'a.csv'}")
    assert invoke("export", tmp_path / "m.safetensors", *both, "-o", path)[0] == 0
    right(path)
    message = refused("export", tmp_path / "m.safetensors", *both[:2], "-o", tmp_path / "c.xlsx")
    assert "input 'a': expected --input a=FILE, received none" in message


def test_several_outputs_by_name_and_names_with_signs(tmp_path: Path) -> None:
    a, b = Input((2,), name="a"), Input((1,), name="a=b")
    both = minnet.Concatenate()([a, b])
    kinds, size = Dense(2, "softmax", name="kind=1")(both), Dense(1, name="size")(both)
    model = minnet.Model([a, b], [kinds, size])
    model.compile("sgd", ["categorical_crossentropy", "mse"])
    model.save(tmp_path / "m.safetensors")
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    (tmp_path / "b.csv").write_text("3\n4\n")
    path = tmp_path / "book.xlsx"
    inputs = ("--input", f"a=b={tmp_path / 'b.csv'}", "--input", f"a={tmp_path / 'a.csv'}")
    targets = ("--target", f"size={tmp_path / 'b.csv'}", "--target", "kind=1=0,1")
    arguments = ("export", tmp_path / "m.safetensors", *inputs)
    assert invoke(*arguments, *targets, "-o", path)[0] == 0
    right(path)
    book = open_book(path)
    for name, numbers in (("kind_1_target", [[1, 0], [0, 1]]), ("size_target", [[3], [4]])):
        found = book.numbers(book.names[name], name)
        np.testing.assert_array_equal(found, numbers)
    other = tmp_path / "other.xlsx"
    message = refused(*arguments, *targets[:2], "-o", other)
    assert "target 'kind=1': expected --target kind=1=FILE, received none" in message
    message = refused(*arguments, "--target", "3", "-o", other)
    assert "expected --target kind=1=FILE --target size=FILE, received '3'" in message


def test_nothing_is_lost_without_force(reader: Path, tmp_path: Path) -> None:
    path, photo = tmp_path / "book.xlsx", reader.with_name("photo.png")
    path.write_text("mine")
    arguments = ("export", reader, "--input", photo, "--divide-by", "255", "-o", path)
    assert "expected a new file" in refused(*arguments)
    assert path.read_text() == "mine"
    assert invoke(*arguments, "--force")[0] == 0
    right(path)
    message = refused("read", path, "--model", reader, "-o", reader)
    assert "--force" in message
    message = refused("read", path, "--model", reader, "-o", path, "--force")
    assert "expected a .safetensors file for a whole model, received the ending of 'book" in message
    right(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.csv"], "nowhere.csv: expected a file with numbers"),
        (["--input", "PHOTO", "--target", "9"], "labels from 0 to 2"),
        (["--input", "PHOTO", "--target", "1,2"], "1 rows, as in x"),
        (["--input", "PHOTO", "--target", "cat"], "'cat'"),
        (["--input", "PHOTO", "--divide-by", "0"], "a number other than 0"),
        (["--input", "PHOTO", "--steps", "2"], "--steps with --target"),
        (["--input", "PHOTO", "--max-formulas", "10"], "allow more: --max-formulas"),
        (
            ["--input", "PHOTO", "--probe", "conv", "--layout", "lesson"],
            "layout='strips' with probe=",
        ),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(
    reader: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    photo = str(reader.with_name("photo.png"))
    given = [photo if text == "PHOTO" else text for text in arguments]
    assert message in refused("export", reader, *given, "-o", tmp_path / "book.xlsx")
    assert not list(tmp_path.iterdir())


def test_no_model(reader: Path, tmp_path: Path) -> None:
    photo = reader.with_name("photo.png")
    assert "photo.png" in refused("export", photo, "--input", photo, "-o", tmp_path / "b.xlsx")


def test_edits_become_a_model(reader: Path, tmp_path: Path) -> None:
    path, photo = tmp_path / "book.xlsx", reader.with_name("photo.png")
    new = tmp_path / "new.safetensors"
    invoke("export", reader, "--input", photo, "--divide-by", "255", "--target", "1", "-o", path)
    area = open_book(path).names["last_bias"]
    book = openpyxl.load_workbook(path)
    book[area.sheet].cell(area.row + 2, area.column).value = 2.5
    book["network"]["C3"] = 0.25
    book.save(path)
    code, stdout, stderr = invoke("read", path, "--model", reader, "-o", new)
    assert (code, stderr) == (0, "")
    assert "last_bias: 1 of 3 numbers changed,\n  most at [2]: 0 -> 2.5\n" in stdout
    assert "learning rate: 0.01 -> 0.25\n" in stdout
    assert "1 weights changed, 3 are as they were." in stdout
    before, after = minnet.load_model(reader), minnet.load_model(new)
    np.testing.assert_array_equal(after.layers[2].parameters["bias"].data, [0, 0, 2.5])
    np.testing.assert_array_equal(before.get_weights()[0], after.get_weights()[0])
    assert after.optimizer.base_lr == 0.25


def test_a_neuron_and_what_it_sees(reader: Path, tmp_path: Path) -> None:
    path, photo = tmp_path / "book.xlsx", reader.with_name("photo.png")
    arguments = ("export", reader, "--input", photo, "--divide-by", "255", "-o", path)
    code, stdout, stderr = invoke(*arguments, "--probe", "conv,1,2,0", "--probe-layers", "0")
    assert (code, stderr) == (0, "")
    assert "Writing " in stdout and "about " in stdout
    right(path)
    book = open_book(path)
    assert book.sheets == ["contents", "network", "conv"]
    x = minnet.data.read_rows([photo], (5, 6, 3)) / 255
    conv = minnet.load_model(reader).layers[0]
    shown = book.numbers(book.names["probe_conv"], "p", formulas=True)[0, 0]
    assert shown == pytest.approx(float(conv(minnet.Tensor(x.astype("f4"))).data[0, 1, 2, 0]), 1e-5)
    assert "a new file" in refused(*arguments, "--probe", "conv,1,2,0")
    for wrong in ("conv,9,9,9", "cnov,1,2,0", "conv,1,x,0"):
        refused(*arguments, "--force", "--probe", wrong)
    new = tmp_path / "new.safetensors"
    code, stdout, _ = invoke("read", path, "--model", reader, "-o", new)
    assert code == 0 and "2 weights are too large for the book and are as they were." in stdout


def test_classes_have_the_names_that_the_model_was_saved_with(tmp_path: Path) -> None:
    layers = [Conv2D(2, 3, input_shape=(9, 9, 1)), Flatten(), Dense(2, "softmax")]
    model = Sequential(layers, seed=0)
    saving.save(model, tmp_path / "m.safetensors", metadata={"classes": ["cat", "=cmd"]})
    np.save(tmp_path / "x.npy", np.ones((1, 9, 9, 1)))
    path = tmp_path / "book.xlsx"
    files = ("--input", tmp_path / "x.npy", "-o", path, "--max-formulas", "90")
    code, _, stderr = invoke("export", tmp_path / "m.safetensors", *files)
    assert (code, stderr) == (0, "")
    right(path)
    texts = {c.value for row in openpyxl.load_workbook(path)["contents"] for c in row}
    assert {"cat (0)", "=cmd (1)"} <= texts
    new = tmp_path / "new.safetensors"
    assert invoke("read", path, "--model", tmp_path / "m.safetensors", "-o", new)[0] == 0
    with opened_with(new) as (_, metadata):
        assert metadata["classes"] == ["cat", "=cmd"]
    saving.save(model, new, metadata={"classes": 0.5})
    message = refused("export", new, *files, "--force")
    assert "new.safetensors: expected a list of the classes' names" in message


def test_diff_of_two_books(reader: Path, tmp_path: Path) -> None:
    photo = reader.with_name("photo.png")
    one, other = tmp_path / "one.xlsx", tmp_path / "other.xlsx"
    invoke("export", reader, "--input", photo, "--divide-by", "255", "-o", one)
    invoke("export", reader, "--input", photo, "--divide-by", "200", "-o", other)
    code, stdout, stderr = invoke("diff", one, other)
    assert (code, stderr) == (1, "")
    assert re.search(
        r"^x: \d+ of 90 numbers differ,\n  most in network!\w+: \S+ -> \S+, diff", stdout, re.M
    )
    assert "last_weight" not in stdout
    assert invoke("diff", one, other, "--tolerance", "5")[0] == 0
    assert "nowhere.xlsx" in refused("diff", one, tmp_path / "nowhere.xlsx")


def test_the_lessons_layout(tmp_path: Path) -> None:
    model, path = Sequential([Dense(2, "softmax", input_dim=3)], seed=0), tmp_path / "book.xlsx"
    saved = tmp_path / "model.safetensors"
    model.save(saved)
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    arguments = ("--input", tmp_path / "x.npy", "-o", path, "--layout")
    assert invoke("export", saved, *arguments, "lesson")[0] == 0
    right(path)
    names = open_book(path).names
    assert names["x"].column == names["dense_1_weight"].column < names["dense_1_bias"].column
    assert "unknown layout" in refused("export", saved, *arguments, "spiral", "--force")
