"""Convolution of any kind, straight from its definition: kernel size, strides, dilation, groups.

The pixels of one row of the result, by the filters, are a matrix product: a row of A is what one
pixel's window sees, a column of B a filter. A's rows overlap in the image and need not be copied
from there: from one pixel to the next A moves on by ``stride * channels`` numbers, and a *tap*, a
piece of the window that lies in one piece in memory, begins at the same distance from every pixel.
A tap is a whole row of the window, all its channels included, or one element of it where a dilation
or groups make gaps. See :mod:`minnet.kernels.microkernel` for how the product is done.

A task is a band of rows of one image, for some of the filters. Padding is put around a copy of just
the rows that a band sees, which stays in the cache. Taps in rows above or below the image are left
out: where small images are padded much, as for the gradient of a 5x5 kernel, they are a third.

The same function calculates the gradient of the images, see :mod:`minnet.kernels.direct_gradients`:
so padding may be negative, and the result may be written to every second (or third …) pixel.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from minnet.kernels import memory
from minnet.kernels.geometry import Pair, Window
from minnet.kernels.jit import compiled, kernel, next_task, workers_for
from minnet.kernels.microkernel import filled, panel_of, product_lines, width_for
from minnet.kernels.panels import flat, pack
from minnet.kernels.vector import clear, copy, lanes
from minnet.program import run
from minnet.tensor import Array

Shape = tuple[int, ...]

BAND_BYTES = 1 << 17  # of padded rows: a quarter of the second-level cache
STRIP_BYTES = 1 << 14  # of weights for one pass over a row of pixels: half of the first-level cache
ROW = 96  # pixels that 1x1 windows take as a row, whatever the image's shape


class Sight(NamedTuple):
    """What the windows see: like a Window, but ``first``, the first one's corner, may be anywhere.

    Where it is negative it is above, or left of, the image; zeros are all around.
    """

    size: Pair
    strides: Pair
    dilation: Pair
    first: Pair

    def span(self, places: Pair) -> Pair:
        """How many rows and columns of an image so many windows see."""
        (kh, kw), (dh, dw), (sh, sw) = self.size, self.dilation, self.strides
        return (places[0] - 1) * sh + (kh - 1) * dh + 1, (places[1] - 1) * sw + (kw - 1) * dw + 1


class Place(NamedTuple):
    """Where in the result's memory the first pixel is, and the next image, row and column."""

    start: int
    image: int
    row: int
    column: int


#: A window of one pixel.
POINTWISE = Sight((1, 1), (1, 1), (1, 1), (0, 0))


class Sizes(NamedTuple):
    """What the kernel is told; its plan is these numbers as an array."""

    images: int
    height: int
    width: int
    groups: int
    channels: int  # in one group
    filters: int  # in one group
    rows: int  # of the result
    columns: int
    last: int  # columns of the last row
    row_step: int  # the strides
    column_step: int
    top: int  # where the first window begins: so many rows above the image
    left: int
    padded: int  # whether bands are copied
    wide: int  # length of a row that the windows see, in pixels
    depth: int  # of one tap
    kernel_rows: int
    row_dilation: int
    band: int  # rows of the result in a task
    share: int  # panels in a task
    strip: int  # panels in one pass over a row
    room: int  # for a task's copy
    y_start: int
    y_image: int  # from one image, row, column of the result to the next
    y_row: int
    y_column: int


def forward(
    x: Array,
    w: Array,
    b: Array | None,
    window: Window,
    groups: int = 1,
    relu: bool = False,
    packed: Array | None = None,
) -> Array:
    """The convolution of images ``x`` with ``w``, see :func:`minnet.kernels.reference.conv2d`.

    ``packed`` is what :func:`pack_weights` made of ``w``; without it that is done here.
    """
    shape, correlation = _forward(x.shape, w.shape, window, groups, x.dtype)
    y = memory.empty(shape, x.dtype)
    if y.size:
        correlation(x, pack_weights(w, groups) if packed is None else packed, b, relu, y)
    return y


@functools.lru_cache(maxsize=1024)
def _forward(
    shape: Shape, kernel_shape: Shape, window: Window, groups: int, dtype: Any
) -> tuple[Shape, Correlation]:
    """The result's shape, and how it is calculated."""
    filters = kernel_shape[3]
    rows, columns = window.output_size(shape[1], shape[2])
    (top, _), (left, _) = window.padding
    sight = Sight(window.size, window.strides, window.dilation, (-top, -left))
    place = Place(0, rows * columns * filters, columns * filters, filters)
    return (shape[0], rows, columns, filters), Correlation(
        shape, sight, groups, filters // groups, (rows, columns), place, dtype
    )


