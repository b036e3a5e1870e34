"""VGG16: the architecture, weights from files, class names, features on disk, real activations."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import pixels, write_folder
from PIL import Image

import minnet
from minnet import Sequential
from minnet.data import Batches, ImageFolder
from minnet.errors import ArgumentError, FileError, ShapeError
from minnet.layers import Dense, GlobalAveragePooling2D
from minnet.vgg16 import VGG16, decode_predictions, imagenet_classes, preprocess_input

DATA = Path(os.environ.get("MINNET_TEST_DATA", "not given"))
REAL = DATA / "vgg16" / "vgg16_notop_imagenet.npz"
PHOTOS = DATA / "vgg16" / "reference_8_photos.npz"

#: Keras's, from its documentation of the application.
NAMES = [
    *("block1_conv1", "block1_conv2", "block1_pool", "block2_conv1", "block2_conv2"),
    *("block2_pool", "block3_conv1", "block3_conv2", "block3_conv3", "block3_pool"),
    *("block4_conv1", "block4_conv2", "block4_conv3", "block4_pool", "block5_conv1"),
    *("block5_conv2", "block5_conv3", "block5_pool", "flatten", "fc1", "fc2", "predictions"),
]


def small(**options: Any) -> Sequential:
    return VGG16(**{"input_shape": (32, 32, 3), "width": 1 / 16, "seed": 0, **options})


def assert_predict_alike(first: Sequential, second: Sequential, images: np.ndarray) -> None:
    """Of equal weights: sixteen layers, each within the bound that tests/kernels sets for one.

    How a kernel adds up depends on whether it has seen its weights before.
    """
    rtol = 16 * 32 * 2.0**-24
    np.testing.assert_allclose(first.predict(images), second.predict(images), rtol=rtol)


# -- the architecture ------------------------------------------------------------------------------


def test_layers_are_called_as_in_keras() -> None:
    assert [layer.name for layer in small().layers] == NAMES
    assert [layer.name for layer in small(include_top=False).layers] == NAMES[:-4]


def test_the_number_of_parameters_is_the_papers() -> None:
    layers = VGG16(include_top=False, seed=0).layers
    convolutions = sum(p.size for layer in layers for p in layer.parameters.values())
    assert layers[-1].output_shape == (7, 7, 512)
    assert convolutions == 14_714_688
    dense = (7 * 7 * 512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
    assert convolutions + dense == 138_357_544


def test_any_size_without_the_top() -> None:
    model = small(include_top=False, input_shape=(45, 70, 3), dtype=np.float64)
    assert model.predict(np.zeros((1, 45, 70, 3))).shape == (1, 1, 2, 32)
    later = small(include_top=False, input_shape=None, dtype=np.float64)
    assert later.predict(np.zeros((1, 64, 32, 3))).shape == (1, 2, 1, 32)


@pytest.mark.parametrize("shape", [(31, 32, 3), (32, 32), (32.0, 32, 3)])
def test_images_that_are_too_small(shape: Any) -> None:
    with pytest.raises(ArgumentError, match="at least 32"):
        small(input_shape=shape)


def test_units_that_are_no_list() -> None:
    with pytest.raises(ArgumentError, match="VGG16 units: expected a list.*received 4096"):
        small(input_shape=(32, 32, 3), units=4096)


def test_shapes_of_numpys_numbers() -> None:
    assert small(include_top=False, input_shape=np.array([32, 64, 3])).output_shape == (1, 2, 32)


def test_preprocessing_as_the_first_layer() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    plain = small(dtype=np.float64)
    for mode in ("caffe", "torch"):
        model = small(preprocessing=mode, dtype=np.float64)
        model.set_weights(plain.get_weights())
        expected = plain.predict(preprocess_input(images.astype(np.float64), mode))
        np.testing.assert_allclose(model.predict(images), expected, rtol=1e-12)


def test_dropout_is_used_in_training_alone() -> None:
    names = [layer.name for layer in small(dropout=0.5).layers]
    assert names[-5:] == ["fc1", "fc1_dropout", "fc2", "fc2_dropout", "predictions"]
    images = np.ones((1, 32, 32, 3))
    plain, dropping = small(dtype=np.float64), small(dropout=0.5, dtype=np.float64)
    np.testing.assert_array_equal(dropping.predict(images), plain.predict(images))


# -- weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".h5"])
def test_weights_from_a_file(tmp_path: Path, ending: str) -> None:
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    path = tmp_path / f"vgg{ending}"
    model = small(seed=5)
    model.save_weights(path)
    same = small(weights=path)
    for ours, theirs in zip(same.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_predict_alike(same, model, images)
    base = small(weights=path, include_top=False, preprocessing="caffe", dtype=np.float64)
    assert base.dtype == np.float64
    for ours, theirs in zip(base.get_weights(), model.get_weights(), strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    path, notop = tmp_path / "vgg.safetensors", tmp_path / "notop.safetensors"
    small().save_weights(path)
    small(include_top=False).save_weights(notop)
    small(include_top=False).save_weights(tmp_path / "notop.h5")
    with pytest.raises(FileError, match=r"received block1_conv1/weight .*width=") as caught:
        VGG16(tmp_path / "notop.h5", False, input_shape=(32, 32, 3), width=1 / 8)
    assert "block5_conv3/bias of shape" in str(caught.value) and "include_top" not in str(
        caught.value
    )
    with pytest.raises(FileError, match=r"predictions.*include_top=False"):
        small(weights=path, classes=7)
    with pytest.raises(FileError, match="no fc1; no fc2; no predictions"):
        small(weights=notop)
    with pytest.raises(FileError, match="block1_conv1"):
        small(weights=path, width=1 / 8)
    with pytest.raises(ArgumentError, match="input_shape with weights"):
        small(weights=path, input_shape=None)


# -- parts of it -----------------------------------------------------------------------------------


def test_the_first_blocks_share_their_layers() -> None:
    model = small()
    part = model.upto("block3_pool")
    assert [layer.name for layer in part.layers] == NAMES[:10]
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3))
    before = part.predict(images)
    first = model.layers[0].parameters["weight"]
    first.data = first.data * 2
    assert not np.array_equal(part.predict(images), before)
    with pytest.raises(ArgumentError, match="Did you mean 'block3_pool'"):
        model.upto("block3_poll")


def test_a_small_head_on_frozen_blocks_learns(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "train", {"cats": 8, "dogs": 8})
    model = small(preprocessing="caffe").upto("block3_pool")
    for layer in model.layers:
        layer.trainable = False
    model.add(GlobalAveragePooling2D())
    model.add(Dense(2, "softmax"))
    model.compile(minnet.Adam(0.01), "categorical_crossentropy", ["accuracy"])
    frozen = [w.copy() for w in model.get_weights()[:-2]]
    model.fit(ImageFolder(folder, 8, size=32, seed=0), epochs=30, verbose=0)
    assert model.evaluate(ImageFolder(folder, 8, size=32))[1] == 1.0
    for before, after in zip(frozen, model.get_weights(), strict=False):
        np.testing.assert_array_equal(before, after)


# -- names -----------------------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "imagenet_class_index.json"
    path.write_text(json.dumps({str(k): [f"n{k:08}", f"thing_{k}"] for k in range(1000)}))
    return path


def test_names_of_the_likeliest_classes(index: Path) -> None:
    rows = np.zeros((2, 1000))
    rows[0, [7, 3, 999]] = 0.5, 0.3, 0.2
    rows[1, 0] = 1
    first, second = decode_predictions(rows, 3, imagenet_classes(index))
    assert [(d.wnid, d.name, d.probability) for d in first] == [
        ("n00000007", "thing_7", 0.5),
        ("n00000003", "thing_3", 0.3),
        ("n00000999", "thing_999", 0.2),
    ]
    assert [d.name for d in second] == ["thing_0", "thing_1", "thing_2"]
    assert imagenet_classes(index.parent) == imagenet_classes(index)
    with pytest.raises(ShapeError, match="predictions"):
        decode_predictions(np.zeros((2, 10)))


def test_names_are_looked_for_where_keras_has_them(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".keras" / "models").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home)
    with pytest.raises(FileError, match="published with Keras's models"):
        imagenet_classes()
    (home / ".keras" / "models" / index.name).write_bytes(index.read_bytes())
    assert imagenet_classes()[2].name == "thing_2"


@pytest.mark.parametrize("content", ["", "[]", '{"0": ["n", "a"]}', '{"0": 5}', "[" * 10000])
def test_damaged_names(tmp_path: Path, content: str) -> None:
    path = tmp_path / "names.json"
    path.write_text(content)
    with pytest.raises(FileError, match=r"names\.json: expected 1000 entries"):
        imagenet_classes(path)


# -- features --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "train", {"cats": 4, "dogs": 3})


def counting(model: Sequential, monkeypatch: pytest.MonkeyPatch, stop_after: int = 99) -> list[int]:
    """The rows of each batch that the model is asked for; a 'kill' after so many batches."""
    calls: list[int] = []
    predict = model.predict

    def counted(x: Any, *rest: Any) -> Any:
        if len(calls) == stop_after:
            raise KeyboardInterrupt
        calls.append(len(x))
        return predict(x, *rest)

    monkeypatch.setattr(model, "predict", counted)
    return calls


def test_features_are_calculated_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small(include_top=False)
    images = ImageFolder(folder, 3, size=32, shuffle=False)
    expected = model.predict(images)
    calls = counting(model, monkeypatch)
    for seed in (None, 1):  # shuffled or not: the rows are in the data's own order
        batches = ImageFolder(folder, 3, size=32, shuffle=seed is not None, seed=seed)
        x, y = model.features(batches, tmp_path / "cache", verbose=0)
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y.argmax(1), images.labels)
        assert isinstance(x, np.memmap) and not x.flags.writeable
        assert calls == [3, 3, 1]
    head = Sequential([GlobalAveragePooling2D(), Dense(2, "softmax")])
    head.compile("adam", "categorical_crossentropy")
    head.fit(x, y, epochs=2, verbose=0)


def test_features_go_on_after_a_kill(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, model = tmp_path / "cache", small(include_top=False, dtype=np.float64)
    batches = ImageFolder(folder, 2, size=32)
    whole = model.features(batches, tmp_path / "other", verbose=0).x
    with monkeypatch.context() as patch:
        counting(model, patch, stop_after=2)
        with pytest.raises(KeyboardInterrupt):
            model.features(batches, cache, verbose=0)
    calls = counting(model, monkeypatch)
    rest = model.features(batches, cache, verbose=0).x
    np.testing.assert_allclose(rest, whole, rtol=1e-10)
    assert calls == [2, 1]


def change_weights(model: Sequential, folder: Path) -> dict[str, Any]:
    bias = model.layers[-2].parameters["bias"]
    bias.data = bias.data + 1
    return {}


def change_reading(model: Sequential, folder: Path) -> dict[str, Any]:
    return {"resize": "crop"}


def change_layer(model: Sequential, folder: Path) -> dict[str, Any]:
    model.pop()
    return {}


@pytest.mark.parametrize("change", [change_weights, change_reading, change_layer])
def test_features_are_made_anew_when_anything_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    model, cache = small(include_top=False), tmp_path / "cache"
    model.features(ImageFolder(folder, 4, size=32), cache, verbose=0)
    batches = ImageFolder(folder, 4, size=32, **change(model, folder))
    calls = counting(model, monkeypatch)
    model.features(batches, cache, verbose=0)
    assert calls == [4, 3]


def test_all_that_can_be_read_is_calculated_before_files_that_cannot_are_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And they are all named: at once, and again at the end."""
    model, cache = small(include_top=False), tmp_path / "cache"
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*.png"))[1:6:2]}
    for path in whole:
        path.write_bytes(b"no picture")
    batches = ImageFolder(folder, 2, size=32, shuffle=False, threads=2)
    told = "received 3 that cannot: " + ", ".join(map(str, whole))
    with (
        pytest.warns(UserWarning, match=f"{re.escape(told)}.* The others are calculated first"),
        pytest.raises(FileError, match=f"{re.escape(told)}.* leave them out"),
    ):
        model.features(batches, cache, verbose=0)
    *mended, last = whole
    for path in mended:
        path.write_bytes(whole[path])
    with pytest.warns(UserWarning), pytest.raises(FileError, match=rf"{last.name}: expected an"):
        model.features(ImageFolder(folder, 2, size=32, shuffle=False), cache, verbose=0)
    last.write_bytes(whole[last])
    calls = counting(model, monkeypatch)
    received = model.features(ImageFolder(folder, 2, size=32, shuffle=False), cache, verbose=0).x
    assert calls == [1]
    np.testing.assert_allclose(received, model.predict(batches), rtol=1e-5, atol=1e-6)


