"""Nets that are not a chain: how they are put together, and every verb on them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minnet
from minnet import Add, Concatenate, Dense, Dot, Dropout, Embedding, Flatten, Input, Model
from minnet.errors import ArgumentError, ShapeError
from minnet.gradcheck import check_gradients
from minnet.layers import Conv2D, InputLayer
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Tensor

RNG = np.random.default_rng(0)
SPARSE = "sparse_categorical_crossentropy"


def residual(dtype: Any = np.float64) -> Any:
    """x + tanh(x·w + b), and a unit that reads it."""
    x = Input((4,), dtype, name="x")
    h = Dense(4, "tanh", name="branch")(x)
    return Model(x, Dense(1, name="top")(Add()([x, h])), name="residual", seed=0)


def twins() -> Any:
    """Two inputs through one shared layer; one output compares them, one classifies the first."""
    left, right = Input((4,), np.float64, "left"), Input((4,), np.float64, "right")
    shared = Dense(3, "tanh", name="shared", kernel_regularizer="l2")
    a, b = shared(left), shared(right)
    alike = Dense(1, "sigmoid", name="alike")(Dot(1, normalize=True)([a, b]))
    which = Dense(3, "softmax", name="which")(Concatenate()([a, right]))
    return Model([left, right], [alike, which], seed=0)


def twin_data(rows: int = 12) -> tuple[list[Any], list[Any]]:
    left, right = RNG.normal(size=(2, rows, 4))
    return [left, right], [(left[:, 0] > 0).astype(float), RNG.integers(0, 3, rows)]


def test_a_branch_is_what_its_formula_says() -> None:
    model = residual()
    x = RNG.normal(size=(5, 4))
    w, b, top, bias = model.get_weights()
    expected = (x + np.tanh(x @ w + b)) @ top + bias
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-12)
    np.testing.assert_allclose(model(Tensor(x)).data, expected, rtol=1e-12)
    assert model.output_shape == (1,)
    assert [layer.name for layer in model.layers] == ["x", "branch", "add_1", "top"]


def test_gradients_of_a_whole_net_are_those_of_central_differences() -> None:
    model = residual()
    assert check_gradients(model, RNG.normal(size=(3, 4)))
    model = twins()
    [left, right], _ = twin_data(3)

    def both(a: Tensor, b: Tensor) -> Any:
        alike, which = model([a, b])
        return minnet.ops.concatenate([alike, which], 1)

    assert check_gradients(both, [left, right])


def test_a_shared_layer_has_its_parameters_once_and_learns_from_both_calls() -> None:
    model = twins()
    assert [p.name for p in model.parameters()][:2] == ["shared_weight", "shared_bias"]
    assert len(model.parameters()) == len(model.get_weights()) == 6
    model.compile("sgd", "mse")
    (x, y) = twin_data()
    model.compile("sgd", ["binary_crossentropy", SPARSE])
    loss, _ = model.loss_of(*map(as_several, model.prepare(x, y)))
    shared = model.layers[2].parameters["weight"]
    alone = twins()
    alone.set_weights(model.get_weights())
    gradient = minnet.grad(loss, shared).data

    def moved(shift: float) -> float:
        weights = model.get_weights()
        weights[0][1, 2] += shift
        alone.set_weights(weights)
        alone.compile("sgd", ["binary_crossentropy", SPARSE])
        return float(alone.evaluate(x, y)[0])

    assert gradient[1, 2] == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-5)


def as_several(x: Any) -> Any:
    from minnet.several import as_tensors

    return as_tensors(x)


def test_a_chain_trains_as_sequential_does_bit_for_bit() -> None:
    x, y = RNG.normal(size=(40, 4)), RNG.integers(0, 3, 40)
    chain = minnet.Sequential([Dense(5, "relu"), Dropout(0.3), Dense(3, "softmax")], seed=1)
    chain.build((4,))
    minnet.seed(3)
    start = Input((4,))
    out = Dense(3, "softmax")(Dropout(0.3)(Dense(5, "relu")(start)))
    net = Model(start, out, seed=1)
    net.set_weights(chain.get_weights())
    net._rng.bit_generator.state = chain._rng.bit_generator.state  # type: ignore[union-attr]
    histories = []
    for model in (chain, net):
        model.compile(minnet.Adam(0.01), SPARSE, metrics=["accuracy"])
        histories.append(model.fit(x, y, epochs=3, batch_size=8, verbose=0).history)
    assert histories[0] == histories[1]
    for a, b in zip(chain.get_weights(), net.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert chain.evaluate(x, y) == net.evaluate(x, y)


def test_several_inputs_and_outputs_in_every_verb() -> None:
    model = twins()
    x, y = twin_data(24)
    model.compile("adam", ["binary_crossentropy", SPARSE], ["accuracy"], loss_weights=[1, 0.5])
    history = model.fit(x, y, epochs=2, batch_size=8, validation_split=0.25, verbose=0).history
    names = ["loss", "alike_loss", "which_loss", "alike_accuracy", "which_accuracy"]
    assert list(history) == [*names, *(f"val_{n}" for n in names)]
    values = dict(zip(names, model.evaluate(x, y), strict=True))
    penalty = 0.01 * float((model.get_weights()[0] ** 2).sum())
    expected = values["alike_loss"] + 0.5 * values["which_loss"] + penalty
    assert values["loss"] == pytest.approx(expected, rel=1e-12)
    alike, which = model.predict(x, batch_size=7)
    assert alike.shape == (24, 1) and which.shape == (24, 3)
    assert values["which_accuracy"] == np.mean(which.argmax(1) == y[1])
    by_name = model.evaluate(dict(zip(["left", "right"], x)), {"which": y[1], "alike": y[0]})
    assert by_name == list(values.values())
    assert isinstance(model.train_on_batch(x, y), list)
    np.testing.assert_array_equal(model.predict([x[0][:3], x[1][:3]])[0], model.predict(x)[0][:3])


def test_an_output_that_is_used_further_is_both() -> None:
    """The loss takes its scores, the next layer its probabilities."""
    start = Input((4,), np.float64)
    classes = Dense(3, "softmax", name="classes")(start)
    model = Model(start, [classes, Dense(1, name="top")(classes)])
    model.compile("sgd", [SPARSE, "mse"])
    x, y = RNG.normal(size=(6, 4)), [RNG.integers(0, 3, 6), RNG.normal(size=(6, 1))]
    _, first, second = model.evaluate(x, y)
    w, b, top, bias = model.get_weights()
    e = np.exp(x @ w + b)
    p = e / e.sum(1, keepdims=True)
    assert first == pytest.approx(-np.log(p[np.arange(6), y[0]]).mean())
    assert second == pytest.approx(((p @ top + bias - y[1]) ** 2).mean())
    assert np.isfinite(model.train_on_batch(x, y)).all()


def test_losses_and_metrics_by_name() -> None:
    model = twins()
    losses = {"which": SPARSE, "alike": "mse"}
    model.compile("sgd", losses, {"which": "accuracy"}, loss_weights={"alike": 2, "which": 1})
    assert list(model.metrics) == ["alike_loss", "which_loss", "which_accuracy"]
    x, y = twin_data()
    loss, alike, which, _ = model.evaluate(x, y)
    penalty = 0.01 * float((model.get_weights()[0] ** 2).sum())
    assert loss == pytest.approx(2 * alike + which + penalty)


def test_steps_of_several_inputs_are_rows() -> None:
    model = twins()
    x, _ = twin_data()
    first = model.predict([part[:6] for part in x])
    by_name = dict(zip(model.input_names, x, strict=True))
    for given in (x, tuple(x), by_name):
        for found, wanted in zip(model.predict(given, 3, steps=2), first, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_classes_of_each_output() -> None:
    model = twins()
    x, _ = twin_data()
    alike, which = model.predict(x)
    found = model.predict_classes(x)
    np.testing.assert_array_equal(found[0], alike[:, 0] > 0.5)
    np.testing.assert_array_equal(found[1], which.argmax(1))
    assert [classes.dtype for classes in found] == [np.int64, np.int64]


def test_embeddings_of_two_inputs_learn_a_table() -> None:
    users, films = Input((1,), int, "user"), Input((1,), int, "film")
    factors = [Flatten()(Embedding(n, 2, "normal")(i)) for n, i in ((4, users), (5, films))]
    model = Model([users, films], Dot(1)(factors))
    model.compile(minnet.Adam(0.05), "mse")
    truth = RNG.normal(size=(4, 2)) @ RNG.normal(size=(2, 5))
    user, film = (i.reshape(-1, 1) for i in np.indices((4, 5)))
    before = model.evaluate([user, film], truth.reshape(-1, 1))
    model.fit([user, film], truth.reshape(-1, 1), epochs=150, verbose=0)
    assert model.evaluate([user, film], truth.reshape(-1, 1)) < 0.1 * before


def test_a_model_is_a_part_of_another() -> None:
    tower = minnet.Sequential([Dense(3, "tanh", input_dim=4, name="tower")], dtype=np.float64)
    a, b = Input((4,), np.float64), Input((4,), np.float64)
    pair = Model([a, b], Dot(1)([tower(a), tower(b)]))
    assert pair.parameters() == tower.parameters()
    c = Input((4,), np.float64)
    again = Model(c, pair([c, c]))
    x = RNG.normal(size=(3, 4))
    expected = (tower.predict(x) ** 2).sum(1, keepdims=True)
    np.testing.assert_allclose(again.predict(x), expected, rtol=1e-12)


def test_a_copy_shares_nothing() -> None:
    model = twins()
    x, _ = twin_data()
    before = model.predict(x)
    for twin in (copy.deepcopy(model), model.astype(np.float64)):
        twin.set_weights([w * 0 for w in twin.get_weights()])
        np.testing.assert_array_equal(model.predict(x)[0], before[0])
    assert model.astype(np.float32).predict(x)[0].dtype == np.float32


def test_a_deep_net_needs_no_recursion() -> None:
    start = h = Input((2,))
    for _ in range(1500):
        h = Add()([h, start])
    model = Model(start, h)
    np.testing.assert_allclose(model.predict(np.ones((1, 2))), 1501)
    copy.deepcopy(model)


def test_settings_make_an_equal_net() -> None:
    model = twins()
    again = Model.from_config(model.config())
    again.set_weights(model.get_weights())
    x, _ = twin_data()
    for a, b in zip(model.predict(x), again.predict(x), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.config() == model.config()
    assert len(again.layers) == len(model.layers)


def test_a_saved_net_is_loaded(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = residual()
    model.compile(minnet.Adam(0.01), "mse", metrics=["accuracy"])
    x, y = RNG.normal(size=(8, 4)), RNG.normal(size=(8, 1))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "net.safetensors")
    again = minnet.load_model(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    for one in (model, again):
        one.fit(x, y, verbose=0)
    np.testing.assert_array_equal(model.predict(x), again.predict(x))


def test_a_saved_net_of_several_outputs_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    model = twins()
    x, y = twin_data()
    model.compile(minnet.Adam(0.01), ["mse", SPARSE], {"which": ["accuracy"]}, [1, 0.5])
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "net.safetensors")
    again = minnet.load_model(tmp_path / "net.safetensors")
    assert again.evaluate(x, y) == model.evaluate(x, y)
    for one in (model, again):
        one.fit(x, y, epochs=2, batch_size=5, verbose=0)
    assert again.evaluate(x, y) == model.evaluate(x, y)
    again.save(tmp_path / "again.safetensors")
    model.save(tmp_path / "net.safetensors")
    first, second = (tmp_path / f"{name}.safetensors" for name in ("net", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_exports_and_recalculates(tmp_path: Path) -> None:
    model = twins()
    model.compile(minnet.SGD(0.1, momentum=0.5), ["binary_crossentropy", SPARSE])
    x, y = twin_data(4)
    path = tmp_path / "book.xlsx"
    model.export_xlsx(x, y, path, steps=2)
    report = verify_xlsx(path)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []
    weights = model.get_weights()
    model.set_weights([w + 1 for w in weights])
    found = minnet.read_xlsx(path, model)
    assert list(found.inputs) == ["left", "right", "alike_target", "which_target"]
    np.testing.assert_array_equal(found.inputs["right"], x[1])
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_book_shows_is_what_training_does(tmp_path: Path) -> None:
    """Masks, moving statistics and penalties of two exported steps are those of two real ones."""
    start = Input((3,), np.float64)
    h = minnet.BatchNormalization()(Dense(4, kernel_regularizer="l1_l2")(start))
    model = Model(start, Dense(1)(Dropout(0.5)(h)), seed=0)
    model.compile(minnet.SGD(0.1), "mse")
    x, y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 1))
    path = tmp_path / "book.xlsx"
    export = model.export_xlsx(x, y, path, steps=2)
    assert verify_xlsx(path).ok
    for step in export.passes:
        assert model.train_on_batch(x, y) == pytest.approx(float(step.result.value), rel=1e-12)
    new = {node.name: step.new[node].value for node in step.new}
    assert {p.name for p in model.parameters()} == set(new)
    for p in model.parameters():
        np.testing.assert_allclose(new[p.name], p.data, rtol=1e-12, atol=1e-15)


# -- summary and picture ---------------------------------------------------------------------------


def test_summary_says_what_is_connected() -> None:
    lines: list[str] = []
    twins().summary(lines.append)
    table = "\n".join(lines)
    assert lines[2].split()[-2:] == ["Connected", "to"]
    assert "shared (Dense)" in table and "left, right" in table
    assert "concatenate_1 (Concatenate)" in table and "shared, right" in table
    assert "Total params: 41" in table


def test_summary_counts_what_is_not_trained() -> None:
    start = Input((5,))
    model = Model(start, minnet.BatchNormalization()(start))
    lines: list[str] = []
    model.summary(lines.append)
    assert lines[-4:-1] == ["Total params: 20", "Trainable params: 10", "Non-trainable params: 10"]


def test_picture(tmp_path: Path) -> None:
    model = twins()
    model.plot(tmp_path / "net.svg")
    text = (tmp_path / "net.svg").read_text(encoding="utf-8")
    for layer in model.layers:
        assert f">{layer.name} (" in text
    assert text.count("<path d=") == 1 + 7  # the tip of arrows, and one arrow for each pair
    assert text in model._repr_html_()
    assert "<td style='text-align:left'>shared (Dense)</td>" in model._repr_html_()
    with pytest.raises(ArgumentError, match=r"a \.svg or \.png file"):
        model.plot(tmp_path / "net.pdf")


def test_no_arrow_runs_through_a_box() -> None:
    from minnet import drawing

    picture = drawing.arrange(twins().calls)
    boxes = [box for box in picture.boxes if box.fill != drawing.PASSAGE]
    for arrow in picture.arrows:
        own = {arrow[0], arrow[-1]}
        for curve in drawing.curves(picture, arrow):
            for k in range(21):
                x, y = drawing._between(curve, k / 20)
                for i, box in enumerate(boxes):
                    inside = abs(x - box.x) < box.width / 2 and 0 < y - box.y < drawing.HEIGHT
                    assert i in own or not inside


def test_picture_as_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    twins().plot(tmp_path / "net.png")
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_that_is_not_built_shows_itself_plainly() -> None:
    assert minnet.Sequential([Dense(1)])._repr_html_() is None


# -- mistakes --------------------------------------------------------------------------------------


def test_mistakes_in_putting_a_net_together() -> None:
    a, b = Input((2,), name="a"), Input((2,), name="b")
    both = Add()([a, b])
    with pytest.raises(ArgumentError, match="Model inputs: expected input 'b' too"):
        Model(a, both)
    with pytest.raises(ArgumentError, match="inputs that an output needs, received 'b'"):
        Model([a, b], Dense(1)(a))
    with pytest.raises(ArgumentError, match="one of them twice"):
        Model([a, a], Dense(1)(a))
    with pytest.raises(ArgumentError, match=r"results of minnet\.Input"):
        Model(both, Dense(1)(both))
    with pytest.raises(ArgumentError, match="at least one input and one output"):
        Model([], both)
    with pytest.raises(ArgumentError, match="symbols that come from minnet"):
        Model(np.ones(2), both)
    with pytest.raises(ArgumentError, match="a second 'same'"):
        Model(a, Dense(1, name="same")(Dense(1, name="same")(a)))
    with pytest.raises(ArgumentError, match="expected a list of tensors"):
        Add()(a)
    with pytest.raises(ArgumentError, match="expected one tensor"):
        Dense(1)([a, b])
    with pytest.raises(ArgumentError, match="received a list of Symbol, Tensor"):
        Add()([a, Tensor([1.0])])
    with pytest.raises(ShapeError, match="layer 'add'.*rows of one shape"):
        Add()([a, Input((3,))])
    with pytest.raises(ShapeError, match="layer 'dense'"):
        shared = Dense(1)
        shared(a)
        shared(Input((3,)))
    with pytest.raises(ShapeError, match="several tensors"):
        minnet.Sequential([Dense(2, input_dim=2), Add()])
    with pytest.raises(ArgumentError, match="dtype float32, float64 or int"):
        Input((2,), np.float16)


def test_mistakes_in_data_and_losses() -> None:
    model = twins()
    x, y = twin_data()
    with pytest.raises(ArgumentError, match="compiled"):
        model.fit(x, y)
    with pytest.raises(ArgumentError, match="2 arrays: a list, or a dict of alike, which"):
        model.compile("sgd", ["mse"])
    with pytest.raises(ArgumentError, match="a loss, received none"):
        model.compile("sgd")
    with pytest.raises(ArgumentError, match="metrics of outputs alike, which"):
        model.compile("sgd", "mse", {"other": "accuracy"})
    model.compile("sgd", ["mse", SPARSE])
    with pytest.raises(ArgumentError, match="2 arrays: a list, or a dict of left, right"):
        model.fit(x[0], y)
    with pytest.raises(ShapeError, match="input 'right' of layer 'right'"):
        model.fit([x[0], x[1][:, :2]], y)
    with pytest.raises(ShapeError, match="'which': expected 12 rows, as in 'left'"):
        model.fit(x, [y[0], y[1][:5]])
    with pytest.raises(ArgumentError, match="several outputs, received loss_weights"):
        residual().compile("sgd", "mse", loss_weights=[1])
    words = Model(*(lambda i: (i, Flatten()(Embedding(3, 2)(i))))(Input((1,), int)))
    with pytest.raises(ArgumentError, match="whole numbers, as indices, received 0.5"):
        words.predict(np.array([[0.5]]))
    with pytest.raises(ArgumentError, match="layer 'embedding_1'|indices from 0 to 2"):
        words.predict(np.array([[3]]))


# -- folding ---------------------------------------------------------------------------------------


def trained(model: Any, x: Any) -> Any:
    """With statistics and weights that are not those it started with."""
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


def test_batch_normalization_folds_into_what_is_before_it() -> None:
    x = RNG.normal(size=(3, 6, 6, 2))
    layers: list[Any] = [
        Conv2D(3, 3, use_bias=False, input_shape=(6, 6, 2)),
        minnet.BatchNormalization(),
        minnet.Activation("relu"),
        Flatten(),
        Dense(4),
        minnet.BatchNormalization(center=False),
        Dense(4, "tanh"),
        minnet.BatchNormalization(),  # behind an activation: it stays
        Dense(2),
    ]
    model = trained(minnet.Sequential(layers, dtype=np.float64), x)
    before = [w.copy() for w in model.get_weights()]
    folded = minnet.fold_batch_normalization(model)
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert kinds.count("BatchNormalization") == 1 and len(kinds) == len(layers) - 2
    np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-11)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_folding_in_a_graph_spares_what_is_used_elsewhere() -> None:
    start = Input((4,), np.float64)
    first, second = Dense(4, name="first")(start), Dense(4, name="second")(start)
    total = Add()([first, minnet.BatchNormalization(name="stays")(first)])
    folds = minnet.BatchNormalization(name="folds")(second)
    model = trained(Model(start, Add()([total, folds])), None)
    folded = minnet.fold_batch_normalization(model)
    names = [layer.name for layer in folded.layers]
    assert "stays" in names and "folds" not in names
    x = RNG.normal(size=(3, 4))
    np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-12)
    assert any(isinstance(layer, InputLayer) for layer in folded.layers)
