"""A VGG16 from whatever file it was converted to: found by names and shapes, and put in our order.

The net: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", 2014, configuration D. Widths are free, so that a thinner one is read as well.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from minnet.errors import FileError, mismatch
from minnet.files import PathLike, require_file
from minnet.tensor import Array
from minnet.weights import conventions, layouts
from minnet.weights.conventions import CONVENTIONS, Convention
from minnet.weights.formats import opener_of
from minnet.weights.report import LoadReport
from minnet.weights.stored import Match, Shape, Stored, StoredArray

BLOCKS = (2, 2, 3, 3, 3)
CONVOLUTIONS = [f"block{b}_conv{c}" for b, n in enumerate(BLOCKS, 1) for c in range(1, n + 1)]
TOP = ["fc1", "fc2", "predictions"]
_DENSE = re.compile(r"fc[1-9]\d{0,3}")
LAYERS = CONVOLUTIONS + TOP

#: What the layers are called elsewhere: torchvision, then timm where that differs.
_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCH = {f"features.{n}": name for n, name in zip(_FEATURES, CONVOLUTIONS)}
_TORCH_TOP = dict(zip(("classifier.0", "classifier.3", "classifier.6"), TOP))
_TIMM_TOP = dict(zip(("pre_logits.fc1", "pre_logits.fc2", "head.fc"), TOP))
KNOWN_NAMES = {name: name for name in LAYERS} | _TORCH | _TORCH_TOP | _TIMM_TOP

_POOLED = (
    "Its head, for the mean of each feature map, is no VGG16's. Vgg16.load reads a whole model "
    "with one, as minnet finetune writes it."
)
#: The end of an array's name that says which of its layer's it is.
_ROLE = re.compile(r"(?P<layer>.+?)[./_](kernel|weight|W|bias|b)(_1)?(:0)?")


class Vgg16Layer(NamedTuple):
    """A layer's arrays as ours lie, read when they are needed: ``kernel.read()``."""

    name: str
    kernel: StoredArray
    bias: StoredArray


@dataclass
class Vgg16Report(LoadReport):
    """What a file of a VGG16 holds.

    ``convention``: how its arrays lie and which images it expects; ``reasons``: how that was
    found; ``matched``: the arrays, in our names.
    """

    convention: Convention = CONVENTIONS["keras"]
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [super().__str__(), f"  convention: {self.convention}"]
        return "\n".join([*lines, *(f"    {reason}" for reason in self.reasons)])


def read_vgg16(
    path: PathLike, convention: str | Convention | None = None
) -> tuple[list[tuple[str, Array, Array]], Vgg16Report]:
    """The layers of a VGG16 in a file, in order: (name, kernel, bias), and what was found.

    Names are Keras's, 'block1_conv1' to 'predictions' (to 'block5_conv3' in a file without the
    top); kernels (height, width, in, out) or (in, out), the first dense one's rows as
    (height, width, channels) are flattened. The arrays have the file's dtype.

    ``convention``: 'keras', 'theano', 'torchvision' or a :class:`Convention`, where names and
    shapes do not say it; a file that says itself how its arrays lie is told the images alone.

    Raises :class:`~minnet.errors.FileError`, naming what is missing, left over or of another shape,
    for a file that is no VGG16 or leaves its convention open.
    """
    with opened_vgg16(path, convention) as (layers, report):
        found = [(name, kernel.read(), bias.read()) for name, kernel, bias in layers]
    return found, report


@contextmanager
def opened_vgg16(
    path: PathLike, convention: str | Convention | None = None
) -> Iterator[tuple[list[Vgg16Layer], Vgg16Report]]:
    """The same without reading numbers: each array is read, and converted, when asked for.

    So a large file takes the memory of one layer at a time. Raises what :func:`read_vgg16` does.
    """
    forced = None if convention is None else conventions.get(convention)
    opened, file = opener_of(path), require_file(path, "weights")
    with opened(file) as stored:
        report = Vgg16Report(str(file))
        pairs = _pairs(stored, report)
        if forced and stored.convention is None:
            report.convention = forced
        else:
            report.convention = _detected(file.name, stored, pairs, report)
        if forced:
            # What a file says of its own arrays stands.
            told = replace(report.convention, preprocessing=forced.preprocessing)
            report.convention = told
            report.reasons.append("as told" if stored.convention is None else "images as told")
        yield _converted(pairs, report), report


Pair = tuple[str, StoredArray, StoredArray]


