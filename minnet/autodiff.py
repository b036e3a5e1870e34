"""Differentiating what was recorded.

A calculation on tensors has become a graph of operations. The backward pass walks it from the
result to its leaves and multiplies the local derivatives together (reverse-mode automatic
differentiation; Griewank & Walther, *Evaluating Derivatives*, chapter 3).

Gradients are themselves written in operations. Run on plain arrays they are as fast as NumPy; run
on tensors (``create_graph=True``) they are recorded too, so a gradient can be differentiated again.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import Any

import numpy as np

from minnet.errors import DtypeError, GraphError, ShapeError, mismatch
from minnet.program import WRITING, worked_out
from minnet.recording import STATE, no_grad, set_flags
from minnet.tensor import Array, Tensor, TensorLike, wrap

_AGE = attrgetter("order")


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


@functools.lru_cache(maxsize=16)
def _one(dtype: np.dtype[Any]) -> Array:
    one = np.ones((), dtype)
    set_flags(one, False)
    return one


def _seed(root: Tensor, gradient: TensorLike) -> Tensor:
    if not root.requires_grad:
        raise GraphError(
            f"{root._title()} does not depend on any tensor with requires_grad=True, or was made "
            "under no_grad(), so it has no gradient. Create the leaves with requires_grad=True."
        )
    if gradient is None:
        if root._data.ndim == 0:
            return wrap(_one(root._data.dtype))
        if root.size != 1:
            raise ShapeError(
                mismatch(
                    "backward()",
                    "a single number to start from",
                    f"shape {root.shape}",
                    "Reduce it first, e.g. with .sum(), or pass the gradient to start from.",
                )
            )
        return wrap(np.ones(root.shape, root.dtype))
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
    written = WRITING.program is not None
    for tensor in _reachable(root):
        key = id(tensor)
        if tensor.op is not None and key in table:
            g = table[key] if key in kept else table.pop(key)
            op, out = tensor.op, tensor._data if tensor.kept is None else tensor.kept
            if op.together:
                _spread(tensor, g, table, _all_at_once(tensor, g, out), out, ())
                continue
            rule = op.gradient if tensor.kept is None else op.gradient_from_kept
            if written and not op.replays:
                rule = functools.partial(worked_out, rule)
            _spread(tensor, g, table, rule, out, tensor.arrays)
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
                _spread(tensor, g, table, tensor.op.gradient, tensor, tensor.inputs)
    return [kept[id(t)] for t in wanted]


def _as_tensor(gradient: Any, of: Tensor) -> Tensor | None:
    if gradient is None:
        return None
    if type(gradient) is np.ndarray and gradient.dtype is of._data.dtype:
        return wrap(gradient)
    return wrap(np.asarray(gradient, dtype=of._data.dtype))


def _spread(
    tensor: Tensor,
    g: Any,
    table: dict[int, Any],
    rule: Callable[..., Any],
    out: Any,
    operands: tuple[Any, ...],
) -> None:
    """Hand the gradient of ``tensor`` on to what it was made of: arrays, or tensors, throughout."""
    for i, x in enumerate(tensor.inputs):
        if type(x) is Tensor and x.requires_grad:
            share = rule(i, g, out, *operands)
            if share is None:
                continue
            if share.shape != x._data.shape:
                share = worked_out(sum_to_shape, share, x._data.shape)
            key = id(x)
            before = table.get(key)
            table[key] = share if before is None else worked_out(operator.add, before, share)


def _all_at_once(tensor: Tensor, g: Any, out: Any) -> Callable[..., Any]:
    """A rule that looks up what one calculation has found for all inputs."""
    wanted = tuple([type(x) is Tensor and x.requires_grad for x in tensor.inputs])
    op = tensor.op
    if op.replays:
        shares = op.gradients(wanted, g, out, *tensor.arrays)
    else:
        shares = worked_out(op.gradients, wanted, g, out, *tensor.arrays)
    return lambda index, *_: shares[index]


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
