"""Fine-tuning without abstractions: layers that are popped, frozen, added, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import write_folder

import minnet
from minnet import Adam, Dense, RMSprop, Sequential, Tensor, kernels, training_mode
from minnet.data import ImageFolder
from minnet.layers import Conv2D, Dropout, MaxPooling2D
from minnet.recording import STATE
from minnet.training import train_step
from minnet.vgg16 import VGG16, Vgg16

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("train"), {"cats": 8, "dogs": 8})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the thousand classes that the real ones have."""
    file = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    VGG16(width=1 / 16, input_shape=(SIZE, SIZE, 3), seed=0).save_weights(file)
    return file


def thin(weights: Path, **options: Any) -> Sequential:
    shape = (SIZE, SIZE, 3)
    return VGG16(weights, input_shape=shape, width=1 / 16, preprocessing="caffe", **options)


def changed(model: Sequential, data: Any, lr: float = 0.001) -> list[str]:
    """Train for an epoch; the layers whose numbers are others now."""
    before = model.get_weights()
    names = [layer.name for layer in model.layers for _ in layer.parameters]
    model.compile(Adam(lr), "categorical_crossentropy", ["accuracy"])
    model.fit(data, verbose=0)
    after = model.get_weights()
    differ = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert differ[::2] == differ[1::2]  # weights and biases
    return [name for name, other in zip(names[::2], differ[::2]) if other]


def test_the_last_layer_then_the_dense_ones_then_from_an_index_on(
    folder: Path, weights: Path
) -> None:
    model = thin(weights, dropout=0.5)
    batches = ImageFolder(folder, 8, size=SIZE, seed=0)
    assert model.pop().output_shape == (1000,)
    for layer in model.layers:
        layer.trainable = False
    model.add(Dense(2, activation="softmax", name="pets"))
    assert changed(model, batches) == ["pets"]

    first = next(k for k, layer in enumerate(model.layers) if isinstance(layer, Dense))
    for layer in model.layers[first:]:
        layer.trainable = True
    assert changed(model, batches, lr=0.0001) == ["fc1", "fc2", "pets"]

    for layer in model.layers[first - 5 :]:
        layer.trainable = True
    convolutions = ["block5_conv1", "block5_conv2", "block5_conv3"]
    assert changed(model, batches, lr=0.00001) == [*convolutions, "fc1", "fc2", "pets"]

    for layer in model.layers[first:]:
        layer.trainable = False  # honoured at the next batch, whatever was compiled before
    before = model.layers[-1].parameters["weight"].numpy()
    model.train_on_batch(*next(iter(batches)))
    np.testing.assert_array_equal(model.layers[-1].parameters["weight"].data, before)


def recorded(root: Tensor) -> Iterator[Tensor]:
    """Everything that a graph holds on to: the results of operations, and their inputs."""
    stack, seen = [root], {id(root)}
    while stack:
        tensor = stack.pop()
        yield tensor
        for x in tensor.inputs:
            if isinstance(x, Tensor) and id(x) not in seen:
                seen.add(id(x))
                stack.append(x)


