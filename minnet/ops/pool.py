"""Pooling: a window slides over each channel of an image and leaves one number of what it sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from minnet import kernels
from minnet.kernels.geometry import Pair, Window
from minnet.ops import reduce
from minnet.ops.base import MULTIPLICATION, CellWriter, Operand, Operation
from minnet.ops.shape import reshape
from minnet.ops.windows import pooling_window, require_images, taps_of
from minnet.tensor import Array

Shape = tuple[int, ...]


class _Pooling(Operation):
    """A calculation on the windows of images; the attribute ``window`` says which."""

    window: Window

    def seen(self, shape: Shape) -> list[Array]:
        """For each element of the pooled images the positions of what its window sees."""
        rows = taps_of(shape, self.window)
        return [taps[taps >= 0] for taps in rows.reshape(-1, rows.shape[-1])]

    def __str__(self) -> str:
        return f"{self.window.size[0]}×{self.window.size[1]} window"


# -- the largest -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaxPool2D(_Pooling):
    """The largest number in each window; of equals the gradient goes to the first."""

    window: Window

    name = "max_pool2d"
    keeps = True  # where the largest were
    replays = True
    reads_ranges = (0,)

    def value(self, x: Any) -> Any:
        return kernels.max_pool(x, self.window)

    def value_and_kept(self, x: Any) -> tuple[Any, Any]:
        return kernels.max_pool_places(x, self.window)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return _max_pool_gradient(self.window)(g, x)

    def gradient_from_kept(self, index: int, g: Any, kept: Any, x: Any) -> Any:
        return kernels.max_pool_gradient(g, kept, self.window, x.shape)

    def words(self, x: str) -> str:
        return f"max of {x} in each {self}"

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        (x,) = operands
        areas = x.areas(self.seen(x.shape))
        return lambda k: f"MAX({areas[k]})"


class _AtMaxima(_Pooling):
    """What depends on where the largest numbers of ``x``, the second input, are."""

    def first_maxima(self, x: Operand, seen: Sequence[Array]) -> Callable[[int, int], str]:
        """Writes the condition that in a window a tap sees the first of its largest numbers."""
        windows = x.areas(seen)
        taps = range(1, max(map(len, seen), default=0))
        before = [x.areas([window[:tap] for window in seen]) for tap in taps]

        def write(place: int, tap: int) -> str:
            cell = x.cell(int(seen[place][tap]))
            largest = f"{cell}>=MAX({windows[place]})"
            return f"AND({largest},{cell}>MAX({before[tap - 1][place]}))" if tap else largest

        return write


@dataclass(frozen=True)
class MaxPoolGradient(_AtMaxima):
    """Each number of ``g`` goes back to where the largest of its window in ``x`` was."""

    window: Window

    name = "max_pool_gradient"
    reads_ranges = (1,)

    def value(self, g: Any, x: Any) -> Any:
        _, places = kernels.max_pool_places(x, self.window)
        return kernels.max_pool_gradient(g, places, self.window, x.shape)

    def gradient(self, index: int, g: Any, out: Any, d: Any, x: Any) -> Any:
        return _max_pool_take(self.window)(g, x) if index == 0 else None

    def words(self, g: str, x: str) -> str:
        return f"{g} where {x} was largest"

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        g, x = operands
        seen = self.seen(x.shape)
        windows = _seen_by(seen)
        is_first_maximum = self.first_maxima(x, seen)

        def write(k: int) -> str:
            terms = [
                f"IF({is_first_maximum(place, tap)},{g.cell(place)},0)" for place, tap in windows[k]
            ]
            return "+".join(terms) or "0"

        return write


@dataclass(frozen=True)
class MaxPoolTake(_AtMaxima):
    """What ``h`` has where ``x`` is largest: the gradient of :class:`MaxPoolGradient`."""

    window: Window

    name = "max_pool_take"
    reads_ranges = (1,)

    def value(self, h: Any, x: Any) -> Any:
        _, places = kernels.max_pool_places(x, self.window)
        return kernels.max_pool_take(h, places, self.window)

    def gradient(self, index: int, g: Any, out: Any, h: Any, x: Any) -> Any:
        return _max_pool_gradient(self.window)(g, x) if index == 0 else None

    def words(self, h: str, x: str) -> str:
        return f"{h} where {x} is largest"

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        h, x = operands
        seen = self.seen(x.shape)
        is_first_maximum = self.first_maxima(x, seen)

        def write(k: int) -> str:
            return "+".join(
                f"IF({is_first_maximum(k, tap)},{h.cell(int(position))},0)"
                for tap, position in enumerate(seen[k])
            )

        return write


def _seen_by(seen: list[Array]) -> dict[int, list[tuple[int, int]]]:
    """For each position the places of the window that see it, each with the tap that does."""
    windows: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for place, taps in enumerate(seen):
        for tap, position in enumerate(taps.tolist()):
            windows[position].append((place, tap))
    return windows


# -- the average -----------------------------------------------------------------------------------


class _Averaging(_Pooling):
    """Averages of windows; padding counts as zeros, or not at all."""

    count_padding: bool

    def count(self, seen: Array) -> int:
        return self.window.size[0] * self.window.size[1] if self.count_padding else len(seen)


@dataclass(frozen=True)
class AveragePool2D(_Averaging):
    window: Window
    count_padding: bool

    name = "average_pool2d"
    replays = True
    binding = MULTIPLICATION
    reads_ranges = (0,)

    def value(self, x: Any) -> Any:
        return kernels.average_pool(x, self.window, self.count_padding)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        back = _average_pool_gradient(self.window, self.count_padding, tuple(x.shape[1:3]))
        return back(g)

    def words(self, x: str) -> str:
        return f"mean of {x} in each {self}"

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        (x,) = operands
        seen = self.seen(x.shape)
        areas = x.areas(seen)

        def write(k: int) -> str:
            count = self.count(seen[k])
            return f"AVERAGE({areas[k]})" if count == len(seen[k]) else f"SUM({areas[k]})/{count}"

        return write


@dataclass(frozen=True)
class AveragePoolGradient(_Averaging):
    """Each number of ``g`` in equal shares to what its window saw, images of this size."""

    window: Window
    count_padding: bool
    size: Pair

    name = "average_pool_gradient"
    binding = MULTIPLICATION - 1

    def value(self, g: Any) -> Any:
        shape = (g.shape[0], *self.size, g.shape[3])
        return kernels.average_pool_gradient(g, self.window, shape, self.count_padding)

    def gradient(self, index: int, g: Any, out: Any, d: Any) -> Any:
        return average_pooling(self.window, self.count_padding)(g)

    def words(self, g: str) -> str:
        return f"{g} shared out over each {self}"

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        (g,) = operands
        seen = self.seen(shape)
        windows = _seen_by(seen)

        def write(k: int) -> str:
            terms = (
                f"{g.cell(place, MULTIPLICATION)}/{self.count(seen[place])}"
                for place, _ in windows[k]
            )
            return "+".join(terms) or "0"

        return write


max_pooling = lru_cache(maxsize=1024)(MaxPool2D)
_max_pool_gradient = lru_cache(maxsize=1024)(MaxPoolGradient)
_max_pool_take = lru_cache(maxsize=1024)(MaxPoolTake)
average_pooling = lru_cache(maxsize=1024)(AveragePool2D)
_average_pool_gradient = lru_cache(maxsize=1024)(AveragePoolGradient)


# -- for users -------------------------------------------------------------------------------------


_window = lru_cache(maxsize=1024)(pooling_window)


def _window_for(x: Any, name: str, size: Any, strides: Any, padding: Any) -> Window:
    require_images(x, name)
    try:
        return _window(size, strides, padding, x.shape[1], x.shape[2])
    except TypeError:  # lists have no hash
        return pooling_window(size, strides, padding, x.shape[1], x.shape[2])


def max_pool2d(x: Any, size: Any = 2, strides: Any = None, padding: Any = "valid") -> Any:
    """The largest number of each channel in each window: (n, height, width, channels) to fewer.

    ``size`` and ``strides``: one number, or (vertical, horizontal); strides are the size unless
    given. ``padding``: 'valid' (none), 'same', a number, (vertical, horizontal) or ((top, bottom),
    (left, right)); it is never the largest. A window with NaN gives NaN. Of equal numbers the
    first has the gradient.

    Raises :class:`~minnet.errors.ShapeError` where ``x`` has not four axes or no window fits.
    """
    return max_pooling(_window_for(x, "max_pool2d", size, strides, padding))(x)


def average_pool2d(
    x: Any, size: Any = 2, strides: Any = None, padding: Any = "valid", count_padding: bool = False
) -> Any:
    """The mean of each channel in each window; arguments as for :func:`max_pool2d`.

    Padding is left out of the mean, or counts as zeros with ``count_padding``.

    Raises :class:`~minnet.errors.ShapeError` where ``x`` has not four axes or no window fits.
    """
    window = _window_for(x, "average_pool2d", size, strides, padding)
    return average_pooling(window, bool(count_padding))(x)


def global_max_pool2d(x: Any) -> Any:
    """The largest number of each channel of each image: (n, height, width, channels) to
    (n, channels).

    Raises :class:`~minnet.errors.ShapeError` where ``x`` has not four axes or no pixels.
    """
    require_images(x, "global_max_pool2d")
    return reduce.max(x, (1, 2))


def global_average_pool2d(x: Any) -> Any:
    """The mean of each channel of each image: (n, height, width, channels) to (n, channels).

    Raises :class:`~minnet.errors.ShapeError` where ``x`` has not four axes or no pixels.
    """
    require_images(x, "global_average_pool2d")
    return reduce.mean(x, (1, 2))


def flatten(x: Any) -> Any:
    """Each row of a batch as one vector: (n, height, width, channels) to (n, all of them)."""
    count = 1
    for n in x.shape[1:]:
        count *= n
    return reshape(x, (x.shape[0], count))