CAT = Path("cats", "cats.1.png")


def add_image(folder: Path) -> None:
    Image.fromarray(pixels("cats", 99)).save(folder / "cats" / "a.png")


def change_one(folder: Path) -> None:
    Image.fromarray(pixels("cats", 99)).save(folder / CAT)


def rename_image(folder: Path) -> None:
    os.replace(folder / CAT, folder / "cats" / "cats.9.png")


def swap_images(folder: Path) -> None:
    cat, dog = folder / CAT, folder / "dogs" / "dogs.1.png"
    contents = cat.read_bytes(), dog.read_bytes()
    dog.write_bytes(contents[0])
    cat.write_bytes(contents[1])


def remove_image(folder: Path) -> None:
    (folder / CAT).unlink()


@pytest.mark.parametrize(
    ("change", "made"),
    [(add_image, 1), (change_one, 1), (rename_image, 0), (swap_images, 0), (remove_image, 0)],
)
def test_only_images_that_are_new_are_calculated(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    made: int,
) -> None:
    """Each row is that of its file, and those of the former files stay as they were."""
    model, cache = small(include_top=False, dtype=np.float64), tmp_path / "cache"
    former = ImageFolder(folder, 4, size=32)
    before = model.features(former, cache, verbose=0).x
    values = before.copy()
    change(folder)
    batches = ImageFolder(folder, 4, size=32, shuffle=False)
    expected = model.predict(batches)
    calls = counting(model, monkeypatch)
    x, y = model.features(batches, cache)
    assert sum(calls) == made
    assert capsys.readouterr().out.startswith("features") == (made > 0)
    np.testing.assert_allclose(x, expected, rtol=1e-10)
    np.testing.assert_array_equal(y.argmax(1), batches.labels)
    np.testing.assert_array_equal(before, values)


