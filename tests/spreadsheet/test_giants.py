"""Networks too large to show: probe sheets, the chain of windows, a live end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minnet
from minnet import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    Layer,
    MaxPooling2D,
    Model,
    Sequential,
    ZeroPadding2D,
    export_xlsx,
    read_xlsx,
)
from minnet.errors import ArgumentError, NumberError, WorkbookError
from minnet.recording import no_grad
from minnet.spreadsheet import diff_xlsx
from minnet.spreadsheet.activity import Statistics
from minnet.spreadsheet.export import Export
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import legal_name, parse_a1
from minnet.spreadsheet.reader import open_book
from minnet.spreadsheet.recalculate import (
    Recalculated,
    libreoffice_available,
    libreoffice_values,
)
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array, Tensor

TOLERANCE = 1e-9


def images(dtype: Any = np.float32, **last: Any) -> tuple[Sequential, Array]:
    """A classifier of images that is small, but large for a limit of some hundred formulas."""
    layers = [
        Conv2D(4, 3, padding="same", activation="relu", input_shape=(12, 12, 3), name="conv1"),
        MaxPooling2D(2, name="pool1"),
        Conv2D(5, 3, activation="relu", name="conv2"),
        Flatten(name="flatten"),
        Dense(20, "relu", name="fc1"),
        Dense(3, "softmax", name="predictions", **last),
    ]
    x = np.random.default_rng(0).random((2, 12, 12, 3))
    return Sequential(layers, name="images", seed=1, dtype=dtype), x


def right(path: Path) -> None:
    report = verify_xlsx(path, tolerance=TOLERANCE)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []


# -- the chain of windows --------------------------------------------------------------------------


class Probed(NamedTuple):
    model: Sequential
    x: Array
    place: tuple[Any, ...]  # layer, then where
    depth: int | None


@st.composite
def probed_networks(draw: Any) -> Probed:
    """Networks of images, and a number of one of their layers. Weights come from a seed, so that no
    relu is near its kink."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(4, 7)), draw(st.integers(4, 7)), draw(st.integers(1, 3))
    model = Sequential(seed=0, dtype=np.float64)
    for _ in range(draw(st.integers(1, 4))):
        height, width, channels = model.layers[-1].output_shape if model.layers else shape  # type: ignore[misc]
        model.add(draw(layers_of_images(min(height, width), channels)))
        model.build(shape)
    ending = draw(st.sampled_from(["none", "dense", "average", "largest"]))
    if ending == "dense":
        model.add(Flatten())
        model.add(Dense(3, draw(st.sampled_from(["tanh", "softmax", None]))))
        model.add(Dense(2, "sigmoid"))
    elif ending != "none":
        model.add(GlobalAveragePooling2D() if ending == "average" else GlobalMaxPooling2D())
    model.build(shape)
    shown = (Conv2D, Dense, MaxPooling2D, AveragePooling2D, GlobalAveragePooling2D)
    names = [
        layer.name for layer in model.layers if isinstance(layer, (*shown, GlobalMaxPooling2D))
    ]
    if not names:
        model.add(Conv2D(2, 1, name="last"))
        model.build(shape)
        names = ["last"]
    model.set_weights([numbers.normal(size=w.shape) ** 2 + 0.1 for w in model.get_weights()])
    name = draw(st.sampled_from(names))
    layer = next(la for la in model.layers if la.name == name)
    place = tuple(draw(st.integers(0, n - 1)) for n in layer.output_shape or ())
    x = numbers.normal(size=(draw(st.integers(1, 2)), *shape))
    return Probed(model, x, (name, *place), draw(st.sampled_from([None, None, 0, 1, 2])))


