"""Random networks as workbooks: recalculated, then edited and recalculated again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_cases import TOLERANCE, many_books, on_sheet

from minnet import (
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    MaxPooling2D,
    Sequential,
    ZeroPadding2D,
    grad,
)
from minnet.spreadsheet import export_xlsx, read_xlsx
from minnet.spreadsheet.blocks import IMAGES, NORMAL, arrange
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.names import legal_name
from minnet.spreadsheet.reader import Area, Book, open_book
from minnet.spreadsheet.recalculate import (
    Recalculated,
    libreoffice_available,
    libreoffice_values,
)
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array, Tensor
from minnet.testing import Network, networks


def engine_says(model: Sequential, x: Array, y: Array, steps: int = 1) -> list[dict[str, Array]]:
    """Loss, weights, gradients and new weights of each step, by the engine's own fused run."""
    exact = model.astype(np.float64)
    target = y.astype(np.float64) if y.dtype.kind == "f" else y
    said = []
    for _ in range(steps):
        loss, _ = exact.loss_of(Tensor(x.astype(np.float64)), Tensor(target))
        parameters = exact.trainable_parameters()
        now = {"loss": loss.numpy()}
        for p, g in zip(parameters, grad(loss, parameters)):
            name = legal_name(str(p.name))
            now[name], now[f"{name}_grad"] = p.numpy(), g.numpy()
            p.data = now[f"{name}_new"] = p.numpy() - model.optimizer.lr * g.numpy()
        said.append(now)
    return said


def compare(live: Recalculated, names: dict[str, Area], said: dict[str, Array]) -> float:
    """The largest difference, relative to the largest number of each tensor."""
    worst = 0.0
    for name, array in said.items():
        area = names[name]
        expected = array.reshape(1, 1) if name == "loss" else on_sheet(area, array)
        scale = max(float(np.abs(expected).max()), 1e-6)
        worst = max(worst, float(np.abs(live.array(area) - expected).max()) / scale)
    return worst


@many_books
@given(network=networks(max_depth=3), steps=st.integers(1, 3), data=st.data())
def test_recalculates_and_follows_edits(
    network: Network, steps: int, data: Any, tmp_path: Path
) -> None:
    model, x, y = network.model, network.x, network.y
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=steps)
    report = verify_xlsx(path, tolerance=TOLERANCE)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []

    book, live = open_book(path), Recalculated(path)
    said = engine_says(model, x, y, steps)
    assert compare(live, book.names, said[0]) < TOLERANCE
    for step in range(1, steps):
        assert compare(live, book.local_names[f"step {step + 1}"], said[step]) < TOLERANCE

    factor = data.draw(st.sampled_from([0.5, 1.25]))
    changed, other = edited(live, book, model, x, factor)
    said = engine_says(changed, other, y, steps)
    assert compare(live, book.names, said[0]) < TOLERANCE
    if steps > 1:
        assert compare(live, book.local_names[f"step {steps}"], said[-1]) < TOLERANCE


def edited(
    live: Recalculated, book: Book, model: Sequential, x: Array, factor: float
) -> tuple[Sequential, Array]:
    """Change the workbook as a person would; the model and inputs that were told the same."""
    changed = model.astype(np.float64)
    changed.optimizer.lr = 0.3
    for p in changed.parameters():
        p.data = p.data * factor
        area = book.names[legal_name(str(p.name))]
        live.set_array(area, on_sheet(area, p.data))
    other = x.astype(np.float64) * factor
    rows = other.reshape(-1)[arrange(other.shape, IMAGES if other.ndim == 4 else NORMAL)]
    live.set_array(book.names["x"], rows)
    live.set_array(book.names["learning_rate"], np.array([[0.3]]))
    live.evaluate()
    return changed, other


