"""Weights to and from Keras itself: both layouts of HDF5, both directions, the same predictions."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minnet
from minnet import layers
from minnet.errors import FileError

pytest.importorskip("h5py")
if importlib.util.find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", exc_type=ImportError)

ENDINGS = [".h5", ".weights.h5"]
IMAGES, ROWS, WORDS = (8, 8, 4), (6,), (5,)

Net = tuple[list[Any], list[Any], tuple[int, ...]]


def perceptron() -> Net:
    theirs = [
        keras.layers.Dense(7, "relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(5, "tanh", use_bias=False),
        keras.layers.Activation("sigmoid"),
        keras.layers.Dense(3, "softmax"),
    ]
    ours = [
        layers.Dense(7, "relu"),
        layers.Dropout(0.5),
        layers.Dense(5, "tanh", use_bias=False),
        layers.Activation("sigmoid"),
        layers.Dense(3, "softmax"),
    ]
    return theirs, ours, ROWS


def convolutional() -> Net:
    theirs = [
        keras.layers.Conv2D(6, 3, padding="same", activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(4, (1, 2), groups=2, use_bias=False),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
        keras.layers.LayerNormalization(),
    ]
    ours = [
        layers.Conv2D(6, 3, padding="same", activation="relu"),
        layers.BatchNormalization(),
        layers.MaxPooling2D(),
        layers.Conv2D(4, (1, 2), groups=2, use_bias=False),
        layers.Flatten(),
        layers.Dense(3),
        layers.LayerNormalization(),
    ]
    return theirs, ours, IMAGES


def embedded() -> Net:
    theirs = [keras.layers.Embedding(10, 4), keras.layers.Flatten(), keras.layers.Dense(2)]
    ours = [layers.Embedding(10, 4), layers.Flatten(), layers.Dense(2)]
    return theirs, ours, WORDS


@pytest.fixture(params=[perceptron, convolutional, embedded])
def pair(request: pytest.FixtureRequest) -> tuple[Any, minnet.Sequential, np.ndarray]:
    """A net in Keras, the same in minnet with other weights, and inputs."""
    theirs, ours, shape = request.param()
    keras.utils.set_random_seed(1)
    their_net = keras.Sequential([keras.layers.Input(shape), *theirs])
    our_net = minnet.Sequential(ours, seed=2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    if shape == WORDS:
        x = rng.integers(0, 10, (4, *shape))
    # Weights as after training: in a new net many are 0 or 1, and moving means do not matter.
    their_net.set_weights([rng.uniform(0.1, 1, w.shape) for w in their_net.get_weights()])
    our_net.predict(x)
    our_net.set_weights([rng.uniform(0.1, 1, w.shape) for w in our_net.get_weights()])
    return their_net, our_net, x


def assert_alike(theirs: Any, ours: minnet.Sequential, x: np.ndarray) -> None:
    expected = theirs.predict(x, verbose=0)
    np.testing.assert_allclose(ours.predict(x), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("ending", ENDINGS)
def test_keras_loads_what_we_write(pair: Any, ending: str, tmp_path: Path) -> None:
    theirs, ours, x = pair
    path = tmp_path / f"net{ending}"
    ours.save_weights(path)
    theirs.load_weights(path)
    assert_alike(theirs, ours, x)


def write_older(model: Any, path: Path) -> None:
    """The older layout alone, as Keras wrote it before version 3."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "whole.h5": lambda model, path: model.save(path),
    "older.h5": write_older,
    "net.weights.h5": lambda model, path: model.save_weights(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_we_load_what_keras_writes(pair: Any, name: str, tmp_path: Path) -> None:
    theirs, ours, x = pair
    WRITERS[name](theirs, tmp_path / name)
    report = ours.load_weights(tmp_path / name)
    assert report.is_complete
    assert len(report.matched) == len(theirs.get_weights())
    assert_alike(theirs, ours, x)


@pytest.mark.parametrize("name", WRITERS)
def test_after_training_with_keras_the_optimizer_is_left_aside(name: str, tmp_path: Path) -> None:
    theirs, ours, shape = perceptron()
    net = keras.Sequential([keras.layers.Input(shape), *theirs])
    net.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(9, *shape)).astype(np.float32)
    net.fit(x, np.zeros((9, 3)), verbose=0)
    WRITERS[name](net, tmp_path / name)
    model = minnet.Sequential(ours)
    model.build(shape)
    assert model.load_weights(tmp_path / name).is_complete
    assert_alike(net, model, x)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_compiled_model_of_keras_loads_ours(ending: str, tmp_path: Path) -> None:
    theirs, ours, shape = perceptron()
    model = minnet.Sequential(ours)
    model.build(shape)
    model.save_weights(tmp_path / f"net{ending}")
    net = keras.Sequential([keras.layers.Input(shape), *theirs])
    net.compile("adam", "mse")
    net.load_weights(tmp_path / f"net{ending}")
    assert_alike(net, model, np.ones((2, *shape), np.float32))


@pytest.mark.parametrize("name", ["older.h5", "net.weights.h5"])
def test_by_name(name: str, tmp_path: Path) -> None:
    """The layers' names decide, and not their places."""
    sizes = {"a": 3, "b": 3}
    inner = [keras.layers.Dense(n, name=title) for title, n in sizes.items()]
    theirs = keras.Sequential([keras.layers.Input((3,)), *inner])
    WRITERS[name](theirs, tmp_path / name)
    ours = minnet.Sequential([layers.Dense(3, name="b"), layers.Dense(3, name="a")])
    ours.build((3,))
    ours.load_weights(tmp_path / name, by_name=True)
    kernels = {layer.name: layer.get_weights()[0] for layer in inner}
    for layer in ours.layers:
        np.testing.assert_array_equal(layer.parameters["weight"].data, kernels[layer.name])
    swapped = keras.Sequential(
        [keras.layers.Input((3,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")]
    )
    ours.save_weights(tmp_path / "ours.h5")
    swapped.load_weights(tmp_path / "ours.h5", by_name=True)
    np.testing.assert_array_equal(swapped.layers[0].get_weights()[0], kernels["a"])


def test_a_graph_of_keras(tmp_path: Path) -> None:
    """Layers of a kind are counted in the order in which the graph has them."""
    inputs = keras.layers.Input((6,))
    hidden = keras.layers.Dense(4, "relu")(inputs)
    net = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    ours = minnet.Sequential([layers.Dense(4, "relu"), layers.Dense(2)])
    ours.build((6,))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    for name, write in WRITERS.items():
        write(net, tmp_path / name)
        ours.set_weights([np.zeros_like(w) for w in ours.get_weights()])
        ours.load_weights(tmp_path / name)
        assert_alike(net, ours, x)


@pytest.mark.parametrize("name", WRITERS)
def test_another_net_of_keras_is_refused(name: str, tmp_path: Path) -> None:
    net = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(4)])
    WRITERS[name](net, tmp_path / name)
    ours = minnet.Sequential([layers.Dense(5)])
    ours.build((6,))
    with pytest.raises(FileError, match=r"dense_1/weight \(6, 5\), in the file \(6, 4\)"):
        ours.load_weights(tmp_path / name)
