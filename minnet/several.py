"""The inputs, targets or outputs of a net that has several of them: arrays, or tensors, with the
same rows. Where only rows matter it is handled as one array is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from minnet.tensor import wrap


class Several:
    """``parts``: arrays or tensors whose first axes are equally long."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Any]):
        self.parts = tuple(parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, rows: Any) -> Several:
        """These rows of each part."""
        return Several(part[rows] for part in self.parts)

    def take(self, rows: Any, axis: int = 0) -> Several:
        """These rows of each part, as NumPy's ``take``."""
        return Several(part.take(rows, axis) for part in self.parts)

    @property
    def data(self) -> Several:
        """The arrays of tensors."""
        return Several(part.data for part in self.parts)


def parts_of(x: Any) -> tuple[Any, ...]:
    """The arrays or tensors of what is one or several."""
    return x.parts if type(x) is Several else (x,)


def each(function: Callable[[Any], Any], x: Any) -> Any:
    """The function of one array or tensor, or of each of several."""
    return Several(map(function, x.parts)) if type(x) is Several else function(x)


def as_tensors(x: Any) -> Any:
    """Constant tensors around arrays, which are not copied."""
    return each(wrap, x)
