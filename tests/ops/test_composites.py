"""An operation that the workbook shows in steps: the steps add up to the operation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import CASES

from minnet.autodiff import grad
from minnet.ops import OPERATIONS
from minnet.tensor import Tensor

COMPOSITE = [name for name in CASES if OPERATIONS[name].composite]


@pytest.mark.parametrize("name", COMPOSITE)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_steps_are_the_operation(name: str, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    leaves = [Tensor(a, requires_grad=a.dtype == np.float64) for a in example.arrays]
    whole = example.function(*leaves)
    steps = whole.op.steps(*leaves)
    assert steps.shape == whole.shape
    assert steps.dtype == whole.dtype
    np.testing.assert_allclose(steps.data, whole.data, rtol=1e-14, atol=1e-14)

    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    seed = np.linspace(-1, 2, whole.size).reshape(whole.shape)
    ours, theirs = grad(whole, wanted, seed), grad(steps, wanted, seed)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", COMPOSITE)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_steps_keep_float32(name: str, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in example.arrays]
    leaves = [Tensor(a, requires_grad=a.dtype == np.float32) for a in arrays]
    whole = example.function(*leaves)
    steps = whole.op.steps(*leaves)
    assert steps.dtype == np.float32
    np.testing.assert_allclose(steps.data, whole.data, rtol=1e-4, atol=1e-6)
