"""ONNX's own test cases: minnet's operations calculate what the standard says they should.

The package onnx (1.16) holds, for each operator, small models with inputs and outputs. Every case
runs whose operators all have a spelling in minnet.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_operators import OPERATORS, Attributes

from minnet.tensor import Array, Tensor

onnx = pytest.importorskip("onnx")

CASES = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
if not CASES.is_dir():
    pytest.skip("this version of onnx has no test cases; 1.16.2 has", allow_module_level=True)

#: Operators for which the engine has no operation.
WITHOUT = """
Acos Acosh Adagrad Adam AffineGrid And ArgMax ArgMin ArrayFeatureExtractor Asin Asinh Atan Atanh
Bernoulli Binarizer BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast
CastLike Ceil Celu CenterCropPad Col2Im Compress ConstantOfShape ConvInteger ConvTranspose Cos
Cosh CumSum DFT DeformConv DepthToSpace DequantizeLinear Det Dropout DynamicQuantizeLinear Einsum
Elu Equal Erf EyeLike Floor GRU GatherElements GatherND Gelu GridSample GroupNormalization
HammingWindow HannWindow HardSigmoid HardSwish Hardmax If ImageDecoder InstanceNormalization IsInf
IsNaN LRN LSTM LabelEncoder LayerNormalization LeakyRelu Loop LpPool MatMulInteger MaxUnpool
MeanVarianceNormalization MelWeightMatrix Mish Mod Momentum NonMaxSuppression NonZero Not
OptionalGetElement OptionalHasElement Or PRelu QLinearConv QLinearMatMul QuantizeLinear RNN
RandomUniformLike Range ReduceProd RegexFullMatch Resize ReverseSequence RoiAlign Round STFT Scan
Scatter ScatterElements ScatterND Selu SequenceEmpty SequenceInsert SequenceLength SequenceMap
Shape Shrink Sin Sinh Size Softplus Softsign SpaceToDepth SplitToSequence StringConcat
StringNormalizer StringSplit Tan TfIdfVectorizer ThresholdedRelu Tile TopK TreeEnsemble Trilu
Unique Upsample Xor
"""

#: Cases that minnet does not pass, by the reason; they are run, and must fail.
UNSUPPORTED = {
    "an image with three dimensions of space": """
        averagepool_3d_default averagepool_3d_dilations_small
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False
        averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False
        averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True
        maxpool_3d_default maxpool_3d_dilations maxpool_3d_dilations_use_ref_impl
        maxpool_3d_dilations_use_ref_impl_large
    """,
    "inputs of two dtypes, which minnet never mixes": """
        pow_types_float32_int32 pow_types_float32_int64 pow_types_float32_uint32
        pow_types_float32_uint64 pow_types_int32_float32 pow_types_int64_float32
    """,
    "images of whole numbers": "maxpool_2d_uint8",
    "whole numbers divided without remainder": "div_uint8",
    "the smallest of truth values: there are no negative ones": "reduce_min_bool_inputs",
    "the largest of nothing, an error in minnet": """
        reduce_log_sum_exp_empty_set reduce_min_empty_set
    """,
    "padding with something else than a constant": "edge_pad reflect_pad wrap_pad",
    "a sequence, or nothing, in place of a tensor": "identity_opt identity_sequence",
}


def _operators(case: str) -> set[str]:
    return {node.op_type for node in _model(case).graph.node}


@functools.cache
def _model(case: str) -> Any:
    return onnx.load(CASES / f"test_{case}" / "model.onnx")


def _array(path: Path) -> Array:
    return np.asarray(onnx.numpy_helper.to_array(onnx.load_tensor(path)))


def _attributes(node: Any) -> Attributes:
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    for name, value in found.items():
        if isinstance(value, bytes):
            found[name] = value.decode()
        elif isinstance(value, onnx.TensorProto):
            found[name] = onnx.numpy_helper.to_array(value)
    return found


def _calculate(model: Any, inputs: list[Array]) -> list[Any]:
    """The outputs of a model, operator by operator, in minnet."""
    names = [x.name for x in model.graph.input]
    values: dict[str, Any] = {"": None, **dict(zip(names, map(Tensor, inputs)))}
    for node in model.graph.node:
        attributes = _attributes(node)
        if node.op_type == "Split":
            attributes["outputs"] = len(node.output)
        out = OPERATORS[node.op_type](attributes, *[values[name] for name in node.input])
        values.update(zip(node.output, out if isinstance(out, (tuple, list)) else [out]))
    return [values[x.name] for x in model.graph.output]


ALL = sorted(path.name.removeprefix("test_") for path in CASES.iterdir())
OURS = [case for case in ALL if _operators(case) <= set(OPERATORS)]


REASONS = {case: reason for reason, cases in UNSUPPORTED.items() for case in cases.split()}


def _marked(case: str) -> Any:
    failing = pytest.mark.xfail(reason=REASONS.get(case, ""), strict=True)
    return pytest.param(case, marks=[failing] if case in REASONS else [])


@pytest.mark.parametrize("case", [_marked(case) for case in OURS])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_onnx_case(case: str) -> None:
    model, data = _model(case), CASES / f"test_{case}" / "test_data_set_0"
    inputs = [_array(data / f"input_{i}.pb") for i in range(len(model.graph.input))]
    found = _calculate(model, inputs)
    for i, mine in enumerate(found):
        expected = _array(data / f"output_{i}.pb")
        assert mine.shape == expected.shape
        if expected.dtype.kind == "f":
            assert mine.dtype == expected.dtype
        tolerance = 1e-3 if expected.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(mine.data, expected.astype(float), tolerance, 1e-6)


def test_each_case_is_accounted_for() -> None:
    """A case runs, or one of its operators is in the list of those that the engine has not."""
    without = set(WITHOUT.split())
    found = set().union(*map(_operators, ALL))
    assert found == without | set(OPERATORS)
    assert without.isdisjoint(OPERATORS)
    assert REASONS.keys() <= set(OURS)
