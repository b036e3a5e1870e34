"""From a file to a model that goes on where the saved one was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from minnet import configs, metrics, optimizers, random
from minnet.configs import Config
from minnet.errors import FileError, mismatch
from minnet.files import PathLike, require_file
from minnet.functional import Functional
from minnet.layers import Layer, Shape
from minnet.model import Model
from minnet.saving import LAYERS, OF_WEIGHTS, restore_state
from minnet.sequential import Sequential
from minnet.tensor import Array
from minnet.weights.safetensors import opened_with, places
from minnet.weights.stored import StoredArray

MODELS: dict[str, Any] = {"Functional": Functional, "Sequential": Sequential}
#: Functions of minnet's that may be given where a name would do.
BUILT_IN = {function.__name__: function for function in metrics.METRICS.values()}
Custom = Mapping[str, Any]


def load_model(
    path: PathLike,
    custom_layers: Mapping[str, type[Layer]] | None = None,
    custom_objects: Custom | None = None,
    compile: bool = True,
) -> Model:
    """The model that :meth:`minnet.Sequential.save` wrote, ready to predict and to go on training.

    ``custom_layers``: the classes of layers that are not minnet's, by their names:
    ``{"Scale": Scale}``. ``custom_objects``: functions and classes of your own that were used as an
    activation, an initializer, a loss, a metric or an optimizer. ``compile``: with the loss, the
    metrics, the optimizer and what it remembers; without, the model is as new in this respect.

    Nothing in the file is executed, and no more memory is taken than its arrays fill.

    Raises :class:`~minnet.errors.FileError`, naming the file, where it is not a saved model, is
    damaged, comes from a newer version, or names a class or function that is not known.
    """
    file = require_file(path, "a saved model")
    with opened_with(file) as (arrays, metadata):
        if "model" not in metadata:
            advice = "model.load_weights reads weights into a model that is there."
            received = "a safetensors file without an architecture"
            raise FileError(mismatch(str(file), "a saved model", received, advice))
        weights = [f"{layer}/{name}" for layer, name in places(file, metadata, arrays)]
        reader = _Reader(str(file), arrays, weights, custom_layers or {}, custom_objects or {})
        try:
            return reader.model(metadata, compile)
        except FileError:
            raise
        except Exception as error:  # whatever settings that nobody meant may lead to
            expected = "settings that make a model"
            received = f"others: {error or type(error).__name__}"
            raise FileError(mismatch(str(file), expected, received)) from error


def is_model(path: PathLike) -> bool:
    """Whether a file is one that :meth:`minnet.Sequential.save` wrote, and not weights alone.

    Raises :class:`~minnet.errors.FileError` where there is none, or a damaged one.
    """
    file = require_file(path, "a saved model or weights")
    name = file.name.lower()
    if name.endswith(OF_WEIGHTS):
        return False
    if not name.endswith(".safetensors"):
        with file.open("rb") as content:
            header = content.read(9)[8:]  # behind its length
        if header != b"{":
            return False
    with opened_with(file) as (_, metadata):
        return "model" in metadata


def class_names(path: PathLike) -> list[str] | None:
    """What a saved model's file calls its classes, in the order of the outputs, if it says so.

    Raises :class:`~minnet.errors.FileError` for anything but a list of them, or another file.
    """
    file = require_file(path, "a saved model")
    with opened_with(file) as (_, metadata):
        names = metadata.get("classes")
    if names is None:
        return None
    if not isinstance(names, list):
        expected = "a list of the classes' names in the metadata"
        raise FileError(mismatch(str(file), expected, f"{names!r:.40}"))
    return [str(name) for name in names]


class _Reader:
    """What is needed to make a model of a file's settings and arrays."""

    def __init__(
        self,
        file: str,
        arrays: Mapping[str, StoredArray],
        weights: Iterable[str],
        custom_layers: Mapping[str, type[Layer]],
        custom_objects: Custom,
    ):
        self._file = file
        self._weights = {name: arrays[name] for name in weights}
        self._arrays = {name: array for name, array in arrays.items() if name not in self._weights}
        self._layers = {**LAYERS, **custom_layers}
        self._objects = custom_objects

    def model(self, metadata: Config, compile: bool) -> Model:
        """The model, with all its arrays."""
        name, config = configs.read("model", metadata["model"])
        if name not in MODELS:
            raise FileError(mismatch(self._file, f"a model: {', '.join(MODELS)}", repr(name)))
        generator = metadata.get("random")
        model: Model = MODELS[name].from_config(
            config, self._layer, None if generator is None else random.generator_of(generator)
        )
        for layer in model.layers:
            layer.stored = None
        if self._weights:
            received = f"{', '.join(self._weights)} as well"
            raise FileError(mismatch(self._file, "the arrays of its layers", received))
        if compile and metadata.get("compile") is not None:
            self._compile(model, metadata["compile"])
        return model

    def _layer(self, config: Config) -> Layer:
        """A layer that takes its parameters from the file once it is built."""
        name, settings = configs.read("layer", config)
        if name not in self._layers:
            where = f"{self._file}: layer {settings.get('name')!r}"
            expected = "a class of minnet's or one of custom_layers"
            advice = f"load_model(path, custom_layers={{{name!r}: {name}}}) makes it known."
            raise FileError(mismatch(where, expected, repr(name), advice))
        resolved = {"class_name": name, "config": self._known(settings)}
        layer: Layer = configs.build("layer", resolved, self._layers)
        layer.stored = self._source(layer)
        return layer

    def _source(self, layer: Layer) -> Callable[[str, Shape], Array]:
        """What gives the layer's parameters; looked at before any memory is taken."""

        def stored(name: str, shape: Shape) -> Array:
            title = f"{layer.name}/{name}"
            array = self._weights.pop(title, None)
            if array is None or array.shape != shape or array.dtype != layer.dtype:
                received = "none" if array is None else f"{array.shape} of {array.dtype}"
                expected = f"{title} of shape {shape} and dtype {layer.dtype}"
                raise FileError(mismatch(self._file, expected, received))
            return array.read()

        return stored

    def _known(self, config: Any) -> Any:
        """The settings with one's own functions and objects in their places."""
        if isinstance(config, list):
            return [self._known(item) for item in config]
        if not isinstance(config, dict):
            return config
        if config.keys() == {"function"}:
            return self._custom(config["function"])
        settings = {key: self._known(value) for key, value in config.items()}
        if config.keys() == {"class_name", "config"} and config["class_name"] in self._objects:
            return configs.build("class", settings, self._objects)
        return settings

    def _custom(self, name: Any) -> Any:
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name not in self._objects:
            advice = f"load_model(path, custom_objects={{{name!r}: {name}}}) makes it known."
            expected = "functions of minnet's or of custom_objects"
            raise FileError(mismatch(self._file, expected, f"{name!r}", advice))
        return self._objects[name]

    def _compile(self, model: Model, settings: Config) -> None:
        known = self._known(settings)
        optimizer = known["optimizer"]
        if isinstance(optimizer, dict):
            kinds = {kind.__name__: kind for kind in optimizers.OPTIMIZERS.values()}
            optimizer = configs.build("optimizer", optimizer, kinds)
        model.compile(optimizer, **{k: v for k, v in known.items() if k != "optimizer"})
        restore_state(model, self._arrays)
