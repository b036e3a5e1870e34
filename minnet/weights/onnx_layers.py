"""The layers of a VGG in ONNX's graph, which has operations and arrays alone.

The images are followed from the graph's input to its output. Each convolution is named by the
poolings before it, so that a net with its layers in another order is not taken for a VGG16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from minnet.errors import FileError, MinnetError, mismatch
from minnet.tensor import Array
from minnet.weights.onnx_file import Graph, Node, graph_in
from minnet.weights.stored import Match, Settings, Stored, StoredArray, StoredLayer, from_whole

#: What calculates the shape that a flattening is told.
SHAPES = {"Gather", "Cast", "Slice", "Concat", "Squeeze", "Unsqueeze"}
CHANNELS_FIRST, CHANNELS_LAST = [0, 3, 1, 2], [0, 2, 3, 1]
#: What ONNX takes where a setting is left out.
DEFAULTS: Settings = {
    "alpha": 1.0, "axis": 1, "beta": 1.0, "ceil_mode": 0, "dilations": [1, 1], "group": 1,
    "pads": [0, 0, 0, 0], "storage_order": 0, "strides": [1, 1], "transA": 0,
}  # fmt: skip
CONVOLUTION: Settings = {"dilations": [1, 1], "group": 1, "strides": [1, 1]}
POOLING: Settings = {
    "ceil_mode": 0, "dilations": [1, 1], "kernel_shape": [2, 2], "pads": [0, 0, 0, 0],
    "storage_order": 0, "strides": [2, 2],
}  # fmt: skip
#: An AdaptiveAvgPool2d of feature maps that have its size already.
NO_POOLING: Settings = {"kernel_shape": [1, 1], "pads": [0, 0, 0, 0], "strides": [1, 1]}
PRODUCT: Settings = {"alpha": 1.0, "beta": 1.0, "transA": 0}
_SAME = [1, 1, 1, 1]
PADDED = {"SAME_UPPER": _SAME, "SAME_LOWER": _SAME}

_DAMAGE = (ValueError, TypeError, KeyError, IndexError, OSError, MemoryError, OverflowError)


@contextmanager
def opened(file: Path) -> Iterator[Stored]:
    """The layers' arrays, under Keras's names: 'block1_conv1', …, 'fc1', …, 'predictions'.

    There may be any number of dense layers. A factor and a summand for each of the numbers that a
    dense layer takes, which is what batch normalization amounts to, become a part of that layer.

    Raises :class:`~minnet.errors.FileError` for anything but a chain of a VGG's operations, and for
    arrays that lie outside of the model's directory.
    """
    try:
        with file.open("rb") as content:
            yield _Chain(graph_in(file, content)).stored()
    except MinnetError:
        raise
    except _DAMAGE as error:
        expected = "an ONNX graph of a VGG's operations in a row"
        raise FileError(mismatch(str(file), expected, f"{error or type(error).__name__}")) from None


@dataclass(frozen=True)
class _Layer:
    """A layer's arrays; ``transposed``: a dense kernel (out, in)."""

    kernel: StoredArray
    bias: StoredArray | None
    transposed: bool = False


