"""A whole model in one file: its architecture, weights, compile settings and optimizer's state.

The file is a safetensors file. Its arrays are the weights, '<layer>/<parameter>', and what the
optimizer remembers, 'optimizer/…'; its metadata hold the rest as JSON, names and settings only, so
that one file is one model and reading it executes nothing. Equal models give equal bytes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minnet import configs, layers, losses, metrics, random
from minnet.configs import Config
from minnet.errors import ArgumentError, FileError, MinnetError, mismatch
from minnet.files import PathLike, replacing
from minnet.layers import Layer
from minnet.weights import safetensors
from minnet.weights.stored import arrays_of

if TYPE_CHECKING:
    from minnet.model import Model

#: What stands before the names of the optimizer's arrays.
OPTIMIZER = "optimizer/"
#: The classes of layers that a file may name without anybody's help.
LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in vars(layers).values()
    if isinstance(cls, type) and issubclass(cls, Layer) and cls is not Layer
}
_ELSEWHERE = (".h5", ".hdf5", ".keras", ".npz")


def save(model: Model, path: PathLike, **more: Any) -> None:
    """See :meth:`minnet.model.Model.save`; ``more`` is noted in the metadata as well."""
    ending = Path(path).suffix
    if ending.lower() in _ELSEWHERE:
        advice = "model.save_weights writes weights for Keras and NumPy."
        expected = "a .safetensors file for a whole model"
        raise FileError(mismatch(str(path), expected, f"the ending {ending!r}", advice))
    state = model.optimizer.state_arrays()
    others = {OPTIMIZER + name: array for name, array in state.items()}
    for name in others.keys() & arrays_of(model.layers).keys():
        advice = "Assign another name to layer.name."
        raise ArgumentError(mismatch(str(path), "one array of a name", f"two {name!r}", advice))
    metadata = {**describe(model), **more}
    with replacing(path, "a model") as file:
        safetensors.write_with(file, model.layers, others, metadata)


def describe(model: Model) -> Config:
    """All of a model but its numbers, as JSON can hold it.

    Raises :class:`~minnet.errors.ArgumentError` for what it cannot hold, naming the layer.
    """
    for layer in model.layers:
        require_settings(layer)
    return {
        "model": configs.of_object(model),
        "compile": None if model.loss is None else _compile_settings(model),
        "random": None if model._rng is None else random.state_of(model._rng),
    }


def make_layer(config: Config) -> Layer:
    """A layer of minnet's, not built yet, from its class's name and settings."""
    layer: Layer = configs.build("layer", config, LAYERS)
    return layer


def require_settings(layer: Layer) -> None:
    """Make sure that a layer can be made again from its settings.

    Raises :class:`~minnet.errors.ArgumentError`, naming the layer, where it cannot.
    """
    kind = type(layer)
    where = f"saving layer {layer.name!r}"
    if LAYERS.get(kind.__name__, kind) is not kind:
        advice = "Give your class another name."
        received = f"one called {kind.__name__}, as a layer of minnet's"
        raise ArgumentError(mismatch(where, "a class with a name of its own", received, advice))
    try:
        settings = layer.config()
        configs.to_json(settings)
        if kind.from_config.__func__ is Layer.from_config.__func__:  # type: ignore[attr-defined]
            settings.pop("trainable", None)  # which from_config sets afterwards
            inspect.signature(kind).bind(**settings)
    except (MinnetError, TypeError) as error:
        advice = (
            f"{kind.__name__}.config() gives {{**super().config(), …}} with the arguments of "
            "__init__ that are its own."
        )
        expected = "settings that its class can be called with"
        raise ArgumentError(mismatch(where, expected, str(error).rstrip("."), advice)) from None


def _compile_settings(model: Model) -> Config:
    loss = model.loss
    if type(loss) is losses.FunctionLoss:
        loss_config: Any = configs.of_function(loss.function)
    elif loss is not None and losses.LOSSES.get(loss.name) is type(loss):
        loss_config = loss.name
    else:
        loss_config = configs.of_object(loss)
    return {
        "optimizer": configs.of_object(model.optimizer),
        "loss": loss_config,
        "metrics": [
            name if name.lower() in metrics.METRICS else configs.of_function(metric)
            for name, metric in model.metrics.items()
        ],
    }
