"""The networks of :mod:`networks` in PyTorch and in ONNX Runtime, with the same weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from networks import Array, Conv, Network, Pool
from timing import THREADS

OPSET, IR_VERSION = 17, 8


def channels_first(network: Network, weights: Sequence[Array]) -> list[Array]:
    """The weights as PyTorch and ONNX have them: kernels (out, in, height, width), dense weights
    (out, in), rows flattened in the order channel, height, width."""
    pairs = zip(weights[::2], weights[1::2])
    result = []
    for part, shape in network.shapes():
        if isinstance(part, Pool):
            continue
        kernel, bias = next(pairs)
        if isinstance(part, Conv):
            kernel = kernel.transpose(3, 2, 0, 1)
        elif len(shape) == 3:
            kernel = kernel.reshape(*shape, -1).transpose(3, 2, 0, 1).reshape(part.units, -1)
        else:
            kernel = kernel.T
        result += [np.ascontiguousarray(kernel), bias]
    return result


def torch_network(network: Network, weights: Sequence[Array]) -> Any:
    """The network in PyTorch, giving logits; it shares the memory of ``channels_first`` weights."""
    layers: list[Any] = []
    tensors = iter(map(torch.from_numpy, weights))
    for part, shape in network.shapes():
        if isinstance(part, Pool):
            layers.append(torch.nn.MaxPool2d(2))
            continue
        if isinstance(part, Conv):
            padding = part.size // 2 if part.padding == "same" else 0
            layer = torch.nn.Conv2d(shape[-1], part.filters, part.size, padding=padding)
        else:
            if len(shape) == 3:
                layers.append(torch.nn.Flatten())
            layer = torch.nn.utils.skip_init(torch.nn.Linear, math.prod(shape), part.units)
        layer.weight = torch.nn.Parameter(next(tensors))
        layer.bias = torch.nn.Parameter(next(tensors))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def onnx_session(network: Network, weights: Sequence[Array]) -> Any:
    """The network in ONNX Runtime, from input "x" to logits, with ``channels_first`` weights."""
    import onnx
    import onnxruntime

    make_node = onnx.helper.make_node
    nodes, names = [], (f"w{i}" for i in range(len(weights)))
    value = "x"
    for i, (part, shape) in enumerate(network.shapes()):
        source, value = value, f"t{i}"
        if isinstance(part, Pool):
            nodes.append(
                make_node("MaxPool", [source], [value], kernel_shape=[2, 2], strides=[2, 2])
            )
            continue
        if isinstance(part, Conv):
            padding = part.size // 2 if part.padding == "same" else 0
            node, attributes = "Conv", {"pads": [padding] * 4}
        else:
            if len(shape) == 3:
                nodes.append(make_node("Flatten", [source], ["flat"]))
                source = "flat"
            node, attributes = "Gemm", {"transB": 1}
        nodes.append(
            make_node(node, [source, next(names), next(names)], [f"{value}_z"], **attributes)
        )
        nodes.append(make_node("Relu", [f"{value}_z"], [value]))
    value = nodes.pop().input[0]  # the last layer gives logits
    height, width, channels = network.input_shape
    floats = onnx.TensorProto.FLOAT
    describe = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "network",
        [describe("x", floats, ["rows", channels, height, width])],
        [describe(value, floats, ["rows", network.classes])],
        [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
