"""What an operation is: one idea with three faces.

* ``value``: arrays in, array out;
* ``gradient``: how the output's gradient flows to each input, written in operations;
* a formula: the text of one spreadsheet cell of the output, given the cells of the inputs.

Because gradients are written in operations, the backward pass is a calculation like any other: it
can be differentiated again, and it is exported with the same formulas. An operation is added by
writing one class; the table :data:`OPERATIONS` finds it, and the test suite walks that table.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from minnet.errors import ShapeError, mismatch
from minnet.recording import STATE, apply
from minnet.tensor import Array, Tensor

#: Every operation's class by its name.
OPERATIONS: dict[str, type[Operation]] = {}

# How tightly the outermost operator of a formula binds; decides where brackets are needed.
COMPARISON, ADDITION, MULTIPLICATION, POWER, ATOM = range(5)

CellWriter = Callable[[int], str]


class Operand(Protocol):
    """An input as a formula sees it. Positions count through the tensor in C order."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def cell(self, position: int, binding: int = COMPARISON) -> str:
        """The text for one element, in brackets if its operator binds less than ``binding``."""
        ...

    def area(self, positions: Array) -> str:
        """The ranges that hold these elements, joined by commas; needs real cells."""
        ...

    def areas(self, positions: Array | Sequence[Array]) -> list[str]:
        """``area`` of each row of positions."""
        ...

    def broadcast(self, shape: tuple[int, ...]) -> Operand: ...


class Operation:
    """The contract. Subclasses with attributes are values: equal attributes, equal operations."""

    name: ClassVar[str]
    #: False where the derivative is zero or undefined everywhere (comparisons, one-hot).
    differentiable: ClassVar[bool] = True
    #: False where an input is an index or a condition and keeps a dtype of its own.
    one_dtype: ClassVar[bool] = True
    #: True where the workbook shows several ``steps`` in place of one formula.
    composite: ClassVar[bool] = False
    #: True where the output may share its memory with an input.
    view: ClassVar[bool] = False
    #: True where the forward calculation yields something that makes the gradient cheaper.
    keeps: ClassVar[bool] = False
    #: True where one calculation gives the gradients of all inputs: see :meth:`gradients`.
    together: ClassVar[bool] = False
    #: True where, on float32, all calculations on plain arrays are kernels or go through
    #: :mod:`minnet.program`'s functions: kernels are then done again one by one, not as a whole.
    replays: ClassVar[bool] = False
    #: Which operands a formula reads as ranges (rows, columns), not cell by cell.
    reads_ranges: ClassVar[tuple[int, ...]] = ()
    #: How tightly the formula's outermost operator binds.
    binding: ClassVar[int] = ATOM
    #: Operands that, where they are vectors to be learned, stand upright on the sheet.
    stands: ClassVar[tuple[int, ...]] = ()
    #: Operands that are kernels: on the sheet each filter is a row of tiles, one for each input.
    filters: ClassVar[tuple[int, ...]] = ()
    #: Operands that are tables: learned or not, a row on the sheet is a row of the array.
    tables: ClassVar[tuple[int, ...]] = ()
    #: Operands whose columns (a vector is one) must run down the sheet without a gap.
    columns: ClassVar[tuple[int, ...]] = ()

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            OPERATIONS[cls.name] = cls

    def __reduce_ex__(self, protocol: Any) -> Any:
        """One that has a name in its module is copied and pickled as that name, like a function:
        a copy of a layer has the very same activation."""
        module = sys.modules.get(type(self).__module__)
        names = vars(module).items() if module else ()
        own = next((name for name, value in names if value is self), None)
        return own or super().__reduce_ex__(protocol)

    def __call__(self, *inputs: Any) -> Any:
        """Tensors in, a recorded tensor out.

        Plain arrays in give a plain array out, which is how a backward pass that nobody will
        differentiate runs at NumPy's speed.
        """
        return apply(self, inputs) if Tensor in map(type, inputs) else self.value(*inputs)

    def value(self, *arrays: Any) -> Any:
        """The output array of these input arrays."""
        raise NotImplementedError(f"{type(self).__name__}.value")

    def gradient(self, index: int, g: Any, out: Any, *inputs: Any) -> Any:
        """dLoss/d(inputs[index]) given ``g`` = dLoss/d(out), or None where it is always zero.

        Works on arrays and on tensors alike. It may have the output's broadcast shape: the engine
        sums it back to the input's.
        """
        raise NotImplementedError(f"{type(self).__name__}.gradient")

    def value_and_kept(self, *arrays: Any) -> tuple[Any, Any]:
        """``value``, and what :meth:`gradient_from_kept` needs; for operations that keep."""
        raise NotImplementedError(f"{type(self).__name__}.value_and_kept")

    def gradient_from_kept(self, index: int, g: Any, kept: Any, *arrays: Any) -> Any:
        """``gradient`` on plain arrays, with what was kept in place of the output."""
        raise NotImplementedError(f"{type(self).__name__}.gradient_from_kept")

    def gradients(self, wanted: tuple[bool, ...], g: Any, out: Any, *arrays: Any) -> Any:
        """The ``gradient`` for each input that is wanted, None for others; on plain arrays alone.

        For operations that do it ``together``; ``out`` is what was kept where they keep something.
        """
        raise NotImplementedError(f"{type(self).__name__}.gradients")

    def words(self, *names: str) -> str:
        """The formula in words, for a block's title."""
        return f"{self.name}({', '.join(names)})"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        """A function that writes the formula (without ``=``) of the element at a position."""
        raise NotImplementedError(f"{type(self).__name__}.cells")


