"""Whole models to a file and back, ready to go on; and files that are none."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saving_cases import Scale, assert_same_weights, branched, branched_data, inputs, models

import minnet
from minnet import layers, optimizers
from minnet.errors import ArgumentError, FileError
from minnet.files import require_new
from minnet.layers.activations import ACTIVATIONS
from minnet.saving import LAYERS
from minnet.tensor import Tensor

pytest.importorskip("safetensors")

in_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def network(optimizer: Any = "adam", seed: int | None = 0) -> minnet.Sequential:
    model = minnet.Sequential(
        [minnet.Dense(8, "tanh", input_dim=3), minnet.Dense(2, "softmax")], seed=seed
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def metadata(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["minnet"])


def rewrite(path: Path, change: Any) -> None:
    """The file with its settings changed by ``change``, its arrays as they were."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    settings = json.loads(header["__metadata__"]["minnet"])
    changed = change(settings)
    header["__metadata__"]["minnet"] = json.dumps(settings if changed is None else changed)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


# -- there and back --------------------------------------------------------------------------------


@given(model=models())
@in_place
def test_a_model_comes_back(model: Any, path: Path) -> None:
    model.save(path)
    loaded = minnet.load_model(path, custom_layers={"Scale": Scale})
    assert loaded.config() == model.config()
    assert_same_weights(model, loaded)
    np.testing.assert_array_equal(model.predict(inputs(model)), loaded.predict(inputs(model)))
    assert [p.requires_grad for p in model.parameters()] == [
        p.requires_grad for p in loaded.parameters()
    ]
    assert (model.loss is None) == (loaded.loss is None)
    assert loaded.metrics == model.metrics


