"""What export_xlsx and read_xlsx do at their edges: sizes, names, steps, refusals."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas
import pytest

from minnet import Activation, Dense, Layer, Sequential, Tensor, export_xlsx, grad, ops, read_xlsx
from minnet.errors import (
    ArgumentError,
    DtypeError,
    GraphError,
    NumberError,
    ShapeError,
    WorkbookError,
)
from minnet.ops import Operation
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import a1
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array


def classifier(dtype: Any = np.float32) -> tuple[Sequential, Array, Array]:
    model = Sequential(
        [Dense(4, "relu", input_dim=3, name="fc1"), Dense(2, "softmax", name="fc2")],
        seed=3,
        dtype=dtype,
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.25, 0.5, 1.0]], np.float32)
    return model, x, np.array([1, 0, 1])


def test_sheets_bands_and_names(tmp_path: Path) -> None:
    model, x, y = classifier()
    path = tmp_path / "book.xlsx"
    done = model.export_xlsx(x, y, path, steps=3, batch_size=2)
    assert done.sheets == ["contents", "network", "step 2", "step 3", "check", "training"]
    book = open_book(path)
    for name in (
        "x", "x_grad", "target", "fc1_weight", "fc1_weight_grad", "fc1_weight_new", "fc1_bias",
        "fc1_out", "fc1_out_grad", "fc1_relu", "fc2_bias_new", "loss", "learning_rate",
    ):  # fmt: skip
        assert name in book.names, name
    assert "fc1_weight_new" in book.local_names["step 3"]
    weight, gradient, new = (book.names[f"fc1_weight{end}"] for end in ("", "_grad", "_new"))
    assert (weight.rows, weight.columns) == (4, 3)  # one row per neuron
    # A gradient stands straight below its tensor, the new value below that.
    assert weight.column == gradient.column == new.column
    assert weight.row < gradient.row < new.row
    assert book.names["x"].rows == 2
    assert book.local_names["step 2"]["x"].rows == 1  # the last, smaller batch of the epoch
    sheet = openpyxl.load_workbook(path)["network"]
    assert sheet.freeze_panes == "A4"
    assert sheet["A3"].value == "learning rate" and sheet["E3"].value == "loss"
    assert not sheet.sheet_view.showGridLines


def test_formulas_are_the_plain_ones(tmp_path: Path) -> None:
    """What a reader finds when clicking on a number."""
    model, x, y = classifier()
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path)
    book = open_book(path)
    cells = book.cells("network")

    def formula(name: str) -> str | None:
        area = book.names[name]
        return cells[area.row, area.column].formula

    assert formula("fc1_weight") is None
    assert formula("fc1_out") == "SUMPRODUCT(A8:C8,$E$8:$G$8)+$H$8"
    assert formula("fc1_relu") == "MAX(0,L8)"
    assert formula("fc1_out_grad") == "IF(L8>0,Q18,0)"
    assert formula("fc1_weight_new") == "E8-learning_rate*E18"
    assert str(formula("fc1_weight_grad")).startswith("SUMPRODUCT(A8:A10,")
    assert str(formula("fc1_bias_grad")).startswith("SUM(L18:L20")


def test_cached_values_are_read_by_others(tmp_path: Path) -> None:
    model, x, y = classifier()
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, y, path)
    loss = float(done.passes[0].result.value)
    assert openpyxl.load_workbook(path, data_only=True)["network"]["F3"].value == pytest.approx(
        loss
    )
    frame = pandas.read_excel(path, sheet_name="network", header=None)
    assert frame.iloc[2, 5] == pytest.approx(loss)


def test_the_zip_is_a_plain_one(tmp_path: Path) -> None:
    """No zip64 fields: some readers (SheetJS is one) refuse local headers that have them."""
    model, x, y = classifier()
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            sizes = struct.unpack_from("<II", data, part.header_offset + 18)
            assert sizes == (part.compress_size, part.file_size), part.filename


def test_float32_difference_is_stated(tmp_path: Path) -> None:
    model, x, y = classifier()
    done = export_xlsx(model, x, y, tmp_path / "book.xlsx")
    assert done.float32_difference is not None and 0 < done.float32_difference < 1e-5
    model, x, y = classifier(np.float64)
    assert export_xlsx(model, x, y, tmp_path / "book.xlsx").float32_difference is None


def test_numbers_that_float32_cannot_hold_are_said_to_be_such(tmp_path: Path) -> None:
    model = Sequential([Dense(1, input_dim=1)], seed=0)
    model.compile("sgd", "mse")
    done = model.export_xlsx([[1e30]], [0.0], tmp_path / "book.xlsx")
    texts = [
        c.value for row in openpyxl.load_workbook(tmp_path / "book.xlsx")["contents"] for c in row
    ]
    assert done.float32_difference == np.inf
    assert not [text for text in texts if "inf" in str(text)]
    assert [text for text in texts if "float32 cannot hold" in str(text)]
    assert verify_xlsx(tmp_path / "book.xlsx").ok


HELD = np.array([0.1, 0.7, 1.3], np.float32)
AS_TENSOR = Tensor(HELD)


class Placed(Layer):
    """It holds an array, a tensor, and what follows from both."""

    def build(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, x: Tensor) -> Tensor:
        return (x * HELD + AS_TENSOR + ops.sqrt(AS_TENSOR * HELD)).named("moved")


def weighed(prediction: Tensor, target: Tensor) -> Tensor:
    return (HELD * (prediction - target) ** 2).mean()


@pytest.mark.parametrize("y", [None, np.ones((2, 3))])
def test_arrays_that_layers_and_losses_hold_are_widened(y: Any, tmp_path: Path) -> None:
    model = Sequential([Dense(3, input_dim=2), Placed(name="placed"), Dense(3)], seed=0)
    model.compile("sgd", weighed)
    x = np.array([[0.5, -1.0], [0.25, 2.0]])
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=1 if y is None else 2)
    assert verify_xlsx(path).ok
    assert lint_xlsx(path) == []
    book, held = open_book(path), HELD.astype(np.float64)
    before = book.numbers(book.names["dense_1_out"], "out", formulas=True)
    after = book.numbers(book.names["placed_moved"], "out", formulas=True)
    np.testing.assert_allclose(after, before * held + held + held, rtol=1e-15)
    if y is not None:
        loss = book.numbers(book.names["loss"], "loss", formulas=True).item()
        assert loss == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-5)


def test_the_model_is_not_changed(tmp_path: Path) -> None:
    model, x, y = classifier()
    before = model.get_weights()
    export_xlsx(model, x, y, tmp_path / "book.xlsx", steps=3)
    assert model.dtype == np.float32
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_have_no_update(tmp_path: Path) -> None:
    model, x, y = classifier()
    model.layers[0].trainable = False
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=2)
    names = open_book(path).names
    assert "fc1_weight" in names and "fc1_weight_new" not in names
    assert "fc2_weight_new" in names
    assert verify_xlsx(path).ok


def test_text_that_looks_like_a_formula_stays_text(tmp_path: Path) -> None:
    model = Sequential([Dense(2, input_dim=1, name='=cmd|" /c calc"!A1')], name="=1+1", seed=0)
    model.compile("sgd", "mse")
    path = tmp_path / "book.xlsx"
    export_xlsx(model, [[1.0]], [[0.0, 1.0]], path, title="=2+2")
    sheet = openpyxl.load_workbook(path)["contents"]
    assert sheet["A1"].value == "=2+2" and sheet["A1"].data_type != "f"
    assert lint_xlsx(path) == []
    assert verify_xlsx(path).ok


def test_text_that_xml_cannot_say(tmp_path: Path) -> None:
    model = Sequential(
        [Dense(2, input_dim=1, name="a\x00b\ud800<&>\uffff")], name="\x1b[31m", seed=0
    )
    model.compile("sgd", "mse")
    path = tmp_path / "book.xlsx"
    export_xlsx(model, [[1.0]], [[0.0, 1.0]], path, steps=2, title="x" * 50_000)
    assert lint_xlsx(path) == []
    assert verify_xlsx(path).ok
    assert read_xlsx(path, model).changed == []


def test_a_function_of_tensors(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"

    def energy(w: Tensor, x1: Tensor) -> Any:
        return ops.tanh(ops.matmul(w, x1)).sum() + (w[0, 1] ** 2) / 2

    inputs = {"w": np.array([[1.0, 2.0], [0.5, -1.0]]), "x1": [[0.25], [0.75]]}
    export_xlsx(energy, inputs=inputs, path=path)
    book = open_book(path)
    assert {"w", "w_grad", "x1_", "x1_grad", "result"} <= set(book.names)
    assert verify_xlsx(path, tolerance=1e-12).ok
    assert lint_xlsx(path) == []


def by_order(*numbers: Tensor) -> Any:
    return (numbers[0] * numbers[0] * numbers[1]).sum()


def without_names(a: Tensor, b: Tensor, /) -> Any:
    return by_order(a, b)


def by_name(*, a: Tensor, b: Tensor, power: int = 2) -> Any:
    return (a**power * b).sum()


class Unreadable:
    """Callable, but nobody can tell with what, as of some functions written in C."""

    __signature__ = "none"

    def __call__(self, *numbers: Tensor) -> Any:
        return by_order(*numbers)


@pytest.mark.parametrize(
    ("function", "inputs", "result"),
    [
        (lambda a, b: (a * a * b).sum(), {"b": 2.0, "a": 3.0}, 18.0),
        (by_name, {"b": 2.0, "a": 3.0}, 18.0),
        (lambda **of: (of["left one"] * of["right"]).sum(), {"right": 2.0, "left one": 3.0}, 6.0),
        (by_order, {"b": 2.0, "a": 3.0}, 12.0),
        (without_names, {"b": 2.0, "a": 3.0}, 12.0),
        (Unreadable(), {"b": 2.0, "a": 3.0}, 12.0),
    ],
)
def test_inputs_name_the_arguments(
    function: Any, inputs: dict[str, float], result: float, tmp_path: Path
) -> None:
    path = tmp_path / "book.xlsx"
    done = export_xlsx(function, inputs=inputs, path=path)
    assert float(done.passes[0].result.value) == result
    assert verify_xlsx(path).ok


def summed_slopes(a: Tensor) -> Any:
    return grad((a**3).sum(), a, create_graph=True).sum()


def curved(a: Tensor) -> Any:
    return (grad(ops.softmax(a)[0], a, create_graph=True) ** 2).sum() + a.sum()


def held(a: Tensor) -> Any:
    return (grad((a**3).sum(), a) * a).sum()


@pytest.mark.parametrize("function", [summed_slopes, curved, held])
def test_a_function_that_differentiates(function: Any, tmp_path: Path) -> None:
    path, at = tmp_path / "book.xlsx", [1.0, 2.0]
    export_xlsx(function, inputs={"a": at}, path=path)
    a = Tensor(at, dtype=np.float64, requires_grad=True)
    book = open_book(path)
    shown = book.numbers(book.names["a_grad"], "its gradient", formulas=True)
    np.testing.assert_allclose(shown[0], grad(function(a), a).data, rtol=1e-12)
    assert verify_xlsx(path).ok
    assert lint_xlsx(path) == []


class Sloped(Layer):
    """Gives the slope of a function of its input and its weight."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("w", input_shape, "ones")
        return input_shape

    def call(self, x: Tensor) -> Any:
        w = self.parameters["w"]
        return grad((ops.tanh(x * w) * w).sum(), w, create_graph=True) * x


