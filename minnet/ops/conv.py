"""Convolution: a kernel slides over images, and at each place a dot product is one number.

The calculation is linear in the images x and in the kernel w, so that its three functions need no
others for their gradients, however often they are differentiated:

========================  =======================  ======================================
function                  gives                    whose gradients are
========================  =======================  ======================================
``conv2d(x, w)``          y                        input_gradient(g, w), weight_gradient(x, g)
``input_gradient(g, w)``  dLoss/dx, shaped like x  conv2d(h, w), weight_gradient(h, g)
``weight_gradient(x, g)`` dLoss/dw, shaped like w  input_gradient(g, v), conv2d(x, v)
========================  =======================  ======================================

In a workbook each of them is the same formula, windows times filters (:class:`Correlate`): for the
images' gradient the turned kernel slides over the padded gradient, for the kernel's gradient the
gradient slides over the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from minnet import kernels
from minnet.errors import ShapeError, mismatch
from minnet.kernels.geometry import NO_PADDING, Pair, Window
from minnet.ops import reduce
from minnet.ops.base import (
    ADDITION,
    MULTIPLICATION,
    CellWriter,
    Composite,
    Operand,
    Operation,
    positions,
)
from minnet.ops.pad import dilate, pad, rotate_kernel
from minnet.ops.shape import getitem, reshape, transpose
from minnet.ops.windows import convolution_window, require_images, taps_of
from minnet.tensor import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Convolution(Operation):
    """What all variants share: the gradients, whatever follows the sum."""

    window: Window
    groups: int

    replays = True

    def check(self, x: Any, w: Any, b: Any = None) -> None:
        """Raise :class:`~minnet.errors.ShapeError` unless images, kernel and bias fit together."""
        if x.ndim != 4:
            require_images(x, self.name)
        channels, groups, shape = x.shape[3], self.groups, w.shape
        wanted = *self.window.size, channels // groups
        if len(shape) != 4 or shape[:3] != wanted or channels % groups or shape[3] % groups:
            split = f" in {groups} groups" if groups > 1 else ""
            raise ShapeError(
                mismatch(
                    f"operation {self.name!r}",
                    f"a kernel ({', '.join(map(str, wanted))}, filters) for images of {channels} "
                    f"channels{split}",
                    f"a kernel of shape {shape}",
                    "The groups must divide channels and filters." if groups > 1 else "",
                )
            )
        if b is not None and b.shape != shape[3:]:
            expected = f"a bias of shape {shape[3:]}, one number for each filter"
            raise ShapeError(mismatch(f"operation {self.name!r}", expected, f"shape {b.shape}"))

    def gradient(self, index: int, g: Any, out: Any, x: Any, w: Any, b: Any = None) -> Any:
        if index == 0:
            return _input_gradient(self.window, self.groups, tuple(x.shape[1:3]))(g, w)
        return _weight_gradient(self.window, self.groups)(x, g) if index == 1 else _sums(g)

    def products(
        self, wanted: tuple[bool, ...], g: Any, sums: Any, x: Any, w: Any
    ) -> tuple[Any, ...]:
        """The gradients on plain arrays, once that of the bias is known."""
        window, groups = self.window, self.groups
        dx = kernels.conv2d_input_gradient(g, w, window, groups, x.shape) if wanted[0] else None
        dw = kernels.conv2d_weight_gradient(x, g, window, groups) if wanted[1] else None
        return dx, dw, sums

    def words(self, x: str, w: str, b: str | None = None) -> str:
        return f"{x} ∗ {w}" + ("" if b is None else f" + {b}")


class Conv2D(Convolution, Composite):
    """Images x (n, h, w, channels), kernel w (kh, kw, channels // groups, filters), bias b or none.

    Cross-correlation, as everywhere in machine learning: the kernel is not turned.
    """

    name = "conv2d"
    together = True
    filters = (1,)

    def value(self, x: Any, w: Any, b: Any = None) -> Any:
        self.check(x, w, b)
        return kernels.conv2d(x, w, b, self.window, self.groups)

    def gradients(
        self, wanted: tuple[bool, ...], g: Any, out: Any, x: Any, w: Any, b: Any = None
    ) -> Any:
        sums = kernels.channel_sums(g) if wanted[2:] == (True,) else None
        return self.products(wanted, g, sums, x, w)

    def steps(self, x: Any, w: Any, *b: Any) -> Any:
        window = self.window
        if window.padding != NO_PADDING:
            x = pad(window.padding)(x).named("padded")
        if window.dilation != (1, 1):
            w = dilate(window.dilation, 0)(w).named("kernel with gaps")
        return _correlate(Window(window.reach, window.strides), self.groups)(x, w, *b)


class Correlate(Convolution):
    """A convolution without padding or gaps: all that there is to see of one, in one formula."""

    name = "correlate"
    binding = ADDITION
    reads_ranges = (0, 1)
    filters = (1,)

    def value(self, x: Any, w: Any, b: Any = None) -> Any:
        self.check(x, w, b)
        return kernels.conv2d(x, w, b, self.window, self.groups)

    def cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        """The sheet must show each channel and each filter as a tile; the planner sees to that."""
        x, w, *b = operands
        windows = taps_of(x.shape, self.window)
        kernel = positions(w.shape).transpose(3, 2, 0, 1)
        return self._products(x, w, b, windows, kernel.reshape(*kernel.shape[:2], -1))

    def stacked_cells(self, shape: Shape, *operands: Operand) -> CellWriter:
        """``cells`` where the sheet stacks channels: one product for all channels of a window.

        With groups there is one for each row of the window: only there a group's channels touch.
        """
        x, w, *b = operands
        groups, filters = self.groups, w.shape[3]
        apart = (groups, x.shape[3] // groups, *self.window.size)
        windows = taps_of(x.shape, self.window).reshape(-1, *apart).transpose(0, 1, 3, 2, 4)
        kernel = positions(w.shape).transpose(3, 0, 2, 1)
        pieces = 1 if groups == 1 else self.window.size[0]
        return self._products(x, w, b, windows, kernel.reshape(filters, pieces, -1))

    def _products(
        self, x: Operand, w: Operand, b: list[Operand], windows: Array, kernel: Array
    ) -> CellWriter:
        """Windows times filters, piece by piece: kernel (filters, pieces, numbers of a piece).

        ``windows``: as many pieces for each place and group, in this order.
        """
        filters, pieces, size = map(int, kernel.shape)
        opening, between, closing = ("", "*", "") if size == 1 else ("SUMPRODUCT(", ",", ")")
        lefts = [f"{opening}{a}{between}" for a in x.areas(windows.reshape(-1, size))]
        rights = [f"{a}{closing}" for a in w.areas(kernel.reshape(-1, size))]
        seen = [lefts[i : i + pieces] for i in range(0, len(lefts), pieces)]
        weights = [rights[i : i + pieces] for i in range(0, len(rights), pieces)]
        rest = ["".join(f"+{c.cell(f, MULTIPLICATION)}" for c in b) for f in range(filters)]
        share = filters // self.groups

        def write(k: int) -> str:
            place, f = divmod(k, filters)
            pairs = zip(seen[place * self.groups + f // share], weights[f], strict=True)
            return "+".join([left + right for left, right in pairs]) + rest[f]

        return write


@dataclass(frozen=True)
class Conv2DInputGradient(Composite):
    """How images of this size change the loss, given g (n, places, filters) and the kernel w."""

    window: Window
    groups: int
    size: Pair

    name = "conv2d_input_gradient"
    filters = (1,)

    def value(self, g: Any, w: Any) -> Any:
        shape = (g.shape[0], *self.size, w.shape[2] * self.groups)
        return kernels.conv2d_input_gradient(g, w, self.window, self.groups, shape)

    def gradient(self, index: int, h: Any, out: Any, g: Any, w: Any) -> Any:
        if index == 0:
            return convolution(self.window, self.groups)(h, w)
        return _weight_gradient(self.window, self.groups)(h, g)

    def steps(self, g: Any, w: Any) -> Any:
        """The turned kernel slides over the gradient, from where it only just touches it."""
        window = self.window
        if window.strides != (1, 1):
            g = dilate(window.strides, 1)(g).named("d with gaps")
        around: list[Pair] = []
        kept = [slice(None)]
        for axis, reach in enumerate(window.reach):
            before = reach - 1 - window.padding[axis][0]
            after = self.size[axis] - g.shape[1 + axis] + reach - 1 - before
            around.append((max(0, before), max(0, after)))
            # What lies further out than a window reaches had only padding to see.
            first = max(0, -before)
            kept.append(slice(first, first + self.size[axis] + reach - 1))
        if any(map(any, around)):
            g = pad((around[0], around[1]))(g).named("padded d")
        g = _part(g, kept)
        turned = rotate_kernel(self.groups)(w).named("turned kernel")
        if window.dilation != (1, 1):
            turned = dilate(window.dilation, 0)(turned).named("turned kernel with gaps")
        return _correlate(Window(window.reach), self.groups)(g, turned)


@dataclass(frozen=True)
class Conv2DWeightGradient(Composite):
    """How the kernel changes the loss, given the images x and g (n, places, filters)."""

    window: Window
    groups: int

    name = "conv2d_weight_gradient"

    def value(self, x: Any, g: Any) -> Any:
        return kernels.conv2d_weight_gradient(x, g, self.window, self.groups)

    def gradient(self, index: int, v: Any, out: Any, x: Any, g: Any) -> Any:
        if index == 0:
            return _input_gradient(self.window, self.groups, tuple(x.shape[1:3]))(g, v)
        return convolution(self.window, self.groups)(x, v)

    def steps(self, x: Any, g: Any) -> Any:
        """The gradient slides over the images; samples take the part that channels have else."""
        window, groups = self.window, self.groups
        if window.padding != NO_PADDING:
            x = pad(window.padding)(x).named("padded")
        if window.strides != (1, 1):
            g = dilate(window.strides, 1)(g).named("d with gaps")
        reach = (g.shape[1], g.shape[2])
        used = [slice(0, n + r - 1) for n, r in zip(reach, window.reach)]
        x = _part(x, [slice(None), *used])
        n, height, width, channels = x.shape
        inputs = channels // groups
        apart = reshape(x, (n, height, width, groups, inputs))
        images = reshape(transpose(apart, (4, 1, 2, 3, 0)), (inputs, height, width, groups * n))
        kernel = transpose(g, (1, 2, 0, 3))
        out = _correlate(Window(reach, window.dilation), groups)(images, kernel)
        return transpose(out, (1, 2, 0, 3))


convolution, _correlate = lru_cache(maxsize=1024)(Conv2D), lru_cache(maxsize=1024)(Correlate)
_input_gradient = lru_cache(maxsize=1024)(Conv2DInputGradient)
_weight_gradient = lru_cache(maxsize=1024)(Conv2DWeightGradient)


def _part(x: Any, key: list[slice]) -> Any:
    """These rows and columns of images; images that are no larger, as they are."""
    whole = all(k.stop is None or k.stop - k.start == n for k, n in zip(key, x.shape))
    return x if whole else getitem(x, tuple(key))


def _sums(g: Any) -> Any:
    return reduce.sum(g, (0, 1, 2))


_window = lru_cache(maxsize=1024)(convolution_window)


def window_for(x: Any, w: Any, strides: Any, padding: Any, dilation: Any) -> Window:
    require_images(x, "conv2d")
    if w.ndim != 4:
        expected = "a kernel (kh, kw, channels // groups, filters)"
        raise ShapeError(mismatch("operation 'conv2d'", expected, f"shape {w.shape}"))
    arguments = w.shape[:2], strides, padding, dilation, x.shape[1], x.shape[2]
    try:
        return _window(*arguments)
    except TypeError:  # lists have no hash
        return convolution_window(*arguments)


def conv2d(
    x: Any, w: Any, b: Any = None, strides: Any = 1, padding: Any = "valid", dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    """Slide filters over images: (n, height, width, channels) to (n, height, width, filters).

    ``w``: (kh, kw, channels // groups, filters), not turned (cross-correlation); ``b``: (filters,)
    or None. ``strides`` and ``dilation``: a number, or (vertical, horizontal). ``padding``:
    'valid' (none), 'same' (as many places as pixels, divided by the strides), a number, (vertical,
    horizontal) or ((top, bottom), (left, right)). With ``groups``, each part of the filters sees
    its part of the channels alone.

    Raises :class:`~minnet.errors.ShapeError` where shapes do not fit together or no window fits
    into the images.
    """
    op = convolution(window_for(x, w, strides, padding, dilation), groups)
    return op(x, w) if b is None else op(x, w, b)
