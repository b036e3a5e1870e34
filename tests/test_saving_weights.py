"""Weights to files and back: each format, what is reported, and files that are none."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saving_cases import Scale, assert_same_weights, models

import minnet
from minnet.errors import ArgumentError, FileError, MissingDependencyError
from minnet.weights import LoadReport, hdf5_heaps
from minnet.weights.hdf5_heaps import require_sound_heaps

h5py = pytest.importorskip("h5py")
safetensors = pytest.importorskip("safetensors.numpy")

ENDINGS = [".safetensors", ".npz", ".h5", ".hdf5", ".weights.h5"]
each_format = pytest.mark.parametrize("ending", ENDINGS)


def network(*units: int, seed: int = 0, **options: Any) -> minnet.Sequential:
    layers = [minnet.Dense(n) for n in units]
    model = minnet.Sequential(layers, seed=seed, **options)
    model.build((3,))
    return model


@pytest.fixture
def path(tmp_path: Path, ending: str) -> Path:
    return tmp_path / f"net{ending}"


# -- there and back --------------------------------------------------------------------------------


@each_format
@given(model=models())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_weights_come_back_bit_for_bit(model: Any, path: Path) -> None:
    weights = model.get_weights()
    if not weights:
        return
    model.save_weights(path)
    model.set_weights([np.zeros_like(w) for w in weights])
    report = model.load_weights(path)
    assert report.is_complete
    assert len(report.matched) == len(weights)
    for before, after in zip(weights, model.get_weights(), strict=True):
        assert before.tobytes() == after.tobytes()


@each_format
def test_equal_weights_give_equal_bytes(path: Path) -> None:
    network(4, 2).save_weights(path)
    first = path.read_bytes()
    other = network(4, 2, seed=1)
    other.set_weights(network(4, 2).get_weights())
    other.save_weights(path)
    assert path.read_bytes() == first


@each_format
def test_arrays_that_do_not_lie_in_rows(path: Path) -> None:
    model = network(3)
    transposed = np.arange(9, dtype=np.float32).reshape(3, 3).T
    model.layers[0].parameters["weight"].data = transposed
    model.save_weights(path)
    other = network(3, seed=1)
    other.load_weights(path)
    assert_same_weights(model, other)


@each_format
@pytest.mark.parametrize("name", ["a/b", "größe", "a b", ".."])
def test_names_that_a_format_might_take_for_its_own(path: Path, name: str, ending: str) -> None:
    model = minnet.Sequential([minnet.Dense(2, input_dim=3, name=name), minnet.Dense(1)])
    model.save_weights(path)
    other = minnet.Sequential([minnet.Dense(2, input_dim=3, name=name), minnet.Dense(1)])
    assert other.load_weights(path).is_complete
    assert_same_weights(model, other)


def test_npz_is_numpys_own(tmp_path: Path) -> None:
    model = network(2)
    model.save_weights(tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz", allow_pickle=False) as arrays:
        assert arrays.files == ["dense_1/weight", "dense_1/bias"]
        np.testing.assert_array_equal(arrays["dense_1/weight"], model.get_weights()[0])


def test_safetensors_is_read_by_its_library(tmp_path: Path) -> None:
    model = network(2)
    model.save_weights(tmp_path / "w.safetensors")
    arrays = safetensors.load_file(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(arrays["dense_1/weight"], model.get_weights()[0])


def test_safetensors_of_somebody_else(tmp_path: Path) -> None:
    """No word from minnet in the metadata: the arrays' names are all there is."""
    path, model = tmp_path / "w.safetensors", network(2)
    arrays = dict(zip(["dense_1/weight", "dense_1/bias"], model.get_weights(), strict=True))
    safetensors.save_file(arrays, path)
    other = network(2, seed=1)
    other.load_weights(path)
    assert_same_weights(model, other)


@pytest.mark.parametrize("width", ["float64", "float16"])
def test_another_dtype_is_converted_and_said_so(tmp_path: Path, width: str) -> None:
    path, model = tmp_path / "w.npz", network(1)
    np.savez(path, **{"dense_1/weight": np.ones((3, 1), width), "dense_1/bias": np.zeros(1, "f4")})
    report = model.load_weights(path)
    assert report.converted == [("dense_1/weight", width)]
    assert f"dense_1/weight from {width}" in str(report)
    assert {p.dtype for p in model.parameters()} == {np.dtype("float32")}