def test_a_layer_that_differentiates(tmp_path: Path) -> None:
    model = Sequential([Sloped(input_shape=(2,))], dtype=np.float64)
    model.compile("sgd", "mse")
    x, y = np.array([[1.0, 2.0], [0.5, -1.0]]), np.zeros((2, 2))
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=2, check=False)
    assert verify_xlsx(path).ok
    book = open_book(path)
    shown = book.numbers(book.names["sloped_1_w_grad"], "its gradient", formulas=True)
    loss, _ = model.loss_of(Tensor(x, dtype=np.float64), Tensor(y, dtype=np.float64))
    np.testing.assert_allclose(shown[0], grad(loss, model.parameters()[0]).data, rtol=1e-12)


def test_a_long_chain_is_no_recursion(tmp_path: Path) -> None:
    def chain(x: Tensor) -> Any:
        for _ in range(700):
            x = x * 1.001
        return x

    path = tmp_path / "book.xlsx"
    export_xlsx(chain, inputs={"x": 1.0}, path=path)
    assert verify_xlsx(path).ok


def test_too_large_says_how_large(tmp_path: Path) -> None:
    def squares(x: Tensor) -> Any:
        return (x * x).sum()

    large = {"x": np.ones((150, 150))}
    wanted = r"90,008 live formulas or more.*40,000.*max_formulas=90,008"
    with pytest.raises(WorkbookError, match=wanted):
        export_xlsx(squares, inputs=large, path=tmp_path / "book.xlsx", max_formulas=40_000)
    assert not list(tmp_path.iterdir())