@given(model=models())
@in_place
def test_equal_models_give_equal_bytes(model: Any, path: Path) -> None:
    model.save(path)
    first = path.read_bytes()
    minnet.load_model(path, {"Scale": Scale}).save(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_training_goes_on_from_a_file(path: Path, name: str) -> None:
    """Three epochs in one go, or one and two with a file between them: the same bits."""
    whole, parts = network(name), network(name)
    whole.fit(X, Y, epochs=3, verbose=0)
    parts.fit(X, Y, epochs=1, verbose=0)
    parts.save(path)
    loaded = minnet.load(path)
    assert type(loaded.optimizer) is type(whole.optimizer)
    loaded.fit(X, Y, initial_epoch=1, epochs=3, verbose=0)
    assert_same_weights(whole, loaded)


def test_the_state_of_a_parameter_that_was_replaced_is_not_saved(path: Path) -> None:
    model = network()
    model.train_on_batch(X, Y)
    old = model.layers[0].parameters["bias"]
    model.layers[0].parameters["bias"] = Tensor(old.data, requires_grad=True, name=old.name)
    model.train_on_batch(X, Y)
    model.save(path)
    state = minnet.load_model(path).optimizer.state_arrays()
    assert state[f"{old.name}/steps"] == 1


def test_settings_of_the_optimizer_come_back(path: Path) -> None:
    model = network(optimizers.SGD(0.25, momentum=0.5))
    model.optimizer.lr = 0.125
    model.layers[0].lr_multiplier = 0.5
    model.save(path)
    loaded = minnet.load_model(path)
    assert loaded.optimizer.config() == model.optimizer.config()
    assert loaded.optimizer.lr == 0.125
    assert [layer.lr_multiplier for layer in loaded.layers] == [0.5, 1.0]


def test_a_model_can_be_loaded_without_its_training(path: Path) -> None:
    model = network()
    model.fit(X, Y, verbose=0)
    model.save(path)
    loaded = minnet.load_model(path, compile=False)
    assert loaded.loss is None
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_weights_alone_are_read_from_a_saved_model(path: Path) -> None:
    model = network()
    model.fit(X, Y, verbose=0)
    model.save(path)
    other = network(seed=1)
    assert other.load_weights(path).is_complete
    assert_same_weights(model, other)


def test_a_model_that_is_not_built(path: Path) -> None:
    model = minnet.Sequential([minnet.Dense(2, "relu")])
    model.compile(loss="mse")
    model.save(path)
    loaded = minnet.load_model(path)
    assert loaded.predict(X).shape == (20, 2)


def test_loading_draws_nothing_from_the_shared_generator(path: Path) -> None:
    network().save(path)
    minnet.seed(3)
    expected = minnet.random.generator().random()
    minnet.seed(3)
    minnet.load_model(path)
    assert minnet.random.generator().random() == expected


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_makes_an_equal_one(name: str) -> None:
    """Through JSON, as a file would have it."""
    arguments: dict[str, list[Any]] = {
        "Activation": ["relu"], "Conv2D": [2, (1, 3)], "Dense": [4], "Dot": [1], "Dropout": [0.5],
        "Embedding": [5, 2], "InputLayer": [(3,)], "Reshape": [(2, 2)],
    }  # fmt: skip
    if name == "Lambda":
        return  # its function has no other place than the memory
    layer = LAYERS[name](*arguments.get(name, []))
    again = LAYERS[name].from_config(json.loads(json.dumps(layer.config())))
    assert again.config() == layer.config()
    assert json.dumps(again.config()) == json.dumps(layer.config())


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_copies_have_the_very_same_activation(name: str, path: Path) -> None:
    model = minnet.Sequential([minnet.Dense(3, name, input_dim=2)], seed=0)
    function = model.layers[0].activation
    model.save(path)
    saved = path.read_bytes()
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.layers[0].activation is function
        copied.save(path)
        assert path.read_bytes() == saved


def test_a_net_that_is_no_chain(path: Path) -> None:
    """Branches, a shared layer, two inputs and outputs; and the training of it goes on."""
    x, y = branched_data()
    options: dict[str, Any] = {"batch_size": 5, "verbose": 0}
    whole, parts = branched(), branched()
    parts.set_weights(whole.get_weights())
    for model in (whole, parts):
        kinds = {"size": "mse", "kind": "sparse_categorical_crossentropy"}
        model.compile("adam", kinds, {"kind": ["accuracy"]}, {"size": 0.5, "kind": 2.0})
    whole.fit(x, y, epochs=3, **options)
    parts.fit(x, y, epochs=1, **options)
    parts.save(path)
    loaded = minnet.load_model(path)
    assert loaded.config() == parts.config()
    assert_same_weights(parts, loaded)
    for one, other in zip(parts.predict(x), loaded.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)
    assert loaded.evaluate(x, y) == parts.evaluate(x, y)
    loaded.fit(x, y, initial_epoch=1, epochs=3, **options)
    assert_same_weights(whole, loaded)
    loaded.save(path)
    first = path.read_bytes()
    minnet.load(path).save(path)
    assert path.read_bytes() == first


def test_one_output_of_a_graph(path: Path) -> None:
    x = minnet.Input((3,))
    model = minnet.Model(x, minnet.Add()([x, minnet.Dense(3)(x)]))
    model.compile("sgd", "mse", ["accuracy"])
    model.save(path)
    loaded = minnet.load_model(path)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.metrics == model.metrics


def test_metrics_given_as_functions(path: Path) -> None:
    """With binary cross-entropy 'accuracy' is another function than minnet.accuracy."""
    model = minnet.Sequential([minnet.Dense(2, "sigmoid", input_dim=3)])
    for metric in (minnet.accuracy, "accuracy", "acc"):
        model.compile("sgd", "binary_crossentropy", [metric])
        model.save(path)
        assert minnet.load_model(path).metrics == model.metrics


# -- one's own layers and functions ----------------------------------------------------------------


def swish(x: Tensor) -> Any:
    return x * minnet.ops.sigmoid(x)


def half(shape: Any, dtype: Any, rng: Any) -> Any:
    return np.full(shape, 0.5, dtype)


def huge(prediction: Tensor, target: Tensor) -> Any:
    return (prediction - target).sum() * 100.0


def bias(prediction: Any, target: Any) -> float:
    return float((prediction - target).mean())


def test_functions_of_ones_own_are_passed_by_name(path: Path) -> None:
    layer = minnet.Dense(2, swish, kernel_initializer=half, input_dim=3)
    model = minnet.Sequential([layer])
    model.compile("sgd", huge, [bias, "accuracy"])
    model.save(path)
    own = {f.__name__: f for f in (swish, half, huge, bias)}
    for name in own:
        others = {k: f for k, f in own.items() if k != name}
        with pytest.raises(FileError, match=rf"custom_objects=\{{'{name}': {name}\}}"):
            minnet.load_model(path, custom_objects=others)
    loaded = minnet.load_model(path, custom_objects=own)
    assert loaded.layers[0].activation is swish
    assert loaded.layers[0].kernel_initializer is half
    assert loaded.metrics == model.metrics
    assert loaded.evaluate(X, X[:, :2]) == model.evaluate(X, X[:, :2])


def test_a_metric_named_as_one_of_minnets(path: Path) -> None:
    def accuracy(prediction: Any, target: Any) -> float:
        return 0.0

    model = minnet.Sequential([minnet.Dense(2, input_dim=3)])
    model.compile("sgd", "mse", [accuracy])
    with pytest.raises(ArgumentError, match="saving a metric: .*function called 'accuracy'"):
        model.save(path)


def test_classes_of_ones_own(path: Path) -> None:
    class Gentle(optimizers.SGD):
        pass

    model = minnet.Sequential([Scale(2.0, input_shape=(3,), name="twice"), minnet.Dense(2)])
    model.compile(Gentle(0.5), "mse")
    model.save(path)
    with pytest.raises(FileError, match=r"layer 'twice': .*custom_layers=\{'Scale': Scale\}"):
        minnet.load_model(path)
    with pytest.raises(FileError, match="unknown optimizer.*'Gentle'"):
        minnet.load_model(path, {"Scale": Scale})
    loaded = minnet.load_model(path, {"Scale": Scale}, {"Gentle": Gentle})
    assert type(loaded.optimizer) is Gentle
    assert loaded.layers[0].times == 2.0


def test_functions_without_a_name_are_refused(path: Path) -> None:
    model = minnet.Sequential([minnet.Dense(2, lambda x: x, input_dim=3, name="odd")])
    with pytest.raises(ArgumentError, match=r"saving layer 'odd': .*<lambda>.*def name"):
        model.save(path)
    assert not path.exists()


class Forgetful(layers.Layer):
    """A layer whose settings nobody can ask for."""

    def __init__(self, times: float):
        super().__init__()
        self.times = times

    def call(self, x: Tensor) -> Any:
        return x * self.times


def test_a_layer_that_does_not_tell_its_settings(path: Path) -> None:
    model = minnet.Sequential([Forgetful(2.0)])
    with pytest.raises(ArgumentError, match=r"saving layer 'forgetful_1': .*Forgetful.config\(\)"):
        model.save(path)


def test_settings_that_are_no_json(path: Path) -> None:
    class Odd(Scale):
        def config(self) -> dict[str, Any]:
            return {**super().config(), "times": {1, 2}}

    with pytest.raises(ArgumentError, match="saving layer 'odd_1': .*received set"):
        minnet.Sequential([Odd()]).save(path)


def test_a_class_named_as_one_of_minnets(path: Path) -> None:
    class Dense(Scale):
        pass

    with pytest.raises(ArgumentError, match="saving layer 'mine': .*called Dense, as a layer of"):
        minnet.Sequential([Dense(name="mine")]).save(path)


def test_arrays_of_one_name(path: Path) -> None:
    model = network("adam")
    model.layers[0].name = "optimizer"
    model.save(path)  # 'optimizer/weight' is nobody else's
    assert_same_weights(model, minnet.load_model(path))


# -- files that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".h5", ".keras", ".npz", ".hdf5", ".pth", ".PT", ".onnx"])
def test_other_formats_are_for_weights(tmp_path: Path, ending: str) -> None:
    with pytest.raises(FileError, match=rf"m{ending}: .*whole model.*save_weights"):
        network().save(tmp_path / f"m{ending}")


def test_weights_are_no_model(path: Path) -> None:
    network().save_weights(path)
    with pytest.raises(FileError, match="without an architecture.*load_weights"):
        minnet.load_model(path)


def test_a_file_from_a_newer_minnet(path: Path) -> None:
    network().save(path)
    rewrite(path, lambda settings: settings.update(version=2))
    with pytest.raises(FileError, match=rf"{path}: .*version 1 or older.*version 2.*newer minnet"):
        minnet.load_model(path)


def test_a_lambda_has_the_function_that_it_is_given_or_none(path: Path) -> None:
    model = minnet.Sequential([layers.Lambda(swish, input_shape=(3,), name="own")])
    model.save(path)
    with pytest.raises(FileError, match="'swish'.*custom_objects"):
        minnet.load_model(path)
    loaded = minnet.load_model(path, custom_objects={"swish": swish})
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    nameless = minnet.Sequential([layers.Lambda(lambda x: x, input_shape=(3,), name="own")])
    with pytest.raises(ArgumentError, match="saving layer 'own': .*<lambda>.*def name"):
        nameless.save(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("layers"),
        lambda s: s.update(model=None),
        lambda s: s["model"].update(class_name="os.system"),
        lambda s: s["model"]["config"].pop("layers"),
        lambda s: s["model"]["config"].update(layers=7),
        lambda s: s["model"]["config"].update(dtype="object"),
        lambda s: s["model"]["config"]["layers"][0]["config"].update(units=10**12),
        lambda s: s["model"]["config"]["layers"][0]["config"].update(units="many"),
        lambda s: s["model"]["config"]["layers"][0]["config"].update(input_shape=[10**12]),
        lambda s: s["model"]["config"]["layers"][0]["config"].update(activation=["relu"]),
        lambda s: s["model"]["config"]["layers"][0]["config"].update(stored=1),
        lambda s: s["model"]["config"]["layers"].pop(),
        lambda s: s["model"]["config"]["layers"].reverse(),
        lambda s: s["compile"].update(optimizer={"class_name": "Popen", "config": {}}),
        lambda s: s["compile"].update(optimizer=None),
        lambda s: s["compile"].update(loss="nothing"),
        lambda s: s["compile"].update(metrics=[{"function": "system"}]),
        lambda s: s.update(random={"bit_generator": "MT19937"}),
        lambda s: s.update(random=[]),
        lambda s: s["compile"]["optimizer"].update(class_name="Adagrad"),
        lambda s: [1, 2],
    ],
)
def test_settings_that_nobody_wrote(path: Path, change: Any) -> None:
    network().save(path)
    rewrite(path, lambda settings: found if isinstance(found := change(settings), list) else None)
    with pytest.raises(FileError, match=str(path)):
        minnet.load_model(path)


