"""Random convolutions and poolings of every kind, for the tests of the kernels.

The numbers come from a seed that hypothesis draws: what a kernel can get wrong lies in the shapes.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from minnet.kernels.geometry import Window
from minnet.tensor import Array

#: Every test of a kernel runs in float32; float64, which takes as long to compile again, is slow.
each_dtype = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)]
)


@dataclass(frozen=True, repr=False)
class _Case:
    """Prints shapes and dtypes, not numbers; converts all its arrays together."""

    window: Window

    def astype(self, dtype: Any) -> Any:
        """The same case in another dtype, its arrays laid out in memory as before."""
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                changed[f.name] = _like(value.astype(dtype), value)
        return replace(self, **changed)

    def __repr__(self) -> str:
        parts = []
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                strides = "" if value.flags.c_contiguous else f" strides {value.strides}"
                value = f"{value.dtype}{value.shape}{strides}"
            parts.append(f"{f.name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, repr=False)
class Convolution(_Case):
    """``x`` (n, height, width, channels), ``w`` (kh, kw, channels // groups, filters), ``b``."""

    x: Array
    w: Array
    b: Array | None
    groups: int
    g: Array  # a gradient of the output


@dataclass(frozen=True, repr=False)
class Pool(_Case):
    """``x`` (n, height, width, channels), many elements equal; ``g`` a gradient of the output."""

    x: Array
    g: Array


def _like(array: Array, model: Array) -> Array:
    """``array`` with gaps in memory between its elements where ``model`` has gaps."""
    gaps = not (model.flags.c_contiguous or model.flags.f_contiguous)
    return _with_gaps(array) if gaps else array


def _with_gaps(array: Array) -> Array:
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]
    spread[...] = array
    return spread


def _mixed(draw: Any, array: Array) -> Array:
    """The array as it is, with gaps, or Fortran-ordered."""
    layout = draw(st.sampled_from([np.ascontiguousarray, _with_gaps, np.asfortranarray]))
    return np.asarray(layout(array))


def _pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    side = st.integers(low, high)
    return st.tuples(side, side)


@st.composite
def windows(
    draw: Any,
    sizes: st.SearchStrategy[tuple[int, int]] | None = None,
    strides: st.SearchStrategy[tuple[int, int]] | None = None,
    dilations: st.SearchStrategy[tuple[int, int]] | None = None,
) -> Window:
    """Windows with padding on any side, at times more than the window reaches."""
    window = Window(
        size=draw(_pairs(1, 4) if sizes is None else sizes),
        strides=draw(_pairs(1, 3) if strides is None else strides),
        dilation=draw(_pairs(1, 3) if dilations is None else dilations),
    )
    tall, wide = window.reach
    padding = draw(st.tuples(_pairs(0, tall), _pairs(0, wide)))
    return replace(window, padding=padding)


def _image_size(draw: Any, window: Window, spare: int) -> tuple[int, int]:
    """A height and a width at which the window fits, up to ``spare`` more than needed."""
    sides = []
    for reach, (before, after) in zip(window.reach, window.padding, strict=True):
        least = max(1, reach - before - after)
        sides.append(draw(st.integers(least, least + spare)))
    return sides[0], sides[1]


def _random(draw: Any) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@st.composite
def convolutions(
    draw: Any,
    window: st.SearchStrategy[Window] | None = None,
    batch: st.SearchStrategy[int] | None = None,
    groups: st.SearchStrategy[int] | None = None,
    channels: st.SearchStrategy[int] | None = None,
    filters: st.SearchStrategy[int] | None = None,
    spare: int = 7,
) -> Convolution:
    """Convolutions of every kind in float64; each part can be replaced by a strategy of one's own.

    ``channels`` and ``filters`` are those of one group. ``spare``: how much larger than needed an
    image may be.
    """
    slid = draw(windows() if window is None else window)
    parts = draw(st.integers(1, 4) if groups is None else groups)
    inputs = draw(st.integers(1, 5) if channels is None else channels)
    outputs = parts * draw(st.integers(1, 5) if filters is None else filters)
    height, width = _image_size(draw, slid, spare)
    n = draw(st.integers(0, 3) if batch is None else batch)
    normal = _random(draw).standard_normal
    return Convolution(
        window=slid,
        x=_mixed(draw, normal((n, height, width, parts * inputs))),
        w=_mixed(draw, normal((*slid.size, inputs, outputs))),
        b=normal(outputs) if draw(st.booleans()) else None,
        groups=parts,
        g=_mixed(draw, normal((n, *slid.output_size(height, width), outputs))),
    )


@st.composite
def pools(
    draw: Any,
    window: st.SearchStrategy[Window] | None = None,
    batch: st.SearchStrategy[int] | None = None,
    channels: st.SearchStrategy[int] | None = None,
    spare: int = 7,
    special: bool = False,
) -> Pool:
    """Poolings of every kind in float64. ``special``: some elements are NaN or infinite."""
    slid = draw(windows() if window is None else window)
    n = draw(st.integers(0, 3) if batch is None else batch)
    shape = (
        n,
        *_image_size(draw, slid, spare),
        draw(st.integers(1, 20) if channels is None else channels),
    )
    random = _random(draw)
    x = random.integers(-4, 5, shape) / 4
    if special:
        strange = random.choice([np.nan, -np.inf, np.inf], shape)
        x = np.where(random.random(shape) < draw(st.floats(0, 1)), strange, x)
    g = random.standard_normal((n, *slid.output_size(*shape[1:3]), shape[3]))
    return Pool(window=slid, x=_mixed(draw, x), g=_mixed(draw, g))
