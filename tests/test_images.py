"""Images: reading files of every kind, sizes, what is damaged, folders as batches."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import pixels, write_folder
from PIL import Image

from minnet.data import ImageFolder, load_image
from minnet.errors import ArgumentError, FileError, ShapeError
from minnet.layers import ImagePreprocessing
from minnet.layers.preprocessing import preprocess_input
from minnet.tensor import Tensor
from minnet.weights import read_vgg16

PICTURE = pixels("cats", 3, 30)  # 30 x 33


def saved(path: Path, array: np.ndarray = PICTURE, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


# -- one image -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".ppm"])
def test_pixels_are_those_of_the_file(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(load_image(path, size=None), PICTURE)


def test_stretching_is_bilinear_to_height_and_width(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    expected = Image.fromarray(PICTURE).resize((20, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(load_image(path, (10, 20)), np.asarray(expected))
    assert load_image(path, 16).shape == (16, 16, 3)


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_crop_is_the_middle_of_the_shrunk_image(height: int, width: int) -> None:
    """As torchvision's documentation says: Resize(256), CenterCrop(224)."""
    import tempfile

    array = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    if height <= width:
        inner = (int(256 * width / height), 256)
    else:
        inner = (256, int(256 * height / width))
    with tempfile.TemporaryDirectory() as directory:
        got = load_image(saved(Path(directory) / "a.png", array), 224, "crop")
    shrunk = Image.fromarray(array).resize(inner, Image.Resampling.BILINEAR)
    left, top = round((inner[0] - 224) / 2), round((inner[1] - 224) / 2)
    expected = shrunk.crop((left, top, left + 224, top + 224))
    np.testing.assert_array_equal(got, np.asarray(expected))


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (6, PICTURE.transpose(1, 0, 2)[:, ::-1]),
        (8, PICTURE.transpose(1, 0, 2)[::-1]),
    ],
)
def test_the_cameras_note_about_which_side_is_up(
    tmp_path: Path, orientation: int, turned: np.ndarray
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(load_image(path, size=None), turned)


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    grey = PICTURE[..., 0]
    got = load_image(saved(tmp_path / "grey.png", grey), None)
    np.testing.assert_array_equal(got, np.repeat(grey[..., None], 3, -1))
    deep = grey.astype(np.uint16) * 256 + 7
    got = load_image(saved(tmp_path / "deep.png", deep), None)
    np.testing.assert_array_equal(got, np.repeat(grey[..., None], 3, -1))
    pgm = tmp_path / "deep.ppm"  # in a mode of 32 bits, as such PNGs are in Pillow 10.1
    pgm.write_bytes(b"P5 33 30 65535\n" + deep.astype(">u2").tobytes())
    np.testing.assert_array_equal(load_image(pgm, None), got)
    for mode in ("P", "1", "CMYK", "LA"):
        path = saved(tmp_path / f"{mode}.tif", PICTURE, mode)
        assert load_image(path, None).shape == PICTURE.shape


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_that_are_no_pixels(tmp_path: Path, dtype: Any) -> None:
    """From 0 to 1 they would be black, above 255 white."""
    path = saved(tmp_path / "a.tif", PICTURE[..., 0].astype(dtype))
    with pytest.raises(FileError, match="a.tif: expected pixels of 8 or 16 bits.*PNG"):
        load_image(path)


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    alpha = np.full((*PICTURE.shape[:2], 1), 255, np.uint8)
    alpha[:5] = 0
    path = saved(tmp_path / "a.png", np.concatenate([PICTURE, alpha], -1))
    got = load_image(path, None)
    assert (got[:5] == 255).all()
    np.testing.assert_array_equal(got[5:], PICTURE[5:])


@pytest.mark.parametrize("ending", [".png", ".jpg", ".gif", ".webp", ".tif"])
def test_damaged_files_are_named(tmp_path: Path, ending: str) -> None:
    whole = saved(tmp_path / f"whole{ending}").read_bytes()
    for cut in (0, 1, 8, len(whole) // 3, len(whole) // 2):
        path = tmp_path / f"cut{ending}"
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=f"cut{ending}"):
            load_image(path)


@given(st.data())
def test_changed_bytes_give_pixels_or_a_clear_error(data: st.DataObject) -> None:
    import io
    import tempfile

    content = io.BytesIO()
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF"]))
    Image.fromarray(PICTURE).save(content, kind)
    raw = bytearray(content.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "a.img"
        path.write_bytes(raw)
        try:
            assert load_image(path, 8).shape == (8, 8, 3)
        except FileError as error:
            assert "a.img" in str(error)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "a.npz")
    done = threading.Event()

    def read() -> None:
        with pytest.raises(FileError, match="a.jpg: expected a file with an image, .* a pipe"):
            load_image(tmp_path / "a.jpg")
        with pytest.raises(FileError, match="a.npz: expected a file with weights, .* a pipe"):
            read_vgg16(tmp_path / "a.npz")
        done.set()

    threading.Thread(target=read, daemon=True).start()
    assert done.wait(10)


def test_no_program_is_run_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    with pytest.raises(FileError, match="received something else"):
        load_image(path)


def test_absent_files_and_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.png: expected a file with an image"):
        load_image(tmp_path / "none.png")
    path = saved(tmp_path / "a.png")
    with pytest.raises(ArgumentError, match="image size"):
        load_image(path, (0, 5))
    with pytest.raises(ArgumentError, match="one number or"):
        load_image(path, (1, 2, 3))
    with pytest.raises(ArgumentError, match="Did you mean 'crop'"):
        load_image(path, resize="crops")  # type: ignore[arg-type]


# -- preprocessing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["caffe", "torch", "rescale"])
def test_preprocessing_by_hand(mode: str) -> None:
    red, green, blue = 10.0, 100.0, 200.0
    got = preprocess_input(np.array([[[red, green, blue]]]), mode)
    if mode == "caffe":
        by_hand = [blue - 103.939, green - 116.779, red - 123.68]
    elif mode == "rescale":
        by_hand = [red / 255, green / 255, blue / 255]
    else:
        by_hand = [
            (red / 255 - 0.485) / 0.229,
            (green / 255 - 0.456) / 0.224,
            (blue / 255 - 0.406) / 0.225,
        ]
    np.testing.assert_allclose(got, [[by_hand]], rtol=1e-14)


@pytest.mark.parametrize("mode", ["caffe", "torch", "rescale"])
def test_the_layer_is_the_function(mode: str) -> None:
    images = np.stack([PICTURE, PICTURE[::-1]])
    expected = preprocess_input(images, mode)
    assert expected.dtype == np.float32 and images.dtype == np.uint8
    layer = ImagePreprocessing(mode)
    np.testing.assert_array_equal(layer(Tensor(images.astype(np.float32))).data, expected)


def test_preprocessing_refuses() -> None:
    with pytest.raises(ShapeError, match="pixels"):
        preprocess_input(np.zeros((2, 4)))
    with pytest.raises(ArgumentError, match="Did you mean 'torch'"):
        preprocess_input(np.zeros(3), "Torch")
    with pytest.raises(ShapeError, match="3 channels"):
        ImagePreprocessing()(Tensor(np.zeros((1, 2, 2, 1))))


# -- folders ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "train", {"dogs": 5, "cats": 4})


def test_a_class_for_each_directory_in_order(folder: Path) -> None:
    batches = ImageFolder(folder, 4, size=16, shuffle=False)
    assert batches.classes == ["cats", "dogs"]
    assert batches.files == [f"cats/cats.{i}.png" for i in range(4)] + [
        f"dogs/dogs.{i}.png" for i in range(5)
    ]
    assert batches.labels.tolist() == [0] * 4 + [1] * 5
    got = list(batches)
    assert [x.shape for x, _ in got] == [(4, 16, 16, 3), (4, 16, 16, 3), (1, 16, 16, 3)]
    expected = np.stack([load_image(folder / file, 16) for file in batches.files])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in got]), expected)
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), np.eye(2)[batches.labels])


