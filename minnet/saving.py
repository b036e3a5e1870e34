"""A whole model in one file: its architecture, weights, compile settings and optimizer's state.

The file is a safetensors file. Its arrays are the weights, '<layer>/<parameter>', and what the
optimizer remembers, 'optimizer/…'; its metadata hold the rest as JSON, names and settings only, so
that one file is one model and reading it executes nothing. Equal models give equal bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet import configs, layers, losses, metrics, random, weights
from minnet.configs import Config
from minnet.errors import ArgumentError, FileError, MinnetError, ShapeError, mismatch
from minnet.files import PathLike, replacing
from minnet.layers import Layer
from minnet.objectives import Objectives
from minnet.tensor import Array
from minnet.weights import LoadReport, conventions, safetensors
from minnet.weights.formats import FOREIGN, FORMATS
from minnet.weights.stored import StoredArray, arrays_of

#: What stands before the names of the optimizer's arrays.
OPTIMIZER = "optimizer/"
#: The classes of layers that a file may name without anybody's help.
LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in vars(layers).values()
    if isinstance(cls, type) and issubclass(cls, Layer) and cls is not Layer
}
#: The endings of other formats' names; a model's may end in anything else.
OF_WEIGHTS = tuple(sorted({*FORMATS, *FOREIGN} - {".safetensors"}))


class Savable:
    """What a model can do with its weights and with files."""

    name: str
    layers: list[Layer]
    dtype: np.dtype[Any]

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, layer by layer."""
        return [p.numpy() for layer in self.layers for p in layer.parameters.values()]

    def set_weights(self, weights: Sequence[npt.ArrayLike]) -> None:
        """Give all parameters new values, in the order of :meth:`get_weights`; all or none.

        Raises :class:`~minnet.errors.ShapeError`, naming the layer, for another number of arrays
        or other shapes.
        """
        owners = [(layer, p) for layer in self.layers for p in layer.parameters.values()]
        if len(weights) != len(owners):
            expected = f"{len(owners)} arrays ({', '.join(str(p.name) for _, p in owners)})"
            raise ShapeError(mismatch(f"{self.name}.set_weights", expected, f"{len(weights)}"))
        arrays = [np.array(w, self.dtype) for w in weights]
        for array, (layer, p) in zip(arrays, owners, strict=True):
            if array.shape != p.shape:
                where, expected = f"layer {layer.name!r}", f"{p.name} of shape {p.shape}"
                raise ShapeError(mismatch(where, expected, f"{array.shape}"))
        for array, (_, p) in zip(arrays, owners, strict=True):
            p.data = array

    def save(self, path: PathLike) -> None:
        """Write the whole model to one safetensors file, for :func:`minnet.load_model`.

        It has the architecture, the weights, and, if compiled, the optimizer with what it
        remembers, the loss and the metrics: training goes on from there. The former file stays
        until the new one is whole; equal models give the same bytes.

        Raises :class:`~minnet.errors.FileError`, naming the file, where it cannot be written, and
        :class:`~minnet.errors.ArgumentError` for a layer or function that no file can describe.
        """
        save(self, path)

    def save_weights(self, path: PathLike) -> None:
        """Write all parameters to a file, whose ending says how.

        ``.safetensors``; ``.npz``, NumPy's; ``.h5`` or ``.hdf5`` and ``.weights.h5``, the older
        layout and that of Keras 3, both of which Keras loads. The former file stays until the new
        one is whole; equal weights give the same bytes.

        Raises :class:`~minnet.errors.FileError`, naming the file, for another ending or where it
        cannot be written, :class:`~minnet.errors.MissingDependencyError` without the format's
        package.
        """
        weights.save(self.layers, path)

    def load_weights(
        self,
        path: PathLike,
        strict: bool = True,
        by_name: bool | None = None,
        print_fn: Callable[[str], Any] = print,
    ) -> LoadReport:
        """Read parameters from a file that :meth:`save_weights`, :meth:`save` or Keras wrote.

        ``strict``: load all or nothing; without it, what fits is loaded and ``print_fn`` is told
        what does not. ``by_name``: layers are found by their names, or (False) in order. Left open,
        it is by name, but in Keras's files, whose automatic names are not ours, in order (.h5) or
        by kind and number (.weights.h5).

        Gives a report; raises :class:`~minnet.errors.FileError`, with that as its ``report``, if
        ``strict`` and anything is missing, left over or of another shape, or if the file is none of
        these; :class:`~minnet.errors.ArgumentError` before the model is built.
        """
        return weights.load(self.layers, path, strict, by_name, print_fn)


