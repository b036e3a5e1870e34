"""Sequential: layers in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from minnet import configs
from minnet.configs import Config
from minnet.data import Batches
from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.features import Features, features
from minnet.files import PathLike
from minnet.graph import Call
from minnet.inputs import prepare_input
from minnet.layers import Layer, Shape, Symbol, run_through
from minnet.layers.naming import name_among
from minnet.model import Model
from minnet.saving import make_layer
from minnet.tensor import Array
from minnet.training import numbers


class Sequential(Model):
    """A chain of layers.

    ``layers``: the first one may say its ``input_shape``; if not, the model is built from the first
    data it sees. ``dtype``: float32 or float64, of all weights and calculations. ``seed``: a
    generator of the model's own for weights and shuffling; None uses the shared one that
    ``minnet.seed`` resets.

    Raises :class:`~minnet.errors.DtypeError` for another dtype.
    """

    steady = True

    def __init__(
        self,
        layers: Iterable[Layer] | None = None,
        name: str | None = None,
        dtype: npt.DTypeLike = np.float32,
        seed: int | None = None,
    ):
        super().__init__(name or "sequential", dtype, seed)
        for layer in layers or ():
            self.add(layer)

    def config(self) -> Config:
        """The settings of the model and its layers, as JSON can hold them; not their numbers."""
        layers = [configs.of_object(layer) for layer in self.layers]
        return {"name": self.name, "dtype": str(self.dtype), "layers": layers}

    @classmethod
    def from_config(
        cls,
        config: Config,
        make_layer: Callable[[Config], Layer] = make_layer,
        rng: np.random.Generator | None = None,
    ) -> Sequential:
        """An equal model with new weights, from what :meth:`config` gave.

        ``make_layer``: makes a layer of its settings. ``rng``: the model's own generator.
        """
        model = cls(name=config["name"], dtype=config["dtype"])
        model._rng = rng
        for layer in config["layers"]:
            model.add(make_layer(layer))
        return model

    # -- the chain -------------------------------------------------------------------------------

    def add(self, layer: Layer) -> None:
        """Put a layer at the end; it is built as soon as its input shape is known.

        A nameless layer is named after its kind and the lowest free number: 'dense_1'. A layer
        of another model may be added: both then share its parameters.

        Raises :class:`~minnet.errors.ArgumentError` for anything but a layer, or a name that is
        taken, and :class:`~minnet.errors.ShapeError` where the layer does not fit.
        """
        if not isinstance(layer, Layer) or not hasattr(layer, "parameters"):
            advice = "A Layer of your own calls super().__init__() in its __init__."
            received = type(layer).__name__
            raise ArgumentError(mismatch(f"{self.name}.add", "a Layer", received, advice))
        name_among(layer, {other.name for other in self.layers}, f"{self.name}.add")
        shape = self.layers[-1].output_shape if self.layers else layer.input_shape
        if shape is not None:
            layer.set_up(shape, self.dtype, self._rng)
        self.layers.append(layer)

    def pop(self) -> Layer:
        """Remove the last layer and give it back; the optimizer forgets its parameters."""
        self._require_layers("pop")
        layer = self.layers.pop()
        self.optimizer.forget(layer.parameters.values())
        return layer

    def build(self, input_shape: Shape) -> None:
        """Build all layers for rows of this shape; layers that are built must fit it.

        Raises :class:`~minnet.errors.ShapeError`, naming the layer that does not fit.
        """
        self._require_layers("build")
        for layer in self.layers:
            input_shape = layer.set_up(input_shape, self.dtype, self._rng)

    def upto(self, name: str) -> Sequential:
        """The layers up to the one of this name, and with it, as a model that shares them.

        ``vgg16.upto("block3_pool")`` keeps what sees edges and textures, for images unlike those
        that the rest was trained on; ``add`` then puts a small head on it.

        Raises :class:`~minnet.errors.ArgumentError` where no layer is called so.
        """
        end = self.place_of(name) + 1
        return self._part(f"{self.name}_upto_{name}", self.layers[:end])

    def after(self, name: str) -> Sequential:
        """The layers that follow the one of this name, as a model that shares them.

        It takes what :meth:`upto` gives: a base, whose outputs may be kept, and its head.

        Raises :class:`~minnet.errors.ArgumentError` where no layer is called so, or none follows.
        """
        layers = self.layers[self.place_of(name) + 1 :]
        if not layers:
            expected = f"a layer after {name!r}"
            raise ArgumentError(mismatch(f"{self.name}.after", expected, "none"))
        return self._part(f"{self.name}_after_{name}", layers)

    def place_of(self, name: str) -> int:
        """The place of the layer of this name in ``layers``.

        Raises :class:`~minnet.errors.ArgumentError` where no layer is called so.
        """
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise unknown_name("layer", name, names)
        return names.index(name)

    def _part(self, name: str, layers: Iterable[Layer]) -> Sequential:
        part = Sequential(name=name, dtype=self.dtype)
        part._rng = self._rng
        for layer in layers:
            part.add(layer)
        return part

    def features(self, batches: Batches, cache: PathLike, verbose: int = 1) -> Features:
        """The outputs for all batches, in the data's own order, calculated once and kept on disk.

        >>> base = vgg16.upto("block5_pool")
        >>> x, y = base.features(ImageFolder("train"), cache="features")
        >>> head.fit(x, y)

        ``cache``: a directory; there, under a name that changes with the weights, the layers'
        settings and the data (the content of files and how they are read), is a memory-mapped array
        (rows, *output_shape). If the model changes, it is calculated anew; if data are added,
        changed, moved or left out, a new array takes what it can from the former ones. These stay
        until the directory is deleted. After a kill it goes on where it was, and two processes may
        do the same at the same time. The code of layers of your own is not looked at.
        ``verbose``: as in ``fit``.

        Gives ``(x, y)``; ``y`` are the batches' targets, None without. Whether batches are shuffled
        makes no difference.

        Raises :class:`~minnet.errors.ArgumentError` for batches with a ``transform`` or anything
        but :class:`minnet.data.Batches`, and :class:`~minnet.errors.FileError` where the cache
        cannot be written or an image cannot be read.
        """
        return features(self, batches, cache, verbose)

    @property
    def output_shape(self) -> Shape:
        """The shape of one row of the output.

        Raises :class:`~minnet.errors.ArgumentError` before the model is built.
        """
        self._require_layers("output_shape")
        shape = self.layers[-1].output_shape
        if shape is None:
            advice = "Give the first layer its input_shape, or call model.build(shape)."
            raise ArgumentError(mismatch(self.name, "a built model", "one that is not", advice))
        return shape

    @property
    def ending(self) -> str | None:
        return self.layers[-1].activation_name

    # -- calculating -----------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        return [
            Call(layer, (k - 1,) if k else (), layer.output_shape or ())
            for k, layer in enumerate(self.layers)
        ]

    def forward(self, x: Any, as_scores: bool = False) -> Any:
        self._require_layers("calling it")
        if type(x) is Symbol:
            for layer in self.layers:
                x = layer(x)
            return x
        if not as_scores:
            return run_through(self.layers, x)
        return self.layers[-1].scores(run_through(self.layers[:-1], x))

    def prepare_inputs(self, x: npt.ArrayLike) -> Array:
        self._require_layers("calculating")
        array = numbers("inputs x", x)
        first = self.layers[0]
        if array.ndim == 1 and first.input_shape in (None, (1,)):
            array = array[:, None]
        if self.layers[-1].output_shape is None:
            self.build(array.shape[1:])
        return prepare_input(array, first, self.dtype, f"inputs x of layer {first.name!r}")
