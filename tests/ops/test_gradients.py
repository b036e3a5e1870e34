"""The second face: gradients agree with central differences, and so do their own gradients."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import CASES

from minnet.autodiff import grad
from minnet.ops import OPERATIONS
from minnet.tensor import Tensor
from minnet.testing import assert_gradients

DIFFERENTIABLE = [name for name in CASES if OPERATIONS[name].differentiable]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_gradient_is_that_of_central_differences(name: str, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    assert_gradients(example.function, *example.arrays)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_gradient_of_the_gradient(name: str, data: st.DataObject) -> None:
    """Squared: then it also flows through the upstream gradient, as it does inside a network."""
    example = data.draw(CASES[name])
    assert_gradients(lambda *x: example.function(*x) ** 2, *example.arrays, order=2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_gradients_have_the_shape_and_dtype_of_their_inputs(
    name: str, dtype: Any, data: st.DataObject
) -> None:
    """On arrays and on tensors, inside the operation as well as at the end."""
    example = data.draw(CASES[name])
    arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in example.arrays]
    leaves = [Tensor(a, requires_grad=a.dtype == dtype) for a in arrays]
    out = example.function(*leaves)
    seed = np.ones(out.shape, dtype)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    plain = grad(out, wanted, seed)
    recorded = grad(out, wanted, seed, create_graph=True)
    for leaf, a, b in zip(wanted, plain, recorded, strict=True):
        assert a.shape == b.shape == leaf.shape
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a.data, b.data, rtol=1e-6)
    for i, x in enumerate(out.inputs):
        if isinstance(x, Tensor) and x.requires_grad:
            share = out.op.gradient(i, seed, out.data, *out.arrays)
            assert share is None or share.dtype == dtype, "no detour through another dtype"