class _Chain:
    """How far the images have come: ``tensor`` is what they are now, ``last`` what made it."""

    def __init__(self, graph: Graph):
        self.graph, self.arrays = graph, dict(graph.arrays)
        self.tensor, self.last = graph.input, "the images"
        #: The names of what only shapes are calculated from.
        self.shapes: set[str] = set()
        #: Where the channels' axis is, and where the input has it.
        self.channels_last = self.input_channels_last = False
        self.flatten = "CHW"
        self.convolutions: dict[str, _Layer] = {}
        self.block, self.number = 1, 0
        self.dense: list[_Layer] = []
        #: What the numbers are multiplied with before the next dense layer, and what is added.
        self.scale: StoredArray | None = None
        self.shift: StoredArray | None = None

    def stored(self) -> Stored:
        """Everything, once it has been followed."""
        for node in self.graph.nodes:
            self._follow(node)
        if self.tensor != self.graph.output:
            raise ValueError(f"an output {self.graph.output:.80} that comes from elsewhere")
        ends = ("dense", "Softmax") if self.dense else ("the images", "Relu", "MaxPool", "Flatten")
        if self.last not in ends:
            raise ValueError(f"{self.last} at the end")
        names = [f"fc{k}" for k in range(1, len(self.dense))] + ["predictions"]
        transposed = any(layer.transposed for layer in self.dense[:1])
        layers = dict(self.convolutions)
        for name, layer in zip(names, self.dense):
            layers[name] = layer if layer.transposed == transposed else _turned(layer)
        found = [_stored(name, layer) for name, layer in layers.items()]
        return Stored(found, Match.NAME, self._convention(transposed))

    def _convention(self, transposed: bool) -> Settings:
        size = self.graph.size
        if len(size) == 4:
            size = size[1:3] if self.input_channels_last else size[2:]
        return {
            "kernels": "OIHW",
            "dense": "(out, in)" if transposed else "(in, out)",
            "flatten": self.flatten,
            "output": "probabilities" if self.last == "Softmax" else "logits",
            "size": list(size) if len(size) == 2 and all(size) else None,
        }

    def _follow(self, node: Node) -> None:
        known = self.shapes | self.arrays.keys()
        if node.kind == "Identity" and node.inputs[0] in self.arrays:
            self.arrays[node.outputs[0]] = self.arrays[node.inputs[0]]
        elif node.kind == "Shape" or (node.kind in SHAPES and known.issuperset(node.inputs)):
            self.shapes.update(node.outputs)
        elif self.tensor not in node.inputs:
            raise ValueError(f"{_title(node)} beside the way from the input to the output")
        else:
            if node.kind not in STEPS:
                raise ValueError(f"{_title(node)}, which no VGG has")
            step, before = STEPS[node.kind]
            if before and self.last not in before:
                raise ValueError(f"{_title(node)} after {self.last}")
            if node.inputs[0] != self.tensor and node.kind not in ("Add", "Mul"):
                raise ValueError(f"{_title(node)} of something else than the images")
            step(self, node)
            self.tensor = node.outputs[0]

    # -- images ----------------------------------------------------------------------------------

    def transpose(self, node: Node) -> None:
        order, images = node.settings.get("perm"), self.last in ("Conv", "Relu", "MaxPool")
        if order == CHANNELS_FIRST and self.last == "the images" and not self.input_channels_last:
            self.input_channels_last = True
        elif images and order == (CHANNELS_FIRST if self.channels_last else CHANNELS_LAST):
            self.channels_last = not self.channels_last
        else:
            raise ValueError(f"{_title(node)} with perm {order}")

    def conv(self, node: Node) -> None:
        pads = PADDED.get(node.settings.get("auto_pad", ""), node.settings.get("pads"))
        if pads != _SAME or self.channels_last:
            raise ValueError(f"{_title(node)} of another kind than a VGG's")
        _require(node, CONVOLUTION)
        self.number += 1
        kernel, *bias = self._constants(node)
        layer = _Layer(kernel, bias[0] if bias else None)
        self.convolutions[f"block{self.block}_conv{self.number}"] = layer
        self.last = "Conv"

    def relu(self, node: Node) -> None:
        self.last = "Relu"

    def max_pool(self, node: Node) -> None:
        if node.settings.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or self.channels_last:
            raise ValueError(f"{_title(node)} of another kind than a VGG's")
        _require(node, POOLING)
        if not self.number:
            raise ValueError(f"{_title(node)} of a dense layer's output")
        self.block, self.number, self.last = self.block + 1, 0, "MaxPool"

    def average_pool(self, node: Node) -> None:
        _require(node, NO_POOLING)

    def nothing(self, node: Node) -> None:
        if len(node.inputs) > 2:
            raise ValueError(f"{_title(node)} of a net in training")

    def flat(self, node: Node) -> None:
        _require(node, {"axis": 1})
        self.flatten, self.last = ("HWC" if self.channels_last else "CHW"), "Flatten"

    # -- dense layers ----------------------------------------------------------------------------

    def gemm(self, node: Node) -> None:
        _require(node, PRODUCT)
        self._dense(node, bool(node.settings.get("transB")))

    def matmul(self, node: Node) -> None:
        self._dense(node, False)

    def _dense(self, node: Node, transposed: bool) -> None:
        if self.last == "Relu" and not self.dense:
            raise ValueError(f"{_title(node)} of feature maps")
        kernel, *bias = self._constants(node)
        if len(kernel.shape) != 2:
            raise ValueError(f"{_title(node)} with {kernel.name:.80} of shape {kernel.shape}")
        layer = _Layer(kernel, bias[0] if bias else None, transposed)
        self.dense.append(_with_factors(layer, self.scale, self.shift))
        self.scale = self.shift = None
        self.last = "dense"

    def add(self, node: Node) -> None:
        """A product's bias, or what is added to all that a dense layer takes."""
        (array,) = self._constants(node)
        if self.last == "dense":
            self.dense[-1] = replace(self.dense[-1], bias=_sum(self.dense[-1].bias, array))
        elif not self.dense or self.shift:
            raise ValueError(f"{_title(node)} after {self.last}")
        else:
            self.shift, self.last = array, "factors"

    def mul(self, node: Node) -> None:
        """What all that a dense layer takes is multiplied with."""
        if not self.dense:
            raise ValueError(f"{_title(node)} of feature maps")
        (self.scale,), self.last = self._constants(node), "factors"

    def softmax(self, node: Node) -> None:
        if node.settings.get("axis", -1) not in (1, -1):
            raise ValueError(f"{_title(node)} along axis {node.settings['axis']}")
        self.last = "Softmax"

    def _constants(self, node: Node) -> list[StoredArray]:
        """All inputs but the images; they have to be arrays in the file."""
        names = [name for name in node.inputs if name not in (self.tensor, "")]
        unknown = [name for name in names if name not in self.arrays]
        if unknown or not names:
            raise ValueError(f"{_title(node)} of {', '.join(unknown) or self.tensor:.80}")
        return [self.arrays[name] for name in names]