def save(
    model: Any,
    path: PathLike,
    arrays: Mapping[str, Array] | None = None,
    metadata: Config | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """See :meth:`Savable.save`. ``arrays`` and ``metadata``: more for the file.

    ``class_names``: of a classifier, which :func:`minnet.loading.class_names` reads.
    """
    require_savable(path)
    state = model.optimizer.state_arrays(model.parameters())
    others = {OPTIMIZER + name: array for name, array in state.items()} | dict(arrays or {})
    for name in others.keys() & arrays_of(model.layers).keys():
        advice = "Assign another name to layer.name."
        raise ArgumentError(mismatch(str(path), "one array of a name", f"two {name!r}", advice))
    settings = {**describe(model), **(metadata or {})}
    if class_names is not None:
        settings["classes"] = list(class_names)
    convention = conventions.of_model(model.layers)
    if convention is not None:
        settings["convention"] = convention
    with replacing(path, "a model") as file:
        safetensors.write_with(file, model.layers, others, settings)


def require_savable(path: PathLike) -> None:
    """Make sure that a model can be saved under a name; asked for before it is trained.

    Raises :class:`~minnet.errors.FileError` for a name that ends like another format's, and
    :class:`~minnet.errors.MissingDependencyError` without the package safetensors.
    """
    name = Path(path).name
    if name.lower().endswith((*OF_WEIGHTS, ".xlsx")):
        advice = (
            "model.save_weights writes weights for Keras and NumPy, model.export_xlsx workbooks."
        )
        expected, received = "a .safetensors file for a whole model", f"the ending of {name!r}"
        raise FileError(mismatch(str(path), expected, received, advice))
    safetensors.require_library()


def describe(model: Any) -> Config:
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
            for assigned in ("trainable", "lr_multiplier"):  # by from_config, afterwards
                settings.pop(assigned, None)
            inspect.signature(kind).bind(**settings)
    except (MinnetError, TypeError) as error:
        advice = (
            f"{kind.__name__}.config() gives {{**super().config(), …}} with the arguments of "
            "__init__ that are its own."
        )
        expected = "settings that its class can be called with"
        raise ArgumentError(mismatch(where, expected, str(error).rstrip("."), advice)) from None


def _compile_settings(model: Any) -> Config:
    loss, optimizer = model.loss, configs.of_object(model.optimizer)
    if isinstance(loss, Objectives):
        return {"optimizer": optimizer, **loss.config()}
    binary = isinstance(loss, losses.BinaryCrossentropy)
    measured = [
        metrics.to_config(metric, name, binary=binary) for name, metric in model.metrics.items()
    ]
    return {"optimizer": optimizer, "loss": losses.to_config(loss), "metrics": measured}


def restore_state(model: Any, arrays: Mapping[str, StoredArray]) -> None:
    """Let the optimizer go on from its part of the arrays of a file that :func:`save` wrote.

    Raises :class:`~minnet.errors.ArgumentError` or :class:`~minnet.errors.ShapeError` where they
    are the state of another optimizer or of other parameters.
    """
    state = {
        name.removeprefix(OPTIMIZER): array.read()
        for name, array in arrays.items()
        if name.startswith(OPTIMIZER)
    }
    model.optimizer.load_state_arrays(state)
    owners = {name.rpartition("/")[0] for name in state}
    for parameter in model.parameters():
        if parameter.name in owners:
            model.optimizer.state_of(parameter)  # raises now, and not at the next step