class Shifted(Operation):
    """An operation of a user's own that has no formula."""

    name = "shifted"

    def value(self, x: Any) -> Any:
        return x + 1

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return g


def test_an_operation_without_a_formula(tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="'shifted' in function has no spreadsheet formula"):
        export_xlsx(lambda x: Shifted()(x).sum(), inputs={"x": [1.0]}, path=tmp_path / "b.xlsx")


class Halved(Layer):
    def call(self, x: Tensor) -> Any:
        return x * 0.5


def test_a_layer_of_ones_own(tmp_path: Path) -> None:
    model = Sequential([Dense(2, input_dim=2), Halved(), Activation("tanh")], seed=0)
    model.compile("sgd", "mse")
    path = tmp_path / "book.xlsx"
    export_xlsx(model, [[1.0, 2.0]], [[0.0, 1.0]], path, steps=2)
    assert verify_xlsx(path).ok
    assert "halved_1_multiply" in open_book(path).names


def refusals() -> list[Any]:
    model, x, y = classifier()
    uncompiled = Sequential([Dense(2, input_dim=3)])
    nan = x.copy()
    nan[0, 0] = np.nan
    return [
        pytest.param((model, x, y), {"path": None}, ArgumentError, "path=", id="no path"),
        pytest.param((model, x, y), {"steps": 0}, ArgumentError, "steps: expected", id="no steps"),
        pytest.param((model, x, y), {"batch_size": 0}, ArgumentError, "batch_size", id="no batch"),
        pytest.param((model, x, y), {"batch_size": 1.5}, ArgumentError, "batch_size.*1.5",
                     id="half a row"),
        pytest.param((model, x, y), {"path": 5}, ArgumentError, "path=.*received 5", id="a number"),
        pytest.param((model, x, y), {"path": "\0.xlsx"}, WorkbookError, "embedded null", id="NUL"),
        pytest.param((model, x, y), {"max_formulas": None}, ArgumentError, "max_formulas.*None",
                     id="no limit"),
        pytest.param((model, x, y), {"max_formulas": "a"}, ArgumentError, "max_formulas.*'a'",
                     id="a limit in words"),
        pytest.param((model, x, y), {"class_names": 5}, ArgumentError, "class_names.*received 5",
                     id="a number for names"),
        pytest.param((model, x, y), {"pictures": 5}, ArgumentError, "pictures.*received 5",
                     id="a number for pictures"),
        pytest.param((model, x, y), {"pictures": [None] * len(x)}, ArgumentError,
                     "a picture: expected an image.*object", id="no pictures"),
        pytest.param((model, x, y), {"notes": None}, ArgumentError, "notes.*None", id="no notes"),
        pytest.param((model, x, y), {"notes": "ab"}, ArgumentError, "notes.*'ab'", id="one note"),
        pytest.param((model, x, y), {"notes": [1]}, ArgumentError, "notes.*1", id="not a text"),
        pytest.param((model, x, y), {"layout": ["strips"]}, ArgumentError, "layout.*strips",
                     id="a list of layouts"),
        pytest.param((Sequential([Activation("relu", input_shape=(3,))], name="bare"), x), {},
                     ArgumentError, "uses its weights, received 'bare' without any", id="none"),
        pytest.param((model, x, y), {"probe": 5}, ArgumentError, "probe.*received 5", id="probe"),
        pytest.param((model, x, y), {"probe": "fc1"}, ArgumentError, "probe.*received 'fc1'",
                     id="a name alone"),
        pytest.param((lambda x: x.sum(),), {"inputs": [1.0]}, ArgumentError, "inputs=",
                     id="inputs without names"),
        pytest.param((lambda x: x.sum(),), {"inputs": {5: 1.0}}, ArgumentError, "received 5",
                     id="a number as a name"),
        pytest.param((lambda x: x.sum(),), {"inputs": {"x": [[1.0, 2.0], [3.0]]}}, ShapeError,
                     "input 'x': expected rows of one length", id="ragged input"),
        pytest.param((model, x), {"steps": 2}, ArgumentError, "x and y", id="steps, no target"),
        pytest.param((model, x[:0], y[:0]), {}, ShapeError, "row", id="empty batch"),
        pytest.param((model, nan, y), {}, NumberError, "nan", id="NaN in x"),
        pytest.param((model, x, [0, 1, 2]), {}, ArgumentError, "labels from 0 to 1", id="label"),
        pytest.param((model, x[:, :2], y), {}, ShapeError, "fc1|first layer|3", id="features"),
        pytest.param((uncompiled, x, y), {}, ArgumentError, "compile", id="uncompiled"),
        pytest.param(("model",), {}, ArgumentError, "a model or a function", id="a text"),
        pytest.param((lambda x: x,), {"inputs": {"x": [1.0, 2.0]}}, ShapeError, "one number",
                     id="not scalar"),
        pytest.param((lambda x: 1.0,), {"inputs": {"x": [1.0]}}, ShapeError, "one number",
                     id="not a tensor"),
        pytest.param((lambda x: Tensor(1.0, dtype=np.float64),), {"inputs": {"x": [1.0]}},
                     GraphError, "does not depend", id="no gradient"),
        pytest.param((lambda x: ops.log(x).sum(),), {"inputs": {"x": [-1.0]}}, NumberError,
                     "log.*NaN", id="NaN inside"),
        pytest.param((lambda x: (x * Tensor([2.0])).sum(),), {"inputs": {"x": [1.0]}}, DtypeError,
                     "inputs=", id="closure in float32"),
        pytest.param((lambda x, k=1: x.sum(),), {"inputs": {"x": [1.0], "y": [1.0]}}, ArgumentError,
                     "its arguments x, k, received x, y", id="an unknown argument"),
        pytest.param((lambda x, y: x.sum(),), {"inputs": {"x": [1.0]}}, ArgumentError,
                     "its arguments x, y, received x", id="a missing argument"),
        pytest.param((without_names,), {"inputs": {"a": [1.0]}}, ArgumentError,
                     "its arguments a, b, received a", id="one argument of two"),
        pytest.param((lambda x: x.sum(),), {"inputs": {"x": ["a"]}}, ArgumentError, "numbers",
                     id="text input"),
        pytest.param((lambda x: x.sum(),), {"inputs": {"x": np.ones((0, 2))}}, ShapeError,
                     "at least one row", id="empty input"),
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "kind", "text"), refusals())
@pytest.mark.filterwarnings("ignore:invalid value")
def test_refusals(
    arguments: tuple[Any, ...], options: dict[str, Any], kind: type, text: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=text):
        export_xlsx(*arguments, **{"path": tmp_path / "book.xlsx", **options})
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    model, x, y = classifier()
    with pytest.raises(WorkbookError, match="nowhere"):
        export_xlsx(model, x, y, tmp_path / "nowhere" / "book.xlsx")
    old = tmp_path / "old.xlsx"
    old.write_bytes(b"precious")
    with pytest.raises(WorkbookError, match="both be named 'a_b_weight'"):
        export_xlsx(named("a b", "a_b"), x, np.ones((3, 2)), old)
    assert old.read_bytes() == b"precious" and os.listdir(tmp_path) == ["old.xlsx"]