def test_two_that_fill_the_same_features_at_once(folder: Path, tmp_path: Path) -> None:
    """One is in the middle of it when the other begins, and ends: both get what is right."""
    cache, model = tmp_path / "cache", small(include_top=False, dtype=np.float64)
    batches = ImageFolder(folder, 2, size=32)
    whole = model.features(batches, tmp_path / "other", verbose=0).x
    other = small(include_top=False, dtype=np.float64)
    predict, seen = model.predict, []

    def in_between(x: Any, *rest: Any) -> Any:
        if len(seen) == 1:
            seen.append(np.array(other.features(batches, cache, verbose=0).x))
        elif not seen:
            seen.append(None)
        return predict(x, *rest)

    model.predict = in_between  # type: ignore[method-assign]
    np.testing.assert_allclose(model.features(batches, cache, verbose=0).x, whole, rtol=1e-10)
    np.testing.assert_allclose(seen[1], whole, rtol=1e-10)
    again = other.features(batches, cache, verbose=0).x
    np.testing.assert_allclose(again, whole, rtol=1e-10)


def test_what_features_do_not_follow_from_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = small(include_top=False), tmp_path / "cache"
    model.features(ImageFolder(folder, 4, size=32), cache, verbose=0)
    for layer in model.layers:
        layer.trainable, layer.lr_multiplier, layer.name = False, 0.5, f"my_{layer.name}"
    calls = counting(model, monkeypatch)
    model.features(ImageFolder(folder, 3, size=32), cache, verbose=0)
    assert calls == []


