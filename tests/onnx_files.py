"""VGG16s as ONNX models: graphs such as PyTorch and tf2onnx write, of layers as Keras has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from vgg16_files import IMAGE, Layers

PERM_FIRST, PERM_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


class Graph:
    """Nodes in a row: each takes what the one before gave."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.tensor = "images"

    def array(self, name: str, values: np.ndarray) -> str:
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *others: str, **settings: Any) -> None:
        output = f"{kind}_{len(self.nodes)}"
        node = helper.make_node(kind, [self.tensor, *others], [output], output, **settings)
        self.nodes.append(node)
        self.tensor = output

    def model(self, shape: tuple[Any, ...], **options: Any) -> Any:
        value = helper.make_tensor_value_info
        inputs = [value("images", TensorProto.FLOAT, ["n", *shape])]
        outputs = [value(self.tensor, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "vgg16", inputs, outputs, self.arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], **options)


def convolutions(graph: Graph, layers: Layers, **settings: Any) -> int:
    """All convolutions and poolings; gives how many channels come out."""
    found = [layer for layer in layers if layer[0].startswith("block")]
    for place, (name, kernel, bias) in enumerate(found):
        weight = graph.array(f"{name} kernel", kernel.transpose(3, 2, 0, 1))
        graph.node("Conv", weight, graph.array(f"{name} bias", bias), **settings)
        graph.node("Relu")
        if not any(after.startswith(name[:6]) for after, *_ in found[place + 1 :]):
            graph.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    return int(found[-1][2].size)


def as_torch(layers: Layers) -> Graph:
    """Channels first, dense kernels (out, in)."""
    graph = Graph()
    channels = convolutions(graph, layers, pads=[1] * 4, kernel_shape=[3, 3])
    graph.node("AveragePool", kernel_shape=[1, 1], strides=[1, 1])
    graph.node("Flatten", axis=1)
    dense = layers[13:]
    for name, kernel, bias in dense:
        if name == dense[0][0]:
            side = int((len(kernel) // channels) ** 0.5)
            rows = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
            kernel = rows.reshape(kernel.shape)
        weight = graph.array(f"{name} kernel", kernel.T)
        graph.node("Gemm", weight, graph.array(f"{name} bias", bias), transB=1)
        if name != "predictions":
            graph.node("Relu")
            graph.node("Dropout")
    return graph


def as_keras(layers: Layers, factors: bool = False, gemm: bool = False) -> Graph:
    """Channels last, moved for the convolutions; products and sums; probabilities.

    ``factors``: a trained batch normalization before each dense layer but the first.
    """
    graph, rng = Graph(), np.random.default_rng(9)
    graph.node("Transpose", perm=PERM_FIRST)
    convolutions(graph, layers, auto_pad="SAME_UPPER")
    pooled = graph.tensor
    graph.node("Transpose", perm=PERM_LAST)
    for name, values in (("zero", 0), ("one", 1), ("minus one", -1)):
        graph.array(name, np.array([values]))
    graph.nodes += [
        helper.make_node("Shape", [pooled], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["n"]),
        helper.make_node("Constant", [], ["rest"], value=graph.arrays[-1]),
        helper.make_node("Concat", ["n", "rest"], ["flat"], axis=0),
    ]
    graph.node("Reshape", "flat")
    dense = layers[13:]
    for name, kernel, bias in dense:
        if factors and name != dense[0][0]:
            size = len(kernel)
            graph.node("Mul", graph.array(f"{name} scale", rng.normal(1, 0.2, size).astype("f4")))
            graph.node("Add", graph.array(f"{name} shift", rng.normal(0, 0.2, size).astype("f4")))
        weight, summand = graph.array(f"{name} kernel", kernel), graph.array(f"{name} bias", bias)
        if gemm:
            graph.node("Gemm", weight, summand)
        else:
            graph.node("MatMul", weight)
            graph.node("Add", summand)
        graph.node("Softmax" if name == "predictions" else "Relu")
    return graph


def save(
    graph: Graph, path: Path, channels_last: bool, image: tuple[int, int, int] = IMAGE
) -> None:
    height, width, channels = image
    shape = image if channels_last else (channels, height, width)
    onnx.save_model(graph.model(shape), str(path))