def named(*names: str) -> Sequential:
    model = Sequential([Dense(2, input_dim=3, name=names[0])], seed=0)
    for name in names[1:]:
        model.add(Dense(2, name=name))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("names", ["aA", "σς", "sſ", "ıi", ["ß", "SS"], ["\N{KELVIN SIGN}", "k"]])
def test_names_that_programs_take_for_one(names: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkbookError, match="would both be named"):
        export_xlsx(named(*names), np.ones((3, 3)), np.ones((3, 2)), tmp_path / "book.xlsx")


def test_names_too_long_for_a_workbook(tmp_path: Path) -> None:
    model, path = named("a" * 300, "a" * 200), tmp_path / "book.xlsx"
    export_xlsx(model, np.ones((3, 3)), np.ones((3, 2)), path)
    assert verify_xlsx(path).ok
    assert lint_xlsx(path) == []
    before = model.get_weights()
    model.set_weights([w + 1 for w in before])
    assert len(read_xlsx(path, model).changed) == 4
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# -- reading back ----------------------------------------------------------------------------------


def edited(path: Path, sheet: str, cell: str, value: Any) -> Path:
    """Save a change as openpyxl does, which keeps formulas and drops cached values."""
    book = openpyxl.load_workbook(path)
    book[sheet][cell] = value
    book.save(path)
    return path


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Sequential, Path]:
    model, x, y = classifier()
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path)
    return model, path


