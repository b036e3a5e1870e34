"""Recording calculations, and differentiating what was recorded.

A calculation on tensors becomes a graph of operations. The backward pass walks it from the result
to its leaves and multiplies the local derivatives together (reverse-mode automatic differentiation;
Griewank & Walther, *Evaluating Derivatives*, chapter 3).

Gradients are themselves written in operations. Run on plain arrays they are as fast as NumPy; run
on tensors (``create_graph=True``) they are recorded too, so a gradient can be differentiated again.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from minnet.errors import DtypeError, GraphError, ShapeError, mismatch
from minnet.tensor import Tensor, TensorLike, wrap


class Tracer(Protocol):
    """What wants to see every operation as it happens (the workbook export does)."""

    def record(self, op: Any, inputs: tuple[Any, ...], out: Tensor) -> Tensor: ...

    def expand(self, op: Any, inputs: tuple[Any, ...]) -> Tensor: ...

    def scope(self, name: str, description: str) -> AbstractContextManager[None]: ...

    def gradient_scope(self, tensor: Tensor) -> AbstractContextManager[None]: ...

    def mark_gradient(self, tensor: Tensor, gradient: Any) -> None: ...


class _State(threading.local):
    """Each thread decides for itself whether it records."""

    recording: bool = True
    tracer: Tracer | None = None


STATE = _State()
_set_flags: Any = np.ndarray.setflags  # (array, write): the quickest way to lock an array
_creation = itertools.count()
_AGE = attrgetter("order")


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this block nothing is recorded: results do not require gradients and keep no graph."""
    before, STATE.recording = STATE.recording, False
    try:
        yield
    finally:
        STATE.recording = before


def apply(op: Any, inputs: tuple[Any, ...]) -> Any:
    """Run ``op`` on ``inputs``, a tensor among them; gives a tensor and records it.

    Raises :class:`~minnet.errors.DtypeError` where the inputs' dtypes differ: NumPy would promote
    silently, and one float64 among float32 halves the speed of everything after it. Single numbers
    have no say, be they Python's or NumPy's.
    """
    arrays = []
    dtype = None
    needs_grad = others = False
    for x in inputs:
        if type(x) is Tensor:
            if x.requires_grad:
                needs_grad = True
            x = x._data
            if x.dtype is not dtype:
                if dtype is None:
                    dtype = x.dtype
                elif op.one_dtype:
                    _check_dtypes(op, inputs)
        elif type(x) is not float and type(x) is not int:
            others = True
        arrays.append(x)
    needs_grad = needs_grad and op.differentiable and STATE.recording
    if others:
        for i, x in enumerate(inputs):
            if type(x) not in (Tensor, float, int):
                inputs = _admit(op, inputs, i, arrays, dtype, needs_grad)
    tracer = STATE.tracer
    if tracer is not None and op.composite:
        out = tracer.expand(op, inputs)
    else:
        value = op.value(*arrays)
        out = wrap(value if type(value) is np.ndarray else np.asarray(value))
        if tracer is not None:
            out = tracer.record(op, inputs, out)
    if needs_grad:
        if out.op is None:
            _remember(out, op, inputs, arrays)
    elif op.view:
        _share(out, inputs)
    return out


def _admit(
    op: Any, inputs: tuple[Any, ...], i: int, arrays: list[Any], dtype: Any, needs_grad: bool
) -> tuple[Any, ...]:
    """Check an input that is neither a tensor nor a Python number; gives the inputs to go on with.

    A graph gets a copy of an array: the caller keeps the right to edit an array of its own.
    """
    x = inputs[i]
    if isinstance(x, np.ndarray):
        if op.one_dtype and x.dtype is not dtype:
            _check_dtypes(op, inputs)
        if needs_grad:
            arrays[i] = own = x.copy()
            x = wrap(own)
    elif isinstance(x, np.generic):
        arrays[i] = x = x.item()  # a Python number is weak, np.float64(2) would promote float32
    elif not isinstance(x, bool):
        raise DtypeError(
            mismatch(
                f"operation {op.name!r}",
                "tensors, arrays and numbers",
                type(x).__name__,
                "Make it a Tensor first.",
            )
        )
    return (*inputs[:i], x, *inputs[i + 1 :])