def test_a_damaged_cache_is_made_anew(folder: Path, tmp_path: Path) -> None:
    model, cache = small(include_top=False, dtype=np.float64), tmp_path / "cache"
    batches = ImageFolder(folder, 4, size=32)
    expected = np.array(model.features(batches, cache, verbose=0).x)
    (path,) = cache.rglob("*.npy")
    content = path.read_bytes()
    for damaged in (b"", content[:30], content[:-20], content + b"more", b"?" + content[1:]):
        path.unlink()  # not while it is mapped
        path.write_bytes(damaged)
        again = model.features(batches, cache, verbose=0).x
        np.testing.assert_allclose(again, expected, rtol=1e-10)


def test_features_of_arrays_and_refusals(tmp_path: Path) -> None:
    model, cache = small(include_top=False), tmp_path / "cache"
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3))
    x, y = model.features(Batches(images, batch_size=2), cache, verbose=0)
    np.testing.assert_allclose(x, model.predict(images), rtol=1e-5, atol=1e-6)
    assert y is None
    with pytest.raises(ArgumentError, match="without transform"):
        model.features(Batches(images, transform=lambda x, y, rng: (x, y)), cache)
    with pytest.raises(ArgumentError, match="ImageFolder"):
        model.features(images, cache)  # type: ignore[arg-type]
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(FileError, match="a directory for features"):
        model.features(Batches(images), blocked)


# -- the real weights ------------------------------------------------------------------------------


@pytest.mark.skipif(not (REAL.is_file() and PHOTOS.is_file()), reason="real weights are not here")
def test_activations_are_those_of_another_engine() -> None:
    """Eight photographs through ImageNet's weights; the numbers are ONNX Runtime's."""
    photos = np.load(PHOTOS)
    model = VGG16(REAL, include_top=False, preprocessing="caffe")
    x = photos["pixels_rgb_u8"]
    for layer in model.layers[1:]:
        name = layer.name
        one = Sequential([*([model.layers[0]] if name == "block1_conv1" else []), layer])
        x = one.predict(x, batch_size=4)
        tolerance = 1e-4 * np.abs(x).max()
        np.testing.assert_allclose(x.mean((1, 2)), photos[f"{name}_mean"], rtol=0, atol=tolerance)
        whole = {"block1_conv1": "block1_conv1_first"}.get(name, name)
        if whole in photos:
            theirs = photos[whole].transpose(0, 2, 3, 1)
            np.testing.assert_allclose(x[: len(theirs)], theirs, rtol=0, atol=tolerance)
