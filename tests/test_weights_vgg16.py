"""VGG16s from other libraries' files: read, converted, and giving those libraries' predictions."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from vgg16_files import IMAGE, NAMES, SIDE, TOP, Layers, random_layers, torch_vgg16

import minnet
from minnet import cli
from minnet.errors import ArgumentError, FileError
from minnet.weights import opened_vgg16, read_vgg16
from minnet.weights.conventions import CONVENTIONS, Convention

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


# -- Theano's order --------------------------------------------------------------------------------


def as_theano(layers: Layers) -> Layers:
    """By the rules: (out, in, height, width), turned; the first dense layer's rows by channels."""
    found = []
    for name, kernel, bias in layers:
        if kernel.ndim == 4:
            kernel = kernel[::-1, ::-1].transpose(3, 2, 0, 1)
        elif name == "fc1":
            kernel = kernel.reshape(SIDE, SIDE, -1, 9).transpose(2, 0, 1, 3).reshape(-1, 9)
        found.append((name, kernel, bias))
    return found


def write_keras1(path: Path, layers: Layers) -> None:
    with h5py.File(path, "w") as file:
        titles = [
            f"{'convolution2d' if k.ndim == 4 else 'dense'}_{n}"
            for n, (_, k, _) in enumerate(layers, 1)
        ]
        file.attrs["layer_names"] = [title.encode() for title in titles]
        for title, (_, kernel, bias) in zip(titles, layers):
            group = file.create_group(title)
            group.attrs["weight_names"] = [f"{title}_W".encode(), f"{title}_b".encode()]
            group[f"{title}_W"], group[f"{title}_b"] = kernel, bias


def test_theano_files_are_turned_and_their_rows_are_sorted(tmp_path: Path) -> None:
    expected = random_layers()
    write_keras1(tmp_path / "vgg16.h5", as_theano(expected))
    layers, report = read_vgg16(tmp_path / "vgg16.h5")
    assert_equal(layers, expected)
    assert report.convention == CONVENTIONS["theano"]


def test_theanos_convolution_by_hand(tmp_path: Path) -> None:
    """Theano: out[y, x] = Σ kernel[i, j] · image[y − i, x − j], from the kernel's end."""
    theirs = as_theano(random_layers())
    write_keras1(tmp_path / "w.h5", theirs)
    layers, _ = read_vgg16(tmp_path / "w.h5")
    kernel = theirs[0][1]
    image = np.random.default_rng(1).normal(size=(3, 3, 3)).astype("f4")  # (height, width, channel)
    by_hand = [
        sum(
            kernel[o, c, i, j] * image[2 - i, 2 - j, c]
            for c in range(3)
            for i in range(3)
            for j in range(3)
        )
        for o in range(len(kernel))
    ]
    slid = minnet.ops.conv2d(image[None], layers[0][1], padding="valid")
    np.testing.assert_allclose(slid[0, 0, 0], by_hand, rtol=1e-5)


def test_the_name_of_the_file_may_say_which_kernels(tmp_path: Path) -> None:
    theirs = as_theano(random_layers())
    for kind, turned in (("tf", False), ("th", True)):
        path = tmp_path / f"vgg16_weights_th_dim_ordering_{kind}_kernels.h5"
        write_keras1(path, theirs)
        with opened_vgg16(path) as (_, report):
            assert report.convention.turned is turned


def alike_in_both_orders(path: Path) -> None:
    """Kernels (3, 3, 3, 3): nobody can see which axis is which."""
    rng = np.random.default_rng(0)
    write_keras1(path, [(name, rng.normal(size=(3, 3, 3, 3)), np.zeros(3)) for name in NAMES])