def test_a_state_of_other_parameters(path: Path) -> None:
    """Two arrays that have changed their names: said when loading, not at the next step."""
    model = network("adam")
    model.fit(X, Y, verbose=0)
    model.save(path)
    content = path.read_bytes()
    one, other = b'"optimizer/dense_1_weight/m"', b'"optimizer/dense_2_weight/m"'
    path.write_bytes(content.replace(one, b"?").replace(other, one).replace(b"?", other, 1))
    with pytest.raises(FileError, match=rf"{path}: .*dense_._weight/m: expected shape"):
        minnet.load_model(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values within a JSON value."""
    items = enumerate(value) if isinstance(value, list) else ()
    items = value.items() if isinstance(value, dict) else items
    return [prefix, *(place for key, v in items for place in places(v, (*prefix, key)))]


@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=3 * settings.default.max_examples,
)
def test_any_setting_changed_is_an_error_or_a_model(data: Any, path: Path) -> None:
    if data.draw(st.booleans()):
        model: Any = minnet.Sequential(
            [minnet.Conv2D(2, 2, input_shape=(4, 4, 1)), minnet.Flatten(), minnet.Dense(2)], seed=0
        )
    else:
        model = branched()
    model.compile("adam", "mse", ["accuracy"])
    model.save(path)

    def change(settings: Any) -> Any:
        place = data.draw(st.sampled_from(places(settings)))
        value = data.draw(JSON)
        if not place:
            return value
        inner = settings
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return settings

    rewrite(path, change)
    try:
        minnet.load_model(path)
    except FileError as error:
        assert str(path) in str(error)


@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=2 * settings.default.max_examples,
)
def test_damaged_files_are_errors_or_models(data: Any, path: Path) -> None:
    network().save(path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        minnet.load_model(path)
    except FileError as error:
        assert str(path) in str(error)


# -- nothing is left half written ------------------------------------------------------------------


def test_no_place_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        network().save(tmp_path / "nowhere" / "m.safetensors")
    (tmp_path / "m").mkdir()
    with pytest.raises(FileError, match="a directory of this name"):
        network().save(tmp_path / "m")
    with pytest.raises(FileError, match="embedded null"):
        network().save(tmp_path / "m\0")
    with pytest.raises(FileError, match="Is a directory"):
        minnet.load_model(tmp_path / "m")
    with pytest.raises(FileError, match="No such file"):
        minnet.load_model(tmp_path / "nothing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files here")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(FileError, match=f"{path.name}: expected a place .*a device, pipe or"):
            network().save(path)
        for force in (False, True):
            with pytest.raises(FileError, match="received a device, pipe or socket"):
                require_new(path, force)
    assert pipe.is_fifo() and link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    file, link = tmp_path / "disk" / "model", tmp_path / "m.npz"
    link.symlink_to(Path("disk", "model"))
    for _ in range(2):  # the file is new, then it is replaced
        model = network()
        model.save_weights(link)
        assert link.is_symlink() and not file.is_symlink()
        with np.load(file) as arrays:
            assert len(arrays.files) == len(model.get_weights())
    assert os.listdir(tmp_path / "disk") == ["model"]
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(FileError, match="m.npz: expected a place .*symbolic links"):
        network().save_weights(link)
    assert link.is_symlink()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_no_permission(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(FileError, match=rf"{path}: .*Permission denied"):
            network().save(path)
    finally:
        path.parent.chmod(0o700)


FULL_DISK = """
import resource, signal, sys
import minnet
model = minnet.load_model(sys.argv[1])
model.layers[0].parameters["weight"].data = model.layers[0].parameters["weight"].data * 2
# A limit to the length of files fails as a full disk does, in the middle of writing.
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    model.save(sys.argv[1]) if len(sys.argv) == 2 else model.save_weights(sys.argv[2])
except minnet.MinnetError as error:
    print(error)
"""


@pytest.mark.parametrize("ending", ["", ".npz", ".h5", ".weights.h5", ".safetensors"])
def test_a_full_disk_leaves_the_former_file(path: Path, ending: str) -> None:
    pytest.importorskip("resource")
    model = minnet.Sequential([minnet.Dense(40, input_dim=50)])
    model.save(path)
    target = path
    if ending:
        target = path.parent / f"w{ending}"
        model.save_weights(target)
    before = target.read_bytes()
    arguments = [str(path)] + ([str(target)] if ending else [])
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"{target}: expected a place to write")
    assert target.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {path.name, target.name}


KILLED = """
import itertools, sys
import minnet
model = minnet.load_model(sys.argv[1])
weight = model.layers[0].parameters["weight"]
print("ready", flush=True)
for n in itertools.count():
    weight.data = weight.data * 0 + n
    model.save(sys.argv[1])
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_leaves_a_whole_file(path: Path, seed: int) -> None:
    model = minnet.Sequential([minnet.Dense(300, input_dim=300)])
    model.save(path)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(np.random.default_rng(seed).uniform(0.01, 0.2))
        process.kill()
    weight = minnet.load_model(path).get_weights()[0]
    assert np.ptp(weight) == 0 or weight.std() < 1  # all of one save, or the first one's