@st.composite
def layers_of_images(draw: Any, side: int, channels: int) -> Layer:
    kinds = ["conv", "conv", "conv", "max", "average", "pad", "norm", "drop", "swish"]
    kind = draw(st.sampled_from(kinds))
    size, stride = draw(st.integers(1, min(3, side))), draw(st.integers(1, 2))
    padding = draw(st.sampled_from(["valid", "same", size // 2]))
    if kind == "conv":
        gaps = 2 if size * 2 - 1 <= side and draw(st.booleans()) else 1
        groups = draw(st.sampled_from([1, channels]))
        filters = draw(st.integers(1, 2)) * groups
        activation, bias = draw(st.sampled_from(["relu", "tanh", None])), draw(st.booleans())
        return Conv2D(filters, size, stride, padding, gaps, groups, activation, bias)
    if kind in ("max", "average"):
        pool = MaxPooling2D if kind == "max" else AveragePooling2D
        return pool(size, stride, padding if isinstance(padding, str) else "same")
    if kind == "pad":
        return ZeroPadding2D(draw(st.sampled_from([1, ((1, 0), (0, 2))])))
    others = {"norm": BatchNormalization(), "drop": Dropout(0.5), "swish": Activation("swish")}
    return others[kind]


def engine_says(model: Sequential, first: int, row: Array, place: tuple[Any, ...]) -> float:
    """What layers from the one numbered ``first`` on make of a row, at a place of a layer."""
    names = [layer.name for layer in model.layers]
    values = Tensor(row[None])
    with no_grad():
        for layer in model.layers[first : names.index(place[0]) + 1]:
            values = layer(values)
    return float(values.data[0][place[1:]])


def live_value(live: Recalculated, done: Export, name: str) -> float:
    sheet = done.probes[name]
    at = parse_a1(sheet.worked_out.cell)  # type: ignore[union-attr]
    return float(live.value(sheet.title, *at))  # type: ignore[arg-type, misc]


def close(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(abs(a), abs(b), 1e-3)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(case=probed_networks(), data=st.data())
def test_a_probed_neuron_is_live_layer_by_layer(
    case: Probed, data: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, x, place, depth = case
    path = tmp_path_factory.mktemp("w") / "book.xlsx"
    done = export_xlsx(model, x, path=path, probe=place, probe_layers=depth)
    right(path)
    live, name = Recalculated(path), place[0]
    names = [layer.name for layer in model.layers]
    own = names.index(name)
    assert close(live_value(live, done, name), engine_says(model, 0, x[0], place))

    # The same edits in the book and in the model: an input, a weight of the chain and one of the
    # neuron's.
    chain, sheet = done.chain, done.probes[name]
    assert depth is None or chain is None or len(chain.layers) <= depth
    first = own if chain is None else names.index(chain.layers[0])
    with no_grad():
        row = x[0]
        for layer in model.layers[:first]:
            row = layer(Tensor(row[None])).data[0]
    row, changed = row.copy(), model.astype(np.float64)
    tiles = sheet.worked_out.tiles  # type: ignore[union-attr]
    if chain is None:
        position = data.draw(st.sampled_from(sorted(tiles.inputs)))
        live.set(sheet.title, *tiles.inputs[position], 1.75)
        row.reshape(-1)[position] = 1.75
    else:
        block = chain.plan.blocks[chain.input]
        k = data.draw(st.integers(0, chain.input.value.size - 1))
        down, right_ = block.places()[k].tolist()
        live.set("chain", block.row + down, block.column + right_, 1.75)
        where = np.unravel_index(k, chain.input.shape[1:])
        row[tuple(axis[i] for axis, i in zip(chain.region, where))] = 1.75
    if tiles.weights:
        weight = changed.layers[own].parameters["weight"]
        k = data.draw(st.integers(0, len(tiles.weights) - 1))
        taps = [(g, tap) for g in tiles.groups for tap in np.argwhere(g.sources > -2)]
        group, tap = taps[k]
        array = weight.numpy()
        if weight.ndim == 4:
            c = tiles.groups.index(group)
            array[(*tap, c, place[-1])] = 0.5
        else:
            array[group.sources[tuple(tap)], place[-1]] = 0.5
        weight.data = array
        live.set(sheet.title, *tiles.weights[k], 0.5)
    if place[0] and getattr(model.layers[own], "activation_name", None) == "softmax":
        return  # the other units' scores are numbers and do not follow
    live.evaluate()
    assert close(live_value(live, done, name), engine_says(changed, first, row, place))


def test_a_weight_of_the_chain_is_live_too(tmp_path: Path) -> None:
    model, x = images(np.float64)
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, path=path, probe=("conv2", 1, 2, 3))
    assert done.chain is not None and done.chain.layers == ["conv1", "pool1"]
    live = Recalculated(path)
    area = open_book(path).local_names["chain"]["conv1_weight"]
    assert (area.rows, area.columns) == (3 * 3, 4 * 3)  # rows × channels, filters side by side
    live.set("chain", area.row + 3 + 2, area.column + 3 + 1, 0.75)  # row 1, channel 2; filter 1
    live.evaluate()
    weight = model.layers[0].parameters["weight"]
    array = weight.numpy()
    array[1, 1, 2, 1] = 0.75
    weight.data = array
    assert close(live_value(live, done, "conv2"), engine_says(model, 0, x[0], ("conv2", 1, 2, 3)))


def test_a_chain_says_where_it_stops(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"

    def chain(**options: Any) -> Any:
        done = export_xlsx(model, x, path=path, probe=("fc1", 7), **options)
        right(path)
        return done.chain

    whole = chain()
    assert whole.layers == ["conv1", "pool1", "conv2", "flatten"]
    assert whole.reason == "there the inputs are"
    short = chain(probe_layers=2)
    assert (
        short.layers == ["conv2", "flatten"] and short.reason == "as many layers as were asked for"
    )
    small = chain(max_formulas=900)
    assert small.layers == ["pool1", "conv2", "flatten"]
    assert "'conv1' would need 1,152 formulas more" in small.reason
    none = chain(probe_layers=0)
    assert none is None
    texts = [c.value for row in openpyxl.load_workbook(path)["contents"] for c in row if c.value]
    assert "There is no chain: as many layers as were asked for." in texts


def test_the_chain_shows_no_more_than_the_window_sees(tmp_path: Path) -> None:
    model, x = images()
    done = export_xlsx(model, x, path=tmp_path / "book.xlsx", probe=("conv2", 0, 0, 0))
    assert done.chain is not None
    # 3 × 3 pooled numbers are made of 6 × 6, and they of 7 × 7 and zeros at two sides.
    assert [len(axis) for axis in done.chain.region] == [7, 7, 3]


# -- the book --------------------------------------------------------------------------------------


def test_layers_above_the_limit_become_probes(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, path=path, max_formulas=300, class_names=["cat", "=cmd", "dog"])
    assert done.sheets == ["contents", "network", "conv1", "pool1", "conv2", "fc1"]
    assert list(done.probes) == ["conv1", "pool1", "conv2", "fc1"]
    right(path)
    book = open_book(path)
    assert "predictions_softmax" in book.names and "fc1_out" in book.names
    numbers = book.numbers(book.names["predictions_softmax"], "p", formulas=True)
    np.testing.assert_allclose(numbers, model.predict(x), rtol=1e-5)
    sheet = openpyxl.load_workbook(path)["contents"]
    shown = {row[0].value: row[4].value for row in sheet.iter_rows(min_row=8) if row[4].value}
    assert shown.pop("layer") == "shown as"
    assert shown == {
        "x": "value", "conv1": "probe", "pool1": "probe", "conv2": "probe",
        "flatten": "rearranged", "fc1": "probe", "predictions": "live",
    }  # fmt: skip
    best = int(model.predict(x)[0].argmax())
    texts = [c.value for row in sheet for c in row if isinstance(c.value, str)]
    assert done.live_end in texts
    assert "1 of 6 layers, 'predictions'. From 'fc1' on" in done.live_end
    assert "at most 300 live formulas" in done.live_end
    assert f"{['cat', '=cmd', 'dog'][best]} ({best})" in texts
    assert "=cmd (1)" in texts
    assert all(c.data_type != "f" for row in sheet for c in row if c.value == "=cmd (1)")


def wide(first: Layer, *layers: Layer) -> Sequential:
    model = Sequential([first, *layers], seed=0)
    model.compile("sgd", "mse")
    return model


def of_many_channels() -> list[Layer]:
    return [Conv2D(2, 3, input_shape=(3, 3, 260), name="wide"), Flatten(), Dense(1, name="last")]


@pytest.mark.parametrize(
    ("layers", "shape", "reason"),
    [
        (of_many_channels, (1, 3, 3, 260), "The formula of 'wide' would have"),
        (
            lambda: [Dense(17_000, input_dim=1, name="wide")],
            (1, 1),
            "more than the 1,048,576 × 16,384",
        ),
    ],
)
def test_what_fits_no_formula_or_no_sheet_becomes_a_probe(
    layers: Any, shape: Any, reason: str, tmp_path: Path
) -> None:
    model, path = wide(*layers()), tmp_path / "book.xlsx"
    x = np.random.default_rng(0).normal(size=shape)
    done = export_xlsx(model, x, path=path)
    assert "wide" in done.probes and reason in done.live_end
    assert verify_xlsx(path, TOLERANCE).ok


def test_a_live_end_that_fits_no_formula_begins_later(tmp_path: Path) -> None:
    front = [Conv2D(260, 3, input_shape=(9, 9, 1), name="front"), MaxPooling2D(2)]
    model = wide(*front, Conv2D(2, 3, name="wide"), Flatten(), Dense(1, name="last"))
    done = export_xlsx(model, np.ones((1, 9, 9, 1)), path=tmp_path / "b.xlsx", max_formulas=9_000)
    assert "wide" in done.probes and "'last'" in done.live_end
    assert "The formula of 'wide' would have" in done.live_end


def test_steps_that_fit_no_formula_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 3, 260))
    with pytest.raises(WorkbookError, match=r"'wide' would have [0-9,]+ characters, more than"):
        export_xlsx(wide(*of_many_channels()), x, [[1.0]], tmp_path / "book.xlsx", steps=2)
    assert not list(tmp_path.iterdir())


def test_statistics_and_pictures_are_those_of_the_layer(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, path=path, max_formulas=300)
    with no_grad():
        out = model.layers[0](Tensor(x.astype(np.float32))).data
    sheet = openpyxl.load_workbook(path, data_only=True)["conv1"]
    found = {row[0].value: row[1].value for row in sheet.iter_rows(max_row=30) if row[0].value}
    assert found["largest"] == pytest.approx(float(out.max()))
    assert found["mean"] == pytest.approx(float(out.mean()), rel=1e-5)
    assert found["zeros"] == pytest.approx(float((out == 0).mean()))
    assert found["weights and biases"] == 3 * 3 * 3 * 4 + 4
    counts = [sheet.cell(row, 6).value for row in range(7, 31)]
    np.testing.assert_array_equal(counts, np.histogram(out, 24)[0])
    assert len(sheet._images) == 2 and len(sheet._charts) == 1  # all channels, filters in colour


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.5, -3.0, 1e9, 1e-30, 0.0])
def test_numbers_that_differ_in_their_last_digit_have_a_histogram(dtype: Any, value: float) -> None:
    near = np.nextafter(dtype(value), dtype(np.inf))
    for numbers in (np.array([value, near, near], dtype), np.array([value], dtype)):
        found = Statistics.of(numbers)
        assert found.counts.sum() == numbers.size
        assert (np.diff(found.edges) > 0).all()
        assert found.edges[0] <= numbers.min() and numbers.max() <= found.edges[-1]


def test_the_most_active_neuron_and_what_minnet_says(tmp_path: Path) -> None:
    model, x = images()
    done = export_xlsx(model, x, path=tmp_path / "book.xlsx", max_formulas=300)
    for name, sheet in done.probes.items():
        neuron, worked_out = sheet.neuron, sheet.worked_out
        assert neuron is not None and worked_out is not None
        assert neuron.says == sheet.stage.row.max(), name
        assert worked_out.value == pytest.approx(neuron.says, rel=1e-5)
        assert worked_out.verdict == "within rounding"


def test_the_verdict_follows_an_edit(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, path=path, max_formulas=300)
    live, sheet = Recalculated(path), done.probes["conv2"]
    row = next(r for r in range(33, 60) if live.value("conv2", r, 1) == "verdict")
    assert live.value("conv2", row, 2) == "within rounding"
    position, at = next(iter(sheet.worked_out.tiles.inputs.items()))  # type: ignore[union-attr]
    live.set("conv2", *at, float(sheet.worked_out.inputs[position]) + 1)  # type: ignore[union-attr]
    live.evaluate()
    assert live.value("conv2", row, 2) == "a number was changed"


def test_names_of_layers_that_no_sheet_may_have(tmp_path: Path) -> None:
    names = ["=1+1", "a/b:c*d?[e]", "Contents", "x" * 60, "'quoted'", "a!b", "_x0041_", "network"]
    model = Sequential([Conv2D(2, 1, input_shape=(9, 9, 1), name=names[0])], seed=0)
    for name in names[1:]:
        model.add(Conv2D(2, 1, name=name))
    path = tmp_path / "book.xlsx"
    x = np.random.default_rng(0).random((1, 9, 9, 1))
    done = export_xlsx(model, x, path=path, probe=("network", 0, 0, 0))
    assert list(done.probes) == names
    right(path)


def test_a_graph_with_branches(tmp_path: Path) -> None:
    inputs = minnet.Input((8, 8, 2), name="photo")
    a = Conv2D(3, 3, padding="same", activation="relu", name="a")(inputs)
    b = Conv2D(3, 1, name="b")(inputs)
    both = minnet.Add(name="both")([a, b])
    last = Conv2D(2, 3, name="c")(both)
    out = Dense(2, "softmax", name="d")(Flatten(name="e")(last))
    model = minnet.Model(inputs, out, seed=0)
    path = tmp_path / "book.xlsx"
    x = np.random.default_rng(0).random((1, 8, 8, 2))
    done = export_xlsx(model, x, path=path, probe=("c", 1, 1, 1))
    right(path)
    assert done.live_end == "Live with all their numbers: 1 of 6 layers, 'd'."
    assert list(done.probes) == ["a", "b", "both", "c"] and done.chain is None
    texts = [c.value for row in openpyxl.load_workbook(path)["c"] for c in row if c.value]
    assert "No chain: 'both' has several inputs." in texts


@pytest.mark.parametrize("classifies_first", [True, False])
def test_the_last_of_several_outputs_is_what_it_is(classifies_first: bool, tmp_path: Path) -> None:
    x = Input((20,))
    outputs = [Dense(3, "softmax", name="kind")(x), Dense(2, name="size")(x)]
    model = Model(x, outputs if classifies_first else outputs[::-1])
    path = tmp_path / "book.xlsx"
    export_xlsx(model, np.random.default_rng(0).normal(size=(1, 20)), path=path, probe=("kind", 1))
    texts = {c.value for c in open_book(path).cells("contents").values()}
    assert ("probability" in texts) is not classifies_first
    assert ("what minnet says about the first row" in texts) is not classifies_first


# -- training --------------------------------------------------------------------------------------


def test_a_new_head_on_a_frozen_base_trains_live(tmp_path: Path) -> None:
    model, x = images(np.float64)
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, [0, 2], path, max_formulas=1700, steps=2, check=False)
    assert "step 2" in done.sheets and "fc1" in done.probes
    right(path)
    names = open_book(path)
    model.train_on_batch(x, [0, 2])
    model.train_on_batch(x, [0, 2])
    area = names.local_names["step 2"]["predictions_weight_new"]
    found = names.numbers(area, "w", formulas=True)
    np.testing.assert_allclose(found.T, model.layers[-1].parameters["weight"].data, rtol=1e-9)