def test_a_book_that_openpyxl_saved_is_checked_after_another_program_has(
    exported: tuple[Sequential, Path],
) -> None:
    _, path = exported
    with pytest.raises(WorkbookError, match="as openpyxl does, save it in LibreOffice or Excel"):
        verify_xlsx(edited(path, "network", "C3", 0.5))


def test_edits_come_back(exported: tuple[Sequential, Path]) -> None:
    model, path = exported
    book = openpyxl.load_workbook(path)
    network = book["network"]
    network["F9"] = 0.125  # row 2, column 2 of fc1's weights
    network["C3"] = 0.5
    book.save(path)
    found = read_xlsx(path, model)
    assert found.changed == ["fc1_weight"]
    assert model.layers[0].parameters["weight"].data[1, 1] == 0.125
    assert model.optimizer.lr == found.learning_rate == 0.5


def test_what_only_float64_holds_comes_back_to_it(tmp_path: Path) -> None:
    model = Sequential([Dense(1, input_dim=1, name="fc1")], dtype=np.float64)
    model.compile("sgd", "mse")
    path = tmp_path / "book.xlsx"
    model.export_xlsx([[1.0]], [[0.0]], path)
    area = open_book(path).names["fc1_weight"]
    read_xlsx(edited(path, "network", a1(area.row, area.column), 1e39), model)
    assert model.get_weights()[0] == 1e39


