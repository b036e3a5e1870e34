"""VGG16s from other libraries' files: read, converted, and giving those libraries' predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vgg16_files import IMAGE, NAMES, TOP, Layers, random_layers, torch_vgg16

import minnet
from minnet.weights import read_vgg16
from minnet.weights.conventions import CONVENTIONS

h5py = pytest.importorskip("h5py")
safetensors = pytest.importorskip("safetensors.numpy")
torch = pytest.importorskip("torch")


def model_of(layers: Layers) -> minnet.Sequential:
    """The net with these weights; it gives logits."""
    model = minnet.Sequential()
    for name, kernel, bias in layers:
        if name == "fc1":
            model.add(minnet.Flatten())
        if kernel.ndim == 4:
            padded = minnet.Conv2D(bias.size, 3, padding="same", activation="relu", name=name)
            model.add(padded)
        else:
            relu = None if name == "predictions" else "relu"
            model.add(minnet.Dense(bias.size, relu, name=name))
        if name in ("block1_conv2", "block2_conv2", *(f"block{b}_conv3" for b in (3, 4, 5))):
            model.add(minnet.MaxPooling2D(2))
    model.build(IMAGE)
    model.set_weights([array for _, kernel, bias in layers for array in (kernel, bias)])
    return model


def images() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(3, *IMAGE)).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    found = torch_vgg16()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.uniform_(-0.3, 0.4)
    return found


def assert_predicts(layers: Layers, net: Any) -> None:
    x = images()
    with torch.no_grad():
        expected = net(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    received = model_of(layers).predict(x)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def saved_as(new_form: bool) -> Callable[[Any, Path], None]:
    def save(net: Any, path: Path) -> None:
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=new_form)

    return save


def save_wrapped(net: Any, path: Path) -> None:
    """As training programs do, from several processors at once."""
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state, "best": 0.5}, path)


def save_strided(net: Any, path: Path) -> None:
    """Tensors that are parts and transpositions of larger ones."""
    state = {}
    for name, tensor in net.state_dict().items():
        bigger = torch.zeros(tensor.shape[0] + 1, *tensor.shape[1:])
        bigger[1:] = tensor
        state[name] = (
            bigger[1:].contiguous(memory_format=torch.channels_last)
            if (tensor.ndim == 4)
            else bigger[1:]
        )
    torch.save(state, path)


TORCH_FILES: dict[str, Callable[[Any, Path], None]] = {
    "zip.pth": saved_as(True),
    "pickles.pth": saved_as(False),
    "wrapped.pt": save_wrapped,
    "strided.pth": save_strided,
}


@pytest.mark.parametrize("name", TORCH_FILES)
def test_torch_files_predict_as_torch(net: Any, name: str, tmp_path: Path) -> None:
    TORCH_FILES[name](net, tmp_path / name)
    layers, report = read_vgg16(tmp_path / name)
    assert [layer for layer, _, _ in layers] == NAMES + TOP
    assert report.is_complete and len(report.matched) == 32
    assert report.convention == CONVENTIONS["torchvision"]
    assert_predicts(layers, net)


# -- Keras's files, whose layout is ours -----------------------------------------------------------


def write_keras2(path: Path, layers: Layers, root: str = "", convert: Any = None) -> None:
    """The older layout: names in attributes, layers without weights among the others."""
    with h5py.File(path, "w") as file:
        group = file.require_group(root) if root else file
        names = ["input_1"]
        for name, *_ in layers:
            names += [name, f"{name}_pool"]
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group.create_group(name).attrs["weight_names"] = np.zeros(0, "S1")
        for name, kernel, bias in layers:
            titles = [f"{name}/{name}/kernel:0", f"{name}/{name}/bias:0"]
            titles = [title.partition("/")[2] for title in titles]
            group[name].attrs["weight_names"] = [title.encode() for title in titles]
            for title, array in zip(titles, (kernel, bias)):
                group[name][title] = array


def assert_equal(received: Any, expected: Layers) -> None:
    assert [name for name, _, _ in received] == [name for name, _, _ in expected]
    for (_, *ours), (_, *theirs) in zip(received, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("root", ["", "model_weights"])
@pytest.mark.parametrize("count", [16, 13])
def test_keras_files(tmp_path: Path, root: str, count: int) -> None:
    expected = random_layers()[:count]
    write_keras2(tmp_path / "w.h5", expected, root)
    layers, report = read_vgg16(tmp_path / "w.h5")
    assert_equal(layers, expected)
    assert report.convention == CONVENTIONS["keras"]
    assert report.convention.channels == "BGR"


@pytest.mark.parametrize("pattern", ["{}/weight", "{}/kernel", "{}_W"])
def test_npz_and_safetensors_with_our_names(tmp_path: Path, pattern: str) -> None:
    expected = random_layers()
    bias = pattern.replace("weight", "bias").replace("kernel", "bias").replace("_W", "_b")
    arrays = {pattern.format(name): kernel for name, kernel, _ in expected}
    arrays |= {bias.format(name): values for name, _, values in expected}
    np.savez(tmp_path / "w.npz", **arrays)
    safetensors.save_file(arrays, tmp_path / "w.safetensors")
    for file in ("w.npz", "w.safetensors"):
        layers, report = read_vgg16(tmp_path / file)
        assert_equal(layers, expected)
        assert report.convention == CONVENTIONS["keras"]