class Pointwise(Operation):
    """Each output element depends on the input elements at the same (broadcast) place."""

    #: How tightly each operand must bind to stand without brackets.
    needs: ClassVar[tuple[int, ...]] = (COMPARISON,)

    def formula(self, *cells: str) -> str:
        raise NotImplementedError(f"{type(self).__name__}.formula")

    def words(self, *names: str) -> str:
        return self.formula(*names)

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        spread = [(o.broadcast(shape).cell, b) for o, b in zip(operands, self.needs, strict=True)]
        if len(spread) == 1:
            ((cell, binding),) = spread
            return lambda k: self.formula(cell(k, binding))
        return lambda k: self.formula(*[cell(k, binding) for cell, binding in spread])


class View(Operation):
    """Moves elements without changing them: its formula is a reference, ``=E7``.

    Nothing is written for the formula: applying ``value`` to the *positions* of the input's
    elements tells where each output element came from.
    """

    view = True

    def sources(self, *shapes: tuple[int, ...]) -> Array:
        """For each output element, its position among the elements of all inputs in a row."""
        parts, start = [], 0
        for shape in shapes:
            parts.append(positions(shape, start))
            start += math.prod(shape)
        return np.asarray(self.value(*parts))

    def words(self, *names: str) -> str:
        return names[0]


class Composite(Operation):
    """One fast calculation that a reader should see in several steps."""

    composite = True

    def steps(self, *inputs: Any) -> Any:
        """The same value in plain operations. A step that is ``named`` gets a block of its own."""
        raise NotImplementedError(f"{type(self).__name__}.steps")


class Fused(Composite):
    """Operations run as one for speed, with nothing new to show: a tracer sees them one by one."""

    def __call__(self, *inputs: Any) -> Any:
        if STATE.tracer is not None and Tensor in map(type, inputs):
            return self.steps(*inputs)
        return super().__call__(*inputs)


class Placement(Operation):
    """Puts elements where they belong among zeros; its formula is a reference, ``=E7``, or 0.

    Nothing is written for the formula: applying ``value`` to the *positions* of the input's
    elements, counted from 1, tells where each output element came from. Unlike a :class:`View` it
    is shown as cells of its own.
    """

    #: What was done to the input, for a block's title: "padded".
    done: ClassVar[str]

    def words(self, x: str) -> str:
        return f"{x} {self.done}"

    def cells(self, shape: tuple[int, ...], *operands: Operand) -> CellWriter:
        (x,) = operands
        sources = np.asarray(self.value(positions(x.shape, 1))).reshape(-1).tolist()
        return lambda k: x.cell(sources[k] - 1) if sources[k] else "0"


def positions(shape: tuple[int, ...], start: int = 0) -> Array:
    """Each element's position in C order, counted from ``start``, in the shape itself."""
    size = math.prod(shape)
    return np.arange(start, start + size).reshape(shape)


def normal_axes(axis: Any, ndim: int, name: str) -> tuple[int, ...]:
    """Axes as a sorted tuple of non-negative numbers; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    axes = (axis,) if isinstance(axis, (int, np.integer)) else tuple(axis)
    if any(not -ndim <= a < ndim for a in axes) or len({a % ndim for a in axes}) != len(axes):
        raise ShapeError(
            mismatch(
                f"operation {name!r}", f"different axes from {-ndim} to {ndim - 1}", f"axis={axis}"
            )
        )
    return tuple(sorted(int(a) % ndim for a in axes))