def test_shuffled_batches_keep_images_and_labels_together(folder: Path) -> None:
    batches = ImageFolder(folder, 2, size=8, seed=1, threads=2)
    (first, second) = list(batches), list(batches)
    for epoch in (first, second):
        x, y = (np.concatenate(part) for part in zip(*epoch, strict=True))
        bluish = x[..., 2].mean((1, 2)) > x[..., 0].mean((1, 2))
        np.testing.assert_array_equal(bluish, y.argmax(1) == 1)
    assert not np.array_equal(first[0][0], second[0][0])
    again = list(ImageFolder(folder, 2, size=8, seed=1, threads=0))
    np.testing.assert_array_equal(again[3][0], first[3][0])


def test_subdirectories_and_chosen_classes(folder: Path) -> None:
    write_folder(folder / "cats" / "more", {"cats": 1})
    (folder / ".hidden").mkdir()
    (folder / "birds").mkdir()
    batches = ImageFolder(folder, size=8, classes=["dogs", "cats"])
    assert batches.classes == ["dogs", "cats"]
    assert "cats/more/cats/cats.0.png" in batches.files
    assert batches.labels.tolist() == [0] * 5 + [1] * 5
    assert ImageFolder(folder, size=8).classes == ["birds", "cats", "dogs"]


def test_without_labels_batches_are_images_alone(folder: Path) -> None:
    batches = ImageFolder(folder, 16, size=8, labelled=False, shuffle=False)
    (x,) = list(batches)
    assert x.shape == (9, 8, 8, 3)


def test_a_transform_sees_pixels(folder: Path) -> None:
    def darker(x: Any, y: Any, rng: Any) -> Any:
        assert x.shape[1:] == (8, 8, 3)
        return x // 2, y

    plain, dark = (
        next(iter(ImageFolder(folder, 9, size=8, shuffle=False, transform=t)))[0]
        for t in (None, darker)
    )
    np.testing.assert_array_equal(dark, plain // 2)


def test_other_files_are_told_of(folder: Path) -> None:
    (folder / "cats" / "notes.txt").write_text("not a cat")
    (folder / "cats" / ".DS_Store").write_text("")
    with pytest.warns(UserWarning, match=r"left out, .* no images: cats/notes\.txt") as caught:
        assert len(ImageFolder(folder, size=8).files) == 9
    assert caught[0].filename == __file__


def test_a_damaged_image_is_named_when_its_batch_is_due(folder: Path) -> None:
    (folder / "dogs" / "dogs.2.png").write_bytes(b"no picture")
    before = threading.active_count()
    with pytest.raises(FileError, match=r"dogs\.2\.png"):
        list(ImageFolder(folder, 2, size=8, threads=2))
    assert threading.active_count() == before


def test_folders_that_are_none(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileError, match="one directory of images for each class"):
        ImageFolder(tmp_path / "absent")
    with pytest.raises(FileError, match="received no image in any directory"):
        ImageFolder(folder / "cats")
    with pytest.raises(FileError, match="none called birds"):
        ImageFolder(folder, classes=["cats", "birds"])
    with pytest.raises(ArgumentError, match="Give a size"):
        next(iter(ImageFolder(folder, size=None)))