@pytest.mark.parametrize(
    ("cell", "value", "text"),
    [
        ("F9", "=1+1", "network.*F9.*formula"),
        ("F9", "much", "network.*F9"),
        ("F9", None, "network.*F9"),
        ("F9", -1e39, r"network!F9: expected a number, received -1e\+39, more than 3.4e\+38"),
        ("C3", -1, "learning_rate.*above 0"),
    ],
)
def test_what_is_not_a_number(
    exported: tuple[Sequential, Path], cell: str, value: Any, text: str
) -> None:
    model, path = exported
    before = model.get_weights()
    with pytest.raises(WorkbookError, match=text):
        read_xlsx(edited(path, "network", cell, value), model)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_another_models_book(exported: tuple[Sequential, Path]) -> None:
    _, path = exported
    other = Sequential([Dense(5, input_dim=3, name="fc1"), Dense(2, name="fc2")], seed=0)
    with pytest.raises(WorkbookError, match=r"fc1_weight.*shape \(3, 5\).*4 rows"):
        read_xlsx(path, other)
    stranger = Sequential([Dense(4, input_dim=3, name="hidden")], seed=0)
    with pytest.raises(WorkbookError, match="an area named 'hidden_weight'.*fc1_weight"):
        read_xlsx(path, stranger)
    with pytest.raises(WorkbookError, match="a model with weights"):
        read_xlsx(path, Sequential())
    with pytest.raises(ArgumentError, match="expected a model, received None"):
        read_xlsx(path, None)


def test_steps_may_be_numpys(tmp_path: Path) -> None:
    model = Sequential([Dense(1, input_dim=2)])
    model.compile("sgd", "mse")
    x = np.ones((2, 2))
    export = model.export_xlsx(x, x[:, :1], tmp_path / "m.xlsx", steps=np.int64(2))
    assert "step 2" in export.sheets


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("1\n")
    model = Sequential([Dense(1, input_shape=(2,))])
    with pytest.raises(ArgumentError, match=r"export_xlsx path.*\.xlsx.*labels\.csv"):
        export_xlsx(model, np.ones((1, 2)), path=labels)
    assert labels.read_text() == "1\n"
