"""VGG16s to and from Keras itself, the same predictions."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vgg16_files import BLOCKS, IMAGE, NAMES, TOP, WIDTHS, random_layers

import minnet
from minnet.weights import read_vgg16
from minnet.weights.conventions import CONVENTIONS

pytest.importorskip("h5py")
if importlib.util.find_spec("tensorflow") is None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", exc_type=ImportError)


def thin_vgg16(named: bool = True) -> Any:
    """As keras.applications makes it, with fewer filters; ``named``: with that module's names."""
    names = iter(NAMES + TOP)

    def name() -> Any:
        return next(names) if named else None

    x = inputs = keras.layers.Input(IMAGE)
    for width, count in zip(WIDTHS, BLOCKS):
        for _ in range(count):
            x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=name())(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(9, "relu", name=name())(x)
    x = keras.layers.Dense(9, "relu", name=name())(x)
    net = keras.Model(inputs, keras.layers.Dense(10, "softmax", name=name())(x))
    net.set_weights([w for _, kernel, bias in random_layers() for w in (kernel, bias)])
    return net


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("ending", [".h5", ".weights.h5", ".keras"])
def test_what_keras_writes(tmp_path: Path, ending: str, named: bool) -> None:
    net, path = thin_vgg16(named), tmp_path / f"net{ending}"
    (net.save_weights if ending == ".weights.h5" else net.save)(path)
    layers, report = read_vgg16(path)
    assert report.convention == CONVENTIONS["keras"]
    for (name, *ours), (expected, *theirs) in zip(layers, random_layers(), strict=True):
        assert name == expected
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("ending", [".h5", ".weights.h5"])
def test_keras_loads_what_is_converted(tmp_path: Path, ending: str) -> None:
    arrays = {}
    for name, kernel, bias in random_layers(5):
        arrays |= {f"{name}/weight": kernel, f"{name}/bias": bias}
    np.savez(tmp_path / "w.npz", **arrays)
    minnet.weights.convert(tmp_path / "w.npz", tmp_path / f"w{ending}")
    net = thin_vgg16()
    net.load_weights(tmp_path / f"w{ending}")
    for one, other in zip(net.get_weights(), arrays.values(), strict=True):
        np.testing.assert_array_equal(one, other)
