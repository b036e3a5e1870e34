"""ONNX's files (``.onnx``): a graph of operations, and its arrays, which are read later.

Format: github.com/onnx/onnx, onnx/onnx.proto, whose names of fields stand beside their numbers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from minnet.weights.protobuf import Fields, Messages, Span
from minnet.weights.stored import Shape, StoredArray, from_stream

#: TensorProto.DataType, and NumPy's; V: it has none such (bfloat16 and what has 8 bits or fewer).
DTYPES = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
    11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
EXTERNAL = 1


@dataclass(frozen=True)
class Node:
    """An operation: names of what it takes and gives; settings are numbers, lists or texts."""

    name: str
    kind: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """``nodes`` in the order of calculation. ``size``: the lengths of the input's axes, None for
    those that are free; () where nothing is said."""

    nodes: list[Node]
    arrays: dict[str, StoredArray]
    input: str
    size: tuple[int | None, ...]
    output: str


def graph_in(file: Path, content: IO[bytes]) -> Graph:
    """The graph of an open model with one input and one output.

    Raises :class:`ValueError` for anything else, and for arrays that the file, or those beside it,
    do not have.
    """
    return _Reader(file, Messages(content)).graph(Span(0, file.stat().st_size))


class _Reader:
    """Messages as what they mean."""

    def __init__(self, file: Path, messages: Messages):
        self._file, self._messages = file, messages

    def graph(self, model: Span) -> Graph:
        fields = self._messages.fields
        found = fields(_last(fields(model), 7, "a graph"))  # ModelProto.graph
        arrays = [self._array(fields(span)) for span in found.get(5, [])]  # initializer
        if 15 in found:  # sparse_initializer
            raise ValueError("sparse arrays")
        nodes = []
        for span in found.get(1, []):  # node
            node, constant = self._node(fields(span))
            nodes += [] if constant else [node]
            arrays += constant
        named = {array.name: array for array in arrays}
        inputs = [self._value(fields(span)) for span in found.get(11, [])]  # input
        inputs = [(name, size) for name, size in inputs if name not in named]
        outputs = [self._value(fields(span))[0] for span in found.get(12, [])]  # output
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs in place of one")
        return Graph(nodes, named, *inputs[0], outputs[0])

    def _text(self, message: Fields, number: int) -> str:
        return self._messages.text(message[number][-1]) if number in message else ""

    def _value(self, value: Fields) -> tuple[str, tuple[int | None, ...]]:
        """Name and lengths of a ValueInfoProto."""
        message = value
        for number in (2, 1, 2):  # type, tensor_type, shape
            message = self._messages.fields(message[number][-1]) if number in message else {}
        axes = [self._messages.fields(axis) for axis in message.get(1, [])]  # dim
        lengths = [self._messages.numbers(axis.get(1, [])) for axis in axes]  # dim_value
        return self._text(value, 1), tuple(n[-1] if n else None for n in lengths)

    def _node(self, node: Fields) -> tuple[Node, list[StoredArray]]:
        """A node, and what it holds if it is no more than an array."""
        texts = self._messages.text
        inputs = [texts(span) for span in node.get(1, [])]
        outputs = [texts(span) for span in node.get(2, [])]
        found = Node(self._text(node, 3), self._text(node, 4), inputs, outputs, {})
        arrays = []
        for span in node.get(5, []):  # attribute
            attribute = self._messages.fields(span)
            name = self._text(attribute, 1)
            if 5 in attribute and found.kind == "Constant" and len(outputs) == 1:  # t
                tensor = self._messages.fields(attribute[5][-1])
                arrays.append(self._array(tensor, outputs[0]))
            else:
                found.settings[name] = self._setting(attribute)
        return found, arrays

    def _setting(self, attribute: Fields) -> Any:
        """The value of an AttributeProto: one of its fields f, i, s, ints; None for another."""
        if 2 in attribute:
            (number,) = struct.unpack("<f", self._messages.bytes(attribute[2][-1]))
            return number
        if 3 in attribute:
            return self._messages.numbers(attribute[3])[-1]
        if 4 in attribute:
            return self._text(attribute, 4)
        return self._messages.numbers(attribute[8]) if 8 in attribute else None

    def _array(self, tensor: Fields, name: str = "") -> StoredArray:
        """A TensorProto, made sure to have its numbers."""
        name = name or self._text(tensor, 8)
        shape = tuple(self._messages.numbers(tensor.get(1, [])))  # dims
        if any(n < 0 for n in shape) or len(shape) > 32:
            raise ValueError(f"{name:.80} has shape {shape!s:.80}")
        (kind,) = self._messages.numbers(tensor.get(2, [0])[-1:])  # data_type
        dtype = np.dtype(DTYPES.get(kind, "V1"))
        file, start, size = self._file, 0, 0
        # float_data and double_data are, as bytes, what raw_data is.
        number = next((n for n in (9, {1: 4, 11: 10}.get(kind, 9)) if n in tensor), None)
        if self._messages.numbers(tensor.get(14, [0]))[-1] == EXTERNAL:  # data_location
            file, start, size = self._elsewhere(name, tensor)
        elif number is not None:
            span = tensor[number][0]
            if len(tensor[number]) > 1 or not isinstance(span, Span):
                raise ValueError(f"{name:.80} has its numbers in parts")
            start, size = span.start, span.size
        elif dtype.kind != "f":
            return StoredArray(name, shape, np.dtype("V1"), _nothing)  # lists of shapes: not needed
        expected = math.prod(shape) * dtype.itemsize
        if dtype.kind != "V" and size != expected:
            raise ValueError(f"{name:.80} is {shape} of {dtype}, and has {size:,} bytes")
        return StoredArray(name, shape, dtype, _numbers(file, start, shape, dtype))

    def _elsewhere(self, name: str, tensor: Fields) -> tuple[Path, int, int]:
        """The file beside the model that has an array, and where it has it."""
        entries = [self._messages.fields(span) for span in tensor.get(13, [])]  # external_data
        about = {self._text(entry, 1): self._text(entry, 2) for entry in entries}
        path = PurePosixPath(about.get("location", "").replace("\\", "/"))
        place = self._file.parent.resolve()
        file = (place / path).resolve()
        if path.is_absolute() or not path.name or not file.is_relative_to(place):
            raise ValueError(f"{name:.80} lies outside of the model's directory, in {path!s:.80}")
        if not file.is_file():
            raise ValueError(f"{name:.80} lies in {path!s:.80}, which is not beside the model")
        whole, start = file.stat().st_size, int(about.get("offset", 0))
        size = int(about.get("length", whole - start))
        if not 0 <= start <= start + size <= whole:
            raise ValueError(f"{name:.80} lies after the end of {path!s:.80}")
        return file, start, size


def _numbers(file: Path, start: int, shape: Shape, dtype: np.dtype[Any]) -> Any:
    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        with file.open("rb") as content:
            content.seek(start)
            yield content

    return from_stream(opened, shape, dtype)


def _nothing(row: int) -> Iterator[np.ndarray]:
    raise ValueError("an array without numbers")


def _last(message: Fields, number: int, content: str) -> int | Span:
    if number not in message:
        raise ValueError(f"no model with {content}")
    return message[number][-1]