def test_a_frozen_base_whose_weights_fit_but_not_their_formulas(tmp_path: Path) -> None:
    """By its shapes it is small, but each step would have a copy of its weights."""
    model = wide(Dense(60, input_dim=60), Dense(60, name="base"), Dense(2, name="head"))
    for layer in model.layers[:-1]:
        layer.trainable = False
    x, path = np.random.default_rng(0).normal(size=(2, 60)), tmp_path / "book.xlsx"
    done = export_xlsx(model, x, np.ones((2, 2)), path, steps=3, max_formulas=3000)
    assert done.live_end.startswith("Live with all their numbers: 1 of 3 layers, 'head'.")
    assert {"network", "step 2", "step 3"} <= set(done.sheets)
    right(path)


def test_gradients_of_a_trained_base_are_statistics(tmp_path: Path) -> None:
    model, x = images()
    model.compile("sgd", "sparse_categorical_crossentropy")
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, [0, 2], path, max_formulas=700)
    assert done.live_end.startswith("No layer is live with all its numbers. From 'predictions' on")
    right(path)
    inputs, targets = model.prepare(x, [0, 2])
    loss, _ = model.loss_of(Tensor(inputs), Tensor(targets))
    loss.backward()
    d = model.layers[0].parameters["weight"].grad
    sheet = openpyxl.load_workbook(path, data_only=True)["conv1"]
    found = {row[0].value: row[1].value for row in sheet.iter_rows(max_row=30) if row[0].value}
    assert d is not None
    assert found["d weight: largest size"] == pytest.approx(float(np.abs(d.data).max()), rel=1e-4)
    with pytest.raises(ArgumentError, match="stay as they are"):
        export_xlsx(model, x, [0, 2], path, max_formulas=700, steps=2)