def _pairs(stored: Stored, report: Vgg16Report) -> list[Pair]:
    """(our name, kernel, bias) of each layer in our order, not converted."""
    grouped: dict[str, list[StoredArray]] = {}
    for layer in stored.layers:
        for key, array in layer.arrays.items():
            grouped.setdefault(_owner(layer.name, key, layer.named_arrays), []).append(array)
    told = stored.convention is not None
    known = [name in KNOWN_NAMES or (told and _DENSE.fullmatch(name)) for name in grouped]
    if all(known) or stored.match is Match.NAME:
        named = {KNOWN_NAMES.get(name, name): arrays for name, arrays in grouped.items()}
    else:
        named = _in_order(grouped)
    pairs: list[Pair] = []
    for name in CONVOLUTIONS + _top(named, told):
        arrays = named.pop(name, [])
        kernels = [array for array in arrays if len(array.shape) > 1]
        biases = [array for array in arrays if len(array.shape) == 1]
        for role, found in (("weight", kernels), ("bias", biases)):
            if found:
                report.matched.append(f"{name}/{role}")
                report.unexpected += [array.name for array in found[1:]]
            else:
                report.missing.append(f"{name}/{role}")
        if kernels and biases:
            pairs.append((name, kernels[0], biases[0]))
    for array in [array for _, *two in pairs for array in two]:
        if array.dtype.kind not in "fiu":
            where, expected = f"{report.path}: {array.name}", "numbers of a dtype that NumPy has"
            advice = "In PyTorch, model.float() makes float32 of bfloat16 and the like."
            raise FileError(mismatch(where, expected, f"dtype {array.dtype}", advice))
    report.unexpected += [array.name for arrays in named.values() for array in arrays]
    if not report.is_complete:
        raise _refused(report)
    return pairs


def _top(names: Iterable[str], told: bool) -> list[str]:
    """The dense layers that have to be there: three, unless the file itself says what it holds."""
    if all(name in CONVOLUTIONS for name in names):
        return []
    return top_names(sum(bool(_DENSE.fullmatch(name)) for name in names)) if told else TOP


def top_names(hidden: int) -> list[str]:
    """What the dense layers are called, so many of them and the last one."""
    return [f"fc{k}" for k in range(1, hidden + 1)] + ["predictions"]


def _owner(layer: str, key: str, named_arrays: bool) -> str:
    """The name of the layer that an array belongs to."""
    if layer or not named_arrays:
        return layer
    found = _ROLE.fullmatch(key)
    return found["layer"] if found else key


def _in_order(grouped: dict[str, list[StoredArray]]) -> dict[str, list[StoredArray]]:
    """Automatic names, as 'convolution2d_7': convolutions and dense layers, each in their order."""
    kinds: dict[bool, list[list[StoredArray]]] = {True: [], False: []}
    others = {}
    for name, arrays in grouped.items():
        axes = max(len(array.shape) for array in arrays)
        if axes in (2, 4):
            kinds[axes == 4].append(arrays)
        else:
            others[name] = arrays
    named = dict(zip(CONVOLUTIONS, kinds[True])) | dict(zip(TOP, kinds[False]))
    rest = kinds[True][len(CONVOLUTIONS) :] + kinds[False][len(TOP) :]
    return named | others | {f"more {n}": arrays for n, arrays in enumerate(rest)}


def _detected(file: str, stored: Stored, pairs: Sequence[Pair], report: Vgg16Report) -> Convention:
    """The convention that the kernels' shapes allow; names say which of two it is.

    HWIO is Keras's. OIHW is PyTorch's, or Theano's in Keras's own files.
    """
    if stored.convention is not None:
        report.reasons.append("the file says so")
        return conventions.from_settings(report.path, stored.convention)
    shapes = [kernel.shape for _, kernel, _ in pairs]
    misfits = {name: _misfits(pairs, convention) for name, convention in CONVENTIONS.items()}
    fitting = [name for name, found in misfits.items() if not found]
    if "torchvision" in fitting and all(kernel.name.endswith(".weight") for _, kernel, _ in pairs):
        name, reason = "torchvision", "names and shapes are PyTorch's"
    elif fitting == ["keras"]:
        name, reason = "keras", "kernels of Keras's shapes"
    elif fitting == ["theano", "torchvision"] and stored.match is Match.ORDER:
        name, reason = "theano", "Keras's names and Theano's shapes"
    else:
        fewest = min(misfits.values(), key=len)
        if 0 < len(fewest) < len(CONVOLUTIONS) / 2:  # it is clear how most of them lie
            report.mismatched += [(f"{name}/weight", *both) for name, both in fewest]
            raise _refused(report)
        received = f"shapes that fit {' and '.join(fitting) or 'none'}: "
        received += ", ".join(f"{title} {kernel.shape}" for title, kernel, _ in pairs[:3])
        advice = (
            "Say how they lie, if you know: convention='keras', 'theano' or 'torchvision', or "
            "minnet convert --convention, which writes a file that says it."
        )
        expected = "kernels that lie in one known way"
        raise FileError(mismatch(report.path, expected, received, advice))
    report.reasons.append(f"{reason}: {pairs[0][0]} is {shapes[0]}")
    stated = re.search(r"dim_ordering_(th|tf)_kernels", file)
    if not stated:
        return CONVENTIONS[name]
    report.reasons.append(f"the file's name says {stated[0]}")
    return replace(CONVENTIONS[name], turned=stated[1] == "th")