def _remember(out: Tensor, op: Any, inputs: tuple[Any, ...], arrays: list[Any]) -> None:
    """Make ``out`` a node of the graph; from here on its arrays are read-only."""
    out.requires_grad = True
    out.op = op
    out.inputs = inputs
    out.order = next(_creation)
    for x in inputs:
        if type(x) is Tensor and x.op is None:
            _set_flags(x._data, False)
    out.arrays = tuple(arrays)
    _set_flags(out._data, False)


def _share(view: Tensor, inputs: tuple[Any, ...]) -> None:
    """Lock arrays that share their memory: who edits one would edit what the other recorded."""
    for x in inputs:
        if type(x) is Tensor and np.may_share_memory(x._data, view._data):
            _set_flags(x._data, False)
            _set_flags(view._data, False)


def _check_dtypes(op: Any, inputs: tuple[Any, ...]) -> None:
    found = {
        x.dtype
        for x in inputs
        if isinstance(x, (Tensor, np.ndarray, np.generic)) and x.dtype != np.bool_
    }
    if len(found) > 1:
        names = " and ".join(sorted(str(d) for d in found))
        raise DtypeError(
            mismatch(
                f"operation {op.name!r}",
                "inputs of one dtype",
                names,
                "Make them alike, e.g. Tensor(x, dtype=np.float32); minnet never changes a dtype "
                "silently.",
            )
        )


def _reachable(root: Tensor) -> list[Tensor]:
    """All tensors that ``root`` depends on and that require gradients, the newest first.

    An explicit stack, not recursion: a chain of 100,000 operations is an ordinary graph.
    """
    found = {id(root): root}
    stack = [root]
    while stack:
        for x in stack.pop().inputs:
            if type(x) is Tensor and x.requires_grad and id(x) not in found:
                found[id(x)] = x
                stack.append(x)
    # Inputs are always older than what was made of them, so age is a topological order.
    return sorted(found.values(), key=_AGE, reverse=True)


def _seed(root: Tensor, gradient: TensorLike) -> Tensor:
    if not root.requires_grad:
        raise GraphError(
            f"{root._title()} does not depend on any tensor with requires_grad=True, or was made "
            "under no_grad(), so it has no gradient. Create the leaves with requires_grad=True."
        )
    if gradient is None:
        if root.size != 1:
            raise ShapeError(
                mismatch(
                    "backward()",
                    "a single number to start from",
                    f"shape {root.shape}",
                    "Reduce it first, e.g. with .sum(), or pass the gradient to start from.",
                )
            )
        return wrap(np.array(1, root.dtype).reshape(root.shape))
    seed = gradient if isinstance(gradient, Tensor) else Tensor(gradient, dtype=root.dtype)
    if seed.shape != root.shape:
        raise ShapeError(mismatch("backward(gradient)", f"shape {root.shape}", f"{seed.shape}"))
    if seed.dtype != root.dtype:
        raise DtypeError(mismatch("backward(gradient)", f"{root.dtype}", f"{seed.dtype}"))
    return seed