def test_the_model_is_not_changed(tmp_path: Path) -> None:
    layers = [
        Conv2D(4, 3, activation="relu", input_shape=(10, 10, 1)),
        BatchNormalization(),
        Dropout(0.5),
        Flatten(),
        Dense(2),
    ]
    model = Sequential(layers, seed=0)
    model.compile("adam", "mse")
    x = np.random.default_rng(0).random((4, 10, 10, 1))
    state = json.dumps(model.layers[2]._rng.bit_generator.state)  # type: ignore[union-attr]
    before = model.get_weights()
    export_xlsx(model, x, np.ones((4, 2)), tmp_path / "book.xlsx", max_formulas=400)
    right(tmp_path / "book.xlsx")
    assert json.dumps(model.layers[2]._rng.bit_generator.state) == state  # type: ignore[union-attr]
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


# -- reading, comparing, refusing ------------------------------------------------------------------


def test_reading_back_leaves_probes_alone(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, path=path, max_formulas=300)
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    found = read_xlsx(path, model)
    assert found.weights == ["predictions_weight", "predictions_bias"]
    assert found.changed == found.weights and not found.inputs
    assert found.probed == [str(p.name) for p in model.parameters()[:-2]]
    for k, (a, b) in enumerate(zip(weights, model.get_weights())):
        np.testing.assert_array_equal(a if k >= len(weights) - 2 else a + 1, b)