def test_what_nobody_can_tell_is_refused_and_can_be_forced(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    alike_in_both_orders(path)
    with pytest.raises(FileError, match=r"w\.h5: .*keras and theano.*convention='keras'"):
        read_vgg16(path)
    kernels = {name: read_vgg16(path, name)[0][0][1] for name in ("keras", "theano")}
    expected = kernels["keras"].transpose(2, 3, 1, 0)[::-1, ::-1]
    np.testing.assert_array_equal(kernels["theano"], expected)
    with pytest.raises(ArgumentError, match="Did you mean 'theano'"):
        read_vgg16(path, "teano")


def test_torchs_order_under_other_names_is_refused(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, kernel, bias in random_layers():
        arrays |= {f"{name}/weight": kernel.transpose(), f"{name}/bias": bias}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(FileError, match="expected kernels that lie in one known way"):
        read_vgg16(tmp_path / "w.npz")


# -- timm ------------------------------------------------------------------------------------------


def test_timm_and_torchvision_safetensors(net: Any, tmp_path: Path) -> None:
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    safetensors.save_file(state, tmp_path / "torchvision.safetensors")
    for theirs, name in zip(("classifier.0", "classifier.3"), ("fc1", "fc2")):
        weight, bias = state.pop(f"{theirs}.weight"), state.pop(f"{theirs}.bias")
        side = SIDE if name == "fc1" else 1
        state[f"pre_logits.{name}.weight"] = weight.reshape(len(weight), -1, side, side)
        state[f"pre_logits.{name}.bias"] = bias
    for kind in ("weight", "bias"):
        state[f"head.fc.{kind}"] = state.pop(f"classifier.6.{kind}")
    safetensors.save_file(state, tmp_path / "timm.safetensors")
    for file in ("torchvision", "timm"):
        layers, report = read_vgg16(tmp_path / f"{file}.safetensors")
        assert report.convention == CONVENTIONS["torchvision"]
        assert_predicts(layers, net)


# -- what is missing, left over, of another shape --------------------------------------------------


def test_what_does_not_fit_is_listed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    arrays = {}
    for name, kernel, bias in random_layers():
        arrays |= {f"{name}/weight": kernel, f"{name}/bias": bias}
    del arrays["block3_conv2/bias"]
    np.savez(path, **arrays, **{"extra/weight": np.zeros((2, 2))})
    with pytest.raises(FileError) as caught:
        read_vgg16(path)
    message = str(caught.value)
    assert "missing from the file: block3_conv2/bias" in message
    assert "unexpected in the file: extra/weight" in message
    arrays["block3_conv2/bias"] = np.zeros(6, "f4")
    arrays["fc2/weight"] = np.zeros((8, 9), "f4")
    np.savez(path, **arrays)
    with pytest.raises(FileError, match=r"of another shape: fc2/weight \(9, 9\), .* \(8, 9\)"):
        read_vgg16(path)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("block1_conv2/weight", (3, 3, 5, 4)),
        ("block3_conv1/weight", (3, 3, 5, 7)),
        ("block4_conv2/weight", (5, 5, 7, 7)),
        ("block4_conv3/bias", (6,)),
        ("block5_conv3/weight", (3, 8, 8)),
        ("predictions/bias", (9,)),
    ],
)
def test_one_array_of_another_shape_is_named(
    tmp_path: Path, name: str, shape: tuple[int, ...], first: bool
) -> None:
    """It and no neighbour of it, though its shape was to tell how all of them lie."""
    arrays = {}
    for layer, kernel, bias in random_layers():
        arrays |= {f"{layer}/weight": kernel, f"{layer}/bias": bias}
    right, arrays[name] = arrays[name].shape, np.zeros(shape, "f4")
    if first:  # as PyTorch's
        arrays = {k: a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T for k, a in arrays.items()}
    np.savez(tmp_path / "w.npz", **arrays)
    told = "torchvision" if first and name.endswith("bias") else None
    with pytest.raises(FileError) as caught:
        read_vgg16(tmp_path / "w.npz", told)
    report = caught.value.report
    assert [(title, ours) for title, ours, _ in report.mismatched] == [(name, right)]


# -- hostile files ---------------------------------------------------------------------------------


class Attack:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


def in_zip(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_state_dict_is_executed(
    tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "zip.pth", tmp_path / "pickles.pth"):
        content = pickle.dumps({"features.0.weight": Attack()}, protocol)
        if path.stem == "zip":
            in_zip(path, content)
        else:
            header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
            path.write_bytes(b"".join(pickle.dumps(part, 2) for part in header) + content)
        with pytest.raises(FileError, match=rf"{path.name}: .*no state dict needs"):
            read_vgg16(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch executed'\ntR.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x08\x00\x00\x00__code__K\x01s\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n.",
        b"\x80\x02.",
        b"\x80\x02}",
        b"\x80\x02(((((((.",
        b"\x80\x02h\x07.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x3f.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b")" + b"\x86".join(b"q%ch%c" % (n, n) for n in range(90)) + b"\x86}h\x50K\x01s.",
    ],
)
def test_pickles_that_nobody_needs(tmp_path: Path, content: bytes) -> None:
    in_zip(tmp_path / "w.pth", content)
    with pytest.raises(FileError, match=r"w\.pth"):
        read_vgg16(tmp_path / "w.pth")


def edited(path: Path, change: Callable[[bytes], bytes], member: str = "data.pkl") -> None:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith(member) else content)


