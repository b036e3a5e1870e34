"""Layers: a calculation together with the parameters it learns.

Shapes are those of one row of a batch, without the batch axis: a layer of 3 features has
``input_shape`` (3,) and is called with a tensor of shape (n, 3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from minnet import initializers, random, regularizers
from minnet.checks import not_negative
from minnet.configs import Config
from minnet.errors import (
    ArgumentError,
    DtypeError,
    MinnetError,
    ShapeError,
    mismatch,
)
from minnet.layers.activations import Function
from minnet.layers.symbol import Symbol
from minnet.recording import STATE
from minnet.tensor import DEFAULT_DTYPE, Array, Tensor, wrap

Shape = tuple[int, ...]
#: The shape of a row, or, for a layer that is called with several tensors, of a row of each.
Shapes = Any

_NOWHERE = nullcontext()


def scope(name: str, description: str) -> AbstractContextManager[None]:
    """What happens inside belongs to this part of the model, for whoever is tracing."""
    return _NOWHERE if STATE.tracer is None else STATE.tracer.scope(name, description)


class Layer:
    """The contract. A layer of your own implements ``call`` and, if it has parameters, ``build``.

    >>> class Scale(Layer):
    ...     def build(self, input_shape):
    ...         self.add_parameter("factor", input_shape, "ones")
    ...         return input_shape
    ...
    ...     def call(self, x):
    ...         return x * self.parameters["factor"]

    ``input_shape``: of one row; a first layer without it is built from the first data. ``name``:
    unique in a model, which otherwise gives 'scale_1', 'scale_2', ….
    """

    #: The name of the activation that ``call`` applies to the result of ``logits``, if it does.
    activation_name: str | None = None
    #: Whether its input holds indices: integers, whatever the layer's own dtype.
    takes_indices: bool = False
    #: Whether it is called with a list of tensors, which ``call`` is then given; None: with either.
    takes_several: bool | None = False
    #: Whether ``call`` applies the same operations at each step, so that they can be done again
    #: without calling it (:mod:`minnet.replay`). A subclass does not inherit it.
    steady: ClassVar[bool] = False

    def __init__(
        self, *, input_shape: Shape | None = None, name: str | None = None, trainable: bool = True
    ):
        #: The parameters by their names within the layer, in the order of ``get_weights``.
        self.parameters: dict[str, Tensor] = {}
        self.dtype: np.dtype[Any] = DEFAULT_DTYPE
        self.input_shape: Shapes = None if input_shape is None else as_shape(self.kind, input_shape)
        #: Known, like ``parameters``, once the layer is built; None before.
        self.output_shape: Shape | None = None
        self._name = name
        self._trainable = trainable
        self._kept: set[str] = set()  # parameters that no gradient changes
        #: By the names of the parameters that have one.
        self.regularizers: dict[str, regularizers.Regularizer] = {}
        self._lr_multiplier = 1.0
        self._rng: np.random.Generator | None = None
        #: Gives a parameter of this name and shape, instead of one that is drawn, when building.
        self.stored: Callable[[str, Shape], Array] | None = None

    # -- for subclasses --------------------------------------------------------------------------

    def build(self, input_shape: Shape) -> Shape:
        """Make the parameters for rows of this shape; give the shape of one row of the output."""
        return input_shape

    def call(self, x: Tensor) -> Any:
        """The output of a batch: (n, *input_shape) to (n, *output_shape), written in operations."""
        raise NotImplementedError(f"{type(self).__name__}.call")

    def logits(self, x: Tensor) -> Any:
        """The output before the activation ``activation_name``, where the layer ends in one."""
        return self.call(x)

    def joined(self, following: Layer) -> Function | None:
        """One calculation for this layer and the one that follows it, if there is a faster one."""
        return None

    def describe(self) -> str:
        """The layer in a few words, for summaries, errors and workbooks."""
        return f"{type(self).__name__} {short(self.input_shape)} → {short(self.output_shape)}"

    def config(self) -> Config:
        """The keyword arguments that make an equal layer, not built yet, as JSON can hold them.

        A layer with arguments of its own adds them: ``{**super().config(), "units": self.units}``.
        """
        name = self.name if self.is_named else None
        return {
            "name": name,
            "trainable": self.trainable,
            "lr_multiplier": self.lr_multiplier,
            "input_shape": self.input_shape,
        }

    @classmethod
    def from_config(cls, config: Config) -> Layer:
        """An equal layer, not built yet, from what :meth:`config` gave."""
        arguments = dict(config)
        trainable = arguments.pop("trainable", True)
        lr_multiplier = arguments.pop("lr_multiplier", 1.0)
        layer = cls(**arguments)
        layer.trainable, layer.lr_multiplier = trainable, lr_multiplier
        return layer

    def add_parameter(
        self,
        name: str,
        shape: Shape,
        initializer: str | initializers.Initializer,
        trainable: bool = True,
        regularizer: regularizers.Regularizer | None = None,
    ) -> Tensor:
        """A parameter that is drawn now and trained from now on; for use in ``build``.

        One that is not ``trainable`` is kept and counted with the others, but no gradient changes
        it: a running mean, say, that the layer itself updates (:func:`minnet.recording.defer`).

        Raises :class:`~minnet.errors.ShapeError` if the initializer gives another shape.
        """
        if self.stored is not None:
            values = self.stored(name, shape)
        else:
            initial = initializers.get(initializer)
            values = initial(shape, self.dtype, self._rng or random.generator())
        if np.shape(values) != shape:
            raise ShapeError(
                mismatch(f"initializer of {name!r}", f"shape {shape}", f"{np.shape(values)}")
            )
        if not trainable:
            self._kept.add(name)
        learned = self.trainable and trainable
        if self.stored is not None:
            # Not copied: it was made for this, and may fill half of the memory.
            parameter = wrap(np.asarray(values, self.dtype))
            parameter.requires_grad, parameter.name = learned, f"{self.name}_{name}"
        else:
            parameter = Tensor(
                values, dtype=self.dtype, requires_grad=learned, name=f"{self.name}_{name}"
            )
        parameter.lr_multiplier = self.lr_multiplier
        self.parameters[name] = parameter
        if regularizer is not None:
            self.regularizers[name] = regularizer
        return parameter

    def penalties(self) -> Iterator[Any]:
        """What regularizers add to the loss, a number for each parameter that is being trained."""
        for name, regularizer in self.regularizers.items():
            parameter = self.parameters[name]
            if parameter.requires_grad:
                yield regularizer(parameter).named(f"{parameter.name} penalty")

    # -- for users -------------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The class's name in lower case with underscores: 'dense', 'conv2d', 'my_layer'."""
        spaced = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", type(self).__name__)
        return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()

    @property
    def is_named(self) -> bool:
        """Whether a user or a model has given the layer its name."""
        return self._name is not None

    @property
    def name(self) -> str:
        """The layer's name; its parameters are called <name>_weight, <name>_bias, …."""
        return self._name or self.kind

    @name.setter
    def name(self, name: str) -> None:
        self._name = name
        for key, parameter in self.parameters.items():
            parameter.name = f"{name}_{key}"

    @property
    def trainable(self) -> bool:
        """Whether training changes the parameters; may be assigned at any time."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for name, parameter in self.parameters.items():
            parameter.requires_grad = self._trainable and name not in self._kept

    @property
    def lr_multiplier(self) -> float:
        """What the optimizer's learning rate is multiplied by for this layer: 1, unless assigned.

        It may be assigned at any time, to any finite number of at least 0.
        """
        return self._lr_multiplier

    @lr_multiplier.setter
    def lr_multiplier(self, value: float) -> None:
        self._lr_multiplier = not_negative(f"layer {self.name!r} lr_multiplier", value)
        for parameter in self.parameters.values():
            parameter.lr_multiplier = self._lr_multiplier

    def __call__(self, x: Any) -> Any:
        """The output for a batch. A layer on its own is built at its first call.

        ``x``: a tensor, or a list of them for a layer that takes several. With symbols in place of
        tensors nothing is calculated: the result is the symbol of what it will give.

        Raises :class:`~minnet.errors.ShapeError`, naming the layer, where shapes do not fit.
        """
        if type(x) is not Tensor:
            symbols = self._symbols(x)
            if symbols:
                return self._connect(x, symbols)
        return self._run(self.call, x)

    def _symbols(self, x: Any) -> tuple[Symbol, ...]:
        several = isinstance(x, (list, tuple))
        parts = tuple(x) if several else (x,)
        kinds = {type(part) for part in parts}
        wrong = self.takes_several is not None and several != self.takes_several
        if wrong or len(kinds) != 1 or not kinds <= {Symbol, Tensor}:
            expected = "a list of tensors" if self.takes_several else "one tensor"
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ArgumentError(
                mismatch(
                    f"calling layer {self.name!r}",
                    f"{expected}, or of symbols that come from minnet.Input",
                    f"a list of {names or 'nothing'}" if several else names,
                )
            )
        return parts if kinds == {Symbol} else ()

    def _connect(self, x: Any, symbols: tuple[Symbol, ...]) -> Symbol:
        dtype = next((s.dtype for s in symbols if s.dtype.kind == "f"), DEFAULT_DTYPE)
        shape = self.set_up(rows_of(x), dtype, None)
        return Symbol(self, symbols, shape, self.dtype)

    def scores(self, x: Tensor) -> Tensor:
        """:meth:`logits` for a batch, with the same care as calling the layer."""
        return self._run(self.logits, x)

    def _run(self, function: Function, x: Any, output_shape: Shape | None = None) -> Tensor:
        if self.output_shape is None:
            dtype = (x if isinstance(x, Tensor) else x[0]).dtype
            self.set_up(rows_of(x), dtype if dtype.kind == "f" else DEFAULT_DTYPE, None)
        if output_shape is None:
            output_shape = self.output_shape
        try:
            if STATE.tracer is None:
                out = function(x)
            else:
                with scope(self.name, self.describe()):
                    out = function(x)
        except ValueError as error:
            shape = x.shape if isinstance(x, Tensor) else [part.shape for part in x]
            self._reraise(error, f"called with shape {shape}")
        if type(out) is not Tensor or out._data.shape[1:] != output_shape:
            raise ShapeError(
                mismatch(
                    f"layer {self.name!r} ({self.describe()})",
                    f"a Tensor with rows of shape {output_shape} from call",
                    f"shape {out.shape}" if isinstance(out, Tensor) else type(out).__name__,
                )
            )
        return out

    def set_up(
        self, input_shape: Shapes, dtype: npt.DTypeLike, rng: np.random.Generator | None
    ) -> Shape:
        """Build for rows of this shape, once; gives the shape of one row of the output.

        Weights are drawn from ``rng``, or from the shared generator (:mod:`minnet.random`).

        Raises :class:`~minnet.errors.ShapeError` where the layer was made for another shape and
        :class:`~minnet.errors.DtypeError` where it was built in another dtype.
        """
        if self.input_shape is not None and self.input_shape != input_shape:
            raise ShapeError(
                mismatch(
                    f"layer {self.name!r}", f"rows of shape {self.input_shape}", f"{input_shape}"
                )
            )
        if self.output_shape is not None:
            if self.dtype != dtype:
                raise DtypeError(
                    mismatch(
                        f"layer {self.name!r}",
                        f"a model of its dtype, {self.dtype}",
                        f"{np.dtype(dtype)}",
                    )
                )
            return self.output_shape
        self.dtype, self._rng = np.dtype(dtype), rng
        try:
            output_shape = as_shape(f"{self.name}.build", self.build(input_shape))
        except ValueError as error:
            self._reraise(error, f"built for rows of shape {input_shape}")
        self.input_shape, self.output_shape = input_shape, output_shape
        return output_shape

    def _reraise(self, error: ValueError, occasion: str) -> NoReturn:
        """Raise as a ShapeError that names this layer; other kinds of ours as they are."""
        if isinstance(error, MinnetError) and not isinstance(error, ShapeError):
            raise error
        raise ShapeError(f"layer {self.name!r} ({self.describe()}), {occasion}: {error}") from error


def rows_of(x: Any) -> Shapes:
    """The shape of a row of a tensor or a symbol; of several, a tuple of their shapes."""
    if isinstance(x, (list, tuple)):
        return tuple(rows_of(part) for part in x)
    return x.shape if isinstance(x, Symbol) else x.shape[1:]


def as_shape(where: str, shape: Any) -> Shape:
    """A shape as a tuple of Python ints, all at least 1."""
    whole = isinstance(shape, (tuple, list)) and all(
        isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n > 0 for n in shape
    )
    if not whole:
        raise ArgumentError(mismatch(where, "whole numbers above 0 in a tuple", repr(shape)))
    return tuple(int(n) for n in shape)


def short(shape: Shapes) -> str:
    if shape is None:
        return "?"
    several = bool(shape) and isinstance(shape[0], tuple)
    return ", ".join(map(short, shape)) if several else "×".join(map(str, shape))
