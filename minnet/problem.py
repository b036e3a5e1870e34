"""What a gradient is checked of: a function, layer or model as a function of float64 arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minnet.autodiff import grad
from minnet.errors import DtypeError, GraphError, mismatch
from minnet.recording import no_grad
from minnet.tensor import Array, Tensor


class Problem:
    """Calls it with the arrays that are checked in the places of inputs and parameters."""

    def __init__(self, fn: Any, inputs: Sequence[Any], seed: int):
        self.fn = fn
        self.title = str(getattr(fn, "name", None) or getattr(fn, "__name__", type(fn).__name__))
        #: A layer, or a model and its layers: these are called with tensors, or a list of them.
        self.parts = [fn, *fn.layers] if hasattr(fn, "layers") else [fn] * hasattr(fn, "set_up")
        if self.parts and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = inputs[0]
        self.as_list = bool(self.parts) and (
            len(inputs) > 1 or getattr(fn, "takes_several", None) is True
        )
        self.inputs = [_as_float64(x) for x in inputs]
        self.checked = [i for i, x in enumerate(self.inputs) if _is_float(x)]
        self.names = [getattr(inputs[i], "name", None) or f"input {i}" for i in self.checked]
        if self.parts and self.inputs:
            rows = [np.shape(x)[1:] for x in self.inputs]
            for i, x in enumerate(self.inputs):
                if isinstance(x, np.ndarray) and i not in self.checked:
                    self.inputs[i] = Tensor(x)
            self._build(tuple(rows) if self.as_list else rows[0], np.random.default_rng(seed))
        self.parameters = _parameters_of(fn)
        self.trainable = [n for n, p in self.parameters.items() if p.requires_grad]
        self.names += self.trainable

    def _build(self, shape: Any, rng: np.random.Generator) -> None:
        for layer in self.parts[1:] or self.parts:
            if hasattr(layer, "set_up"):
                known = layer.output_shape
                shape = layer.set_up(shape, self.fn.dtype, rng) if known is None else known

    @property
    def start(self) -> list[Array]:
        """Where the gradient is checked: inputs, then trainable parameters."""
        parameters = [self.parameters[n].data for n in self.trainable]
        return [self.inputs[i] for i in self.checked] + parameters

    @contextmanager
    def in_float64(self) -> Iterator[None]:
        """Parameters are float64 in this block. ``.data`` itself refuses a change of dtype."""
        before = [(p, p._data) for p in self.parameters.values()]
        dtypes = [(part, part.dtype) for part in self.parts if hasattr(part, "dtype")]
        try:
            for part, _ in dtypes:
                part.dtype = np.dtype(np.float64)
            for p, array in before:
                if array.dtype.kind == "f":
                    p._data = array.astype(np.float64)
            yield
        finally:
            for part, dtype in dtypes:
                part.dtype = dtype
            for p, array in before:
                p._data = array

    def value(self, at: list[Array]) -> Array:
        with no_grad():
            return self._run(at)[0].data

    def first(self, at: list[Array], upstream: Array) -> list[Array]:
        """The gradient by the backward pass."""
        out, leaves = self._run(at)
        if not out.requires_grad:
            raise GraphError(
                f"check_gradients: the result of {self.title} does not depend on its inputs as far "
                "as the graph knows. It must be computed with minnet's operations, outside "
                "no_grad(), and not through .data or .numpy()."
            )
        return [g.data for g in grad(out, leaves, upstream)]

    def second(self, at: list[Array], upstream: Array, along: list[Array]) -> list[Array]:
        """The gradient of ⟨gradient, along⟩ by a backward pass through the backward pass."""
        out, leaves = self._run(at)
        gradients = grad(out, leaves, upstream, create_graph=True)
        total: Any = Tensor(0.0, dtype=np.float64)
        for gradient, u in zip(gradients, along, strict=True):
            total = total + (gradient * u).sum()
        if not total.requires_grad:  # the function is linear: its gradient is constant
            return [np.zeros(p.shape) for p in at]
        return [g.data for g in grad(total, leaves)]

    def _run(self, at: list[Array]) -> tuple[Tensor, list[Tensor]]:
        arguments = list(self.inputs)
        leaves = []
        for i, array in zip(self.checked, at, strict=False):
            arguments[i] = Tensor(array, requires_grad=True)
            leaves.append(arguments[i])
        for name, array in zip(self.trainable, at[len(self.checked) :], strict=True):
            parameter = self.parameters[name]
            parameter._data = array.copy()
            leaves.append(parameter)
        out = self.fn(arguments) if self.as_list else self.fn(*arguments)
        if not isinstance(out, Tensor):
            raise GraphError(
                mismatch(f"check_gradients of {self.title}", "one Tensor", type(out).__name__)
            )
        if out.dtype != np.float64:
            raise DtypeError(
                mismatch(
                    f"check_gradients of {self.title}",
                    "a float64 result for float64 inputs",
                    f"{out.dtype}",
                    "Somewhere it converts to another dtype; differences need all of float64's "
                    "digits. Create its constants with the dtype of the input.",
                )
            )
        return out, leaves


def _parameters_of(fn: Any) -> dict[str, Tensor]:
    """A layer's parameters by name; a model lists its own, each with its layer's name in front."""
    found = getattr(fn, "parameters", {})
    if callable(found):
        found = {p.name: p for p in found()}
    return dict(found)


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _as_float64(x: Any) -> Any:
    """Floating inputs as float64 arrays; everything else as it is."""
    if isinstance(x, Tensor):
        return x.data.astype(np.float64) if x.dtype.kind == "f" else x
    if isinstance(x, (float, np.floating)) or (isinstance(x, np.ndarray) and x.dtype.kind == "f"):
        return np.array(x, np.float64)
    return x