def pack_weights(w: Array, groups: int = 1) -> Array:
    """The weights as the kernel reads them: ``[panels][groups][taps][depth][panel]``, flat."""
    kh, kw, channels, filters = w.shape
    each = filters // groups
    width = panel_of(w.dtype, width_for(each, w.dtype))
    return pack(flat(w), np.arange(groups) * each, filters, 1, kh * kw * channels, each, width)


class Correlation:
    """How windows slide over images of one shape: all that is known before there are numbers.

    ``places`` are the rows and columns of the result, which goes to its ``place`` in an array.
    """

    def __init__(
        self, shape: Shape, sight: Sight, groups: int, filters: int, places: Pair, place: Place,
        dtype: Any,
    ):  # fmt: skip
        """``filters`` are those of one group."""
        self._arguments = shape, sight, groups, filters, places, place, dtype
        self._groups, self._filters = groups, filters
        self._width = width_for(filters, dtype)
        self._whole = filled(filters, dtype)
        self._no_bias = flat(np.zeros(groups * self._whole, dtype))
        self._floors = dtype.type(-np.inf), dtype.type(0)
        depth = sight.size[0] * sight.size[1] * shape[3]
        self._work = shape[0] * places[0] * places[1] * depth * self._whole
        self._plans: dict[int, tuple[Array, Array, int]] = {}

    def __call__(self, x: Array, packed: Array, b: Array | None, relu: bool, y: Array) -> None:
        """Slide the ``packed`` weights over ``x``; what they give, plus ``b``, goes to ``y``."""
        workers = workers_for(self._work)
        if workers not in self._plans:
            self._plans[workers] = _plan(*self._arguments, workers)
        plan, taps, room = self._plans[workers]
        space = memory.empty((workers * room,), x.dtype)
        convolve(
            workers, self._width, plan, flat(x), taps, packed, self._bias(b),
            self._floors[relu], y.reshape(-1), space, flat(space),
        )  # fmt: skip

    def _bias(self, b: Array | None) -> Array:
        """The bias with each group filled up with zeros to whole panels."""
        if b is None:
            return self._no_bias
        if self._whole == self._filters:
            return flat(b)
        bias = np.zeros((self._groups, self._whole), b.dtype)
        run(np.copyto, bias[:, : self._filters], b.reshape(self._groups, self._filters))
        return flat(bias)


