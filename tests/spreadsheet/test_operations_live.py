"""The formula face of every operation, recalculated by an engine that knows nothing of ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from ops_cases import CASES, Example

from minnet import Tensor, ops
from minnet.spreadsheet import export_xlsx
from minnet.spreadsheet.blocks import FILTERS, IMAGES, NORMAL, arrange
from minnet.spreadsheet.lint import lint_xlsx
from minnet.spreadsheet.reader import Area, open_book
from minnet.spreadsheet.recalculate import Recalculated
from minnet.spreadsheet.verify import verify_xlsx
from minnet.tensor import Array

TOLERANCE = 1e-9  # relative; 1e-12 holds but where a sum cancels


def scalar_of(example: Example, weights: Array) -> Any:
    """A function with one number as its result whose gradient differs for each element."""

    def calculation(*tensors: Tensor) -> Any:
        *operands, extra = tensors
        out = example.function(*operands)
        if out.dtype == bool:
            out = ops.where(out, np.full((), 2.0), np.full((), -1.0))
        total = (out * weights).sum()
        # Keeps a gradient where the operation itself has none (comparisons, one-hot).
        return total + 0.5 * extra

    return calculation


def order_on_sheet(live: Recalculated, area: Area, array: Array) -> Array:
    """The positions of an input's elements as the sheet shows them: whichever explains it."""
    for lies in (NORMAL, IMAGES, FILTERS) if array.ndim == 4 else (NORMAL,):
        order = arrange(array.shape, lies)
        fits = order.shape == (area.rows, area.columns)
        if fits and np.array_equal(live.array(area), array.reshape(-1)[order]):
            return order
    raise AssertionError(f"{area} does not show {array}")


@pytest.mark.parametrize("name", CASES)
@settings(
    deadline=None,
    max_examples=settings.default.max_examples // 4 + 2,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking whole workbooks takes minutes
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,  # empty arrays have no cells
    ],
)
@given(data=st.data())
def test_formula_agrees_with_the_engine(name: str, tmp_path: Path, data: Any) -> None:
    example = data.draw(CASES[name])
    assume(all(a.size for a in example.arrays))
    out = np.asarray(example.expected(*example.arrays))
    assume(out.size)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, out.shape)
    function = scalar_of(example, weights)
    arrays = (*example.arrays, np.array(8.0))
    inputs = {f"in_{i}": a for i, a in enumerate(arrays)}
    path = tmp_path / "book.xlsx"
    export_xlsx(function, inputs=inputs, path=path)

    report = verify_xlsx(path, tolerance=TOLERANCE)
    assert report.ok, report.failures[:3]
    assert lint_xlsx(path) == []

    leaves = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    result = function(*leaves)
    result.backward()
    names = open_book(path).names
    live = Recalculated(path)
    np.testing.assert_allclose(live.array(names["result"])[0, 0], result.item(), rtol=TOLERANCE)
    for i, leaf in enumerate(leaves):
        name = f"in_{i}_grad"
        assert (name in names) == (leaf.grad is not None)
        if leaf.grad is not None:
            order = order_on_sheet(live, names[f"in_{i}"], arrays[i])
            gradient = leaf.grad.numpy().reshape(-1)[order]
            np.testing.assert_allclose(
                live.array(names[name]), gradient, rtol=TOLERANCE, atol=TOLERANCE
            )
