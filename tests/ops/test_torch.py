"""Values and gradients agree with PyTorch's, for each operation that it has."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_cases import CASES

from minnet.autodiff import grad
from minnet.ops import OPERATIONS
from minnet.tensor import Tensor

torch = pytest.importorskip("torch")

COMPARED = [name for name in CASES if OPERATIONS[name].differentiable]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-10)])
@pytest.mark.parametrize("name", COMPARED)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_agrees_with_torch(name: str, dtype: Any, tolerance: float, data: st.DataObject) -> None:
    example = data.draw(CASES[name])
    if example.torch is None:
        return
    arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in example.arrays]
    ours = [Tensor(a, requires_grad=a.dtype == dtype) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=a.dtype == dtype) for a in arrays]
    out = example.function(*ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = example.torch(torch, *theirs)
    np.testing.assert_allclose(out.data, expected.detach().numpy(), tolerance, tolerance)

    seed = np.linspace(-1, 1, out.size).reshape(out.shape).astype(dtype)
    found = grad(out, [t for t in ours if t.requires_grad], seed)
    expected.backward(torch.tensor(seed))
    leaves = [t for t in theirs if t.requires_grad]
    for mine, leaf in zip(found, leaves, strict=True):
        gradient = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        scale = max(1.0, float(np.abs(gradient).max(initial=0)))
        np.testing.assert_allclose(mine.data, gradient, tolerance, tolerance * scale)