def backpropagate(
    root: Tensor,
    wanted: Sequence[Tensor],
    gradient: TensorLike = None,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """dRoot/dTensor for each of the ``wanted`` tensors; None where ``root`` does not depend on it.

    Gradients live in a table of this call alone and are dropped as soon as they have been used.
    """
    seed = _seed(root, gradient)
    if create_graph or STATE.tracer is not None:
        with nullcontext() if create_graph else no_grad():
            return _in_tensors(root, wanted, seed)
    # A single number as NumPy's scalar, not as an array: calculating with those is much faster.
    table: dict[int, Any] = {id(root): seed._data[()]}
    kept = {id(t) for t in wanted}
    for tensor in _reachable(root):
        key = id(tensor)
        if tensor.op is not None and key in table:
            g = table[key] if key in kept else table.pop(key)
            _spread(tensor, g, table, tensor._data, tensor.arrays)
    return [_as_tensor(table.get(id(t)), t) for t in wanted]


def _in_tensors(root: Tensor, wanted: Sequence[Tensor], seed: Tensor) -> list[Tensor | None]:
    """The same pass in operations on tensors: recorded, or watched by a tracer, or both."""
    tracer = STATE.tracer
    table: dict[int, Any] = {id(root): seed}
    kept: dict[int, Tensor | None] = dict.fromkeys(map(id, wanted))
    for tensor in _reachable(root):
        g = table.pop(id(tensor), None)
        if g is None:
            continue
        if id(tensor) in kept:
            kept[id(tensor)] = g
        if tracer is not None:
            tracer.mark_gradient(tensor, g)
        if tensor.op is not None:
            _check_unchanged(tensor)
            with nullcontext() if tracer is None else tracer.gradient_scope(tensor):
                _spread(tensor, g, table, tensor, tensor.inputs)
    return [kept[id(t)] for t in wanted]


def _as_tensor(gradient: Any, of: Tensor) -> Tensor | None:
    if gradient is None:
        return None
    if type(gradient) is np.ndarray and gradient.dtype is of._data.dtype:
        return wrap(gradient)
    return wrap(np.asarray(gradient, dtype=of._data.dtype))


def _spread(
    tensor: Tensor, g: Any, table: dict[int, Any], out: Any, operands: tuple[Any, ...]
) -> None:
    """Hand the gradient of ``tensor`` on to what it was made of: arrays, or tensors, throughout."""
    op = tensor.op
    for i, x in enumerate(tensor.inputs):
        if type(x) is Tensor and x.requires_grad:
            share = op.gradient(i, g, out, *operands)
            if share is None:
                continue
            if share.shape != x._data.shape:
                share = sum_to_shape(share, x._data.shape)
            key = id(x)
            before = table.get(key)
            table[key] = share if before is None else before + share


def _check_unchanged(tensor: Tensor) -> None:
    for x, array in zip(tensor.inputs, tensor.arrays, strict=True):
        if type(x) is Tensor and x._data is not array:
            raise GraphError(
                f"{x._title()} was given new data after operation {tensor.op.name!r} had used it, "
                "so a gradient of the gradient would mix old and new numbers. Compute the result "
                "again from the new data."
            )


def sum_to_shape(g: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: sum ``g`` over the axes along which an input of ``shape`` was repeated."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1
    )
    if axes:
        g = Tensor.table["sum"](g, axes, True)
    if g.shape != shape:
        g = Tensor.table["reshape"](g, shape)
    return g


def backward(root: Tensor, gradient: TensorLike, create_graph: bool) -> None:
    """What :meth:`Tensor.backward` does."""
    leaves = [t for t in _reachable(root) if t.op is None]
    taken = {id(gradient)}
    for leaf, found in zip(leaves, backpropagate(root, leaves, gradient, create_graph)):
        if found is not None and found.op is None:
            # Both terms of a sum have one gradient: each gets an array that it may edit.
            if id(found) in taken or id(found._data) in taken or found._data.base is not None:
                found = Tensor(found)
            taken |= {id(found), id(found._data)}
        leaf.grad = found


def grad(
    output: Tensor,
    inputs: Tensor | Sequence[Tensor],
    gradient: TensorLike = None,
    *,
    create_graph: bool = False,
) -> Any:
    """d(output)/d(input) without touching any ``.grad``.

    Gives one tensor for one input, a list for several. With ``create_graph=True`` the result can
    be differentiated again. An input that the output does not depend on gives zeros.
    """
    several = not isinstance(inputs, Tensor)
    wanted: list[Tensor] = list(inputs) if several else [inputs]  # type: ignore[list-item]
    found = backpropagate(output, wanted, gradient, create_graph)
    result = [
        wrap(np.zeros(t.shape, t.dtype)) if g is None else g
        for g, t in zip(found, wanted, strict=True)
    ]
    return result if several else result[0]


# Tensors are defined before this module, so their method finds the function in the table.
Tensor.table["backward"] = backward