def _plan(
    shape: Shape, sight: Sight, groups: int, filters: int, places: Pair, place: Place, dtype: Any,
    workers: int,
) -> tuple[Array, Array, int]:  # fmt: skip
    """(Sizes as an array, the taps, the room for one worker's copies)."""
    n, height, width, channels = shape
    rows, columns = places
    (kh, kw), (dh, dw), (row_step, column_step) = sight.size, sight.dilation, sight.strides
    top, left = -sight.first[0], -sight.first[1]
    seen = sight.span(places)
    last = columns
    dense = Place(0, rows * columns * place.column, columns * place.column, place.column)
    if sight == POINTWISE and seen == (height, width) and place == dense:
        # Windows of one pixel see the images as one long row.
        pixels = n * height * width
        n, height, width = 1, -(-pixels // ROW), ROW
        rows, columns, last = height, width, pixels - (height - 1) * width
        seen, place = (height, width), Place(0, 0, columns * place.column, place.column)
    padded = top != 0 or left != 0 or seen[0] > height or seen[1] > width
    wide = seen[1] if padded else width
    if groups == 1 and dw == 1:
        taps, depth = np.arange(kh) * (dh * wide * channels), kw * channels
    else:
        grid = np.arange(kh)[:, None] * (dh * wide) + np.arange(kw) * dw
        taps, depth = grid.reshape(-1) * channels, channels // groups
    size, panel = dtype.itemsize, panel_of(dtype, width_for(filters, dtype))
    share = count = -(-filters // panel)
    band = max(1, min(rows, BAND_BYTES // max(1, wide * channels * size * row_step)))
    if workers > 1:
        while n * -(-rows // band) * -(-count // share) < 4 * workers and (band > 4 or share > 1):
            if band > 4:
                band = -(-band // 2)
            else:
                share = -(-share // 2)
    room = sight.span((band, 1))[0] * wide * channels if padded else 0
    strip = max(1, STRIP_BYTES // max(1, len(taps) * depth * panel * size))
    sizes = Sizes(
        images=n, height=height, width=width, groups=groups, channels=channels // groups,
        filters=filters, rows=rows, columns=columns, last=last, row_step=row_step,
        column_step=column_step, top=top, left=left, padded=padded, wide=wide, depth=depth,
        kernel_rows=kh, row_dilation=dh, band=band, share=share, strip=strip, room=room,
        y_start=place.start, y_image=place.image, y_row=place.row, y_column=place.column,
    )  # fmt: skip
    return flat(np.array(sizes)), flat(taps), room


@kernel
def convolve(workers, counters, width, plan, x, taps, packed, bias, floor, y, work, view):
    """See the module; ``view`` is a read-only view of ``work``."""
    sizes = _sizes(plan)
    bands = (sizes.rows + sizes.band - 1) // sizes.band
    panel = len(width) * lanes(y)
    count = (sizes.filters + panel - 1) // panel
    tasks = (count + sizes.share - 1) // sizes.share * sizes.images * bands
    for worker in prange(workers):
        task = next_task(counters, worker, tasks)
        while task < tasks:
            _task(task, worker, width, plan, x, taps, packed, bias, floor, y, work, view)
            task = next_task(counters, worker, tasks)


@compiled
def _sizes(p):
    return Sizes(
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11],
        p[12], p[13], p[14], p[15], p[16], p[17], p[18], p[19], p[20], p[21], p[22], p[23],
        p[24], p[25],
    )  # fmt: skip


@compiled
def _task(task, worker, width, plan, x, taps, packed, bias, floor, y, work, view):
    s = _sizes(plan)
    bands = (s.rows + s.band - 1) // s.band
    image, row = task // bands % s.images, task % bands * s.band
    channels = s.groups * s.channels
    begin = row * s.row_step - s.top  # the first row that the band sees
    home = worker * s.room
    part = (task // (bands * s.images) * s.share, row, min(row + s.band, s.rows))
    to = s.y_start + image * s.y_image
    if s.padded:
        tall = s.room // (s.wide * channels)
        corner = image * s.height * s.width * channels
        copy_band(x, corner, begin, tall, s.height, s.width, s.left, s.wide, channels, work, home)
        _band(width, part, s, view, home, taps, packed, bias, floor, y, to)
    else:
        start = (image * s.height + begin) * s.width * channels
        _band(width, part, s, x, start, taps, packed, bias, floor, y, to)


@compiled
def copy_band(x, image, begin, tall, height, width, left, wide, channels, work, to):
    """Copy rows of an image with zeros where there is none."""
    first = min(max(0, left), wide)
    last = max(first, min(wide, left + width))
    clear(work, to, tall * wide * channels)
    for row in range(max(0, begin), min(height, begin + tall)):
        start = image + (row * width + first - left) * channels
        place = to + ((row - begin) * wide + first) * channels
        copy(x, start, work, place, (last - first) * channels)


@compiled
def _band(vectors, part, s, x, start, taps, packed, bias, floor, y, to):
    """The rows of a band, for some of the filters; ``start``: what its first window sees."""
    first, top, bottom = part
    width = len(vectors) * lanes(y)
    count = (s.filters + width - 1) // width
    end = min(first + s.share, count)
    size = len(taps) * s.depth * width  # of one panel of one group
    pixel, line = s.column_step * s.groups * s.channels, s.row_step * s.wide * s.groups * s.channels
    in_row = len(taps) // s.kernel_rows
    inner, outer = _inner_rows(s)
    for group in range(s.groups):
        for j in range(first, end, s.strip):
            at = (j * s.groups + group) * size
            row = top
            while row < bottom:
                pixels = s.last if row == s.rows - 1 else s.columns
                lines = max(1, min(outer, bottom) - row) if row >= inner else 1
                a_at = (start + (row - top) * line + group * s.channels, pixel, 1)
                target = to + row * s.y_row + group * s.filters + j * width
                skipped, kept = _tap_range(s, row, in_row)
                begin = at + skipped * s.depth * width
                product_lines(
                    vectors, pixels, (lines, line, s.y_row), min(s.strip, end - j), s.depth,
                    x, a_at, taps, (skipped, kept),
                    packed, (begin, s.groups * size, s.depth * width, width),
                    y, (target, s.y_column, 0, s.filters - j * width),
                    bias, ((group * count + j) * width, 1), floor,
                )  # fmt: skip
                row += lines


@compiled
def _inner_rows(s):
    """(first, end) of whole rows of windows that are inside the image with all their taps."""
    reach = (s.kernel_rows - 1) * s.row_dilation + 1
    end = (s.height + s.top - reach) // s.row_step + 1
    return (s.top + s.row_step - 1) // s.row_step, end if s.last == s.columns else s.rows - 1


@compiled
def _tap_range(s, row, in_row):
    """(first, count) of the taps that see rows inside the image; so many taps are in a row."""
    above = s.top - row * s.row_step  # so many rows above the image is the window's first one
    first = min(max(0, (above + s.row_dilation - 1) // s.row_dilation), s.kernel_rows)
    end = min((s.height + above + s.row_dilation - 1) // s.row_dilation, s.kernel_rows)
    return first * in_row, max(0, end - first) * in_row