def test_tensors_larger_than_their_numbers(net: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state = net.state_dict()
    state["features.0.bias"] = torch.zeros(1).expand(1 << 40)
    torch.save(state, path)
    with pytest.raises(FileError, match=r"w\.pth: .*features.0.bias does not fit the numbers"):
        read_vgg16(path)
    saved_as(True)(net, path)
    edited(path, lambda content: content[:-4], "data/0")
    with pytest.raises(FileError, match=r"data/0 has \d+ bytes in place of"):
        read_vgg16(path)


def test_big_endian_and_scripts_and_modules(net: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    saved_as(True)(net, path)
    edited(path, lambda _: b"big", "byteorder")
    with pytest.raises(FileError, match="the other way round"):
        read_vgg16(path)
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(FileError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"):
        read_vgg16(path)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", bytes(100), b"\x80\x02K\x01.", b"\x1f\x8b"])
@pytest.mark.parametrize("ending", [".pth", ".keras"])
def test_files_of_another_kind(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"w{ending}"):
        read_vgg16(path)


# -- converting ------------------------------------------------------------------------------------


OURS = asdict(CONVENTIONS["keras"])


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".h5", ".weights.h5"])
def test_converted_files_predict_as_torch(net: Any, ending: str, tmp_path: Path) -> None:
    source, target = tmp_path / "w.pth", tmp_path / f"w{ending}"
    saved_as(True)(net, source)
    expected, _ = read_vgg16(source)
    minnet.weights.convert(source, target)
    layers, report = read_vgg16(target)
    assert_equal(layers, expected)
    assert report.convention == replace(
        CONVENTIONS["keras"], preprocessing="torch", output="logits"
    )
    assert "the file says so" in report.reasons
    model = model_of(random_layers(7))
    model.load_weights(target)
    assert_equal(
        [(n, *w) for (n, *_), w in zip(expected, zip(*[iter(model.get_weights())] * 2))], expected
    )


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".h5", ".weights.h5"])
def test_what_nobody_could_tell_is_said_after_converting(ending: str, tmp_path: Path) -> None:
    """Kernels alike in both orders, an unusual head, another size: all of it comes back."""
    source, target, again = tmp_path / "w.h5", tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    alike_in_both_orders(source)
    told = Convention("OIHW", "(out, in)", "CHW", True, None, "logits", (96, 160))
    minnet.weights.convert(source, target, told)
    expected = [(n, k.astype("f4"), b.astype("f4")) for n, k, b in read_vgg16(source, told)[0]]
    layers, report = read_vgg16(target)
    assert_equal(layers, expected)
    assert report.convention == Convention(
        "HWIO", "(in, out)", "HWC", False, None, "logits", (96, 160)
    )
    minnet.weights.convert(target, again, preprocessing="rescale")
    layers, second = read_vgg16(again)
    assert_equal(layers, expected)
    assert second.convention == replace(report.convention, preprocessing="rescale")
    with pytest.raises(ArgumentError, match="Did you mean 'torch'"):
        minnet.weights.convert(target, again, preprocessing="torsh")


def test_wide_images_are_flattened_as_they_are(tmp_path: Path) -> None:
    """Rows sorted anew for feature maps of 3 × 5, whose number of rows does not say it."""
    rng = np.random.default_rng(0)
    layers = [
        *random_layers()[:13],
        ("fc1", rng.normal(size=(3 * 5 * 8, 9)).astype("f4"), np.ones(9)),
    ]
    layers += random_layers()[14:]
    arrays = {}
    for name, kernel, bias in layers:
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        elif name == "fc1":
            kernel = kernel.reshape(3, 5, 8, 9).transpose(3, 2, 0, 1).reshape(9, -1)
        else:
            kernel = kernel.T
        arrays |= {f"{name}/weight": kernel, f"{name}/bias": bias}
    np.savez(tmp_path / "w.npz", **arrays)
    received, _ = read_vgg16(
        tmp_path / "w.npz", replace(CONVENTIONS["torchvision"], size=(96, 160))
    )
    assert_equal(received, layers)


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"kernels": "HWOI"}, [1], {"kernels": "HWIO", "dense": 3}),
        *({**OURS, "size": 3}, {**OURS, "size": [3]}, {**OURS, "size": [0, 1]}),
        *({**OURS, "preprocessing": "none"}, {**OURS, "turned": "no"}),
    ],
)
def test_conventions_that_nobody_wrote(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "w.safetensors"
    arrays = {}
    for name, kernel, bias in random_layers():
        arrays |= {f"{name}/weight": kernel, f"{name}/bias": bias}
    safetensors.save_file(arrays, path, {"minnet": json.dumps({"convention": settings})})
    with pytest.raises(FileError, match="a convention in the metadata"):
        read_vgg16(path)


def test_the_command(net: Any, tmp_path: Path, capsys: Any) -> None:
    source, target = tmp_path / "w.pth", tmp_path / "w.npz"
    saved_as(True)(net, source)
    arguments = ["convert", str(source), str(target)]
    cli.app(arguments, prog_name="minnet", standalone_mode=False)
    assert "32 of 32 arrays" in capsys.readouterr().out
    assert read_vgg16(target)[1].is_complete
    for wrong, reason in (([arguments[1], "w.txt"], "a name ending in"), (["no.pth", "w.npz"], "")):
        result = CliRunner().invoke(cli.app, ["convert", *wrong])
        assert result.exit_code == 2
        assert result.stderr.startswith("minnet: ") and reason in result.stderr
