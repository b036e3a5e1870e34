"""Files of whole VGG16s, 553 MB each: what other libraries predict, how much memory it takes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vgg16_files import torch_vgg16

import minnet
from minnet.vgg16 import VGG16
from minnet.weights import convert, read_vgg16
from minnet.weights.vgg16 import KNOWN_NAMES

pytestmark = pytest.mark.slow

MODEL = 138_357_544 * 4  # bytes
MORE = 300 * 10**6  # that reading may take beside the model, Python and all its packages included
IMAGES = np.random.default_rng(0).normal(size=(1, 224, 224, 3)).astype(np.float32)


def assert_close(received: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.fixture(scope="module")
def net() -> Any:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    found = torch_vgg16((64, 128, 256, 512, 512), 7, 4096)
    found.classifier[-1] = torch.nn.Linear(4096, 1000)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.ndim == 4:  # as large as it takes for the images to come through
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
    return found.eval()


def write_state_dict(new_form: bool) -> Callable[[Any, Path], None]:
    def write(net: Any, path: Path) -> None:
        import torch

        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=new_form)

    return write


def write_safetensors(net: Any, path: Path) -> None:
    pytest.importorskip("safetensors.torch").save_file(net.state_dict(), path)


def write_onnx(net: Any, path: Path) -> None:
    pytest.importorskip("onnx")
    import torch

    torch.onnx.export(net, (torch.zeros(1, 3, 224, 224),), path, dynamo=False)


#: What PyTorch and its neighbours write.
TORCH_FILES: dict[str, Callable[[Any, Path], None]] = {
    "zip.pth": write_state_dict(True),
    "pickles.pth": write_state_dict(False),
    "w.safetensors": write_safetensors,
    "w.onnx": write_onnx,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TORCH_FILES)
def test_a_whole_model_predicts_as_torch(net: Any, name: str, tmp_path: Path) -> None:
    import torch

    path = tmp_path / name
    TORCH_FILES[name](net, path)
    with torch.no_grad():
        logits = net(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)))
    assert 1e-2 < logits.abs().max() < 100  # neither lost nor too sure on the way
    assert_close(VGG16(path).predict(IMAGES), logits.softmax(1).numpy())
    path.unlink()


@pytest.mark.parametrize("ending", [".h5", ".weights.h5", ".keras"])
def test_a_whole_model_predicts_as_keras(tmp_path: Path, ending: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", exc_type=ImportError)
    keras.utils.set_random_seed(0)
    net, path = keras.applications.VGG16(weights=None), tmp_path / f"net{ending}"
    (net.save_weights if ending == ".weights.h5" else net.save)(path)
    assert_close(VGG16(path).predict(IMAGES), net.predict(IMAGES, verbose=0))
    path.unlink()


# -- memory ----------------------------------------------------------------------------------------

PEAK = """
with open("/proc/self/status") as status:
    (peak,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(int(peak) * 1024)
"""


READ = """
import sys
from minnet.vgg16 import VGG16
VGG16(sys.argv[1])
"""

CONVERT = """
import sys
from minnet.weights import convert
convert(sys.argv[1], sys.argv[2], "torchvision")
"""


def peak_of(program: str, *paths: Path) -> int:
    """Bytes that a new process has had in memory at most."""
    if not Path("/proc/self/status").exists():
        pytest.skip("a system that does not say how much memory was used")
    environment = {**os.environ, "PYTHONPATH": str(Path(minnet.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", program + PEAK, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return int(run.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz file with the arrays of a VGG16 in torchvision's order."""
    rng, arrays = np.random.default_rng(0), {}
    for layer in VGG16(seed=0).layers:
        for name, parameter in layer.parameters.items():
            shape = parameter.shape[::-1] if parameter.ndim == 2 else parameter.shape
            if parameter.ndim == 4:
                shape = (shape[3], shape[2], shape[0], shape[1])
            arrays[f"{layer.name}/{name}"] = rng.random(shape, np.float32)
    path = tmp_path_factory.mktemp("whole") / "whole.npz"
    np.savez(path, **arrays)
    return path


def put_converted(whole: Path, path: Path) -> None:
    convert(whole, path, "torchvision")


def put_state_dict(new_form: bool) -> Callable[[Path, Path], None]:
    def put(whole: Path, path: Path) -> None:
        torch = pytest.importorskip("torch")
        with np.load(whole) as arrays:
            state = {
                theirs + (".bias" if kind == "bias" else ".weight"): torch.from_numpy(
                    arrays[f"{ours}/{kind}"]
                )
                for theirs, ours in KNOWN_NAMES.items()
                if theirs.startswith(("features", "classifier"))
                for kind in ("weight", "bias")
            }
        torch.save(state, path, _use_new_zipfile_serialization=new_form)

    return put


def put_onnx(whole: Path, path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx_files import as_torch, save

    save(as_torch(read_vgg16(whole, "torchvision")[0]), path, False, (224, 224, 3))


FILES: dict[str, Callable[[Path, Path], None]] = {
    "zip.pth": put_state_dict(True),
    "pickles.pth": put_state_dict(False),
    "w.onnx": put_onnx,
    "w.safetensors": put_converted,
    "w.npz": put_converted,
    "w.h5": put_converted,
    "w.weights.h5": put_converted,
}


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_in_memory_twice(whole: Path, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FILES[name](whole, path)
    peak = peak_of(READ, path)
    path.unlink()
    assert MODEL < peak < MODEL + MORE


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz", "w.h5", "w.weights.h5"])
def test_nothing_is_in_memory_twice_when_it_is_converted(
    whole: Path, name: str, tmp_path: Path
) -> None:
    peak = peak_of(CONVERT, whole, tmp_path / name)
    (tmp_path / name).unlink()
    assert MODEL < peak < MODEL + MORE
