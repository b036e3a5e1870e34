"""The Tensor: an array that remembers the operation that made it.

Here are its data and its operators; :mod:`minnet.recording` records what is done with it, and
:mod:`minnet.autodiff` differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from minnet.errors import DtypeError, GraphError, ShapeError, mismatch

Array = npt.NDArray[Any]
TensorLike = Any  # a Tensor, a NumPy array, or a Python number

DEFAULT_DTYPE = np.dtype(np.float32)


class Tensor:
    """An n-dimensional array with a memory.

    ``data``: numbers, nested lists of numbers, or an array; it is copied. Python numbers become
    float32, arrays keep their dtype, and ``dtype`` overrides both. A tensor made with
    ``requires_grad=True`` is a leaf whose ``.grad`` is filled by :meth:`backward`.

    Arrays that a recorded operation used are read-only from then on, since the backward pass needs
    them as they were. To change a leaf, assign a new array to ``.data``.

    Raises :class:`~minnet.errors.DtypeError` for data that is not numeric, and for an integer or
    boolean tensor that is asked to require gradients.
    """

    __slots__ = (
        "__weakref__", "_data", "arrays", "grad", "inputs", "kept", "lr_multiplier", "name", "op",
        "order", "requires_grad",
    )  # fmt: skip
    __array_priority__ = 1000  # array + tensor asks the tensor first
    __array_ufunc__ = None

    #: Operations by name; filled by :mod:`minnet.ops`, used by the operators below.
    table: ClassVar[dict[str, Callable[..., Any]]] = {}

    _data: Array
    grad: Tensor | None
    order: int  # counts recorded operations, so that age is a topological order; -1 for a leaf
    op: Any  # the operation that made this tensor, None for a leaf
    inputs: tuple[Any, ...]  # what it was applied to: tensors, Python numbers
    arrays: tuple[Any, ...]  # the same as plain arrays, as they were then
    kept: Any  # what the operation keeps for its gradient, if it does
    lr_multiplier: float  # of a layer's parameter alone: what it multiplies the learning rate by

    def __init__(
        self,
        data: TensorLike,
        *,
        dtype: npt.DTypeLike | None = None,
        requires_grad: bool = False,
        name: str | None = None,
    ):
        if isinstance(data, Tensor):
            data = data._data
        if dtype is None and not isinstance(data, (np.ndarray, np.generic)):
            dtype = DEFAULT_DTYPE
        try:
            array = np.asarray(data)  # without the dtype, which would read None as NaN, '1' as 1
            if array.dtype.kind in "fiub":
                array = array.astype(array.dtype if dtype is None else dtype)
        except (ValueError, TypeError) as error:
            raise DtypeError(
                mismatch("Tensor", "numbers in a regular shape", f"{type(data).__name__}: {error}")
            ) from None
        if array.dtype.kind not in "fiub":
            raise DtypeError(mismatch("Tensor", "real numbers", f"dtype {array.dtype}"))
        self._data = array
        self.requires_grad = False
        self.grad = self.op = self.kept = None
        self.inputs = self.arrays = ()
        self.order = -1
        self.name = name
        if requires_grad:
            if array.dtype.kind != "f":
                raise DtypeError(
                    mismatch(
                        f"Tensor {name or ''}".rstrip(),
                        "a floating dtype for requires_grad=True",
                        str(array.dtype),
                        "Pass dtype=np.float32 or np.float64.",
                    )
                )
            self.requires_grad = True

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """A copy has its numbers in memory of its own; pickle leaves them among what it has read.

        There somebody else might change them, so nothing that follows from them could be kept.
        """
        for name, value in state[1].items():
            setattr(self, name, value)
        if self._data.base is not None and self.op is None:
            self._data = self._data.copy()

    # -- the array -------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array itself (read-only while a recorded operation uses it)."""
        return self._data

    @data.setter
    def data(self, array: npt.ArrayLike) -> None:
        new = array if type(array) is np.ndarray else np.asarray(array)
        old = self._data
        if new.shape != old.shape:
            raise ShapeError(
                mismatch(f"assigning to {self._title()}.data", f"shape {old.shape}", f"{new.shape}")
            )
        if new.dtype is not old.dtype and new.dtype != old.dtype:
            raise DtypeError(
                mismatch(
                    f"assigning to {self._title()}.data",
                    f"{old.dtype}",
                    f"{new.dtype}",
                    f"Convert it first: array.astype(np.{old.dtype}).",
                )
            )
        if self.op is not None:
            raise GraphError(
                f"{self._title()} is the result of operation {self.op.name!r}, so its data cannot "
                "be assigned. Assign to a leaf, or use detach()."
            )
        self._data = new

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._data.dtype

    def numpy(self) -> Array:
        """A copy of the array, free to be edited."""
        return self._data.copy()

    def item(self) -> float:
        """The one number of a tensor of size 1."""
        if self._data.size != 1:
            where = f"{self._title()}.item()"
            raise ShapeError(mismatch(where, "one number", f"shape {self.shape}"))
        return float(self._data.reshape(())[()])

    __float__ = item

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return np.array(self._data, dtype=dtype, copy=copy)

    def __iter__(self) -> Iterator[Any]:
        """Along the first axis; the parts are recorded like ``tensor[i]``."""
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        if not self._data.ndim:
            raise TypeError("a 0-d Tensor has no len()")
        return len(self._data)

    def __repr__(self) -> str:
        body = np.array2string(self._data, separator=", ", threshold=20, prefix="Tensor(")
        parts = [body, f"dtype={self.dtype}"]
        if self.name:
            parts.append(f"name={self.name!r}")
        if self.op is not None:
            parts.append(f"op={self.op.name}")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    def _title(self) -> str:
        return f"Tensor {self.name!r}" if self.name else f"Tensor of shape {self.shape}"

    def named(self, name: str) -> Tensor:
        """Give this tensor the name that errors and workbooks will show; returns the tensor."""
        self.name = name
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        if not self._data.flags.writeable:
            raise GraphError(
                f"{self._title()} was used by a recorded operation, so its array cannot be edited "
                "in place: the backward pass needs it as it was. Assign a new array to .data, or "
                "edit a copy from .numpy()."
            )
        self._data[key] = value

    # -- gradients -------------------------------------------------------------------------------

    def backward(self, gradient: TensorLike = None, *, create_graph: bool = False) -> None:
        """Fill ``.grad`` of every leaf that this tensor was computed from.

        ``gradient``: dLoss/dself, of this tensor's shape; may be left out for a single number
        (then 1). ``.grad`` is the gradient of the latest call, not a running sum: add losses, not
        gradients. The graph is kept, so the call can be repeated.

        Raises :class:`~minnet.errors.GraphError` where nothing was recorded.
        """
        self.table["backward"](self, gradient, create_graph)

    def detach(self) -> Any:
        """The same numbers, cut off from the graph."""
        return self.table["stop_gradient"](self)

    # -- operators: looked up in the table, so that ops can be defined after tensors ---------------

    def __add__(self, other: TensorLike) -> Any:
        return self.table["add"](self, other)

    def __radd__(self, other: TensorLike) -> Any:
        return self.table["add"](other, self)

    def __sub__(self, other: TensorLike) -> Any:
        return self.table["subtract"](self, other)

    def __rsub__(self, other: TensorLike) -> Any:
        return self.table["subtract"](other, self)

    def __mul__(self, other: TensorLike) -> Any:
        return self.table["multiply"](self, other)

    def __rmul__(self, other: TensorLike) -> Any:
        return self.table["multiply"](other, self)

    def __truediv__(self, other: TensorLike) -> Any:
        return self.table["divide"](self, other)

    def __rtruediv__(self, other: TensorLike) -> Any:
        return self.table["divide"](other, self)

    def __pow__(self, other: TensorLike) -> Any:
        return self.table["power"](self, other)

    def __rpow__(self, other: TensorLike) -> Any:
        return self.table["power"](other, self)

    def __matmul__(self, other: TensorLike) -> Any:
        return self.table["matmul"](self, other)

    def __rmatmul__(self, other: TensorLike) -> Any:
        return self.table["matmul"](other, self)

    def __neg__(self) -> Any:
        return self.table["negative"](self)

    def __abs__(self) -> Any:
        return self.table["absolute"](self)

    def __gt__(self, other: TensorLike) -> Any:
        return self.table["greater"](self, other)

    def __ge__(self, other: TensorLike) -> Any:
        return self.table["greater_equal"](self, other)

    def __lt__(self, other: TensorLike) -> Any:
        return self.table["less"](self, other)

    def __le__(self, other: TensorLike) -> Any:
        return self.table["less_equal"](self, other)

    def __getitem__(self, key: Any) -> Any:
        return self.table["getitem"](self, key)

    def __bool__(self) -> bool:
        if self._data.size != 1:
            raise ShapeError(
                mismatch(f"truth of {self._title()}", "one number", f"shape {self.shape}")
            )
        return bool(self._data.reshape(())[()])

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.table["sum"](self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.table["mean"](self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        return self.table["max"](self, axis, keepdims)

    def reshape(self, *shape: Any) -> Any:
        return self.table["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Any:
        return self.table["transpose"](self, axes[0] if len(axes) == 1 else axes or None)

    @property
    def T(self) -> Any:
        """All axes reversed: for a matrix, its transpose."""
        return self.table["transpose"](self, None)


def called(name: str, x: TensorLike) -> TensorLike:
    """``x`` itself; a tensor gets this name, by which a workbook shows it."""
    return x.named(name) if type(x) is Tensor else x


def wrap(array: Array) -> Tensor:
    """A constant tensor around an array, without copying it."""
    tensor: Tensor = Tensor.__new__(Tensor)
    tensor._data = array
    tensor.requires_grad = False
    tensor.grad = tensor.name = tensor.op = tensor.kept = None
    tensor.inputs = tensor.arrays = ()
    tensor.order = -1
    return tensor
