"""Rows from files of every kind, and what is said about those that do not fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minnet.data import read_rows
from minnet.errors import ArgumentError, FileError, ShapeError


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeffheight,width\n1,2.5\n\n-3e1,4\n", encoding="utf-8")
    np.testing.assert_array_equal(read_rows([path], (2,)), [[1, 2.5], [-30, 4]])
    assert read_rows([path, path], (2, 1)).shape == (4, 2, 1)
    path.write_text("3\n1\n")
    np.testing.assert_array_equal(read_rows([path]), [3, 1])


def test_one_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4\n")
    for one in (path, str(path), [path], tmp_path.glob("*.csv")):
        np.testing.assert_array_equal(read_rows(one), [[1, 2], [3, 4]])
    with pytest.raises(ArgumentError, match="read_rows: expected at least one file"):
        read_rows([])


def test_arrays(tmp_path: Path) -> None:
    rows = np.arange(12.0).reshape(2, 6)
    np.save(tmp_path / "a.npy", rows)
    np.savez(tmp_path / "a.npz", anything=rows)
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(read_rows([tmp_path / name], (6,)), rows)
        np.testing.assert_array_equal(read_rows([tmp_path / name], (3, 2)), rows.reshape(2, 3, 2))
    np.save(tmp_path / "one.npy", rows[0])
    np.testing.assert_array_equal(read_rows([tmp_path / "one.npy"], (6,)), rows[:1])


def test_images_are_resized_and_of_the_channels_that_are_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((8, 12, 3), np.uint8)
    pixels[:, 6:] = (200, 100, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    np.testing.assert_array_equal(read_rows([path], (8, 12, 3))[0], pixels)
    small = read_rows([path, path], (4, 6, 3))
    assert small.shape == (2, 4, 6, 3) and small.dtype == np.float32
    np.testing.assert_array_equal(small[0, :, -1], np.tile([200, 100, 0], (4, 1)))
    grey = read_rows([path], (8, 12, 1))
    assert grey[0, 0, -1, 0] == pytest.approx(0.299 * 200 + 0.587 * 100, abs=1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\n3,x\n", "line 3: expected numbers between commas, received 'x'"),
        ("a.csv", b"1,2\n3\n", "line 2: expected 2 numbers, as before, received 1"),
        ("a.csv", b"a,b\n", "rows of numbers between commas, received 'a,b' alone"),
        ("a.txt", b"1\t2\n", r"received '1\t2' alone"),
        ("b.csv", b"", "rows of numbers between commas, received none"),
        ("a.csv", b"\xff\xfe\x00", "a table of numbers"),
        ("a.npy", b"no array", "an array of numbers"),
        ("a.npy", b"\x93NUMPY\x01\x00\x03\x00{'(", "an array of numbers"),
        ("a.npz", b"PK\x03\x04broken", "an array of numbers"),
        ("a.png", b"\x89PNG\r\n\x1a\nbroken", "something else"),
        ("a.docx", b"", "a name that ends in one of .jpg"),
    ],
)
def test_files_that_hold_nothing_of_use(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=re.escape(message)) as error:
        read_rows([path], (2, 1, 1) if name.endswith("png") else (2,))
    assert str(path) in str(error.value)


def test_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], object))
    with pytest.raises(FileError, match="an array of numbers"):
        read_rows([tmp_path / "a.npy"])


def test_an_array_that_claims_more_than_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(100_000))
    path.write_bytes(path.read_bytes().replace(b"(100000,), }  ", b"(99999999,), }"))
    with pytest.raises(FileError, match="an array of numbers"):
        read_rows([path])


def test_rows_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,2,3\n")
    with pytest.raises(ShapeError, match=r"a\.csv: expected rows of shape \(2,\).*\(1, 3\)"):
        read_rows([path], (2,))
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(ShapeError, match=r"a\.png: expected rows of shape \(2,\).*an image"):
        read_rows([tmp_path / "a.png"], (2,))
    with pytest.raises(FileError, match=r"nowhere\.csv"):
        read_rows([tmp_path / "nowhere.csv"], (2,))