@pytest.mark.parametrize("start", ["predictions", "fc1", "block5_conv2", "block1_conv1"])
def test_frozen_layers_keep_nothing_and_are_not_gone_back_through(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    vgg = Vgg16(weights, size=(SIZE, SIZE), seed=0)
    batches = vgg.get_batches(folder, batch_size=4)
    vgg.finetune(batches)
    vgg.unfreeze(start)
    layers = vgg.model.layers
    place = vgg.model.place_of(start)
    x, y = vgg.model.prepare(*next(iter(batches)))
    with training_mode():
        loss, _ = vgg.model.loss_of(Tensor(x), Tensor(y))

    held = list(recorded(loss))
    frozen = {id(p) for layer in layers[:place] for p in layer.parameters.values()}
    trained = {id(p) for layer in layers[place:] for p in layer.parameters.values()}
    assert not frozen & {id(tensor) for tensor in held}
    assert trained <= {id(tensor) for tensor in held}
    # Of images, what goes into the first trained layer, and what comes after.
    shapes = {layer.output_shape for layer in layers[place:]} | {layers[place].input_shape}
    images = [t.shape[1:] for t in held if t.ndim == 4 and id(t) not in trained]
    assert set(images) <= shapes
    convolved = [layer for layer in layers[place:] if isinstance(layer, Conv2D)]
    made = [t for t in held if t.op is not None and t.op.name.startswith("conv2d")]
    assert len(made) == len(convolved)

    calls: list[str] = []
    for name in ("conv2d_input_gradient", "conv2d_weight_gradient"):
        original = getattr(kernels, name)

        def counted(*arguments: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(kernels, name, counted)
    assert STATE.recording
    train_step(vgg.model, x, y)
    assert calls.count("conv2d_weight_gradient") == len(convolved)
    assert calls.count("conv2d_input_gradient") == max(len(convolved) - 1, 0)


@pytest.mark.parametrize("start", ["predictions", "block5_conv2", "block3_conv1", "block1_conv1"])
def test_frozen_blocks_are_calculated_as_for_a_prediction(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    """Convolution, relu and pooling in one kernel, in a training step too, up to the first layer
    that learns."""
    vgg = Vgg16(weights, size=(SIZE, SIZE), seed=0)
    batches = vgg.get_batches(folder, batch_size=4)
    vgg.finetune(batches)
    vgg.unfreeze(start)
    layers, place = vgg.model.layers, vgg.model.place_of(start)
    calls: list[tuple[bool, bool]] = []
    pooled: list[str] = []
    convolve = kernels.conv2d

    def watched(*arguments: Any, relu: bool = False, pool: bool = False) -> Any:
        calls.append((relu, pool))
        return convolve(*arguments, relu=relu, pool=pool)

    def watched_pool(name: str) -> Any:
        original = getattr(kernels, name)
        return lambda *arguments: (pooled.append(name), original(*arguments))[1]

    monkeypatch.setattr(kernels, "conv2d", watched)
    for name in ("max_pool", "max_pool_places"):
        monkeypatch.setattr(kernels, name, watched_pool(name))
    x, y = vgg.model.prepare(*next(iter(batches)))
    train_step(vgg.model, x, y)
    expected = [
        (True, k < place and isinstance(layers[k + 1], MaxPooling2D))
        for k, layer in enumerate(layers)
        if isinstance(layer, Conv2D)
    ]
    assert calls == expected
    assert len(pooled) == 5 - sum(pool for _, pool in expected)

    calls.clear()
    pooled.clear()
    vgg.model.predict(x)
    assert [pool for _, pool in calls].count(True) == 5 and all(relu for relu, _ in calls)
    assert pooled == []


def test_another_dropout_rate_needs_no_other_weights(weights: Path) -> None:
    """What is kept is divided by its share: the expected output stays, and so does inference."""
    minnet.seed(0)
    model = thin(weights, dropout=0.5, dtype=np.float64)
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    before = model.predict(images)
    (*_, dropout) = (layer for layer in model.layers if isinstance(layer, Dropout))
    x = np.random.default_rng(1).uniform(1, 2, (4000, dropout.input_shape[0]))
    for rate in (0.5, 0.2, 0.0):
        dropout.rate = rate  # in force at the next batch
        with training_mode():
            out = dropout(Tensor(x)).data
        kept = out != 0
        assert kept.mean() == pytest.approx(1 - rate, abs=0.01)
        np.testing.assert_allclose(out[kept], x[kept] / (1 - rate), rtol=1e-12)
        assert out.mean() == pytest.approx(x.mean(), rel=0.01)
        np.testing.assert_array_equal(model.predict(images), before)


def test_training_on_features_is_training_on_images(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    """The same steps with the same numbers, whether the frozen layers run each time or once."""
    results = []
    for on_features in (False, True):
        vgg = Vgg16(weights, size=(SIZE, SIZE), dropout=0.0, dtype=np.float64)
        vgg.finetune(vgg.get_batches(folder))
        vgg.model.layers[-1].parameters["weight"].data = np.full((256, 2), 0.01)
        given = [vgg.get_batches(folder, False, size) for size in (16, 8)]
        if on_features:
            options = {"cache": tmp_path, "batch_size": 16, "shuffle": False}
            history = vgg.fit_features(*given, 3, verbose=0, **options)
        else:
            history = vgg.fit(*given, 3, verbose=0)
        assert vgg.model.history is history
        results.append((history.history, vgg.model.get_weights()))
    (on_images, ours), (on_features, theirs) = results
    for name, values in on_images.items():
        np.testing.assert_allclose(on_features[name], values, rtol=1e-9)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9)


def test_what_is_frozen_ends_before_a_dropout(weights: Path) -> None:
    vgg = Vgg16(weights, size=(SIZE, SIZE))
    with pytest.raises(minnet.errors.ArgumentError, match="frozen layers, received none"):
        vgg.frozen()
    vgg.ft(3)
    assert vgg.frozen().layers[-1].name == "fc2"  # and not its dropout
    vgg.unfreeze("fc1")
    assert vgg.frozen().layers[-1].name == "flatten"
    vgg.unfreeze("block3_pool")
    assert vgg.frozen().layers[-1].name == "block3_pool"
    with pytest.raises(minnet.errors.ArgumentError, match="Did you mean 'block3_pool'"):
        vgg.unfreeze("block3_pol")


def test_a_linear_model_on_predictions(folder: Path, weights: Path, tmp_path: Path) -> None:
    """The lesson's: the net's thousand answers, from which a linear model guesses two classes."""
    vgg = Vgg16(weights, size=(SIZE, SIZE))
    last = vgg.model.layers[-1].parameters["weight"]
    last.data = last.data * 100  # surer of itself, as a net that was trained
    x, y = vgg.model.features(vgg.get_batches(folder), tmp_path, verbose=0)
    assert x.shape == (16, 1000)
    np.testing.assert_allclose(x.sum(1), 1, rtol=1e-5)
    linear = Sequential([Dense(2, activation="softmax", input_dim=1000)], seed=0)
    linear.compile(RMSprop(0.1), "categorical_crossentropy", ["accuracy"])
    linear.fit(x, y, batch_size=16, epochs=20, verbose=0)
    assert linear.evaluate(x, y)[1] == 1.0