def test_a_large_model_of_keras_has_its_names_in_parts(tmp_path: Path) -> None:
    """HDF5 keeps no attribute over 64 KB."""
    layers = [minnet.Dense(1, name=f"{'long' * 100}_{i}") for i in range(200)]
    model = minnet.Sequential(layers)
    model.build((1,))
    model.save_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert {"layer_names0", "layer_names1"} <= set(file.attrs)
    weights = model.get_weights()
    model.set_weights([np.zeros_like(w) for w in weights])
    model.load_weights(tmp_path / "w.h5")
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


# -- what does not fit -----------------------------------------------------------------------------


def test_strict_loading_changes_nothing_and_reports(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    network(4, 2, 5).save_weights(path)
    model = network(4, 3)
    before = model.get_weights()
    with pytest.raises(FileError) as caught:
        model.load_weights(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected the arrays of this model and no others, received")
    assert "dense_2/weight (4, 3), in the file (4, 2)" in message
    assert "unexpected in the file: dense_3/weight, dense_3/bias" in message
    assert "strict=False" in message
    report = caught.value.report
    assert isinstance(report, LoadReport)
    assert report.mismatched == [("dense_2/weight", (4, 3), (4, 2)), ("dense_2/bias", (3,), (2,))]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_strict_what_fits_is_loaded_and_the_rest_is_said(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    source = network(4, 2, seed=5)
    source.save_weights(path)
    model, lines = network(4, 3, 1), []
    before = model.get_weights()
    report = model.load_weights(path, strict=False, print_fn=lines.append)
    after = model.get_weights()
    np.testing.assert_array_equal(after[0], source.get_weights()[0])
    for one, other in zip(before[2:], after[2:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert lines == [str(report)]
    assert str(report) == (
        f"{path}: 2 of 6 arrays loaded\n"
        "  missing from the file:\n    dense_3/weight\n    dense_3/bias\n"
        "  of another shape:\n    dense_2/weight (4, 3), in the file (4, 2)\n"
        "    dense_2/bias (3,), in the file (2,)"
    )


def test_a_complete_load_prints_nothing(tmp_path: Path, capsys: Any) -> None:
    model = network(4)
    model.save_weights(tmp_path / "w.npz")
    model.load_weights(tmp_path / "w.npz", strict=False)
    assert capsys.readouterr().out == ""


@each_format
def test_by_name_and_in_order(path: Path) -> None:
    """The same two layers, the other way round in the other model."""

    def model(*names: str) -> minnet.Sequential:
        found = minnet.Sequential([minnet.Dense(3, name=name) for name in names])
        found.build((3,))
        return found

    source = model("a", "b")
    source.save_weights(path)
    a, b = source.layers[0].parameters["weight"].data, source.layers[1].parameters["weight"].data
    swapped = model("b", "a")
    swapped.load_weights(path, by_name=True)
    np.testing.assert_array_equal(swapped.layers[0].parameters["weight"].data, b)
    swapped.load_weights(path, by_name=False)
    np.testing.assert_array_equal(swapped.layers[0].parameters["weight"].data, a)


@each_format
def test_by_name_skips_layers_only_without_strict(path: Path) -> None:
    network(4, 2).save_weights(path)
    model = minnet.Sequential([minnet.Dense(4, input_dim=3), minnet.Dense(9, name="new")])
    with pytest.raises(FileError, match="missing from the file: new/weight"):
        model.load_weights(path, by_name=True)
    report = model.load_weights(path, by_name=True, strict=False, print_fn=lambda _: None)
    assert report.matched == ["dense_1/weight", "dense_1/bias"]


@each_format
def test_a_layer_without_its_bias(path: Path) -> None:
    network(4).save_weights(path)
    model = minnet.Sequential([minnet.Dense(4, use_bias=False, input_dim=3)])
    with pytest.raises(FileError, match="unexpected in the file: .*dense"):
        model.load_weights(path)
    model.load_weights(path, strict=False, print_fn=lambda _: None)
    np.testing.assert_array_equal(model.get_weights()[0], network(4).get_weights()[0])


def test_a_model_that_is_not_built(tmp_path: Path) -> None:
    network(2).save_weights(tmp_path / "w.npz")
    with pytest.raises(ArgumentError, match=r"w\.npz: expected a model with weights.*input_shape"):
        minnet.Sequential([minnet.Dense(2)]).load_weights(tmp_path / "w.npz")


# -- files that are none ---------------------------------------------------------------------------


def test_unknown_endings(tmp_path: Path) -> None:
    for name in ("w.txt", "w", "npz"):
        with pytest.raises(FileError, match=r"a name ending in \.safetensors, \.npz"):
            network(2).save_weights(tmp_path / name)
        with pytest.raises(FileError, match=name):
            network(2).load_weights(tmp_path / name)


@each_format
def test_no_file_and_no_place(tmp_path: Path, ending: str) -> None:
    model = network(2)
    with pytest.raises(FileError, match=rf"nothing{ending}: .*No such file"):
        model.load_weights(tmp_path / f"nothing{ending}")
    with pytest.raises(FileError, match=rf"w{ending}: .*No such file"):
        model.save_weights(tmp_path / "nowhere" / f"w{ending}")
    (tmp_path / f"dir{ending}").mkdir()
    with pytest.raises(FileError, match=rf"dir{ending}: .*a directory of this name"):
        model.save_weights(tmp_path / f"dir{ending}")
    with pytest.raises(FileError, match=rf"dir{ending}: .*Is a directory"):
        model.load_weights(tmp_path / f"dir{ending}")
    assert [file.name for file in tmp_path.iterdir()] == [f"dir{ending}"]


@each_format
def test_an_interrupted_save_leaves_the_former_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network(2).save_weights(path)
    before = path.read_bytes()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        network(2, seed=9).save_weights(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@each_format
@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=2 * settings.default.max_examples,
)
def test_damaged_files_are_errors_or_weights(data: Any, path: Path) -> None:
    """Cut off, or with bytes changed: no other exception, and nothing but finite time."""
    model = network(2, 1)
    model.save_weights(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    before = model.get_weights()
    try:
        model.load_weights(path)
    except FileError as error:
        assert str(path) in str(error)
        for one, other in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x89HDF\r\n\x1a\n", b"{}", bytes(1000)])
@each_format
def test_files_of_another_kind(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FileError, match=str(path)):
        network(2).load_weights(path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **{"dense_1/weight": np.array([print], object)})
    with pytest.raises(FileError, match="dense_1/weight has dtype object"):
        network(2).load_weights(path)


def test_an_array_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    """npz: the header says 2^40 numbers, the file has none."""
    path = tmp_path / "w.npz"
    header = str({"descr": "<f4", "fortran_order": False, "shape": (2**40, 1)}).encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dense_1/weight.npy", member)
    with pytest.raises(FileError, match=r"\(1099511627776, 1\) of float32, and has 0 bytes"):
        network(2).load_weights(path)


@pytest.mark.parametrize(
    "header",
    [
        {"dense_1/weight": {"dtype": "F32", "shape": [2**40, 1], "data_offsets": [0, 2**42]}},
        {"dense_1/weight": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {"dense_1/weight": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"__metadata__": {"minnet": "{"}},
        {"__metadata__": {"minnet": "[1]"}},
        {"__metadata__": {"minnet": '{"layers": 3}'}},
        {"__metadata__": {"minnet": '{"layers": [["dense_1", ["weight"]]]}'}},
        {"__metadata__": {"minnet": "[" * 100_000}},
    ],
)
def test_safetensors_headers_that_nobody_wrote(tmp_path: Path, header: dict[str, Any]) -> None:
    path = tmp_path / "w.safetensors"
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(FileError, match=str(path)):
        network(2).load_weights(path)


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(FileError, match="header"):
        network(2).load_weights(path)


def test_numbers_that_numpy_has_none_of(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    entry = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    text = json.dumps({"scale_1/factor": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0\0")
    model = minnet.Sequential([Scale(input_shape=(1,))])
    with pytest.raises(FileError, match="scale_1/factor: expected numbers of a dtype that NumPy"):
        model.load_weights(path)


def linked(path: Path, make: Any) -> None:
    """A file of Keras whose kernel ``make`` replaces."""
    network(2).save_weights(path)
    with h5py.File(path, "a") as file:
        group = file["dense_1/dense_1"]
        del group["kernel:0"]
        make(file, group)


def test_hdf5_never_leaves_its_file(tmp_path: Path) -> None:
    """Links and arrays elsewhere could read any file of the user's."""
    path, secret = tmp_path / "w.h5", tmp_path / "secret.bin"
    secret.write_bytes(bytes(24))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["kernel"] = np.zeros((3, 2), np.float32)

    def soft(file: Any, group: Any) -> None:
        group["kernel:0"] = h5py.SoftLink("/dense_1/dense_1/bias:0")

    def external(file: Any, group: Any) -> None:
        group["kernel:0"] = h5py.ExternalLink("other.h5", "/kernel")

    def outside(file: Any, group: Any) -> None:
        places = [(str(secret), 0, 24)]
        group.create_dataset("kernel:0", (3, 2), np.float32, external=places)

    def virtual(file: Any, group: Any) -> None:
        layout = h5py.VirtualLayout((3, 2), np.float32)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "kernel", (3, 2))
        group.create_virtual_dataset("kernel:0", layout)

    for make in (soft, external, outside, virtual):
        linked(path, make)
        with pytest.raises(FileError, match=r"kernel:0' (is a link|has its numbers in another)"):
            network(2).load_weights(path)


def test_hdf5_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"

    def huge(file: Any, group: Any) -> None:
        group.create_dataset("kernel:0", (2**40, 2), np.float32, chunks=(1024, 2))

    linked(path, huge)
    with pytest.raises(FileError, match="kernel:0 claims 8,796,093,022,208 bytes"):
        network(2).load_weights(path)


@pytest.mark.parametrize("free", [False, True])
def test_heaps_of_texts_that_would_never_end(tmp_path: Path, free: bool) -> None:
    """Sizes that lead to an object of no size: HDF5's library would go round there for ever."""
    path = tmp_path / "w.weights.h5"
    model = network(2)
    model.save_weights(path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    at, sizes = heap + 16, []
    while index := int.from_bytes(content[at : at + 2], "little"):
        sizes.append(at + 8)
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
        assert index == len(sizes)
    with path.open("rb") as file:
        require_sound_heaps(file)
    if free:
        content[at + 8 : at + 16] = bytes(8)
    else:
        content[sizes[0] + 1] += 1
    content[heap + 5] = 7  # which the library does not look at
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"at byte {heap:,}, whose sizes"), path.open("rb") as file:
        require_sound_heaps(file)
    with pytest.raises(FileError, match=r"w\.weights\.h5: .*a damaged one: a heap of texts"):
        model.load_weights(path)


def test_heaps_are_found_wherever_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for block in range(1, 9):
        monkeypatch.setattr(hdf5_heaps, "_BLOCK", block)
        found = list(hdf5_heaps._heaps(io.BytesIO(b"..GCOL\x01....GCOL\x02GCOL\x01")))
        assert found == [2, 16]


def test_other_hdf5_files(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file["temperature"] = np.zeros(3)
    with pytest.raises(FileError, match="attribute 'layer_names' or group 'layers'.*temperature"):
        network(2).load_weights(path)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [1, 2]
    with pytest.raises(FileError, match="a damaged one: a name is"):
        network(2).load_weights(path)


@pytest.mark.parametrize("ending", [".safetensors", ".h5"])
def test_missing_packages_say_what_to_install(
    path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("h5py", "safetensors"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    extra = "h5" if ending == ".h5" else "safetensors"
    with pytest.raises(MissingDependencyError, match=rf'pip install "minnet\[{extra}\]"'):
        network(2).save_weights(path)
    path.write_bytes(b"x")
    with pytest.raises(MissingDependencyError):
        network(2).load_weights(path)