def _misfits(
    pairs: Sequence[Pair], convention: Convention
) -> list[tuple[str, tuple[Shape, Shape]]]:
    """Convolutions that do not take as many channels as the one before gives.

    (name, (the shape as ours would be, the file's)) of each. How many a layer gives, its kernel,
    its bias and the next kernel say; where they disagree the majority is right.
    """
    kernels = [kernel.shape for name, kernel, _ in pairs if name in CONVOLUTIONS]
    shapes = [_hwio(shape, convention) if len(shape) == 4 else (0,) * 4 for shape in kernels]
    channels: int | None = None
    found: list[tuple[str, tuple[Shape, Shape]]] = []
    for k, (name, _, bias) in enumerate(pairs[: len(shapes)]):
        _, _, taken, given = shapes[k]
        said = [given, *bias.shape, *(after[2] for after in shapes[k + 1 : k + 2])]
        given = statistics.mode([n for n in said if n] or [0])
        expected = (3, 3, channels or taken, given)
        if shapes[k] != expected:
            found.append((name, (expected, kernels[k])))
        channels = given
    return found


def _hwio(shape: Shape, convention: Convention) -> Shape:
    if convention.kernels == "HWIO":
        return shape
    given, taken, height, width = shape
    return height, width, taken, given


def _converted(pairs: Sequence[Pair], report: Vgg16Report) -> list[Vgg16Layer]:
    """Each layer's arrays, converted when they are read; all shapes are checked now."""
    convention, layers, advice = report.convention, [], ""
    channels: int | None = None  # that the layer before gives
    first_dense = next((name for name, *_ in pairs if name not in CONVOLUTIONS), None)
    for name, kernel, bias in pairs:
        shape = _our_shape(name, kernel.shape, convention)
        filters = shape[-1]
        maps = (1, 1)  # height and width of what is flattened
        if name == first_dense and channels and len(shape) == 2:
            maps = _maps(convention) or (math.isqrt(shape[0] // channels) or 1,) * 2
        taken = (channels or shape[-2]) * math.prod(maps)
        expected = (3, 3, taken, filters) if name in CONVOLUTIONS else (taken, filters)
        if shape != expected:
            report.matched.remove(f"{name}/weight")
            report.mismatched.append((f"{name}/weight", expected, kernel.shape))
            if name == first_dense and shape[0] == channels:
                advice = _POOLED
        if bias.shape != (filters,):
            report.matched.remove(f"{name}/bias")
            report.mismatched.append((f"{name}/bias", (filters,), bias.shape))
        flattened = (channels or 1, *maps) if name == first_dense else None
        layers.append(Vgg16Layer(name, _ours(name, kernel, expected, convention, flattened), bias))
        channels = filters
    if not report.is_complete:
        raise _refused(report, advice)
    return layers


def _our_shape(name: str, shape: Shape, convention: Convention) -> Shape:
    if name in CONVOLUTIONS:
        return _hwio(shape, convention) if len(shape) == 4 else shape
    if convention.dense == "(in, out)":
        return shape
    return math.prod(shape[1:]), shape[0]


def _maps(convention: Convention) -> tuple[int, int] | None:
    """(height, width) of the last feature maps, where the size of images is known."""
    if convention.size is None:
        return None
    height, width = convention.size
    return height >> len(BLOCKS), width >> len(BLOCKS)


def _ours(
    name: str, kernel: StoredArray, shape: Shape, convention: Convention, maps: Shape | None
) -> StoredArray:
    """The kernel as ours lie; ``maps``: (channels, height, width) of what the layer flattens."""

    def in_file(array: Array) -> Array:
        if name in CONVOLUTIONS:
            array = layouts.turned(array) if convention.turned else array
            return layouts.oihw(array) if convention.kernels == "OIHW" else array
        if maps and convention.flatten == "CHW":
            array = layouts.channels_first(array, *maps)
        return layouts.out_first(array) if convention.dense == "(out, in)" else array

    return StoredArray(f"{name}/weight", shape, kernel.dtype, kernel.runs, in_file)


def _refused(report: Vgg16Report, advice: str = "") -> FileError:
    parts = [f"{words}: {', '.join(names)}" for words, names in report.differences()]
    error = FileError(mismatch(report.path, "the arrays of a VGG16", "; ".join(parts), advice))
    error.report = report
    return error