#: Each operation's step, and what it may come after; nothing where that does not matter.
STEPS: dict[str, tuple[Callable[[_Chain, Node], None], set[str]]] = {
    "Transpose": (_Chain.transpose, set()),
    "Conv": (_Chain.conv, {"the images", "Relu", "MaxPool"}),
    "Relu": (_Chain.relu, {"Conv", "dense"}),
    "MaxPool": (_Chain.max_pool, {"Relu"}),
    "AveragePool": (_Chain.average_pool, {"MaxPool"}),
    "Identity": (_Chain.nothing, set()),
    "Dropout": (_Chain.nothing, set()),
    "Flatten": (_Chain.flat, {"MaxPool"}),
    "Reshape": (_Chain.flat, {"MaxPool"}),
    "Gemm": (_Chain.gemm, {"Flatten", "Relu", "factors"}),
    "MatMul": (_Chain.matmul, {"Flatten", "Relu", "factors"}),
    "Add": (_Chain.add, {"dense", "Relu", "factors"}),
    "Mul": (_Chain.mul, {"Relu"}),
    "Softmax": (_Chain.softmax, {"dense"}),
}


def _require(node: Node, expected: Settings) -> None:
    for name, value in expected.items():
        received = node.settings.get(name, DEFAULTS.get(name))
        if received != value:
            raise ValueError(f"{_title(node)} with {name} {received!s:.80}, not {value}")


def _title(node: Node) -> str:
    return f"{node.kind:.40} {node.name:.80}".rstrip()


def _stored(name: str, layer: _Layer) -> StoredLayer:
    arrays = [layer.kernel] if layer.bias is None else [layer.kernel, layer.bias]
    return StoredLayer(name, {str(k): array for k, array in enumerate(arrays)}, named_arrays=False)


def _made(array: StoredArray, make: Callable[[], Array]) -> StoredArray:
    """An array like this one, of other numbers."""
    return replace(array, runs=from_whole(lambda: make().astype(array.dtype)))


def _turned(layer: _Layer) -> _Layer:
    """The same with its kernel's axes the other way round."""
    kernel = layer.kernel
    runs = from_whole(lambda: kernel.read().T)
    turned = replace(kernel, shape=kernel.shape[::-1], runs=runs)
    return replace(layer, kernel=turned, transposed=not layer.transposed)


def _sum(bias: StoredArray | None, other: StoredArray) -> StoredArray:
    if bias is None:
        return other
    if bias.shape != other.shape:
        raise ValueError(f"{other.name:.80} of shape {other.shape} added to {bias.shape}")
    return _made(bias, lambda: bias.read() + other.read())


def _with_factors(layer: _Layer, scale: StoredArray | None, shift: StoredArray | None) -> _Layer:
    """(x·s + t)W + b = x(sW) + (tW + b)."""
    kernel = layer.kernel if not layer.transposed else _turned(layer).kernel
    for factor in (scale, shift):
        if factor is not None and factor.shape != kernel.shape[:1]:
            raise ValueError(f"{factor.name:.80} of shape {factor.shape} before {kernel.shape}")
    if shift is not None:
        runs = from_whole(lambda: shift.read() @ kernel.read())
        added = replace(shift, shape=kernel.shape[1:], runs=runs)
        layer = replace(layer, bias=_sum(added, layer.bias) if layer.bias else added)
    if scale is not None:
        product = _made(kernel, lambda: kernel.read() * scale.read()[:, None])
        layer = replace(layer, kernel=product, transposed=False)
    return layer
