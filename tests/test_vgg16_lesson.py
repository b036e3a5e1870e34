"""The lesson's flow on a tiny folder: predict, fine-tune, fit, test, and go on from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import write_folder

from minnet.data import ImageFolder
from minnet.errors import ArgumentError, FileError
from minnet.layers import ImagePreprocessing
from minnet.vgg16 import VGG16, Vgg16, official
from minnet.weights import convert, read_vgg16

SMALL: dict[str, Any] = {"width": 1 / 16, "size": (32, 32), "seed": 0}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dogscats")
    write_folder(root / "train", {"cats": 8, "dogs": 8})
    write_folder(root / "valid", {"cats": 3, "dogs": 3}, start=8)
    write_folder(root / "test1", {"cats": 2})
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    VGG16(width=1 / 16, input_shape=(32, 32, 3), seed=0).save_weights(file)
    return file


def test_the_lessons_seven_lines(path: Path, weights: Path, tmp_path: Path) -> None:
    vgg = Vgg16(weights, **SMALL)
    batches = vgg.get_batches(path / "train", batch_size=8, seed=0)
    val_batches = vgg.get_batches(path / "valid", batch_size=16)
    vgg.finetune(batches)
    before = vgg.model.get_weights()
    history = vgg.fit(batches, val_batches, nb_epoch=12, verbose=0)
    assert history.history["val_loss"][-1] < history.history["val_loss"][0]

    after = vgg.model.get_weights()
    for k, (old, new) in enumerate(zip(before, after, strict=True)):
        assert np.array_equal(old, new) == (k < len(before) - 2)  # the last layer alone learned

    files, predictions = vgg.test(path / "test1")
    assert files.files == ["cats/cats.0.png", "cats/cats.1.png"]
    assert predictions.shape == (2, 2)

    images, _ = next(iter(val_batches))
    probabilities, indices, names = vgg.predict(images, details=True)
    every = vgg.predict(images)
    assert every.shape == (6, 2)
    np.testing.assert_allclose(probabilities, every.max(1), rtol=1e-5)
    assert names == [("cats", "dogs")[k] for k in indices]

    vgg.save(tmp_path / "pets.safetensors")
    again = Vgg16.load(tmp_path / "pets.safetensors")
    assert again.classes == ["cats", "dogs"] and again.size == (32, 32)
    np.testing.assert_allclose(again.predict(images), every, rtol=1e-5)


def test_without_a_file_the_weights_are_imagenets(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not drawn, which would train without a word and learn nothing."""
    asked: list[bool] = []

    def download(include_top: bool = True) -> Path:
        asked.append(include_top)
        return weights

    monkeypatch.setattr(official, "download", download)
    for vgg in (Vgg16(size=(32, 32)), Vgg16("imagenet", size=(32, 32))):
        for ours, theirs in zip(
            vgg.model.get_weights(), Vgg16(weights, **SMALL).model.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    VGG16("imagenet", include_top=False, input_shape=(32, 32, 3), width=1 / 16)
    assert asked == [True, True, False]


def test_fine_tuning_twice_gives_one_last_layer(path: Path) -> None:
    vgg = Vgg16(None, **SMALL)
    names = [layer.name for layer in vgg.model.layers]
    vgg.ft(5)
    vgg.finetune(vgg.get_batches(path / "train"))
    assert [layer.name for layer in vgg.model.layers] == names
    assert vgg.model.output_shape == (2,)
    assert [layer.trainable for layer in vgg.model.layers[-2:]] == [False, True]


def test_a_file_without_a_top_gets_one(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "notop.npz"
    VGG16(width=1 / 16, include_top=False, input_shape=(32, 32, 3), seed=0).save_weights(file)
    vgg = Vgg16(file, **SMALL)
    assert vgg.model.layers[-1].name == "block5_pool"
    for _ in range(2):
        vgg.finetune(vgg.get_batches(path / "train"))
        head = vgg.model.layers[vgg.model.place_of("block5_pool") + 1 :]
        names = [layer.name for layer in head]
        assert names == ["global_average_pooling2d", "fc1", "fc1_dropout", "predictions"]
        assert all(layer.trainable for layer in head)
        assert not any(layer.trainable for layer in vgg.model.layers if layer not in head)


def test_images_are_read_by_the_weights_convention(path: Path, weights: Path) -> None:
    assert Vgg16(weights, **SMALL).resize == "stretch"
    vgg = Vgg16(weights, preprocessing="torch", **SMALL)
    assert vgg.resize == "crop"
    assert vgg.model.layers[0].mode == "torch"
    assert vgg.get_batches(path / "train").reading.resize == "crop"


def test_sizes_of_images() -> None:
    for size in (np.int64(32), [32, np.int32(32)], (32, 32)):
        assert Vgg16(None, width=1 / 16, size=size).size == (32, 32)
    for size, received in ((32.0, "32.0"), ("a", "'a'"), ((32, 32, 3), r"\(32, 32, 3\)")):
        with pytest.raises(ArgumentError, match=f"expected .*, received {received}"):
            Vgg16(None, width=1 / 16, size=size)


@pytest.mark.parametrize(
    "name", ["whole.safetensors", "w.safetensors", "w.npz", "w.h5", "w.weights.h5"]
)
def test_files_of_a_model_say_which_images_it_takes(name: str, tmp_path: Path) -> None:
    """Else weights for RGB between 0 and 1 would be taken for Keras's, for BGR without means."""
    vgg = Vgg16(None, width=1 / 16, size=(32, 64), preprocessing="torch", seed=0)
    (vgg.save if name.startswith("whole") else vgg.model.save_weights)(tmp_path / name)
    convention = read_vgg16(tmp_path / name)[1].convention
    assert (convention.preprocessing, convention.size) == ("torch", (32, 64))
    convert(tmp_path / name, tmp_path / "converted.h5")
    again = Vgg16(tmp_path / "converted.h5")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)
    np.testing.assert_allclose(again.predict(images), vgg.predict(images), rtol=1e-6)


def test_a_file_whose_end_is_cut_off_is_damaged(tmp_path: Path) -> None:
    """An .npz says in its last bytes which images its net expects; the arrays are all there."""
    path = tmp_path / "w.npz"
    net = VGG16(None, False, input_shape=(32, 32, 3), width=1 / 64, preprocessing="torch", seed=0)
    net.save_weights(path)
    whole = path.read_bytes()
    for cut in range(1, 250, 6):
        path.write_bytes(whole[:-cut])
        with pytest.raises(FileError, match="w.npz: expected an .npz file .* damaged"):
            read_vgg16(path)


def test_what_is_no_batches_and_no_size(path: Path) -> None:
    vgg = Vgg16(None, width=1 / 16, size=32)
    assert vgg.size == (32, 32)
    with pytest.raises(
        ArgumentError, match=r"finetune: .* received str\. vgg\.get_batches\(path\)"
    ):
        vgg.finetune(str(path / "train"))  # type: ignore[arg-type]
    for shape in (224, (224,), (20, 20, 3)):
        with pytest.raises(ArgumentError, match="expected input_shape"):
            VGG16(input_shape=shape)  # type: ignore[arg-type]


def test_dense_layers_tell_the_size_of_images(tmp_path: Path) -> None:
    for side in (32, 96, 224):
        model = VGG16(width=1 / 64, input_shape=(side, side + side // 32, 3), units=[2], seed=0)
        model.save_weights(tmp_path / "w.npz")
        arrays = dict(np.load(tmp_path / "w.npz"))
        arrays["fc2/weight"], arrays["fc2/bias"] = np.ones((2, 2), "f4"), np.ones(2, "f4")
        np.savez(tmp_path / "w.npz", **arrays)
        assert Vgg16(tmp_path / "w.npz").size == (side, side)


def test_arrays_instead_of_batches() -> None:
    vgg = Vgg16(None, classes=["a", "b"], **SMALL)
    vgg.ft(2)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    labels = np.eye(2)[[0, 1, 0, 1]]
    history = vgg.fit_data(images, labels, images[:2], labels[:2], nb_epoch=2, batch_size=2)
    assert len(history.history["val_accuracy"]) == 2


def test_other_classes_than_the_models(path: Path, tmp_path: Path) -> None:
    vgg = Vgg16(None, **SMALL)
    batches = vgg.get_batches(path / "train")
    vgg.finetune(batches)
    birds = ImageFolder(write_folder(tmp_path / "b", {"cats": 1}), size=32)
    with pytest.raises(ArgumentError, match=r"classes cats, dogs, received cats\..*finetune"):
        vgg.fit(batches, birds)


def test_a_file_of_another_model(tmp_path: Path) -> None:
    model = VGG16(width=1 / 16, input_shape=(32, 32, 3), seed=0)
    model.save(tmp_path / "plain.safetensors")
    with pytest.raises(FileError, match=ImagePreprocessing.__name__):
        Vgg16.load(tmp_path / "plain.safetensors")
