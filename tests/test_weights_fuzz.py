"""Damaged files of weights, in every format: a clear error, or weights; and no more memory than
files of their size can need."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vgg16_files import random_layers, torch_vgg16

from minnet.errors import FileError
from minnet.weights import convert, read_vgg16

pytest.importorskip("h5py")
pytest.importorskip("safetensors")

#: Bytes; the files have a twentieth of it.
MUCH = 1 << 20


def plain(path: Path) -> None:
    layers = random_layers()
    arrays = {f"{name}/weight": kernel for name, kernel, _ in layers}
    np.savez(path, **arrays, **{f"{name}/bias": bias for name, _, bias in layers})


def compressed(path: Path) -> None:
    plain(path)
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)


def converted(path: Path) -> None:
    plain(path.parent / "plain.npz")
    convert(path.parent / "plain.npz", path)


def as_onnx(path: Path) -> None:
    pytest.importorskip("onnx")
    from onnx_files import as_keras, save

    save(as_keras(random_layers(), factors=True), path, True)


def state_dict(new_form: bool) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch = pytest.importorskip("torch")
        net = torch_vgg16()
        torch.save(net.state_dict(), path, _use_new_zipfile_serialization=new_form)

    return write


FILES: dict[str, Callable[[Path], None]] = {
    "w.npz": plain,
    "compressed.npz": compressed,
    "w.safetensors": converted,
    "w.h5": converted,
    "w.weights.h5": converted,
    "w.onnx": as_onnx,
    "zip.pth": state_dict(True),
    "pickles.pth": state_dict(False),
}


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """The bytes with some of them changed, left out, doubled or put elsewhere."""
    content = bytearray(whole)
    # What lies at both ends, and between arrays, says what the rest is.
    places = st.one_of(
        st.integers(0, min(4000, len(whole) - 1)),
        st.integers(0, len(whole) - 1),
        st.integers(max(0, len(whole) - 4000), len(whole) - 1),
    )
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["byte", "bit", "word", "cut", "out", "copy"]))
        place = min(draw(places), max(len(content) - 1, 0))
        if kind == "byte":
            content[place : place + 1] = bytes([draw(st.sampled_from([0, 1, 127, 128, 255]))])
        elif kind == "bit":
            content[place : place + 1] = bytes([content[place] ^ 1 << draw(st.integers(0, 7))])
        elif kind == "word":
            length = draw(st.sampled_from([4, 8]))
            word = draw(st.sampled_from([b"\xff", b"\x00", b"\x7f"])) * length
            content[place : place + length] = word
        elif kind == "cut":
            del content[place:]
        elif kind == "out":
            del content[place : place + draw(st.integers(1, 64))]
        else:
            part = content[place : place + draw(st.integers(1, 64))]
            other = min(draw(places), len(content))
            content[other : other + len(part) * draw(st.booleans())] = part
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_damaged_files_are_errors_or_weights(name: str, tmp_path: Path, data: Any) -> None:
    path, whole = tmp_path / name, tmp_path / f"whole-{name}"
    if not whole.exists():
        FILES[name](whole)
        read_vgg16(whole)
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    tracemalloc.start()
    try:
        read_vgg16(path)
    except FileError as error:
        assert str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * MUCH
