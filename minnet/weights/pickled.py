"""PyTorch's pickles, read by a machine that can make containers and describe tensors.

A pickle is a program for a small machine, and Python's may be told to call anything. This one has
the instructions that a state dict consists of, and calls nothing: the few names of functions that
it admits, :data:`KNOWN`, stand for functions that are written out here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any

#: Instructions of one pickle; VGG16's has 800, and each takes memory.
LONGEST = 1_000_000

#: What torch calls its kinds of numbers, and NumPy (V: it has none such).
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "V2",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A module's name and a name in it."""

    full: str


@dataclass(frozen=True)
class Storage:
    """A run of ``length`` numbers somewhere else in the file, under ``key``."""

    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class PickledTensor:
    """Where a tensor's numbers are: from ``offset`` on, ``strides`` numbers apart."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> PickledTensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor without a storage, or of a negative size")
    if len(shape) != len(strides) or len(shape) > 32:
        raise ValueError(f"a tensor of {len(shape)} axes with {len(strides)} strides")
    return PickledTensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _ordered(*arguments: Any) -> dict[Any, Any]:
    """Empty, or from a list of pairs, as Python 2 wrote it."""
    pairs: list[Any] = list(*arguments)
    require_keys([key for key, _ in pairs])
    return dict(pairs)


def require_keys(keys: Iterable[Any]) -> None:
    """Only these: the hash of tuples within tuples may take for ever, and so may their text."""
    if not all(type(key) in (str, int) for key in keys):
        raise ValueError("a key that is neither text nor number")


#: What a state dict may ask to be called, and what happens instead.
KNOWN: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}


def load(file: IO[bytes]) -> Any:
    """The object that the next pickle of ``file`` describes.

    Tensors are :class:`PickledTensor`, all numbers, texts and containers Python's own. Raises
    :class:`ValueError` for anything that a state dict does not need, and for what is no pickle.
    """
    machine = _Machine()
    for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if count > LONGEST:
            raise ValueError(f"more than {LONGEST} instructions")
        machine.run(instruction.name, argument)
    (result,) = machine.stack
    return result


_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": lambda: _MARK,
}  # fmt: skip
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_SKIPPED = {"PROTO", "FRAME", "STOP"}


@dataclass
class _Machine:
    """The stack, and what is remembered by number."""

    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name not in _SKIPPED:
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise ValueError(f"the instruction {name}, which no state dict needs")
            step(argument)

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("an instruction without its values")
        return self.stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while self.stack and self.stack[-1] is not _MARK:
            values.append(self.stack.pop())
        if not self.stack:
            raise ValueError("an end without a beginning")
        self.stack.pop()
        return values[::-1]

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise ValueError(f"an instruction for a {kind.__name__} without one")
        return self.stack[-1]

    # -- remembering -----------------------------------------------------------------------------

    def _memoize(self, _: Any) -> None:
        self._put(len(self.memo))

    def _put(self, number: Any) -> None:
        value = self._pop()
        self.stack.append(value)
        self.memo[number] = value

    def _get(self, number: Any) -> None:
        if number not in self.memo:
            raise ValueError(f"nothing remembered as {number}")
        self.stack.append(self.memo[number])

    _binput = _long_binput = _put
    _binget = _long_binget = _get

    # -- containers ------------------------------------------------------------------------------

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._pop_to_mark()))

    def _of(self, count: int) -> None:
        self.stack.append(tuple([self._pop() for _ in range(count)][::-1]))

    def _tuple1(self, _: Any) -> None:
        self._of(1)

    def _tuple2(self, _: Any) -> None:
        self._of(2)

    def _tuple3(self, _: Any) -> None:
        self._of(3)

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._pop_to_mark())

    def _set(self, values: list[Any]) -> None:
        target = self._top(dict)
        require_keys(values[::2])
        target.update(zip(values[::2], values[1::2], strict=True))

    # -- what would execute something ------------------------------------------------------------

    def _global(self, argument: Any) -> None:
        self._name(*str(argument).split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any = "") -> None:
        require_keys((module, name))
        full = f"{module}.{name}"
        kind = full.removeprefix("torch.")
        if full not in KNOWN and not (full.startswith("torch.") and kind in STORAGES):
            raise ValueError(f"the name {full:.100}, which no state dict needs")
        self.stack.append(Name(full))

    def _binpersid(self, _: Any) -> None:
        identity = self._pop()
        if type(identity) is not tuple or len(identity) < 5 or identity[0] != "storage":
            raise ValueError("a reference to something that is no storage")
        _, kind, key, _, length, *view = identity
        require_keys([key])
        dtype = STORAGES.get(kind.full.removeprefix("torch.")) if type(kind) is Name else None
        if dtype is None or type(length) is not int or length < 0:
            raise ValueError("a storage of an unknown kind")
        if any(part is not None for part in view):
            raise ValueError("a storage that is a part of another one")
        self.stack.append(Storage(str(key), dtype, length))

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        known = KNOWN.get(function.full) if type(function) is Name else None
        if known is None or type(arguments) is not tuple:
            raise ValueError("a call of something that no state dict needs")
        self.stack.append(known(*arguments))

    def _build(self, _: Any) -> None:
        """Attributes: torch gives a state dict the versions of its modules."""
        self._pop()
        self._top(dict)