def test_two_books_are_compared(tmp_path: Path) -> None:
    model, x = images()
    one, other = tmp_path / "one.xlsx", tmp_path / "other.xlsx"
    export_xlsx(model, x, path=one, probe=("conv2", 0, 0, 0))
    export_xlsx(model, x, path=other, probe=("conv2", 0, 0, 0))
    assert diff_xlsx(one, other).same
    export_xlsx(model, x**2, path=other, probe=("conv2", 0, 0, 0))
    names = {tensor.name for tensor in diff_xlsx(one, other).tensors}
    assert {"probe_conv2", "probe_conv1_shares"} <= names
    assert any("conv1_out" in name for name in names)  # of the chain


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"probe": ("conv3", 0, 0, 0)}, ArgumentError, "unknown layer to probe.*Did you mean"),
        ({"probe": ()}, ArgumentError, "unknown layer to probe"),
        ({"probe": ("conv2", 9, 0, 0)}, ArgumentError, r"0 to 3, 0 to 3, 0 to 4.*\(9, 0, 0\)"),
        ({"probe": ("conv2", 1)}, ArgumentError, "a place in rows of shape"),
        ({"probe": ("conv2", 1.5, 0, 0)}, ArgumentError, "whole numbers"),
        ({"probe": ("conv2", 1, 0, 0), "probe_layers": -1}, ArgumentError, "probe_layers"),
        ({"probe_layers": 1}, ArgumentError, "probe="),
        ({"probe": ("fc1", 1), "class_names": ["a", "b"]}, ArgumentError, "of 3 classes.*2 names"),
        ({"probe": ("fc1", 1), "class_names": ["", "b", "c"]}, ArgumentError, "an empty one"),
        ({"max_formulas": 60}, WorkbookError, "live formulas or more, but the limit is 60"),
    ],
)
def test_refusals(options: Any, error: Any, message: str, tmp_path: Path) -> None:
    model, x = images()
    with pytest.raises(error, match=message):
        export_xlsx(model, x, path=tmp_path / "book.xlsx", **options)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_none_are_named(tmp_path: Path) -> None:
    model, x = images()
    weights = model.get_weights()
    weights[2][:] = np.inf
    model.set_weights(weights)
    with pytest.raises(NumberError, match="conv2"):
        export_xlsx(model, x, path=tmp_path / "book.xlsx", max_formulas=300)


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_libreoffice_agrees(tmp_path: Path) -> None:
    model, x = images()
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, path=path, probe=("conv2", 2, 1, 0))
    assert verify_xlsx(path, engine="libreoffice").ok
    (saved,) = libreoffice_values([path])
    area = saved.names[legal_name("probe_conv2")]
    value = saved.numbers(area, "neuron", formulas=True)
    assert value[0, 0] == pytest.approx(done.probes["conv2"].worked_out.value)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_whole_vgg16(tmp_path: Path) -> None:
    """At its full size, with drawn weights: a book of some megabytes in which all agrees."""
    from minnet.vgg16 import VGG16

    model = VGG16(preprocessing="caffe", seed=0)
    x = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    path = tmp_path / "book.xlsx"
    done = export_xlsx(model, x, path=path, probe=("block1_conv2", 100, 100, 7))
    assert done.chain is not None and done.chain.layers == ["preprocessing", "block1_conv1"]
    assert path.stat().st_size < 20e6
    right(path)
    assert all(
        sheet.worked_out.verdict == "within rounding"
        for sheet in done.probes.values()
        if sheet.worked_out is not None
    )
