"""The first face: values agree with plain NumPy and keep their dtype."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import CASES

from minnet import ops
from minnet.errors import ArgumentError, ShapeError
from minnet.ops import OPERATIONS
from minnet.tensor import Tensor

KEEPS = [
    name for name in CASES if OPERATIONS[name].differentiable or name in ("sign", "stop_gradient")
]


def as_float32(arrays: tuple[Any, ...]) -> list[Any]:
    return [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_value_is_that_of_numpy(name: str, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    out = example.function(*map(Tensor, example.arrays))
    expected = np.asarray(example.expected(*example.arrays))
    assert isinstance(out, Tensor)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out.data, expected, rtol=1e-12, atol=1e-12)
    plain = example.function(*example.arrays)
    assert not isinstance(plain, Tensor), "arrays in, array out"
    np.testing.assert_array_equal(plain, out.data)


@pytest.mark.parametrize("name", KEEPS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_float32_stays_float32(name: str, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    arrays = as_float32(example.arrays)
    out = example.function(*map(Tensor, arrays))
    assert out.dtype == np.float32
    assert example.function(*arrays).dtype == np.float32
    np.testing.assert_allclose(out.data, example.function(*example.arrays), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_the_case_runs_the_operation(name: str, data: st.DataObject) -> None:
    """And records it where a gradient can flow."""
    example = data.draw(CASES[name])
    differentiable = OPERATIONS[name].differentiable
    inputs = [Tensor(a, requires_grad=a.dtype == np.float64) for a in example.arrays]
    out = example.function(*inputs)
    assert out.requires_grad == differentiable
    if differentiable:
        assert out.op.name == name
        assert not out.data.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 3])
def test_one_hot_has_the_dtype_asked_for(dtype: Any, classes: int) -> None:
    assert ops.one_hot(Tensor(np.array([0])), classes, dtype).dtype == dtype


@pytest.mark.parametrize("loss", [ops.softmax_cross_entropy, ops.categorical_cross_entropy])
def test_labels_may_be_integers(loss: Any) -> None:
    p = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    labels = np.array([1, 0])
    expected = loss(Tensor(p), np.eye(3)[labels]).item()
    assert loss(Tensor(p), labels).item() == expected
    assert loss(Tensor(p), Tensor(labels)).item() == expected
    with pytest.raises(ArgumentError, match="labels from 0 to 2, received 3"):
        loss(Tensor(p), np.array([1, 3]))
    with pytest.raises(ArgumentError, match="received -1"):
        loss(Tensor(p), np.array([-1, 0]))
    with pytest.raises(ShapeError, match="targets"):
        loss(Tensor(p), np.array([1.0, 0.0]))


def test_one_hot_takes_integers_only() -> None:
    with pytest.raises(ShapeError, match="integer labels"):
        ops.one_hot(np.array([0.5]), 2)
