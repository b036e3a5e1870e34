"""Nets that are not a chain: branches, several inputs and outputs, layers that are shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minnet import configs
from minnet.configs import Config
from minnet.errors import ArgumentError, ShapeError, mismatch
from minnet.graph import Call, Graph
from minnet.inputs import as_columns, prepare_input
from minnet.layers import InputLayer, Layer, Symbol
from minnet.layers.naming import name_among
from minnet.model import Model
from minnet.objectives import Objectives
from minnet.optimizers import Optimizer
from minnet.saving import make_layer
from minnet.several import Several, parts_of
from minnet.tensor import Tensor
from minnet.training import numbers


class Functional(Model):
    """A net from its inputs to its outputs, ``minnet.Model(inputs, outputs)``.

    >>> x = minnet.Input((8,))
    >>> h = minnet.Dense(8, "relu")(x)
    >>> model = minnet.Model(x, minnet.Dense(1)(minnet.Add()([x, h])))

    ``inputs``: a result of :func:`minnet.Input`, or a list of them; ``outputs``: what layers gave
    when they were called, one or a list. A layer that is called twice is one layer, with one set of
    parameters. With several inputs or outputs, data are lists of arrays, or dicts by the names of
    the input layers and of the layers that the outputs come from. ``seed``: a generator of the
    model's own for shuffling and dropout; the weights have been drawn when the layers were called.

    Raises :class:`~minnet.errors.ArgumentError` where inputs are missing, not needed or none, and
    where two layers have one name.
    """

    steady = True

    def __init__(
        self,
        inputs: Symbol | Sequence[Symbol],
        outputs: Symbol | Sequence[Symbol],
        name: str | None = None,
        seed: int | None = None,
    ):
        self.graph = Graph(_listed(inputs), _listed(outputs))
        layers = self.graph.layers
        dtype = next((layer.dtype for layer in layers if layer.dtype.kind == "f"), np.float32)
        super().__init__(name or "model", dtype, seed)
        for layer in layers:
            name_among(layer, {other.name for other in self.layers}, f"{self.name}")
            layer._rng = layer._rng or self._rng
            self.layers.append(layer)

    # -- what there is ---------------------------------------------------------------------------

    @property
    def input_names(self) -> list[str]:
        """The names of the input layers."""
        return [self.graph.calls[k].layer.name for k in self.graph.inputs]

    @property
    def output_names(self) -> list[str]:
        """The names of the layers that the outputs come from; numbered where one gives several."""
        names: list[str] = []
        for k in self.graph.outputs:
            name = self.graph.calls[k].layer.name
            again = sum(other.partition("#")[0] == name for other in names)
            names.append(f"{name}#{again + 1}" if again else name)
        return names

    @property
    def output_shape(self) -> Any:
        """The shape of one row of the output; of several outputs, a list."""
        shapes = [self.graph.calls[k].shape for k in self.graph.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def endings(self) -> list[str | None]:
        """The name of the activation that each output ends in, where it ends in one."""
        return [self.graph.calls[k].layer.activation_name for k in self.graph.outputs]

    @property
    def ending(self) -> str | None:
        return self.endings[0]

    @property
    def calls(self) -> list[Call]:
        return self.graph.calls

    def config(self) -> Config:
        """The settings of the model, its layers and what they are called with; not their numbers.

        'calls' says, for each call, the number of its layer and those of earlier calls.
        """
        numbers_of = {layer: i for i, layer in enumerate(self.layers)}
        return {
            "name": self.name,
            "dtype": str(self.dtype),
            "layers": [configs.of_object(layer) for layer in self.layers],
            "calls": [[numbers_of[c.layer], list(c.inputs)] for c in self.graph.calls],
            "inputs": self.graph.inputs,
            "outputs": self.graph.outputs,
        }

    @classmethod
    def from_config(
        cls,
        config: Config,
        make_layer: Callable[[Config], Layer] = make_layer,
        rng: np.random.Generator | None = None,
    ) -> Functional:
        """An equal model with new weights, from what :meth:`config` gave.

        ``make_layer``: makes a layer of its settings. ``rng``: the model's own generator.
        """
        layers = [make_layer(layer) for layer in config["layers"]]
        symbols: list[Symbol] = []
        for number, sources in config["calls"]:
            layer, given = layers[number], [symbols[k] for k in sources]
            if isinstance(layer, InputLayer):
                symbols.append(layer.symbol())
            else:
                several = layer.takes_several or (layer.takes_several is None and len(given) > 1)
                symbols.append(layer(given if several else given[0]))
        inputs, outputs = ([symbols[k] for k in config[what]] for what in ("inputs", "outputs"))
        model = cls(inputs, outputs, name=config["name"])
        model._rng = rng
        for layer in model.layers:  # they were called, and so built, before there was a model
            layer._rng = rng
        return model

    # -- calculating -----------------------------------------------------------------------------

    def __call__(self, x: Any) -> Any:
        """The output for a batch, or a list of them for several inputs; a list of several outputs.

        With symbols it gives symbols: the model becomes a part of another, sharing its parameters.
        """
        out = self.forward(Several(x) if isinstance(x, (list, tuple)) else x)
        return list(out.parts) if type(out) is Several else out

    def forward(self, x: Any, as_scores: bool = False) -> Any:
        outputs = self.graph.run(parts_of(x), [as_scores] * len(self.graph.outputs))
        return Several(outputs) if len(outputs) > 1 else outputs[0]

    def prepare_inputs(self, x: Any) -> Any:
        names = self.input_names
        given = [x] if len(names) == 1 else as_columns(x, names, "inputs x")
        arrays = []
        for k, name, data in zip(self.graph.inputs, names, given, strict=True):
            where = "inputs x" if len(names) == 1 else f"input {name!r}"
            array, layer = numbers(where, data), self.graph.calls[k].layer
            if array.ndim == 1 and layer.input_shape == (1,):
                array = array[:, None]
            arrays.append(prepare_input(array, layer, self.dtype, f"{where} of layer {name!r}"))
        _require_one_length(arrays, names)
        return arrays[0] if len(names) == 1 else Several(arrays)

    # -- several outputs -------------------------------------------------------------------------

    def compile(
        self,
        optimizer: str | Optimizer = "sgd",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Sequence[float] | Mapping[str, float] | None = None,
    ) -> None:
        """Choose how to train. With several outputs, ``loss`` is one for all, a list, or a dict by
        output names, ``metrics`` a list for all or a dict, and the loss that is trained on is the
        sum of all losses, each multiplied by its ``loss_weights`` (1 unless given).

        Raises what :meth:`minnet.Sequential.compile` raises.
        """
        names = self.output_names
        if len(names) == 1:
            if loss_weights is not None:
                where, received = f"{self.name}.compile", "loss_weights"
                raise ArgumentError(mismatch(where, "several outputs", received))
            super().compile(optimizer, loss, metrics)
            return
        objectives = Objectives(names, loss, loss_weights, metrics, f"{self.name}.compile")
        super().compile(optimizer, objectives)
        self.metrics = objectives.metrics()

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        loss = self._compiled_loss("prepare")
        if not isinstance(loss, Objectives):
            return super().prepare(x, y)
        inputs, names = self.prepare_inputs(x), self.output_names
        given = as_columns(y, names, "targets y")
        arrays = [numbers(f"targets {name!r}", a) for name, a in zip(names, given, strict=True)]
        _require_one_length([*parts_of(inputs), *arrays], [*self.input_names, *names])
        return inputs, loss.prepare_targets(arrays, self.output_shape, self.endings, self.dtype)

    def data_loss(self, x: Any, y: Any, weights: Tensor | None) -> tuple[Tensor, Any]:
        loss = self._compiled_loss("loss_of")
        if not isinstance(loss, Objectives):
            return super().data_loss(x, y, weights)
        as_scores = loss.take_scores(self.endings)
        outputs = self.graph.run(parts_of(x), as_scores)
        return loss.of(outputs, as_scores, y.parts, weights)


def _listed(symbols: Any) -> list[Any]:
    return list(symbols) if isinstance(symbols, (list, tuple)) else [symbols]


def _require_one_length(arrays: list[Any], names: list[str]) -> None:
    for array, name in zip(arrays, names, strict=True):
        if len(array) != len(arrays[0]):
            expected = f"{len(arrays[0])} rows, as in {names[0]!r}"
            raise ShapeError(mismatch(f"{name!r}", expected, f"{len(array)}"))