@st.composite
def image_networks(draw: Any) -> Network:
    """Small convolutional networks. Their numbers come from a seed, so no relu is near its kink."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(3, 6)), draw(st.integers(3, 6)), draw(st.integers(1, 2))
    model = Sequential(seed=0)
    for _ in range(draw(st.integers(1, 3))):
        side = min(model.layers[-1].output_shape[:2] if model.layers else shape[:2])  # type: ignore[index]
        layer = draw(image_layers(shape[2] if not model.layers else 1, side))
        model.add(layer)
        model.build(shape)
    top = [GlobalAveragePooling2D(), GlobalMaxPooling2D(), Flatten()]
    model.add(draw(st.sampled_from(top)))
    model.add(Dense(2, "softmax"))
    model.compile(loss="sparse_categorical_crossentropy")
    model.set_weights([numbers.normal(size=w.shape) for w in model.get_weights()])
    x = numbers.normal(size=(draw(st.integers(1, 2)), *shape)).astype(np.float32)
    return Network(model, x, numbers.integers(0, 2, len(x)))


@st.composite
def image_layers(draw: Any, channels: int, side: int) -> Layer:
    kind = draw(st.sampled_from(["conv", "conv", "max", "average", "pad"]))
    size, stride = draw(st.integers(1, min(3, side))), draw(st.integers(1, 2))
    padding = draw(st.sampled_from(["valid", "same", size // 2, ((0, size // 2), (1, 0))]))
    if kind == "conv":
        gaps = 2 if size * 2 - 1 <= side and draw(st.booleans()) else 1
        groups = draw(st.sampled_from([1, channels]))
        activation = draw(st.sampled_from(["relu", "tanh", None]))
        bias = draw(st.booleans())
        filters = draw(st.integers(1, 2)) * groups
        return Conv2D(filters, size, stride, padding, gaps, groups, activation, bias)
    if kind == "pad":
        return ZeroPadding2D(draw(st.sampled_from([1, (0, 1), ((1, 0), (0, 2))])))
    pool = MaxPooling2D if kind == "max" else AveragePooling2D
    return pool(size, stride, padding if isinstance(padding, str) else "same")


@many_books
@given(network=image_networks(), steps=st.integers(1, 2))
def test_images_recalculate_and_follow_edits(network: Network, steps: int, tmp_path: Path) -> None:
    model, x, y = network.model, network.x, network.y
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=steps)
    report = verify_xlsx(path, tolerance=TOLERANCE)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []

    book, live = open_book(path), Recalculated(path)
    assert compare(live, book.names, engine_says(model, x, y)[0]) < TOLERANCE
    changed, other = edited(live, book, model, x, 0.75)
    said = engine_says(changed, other, y, steps)
    assert compare(live, book.names, said[0]) < TOLERANCE
    if steps > 1:
        assert compare(live, book.local_names[f"step {steps}"], said[-1]) < TOLERANCE


@many_books
@given(network=image_networks())
def test_images_read_back(network: Network, tmp_path: Path) -> None:
    model = network.model
    path = tmp_path / "book.xlsx"
    export_xlsx(model, network.x, network.y, path, check=False)
    before = model.get_weights()
    assert read_xlsx(path, model).changed == []
    model.set_weights([w + 1 for w in before])
    found = read_xlsx(path, model)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.inputs["x"], network.x)


@many_books
@given(network=networks(max_depth=2))
def test_read_back(network: Network, tmp_path: Path) -> None:
    model = network.model
    path = tmp_path / "book.xlsx"
    export_xlsx(model, network.x, network.y, path, check=False)
    before = model.get_weights()
    assert read_xlsx(path, model).changed == []
    model.set_weights([w + 1 for w in before])
    found = read_xlsx(path, model)
    assert found.changed == [p.name for p in model.parameters()]
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found.inputs["x"], network.x)


def small_model() -> tuple[Sequential, Array, Array]:
    model = Sequential([Dense(4, "relu", input_dim=3), Dense(2, "softmax")], seed=3)
    model.compile("sgd", "categorical_crossentropy")
    x = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], np.float32)
    return model, x, np.array([[1, 0], [0, 1]])


def broken(path: Path, target: Path) -> str:
    """The book with one wrong formula behind its right cached value; gives the cell's name."""
    import re
    import zipfile

    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == "xl/worksheets/sheet2.xml":
                data, count = re.subn(rb"<f>SUMPRODUCT", b"<f>2*SUMPRODUCT", data, count=1)
                assert count == 1
            copy.writestr(info, data)
    return "network"


@pytest.mark.parametrize("engine", ["ironcalc", "libreoffice"])
def test_a_broken_formula_is_noticed(engine: str, tmp_path: Path) -> None:
    if engine == "libreoffice" and not libreoffice_available():
        pytest.skip("LibreOffice is not installed")
    model, x, y = small_model()
    good, bad = tmp_path / "good.xlsx", tmp_path / "bad.xlsx"
    export_xlsx(model, x, y, good)
    broken(good, bad)
    assert verify_xlsx(good, engine=engine).ok
    report = verify_xlsx(bad, engine=engine)
    assert not report.ok
    assert "network" in {failure.sheet for failure in report.failures}


@pytest.mark.skipif(not libreoffice_available(), reason="LibreOffice is not installed")
def test_survives_a_person_with_libreoffice(tmp_path: Path) -> None:
    """Saved by another program, a book still gives back the same weights."""
    model, x, y = small_model()
    path = tmp_path / "book.xlsx"
    export_xlsx(model, x, y, path, steps=2)
    weights = model.get_weights()
    (saved,) = libreoffice_values([path])
    assert isinstance(saved, Book)
    for p, w in zip(model.parameters(), weights):
        area = saved.names[legal_name(str(p.name))]
        np.testing.assert_allclose(saved.numbers(area, "weight"), on_sheet(area, w))
    shutil.rmtree(tmp_path)
