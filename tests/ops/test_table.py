"""No operation without a case, a value, a gradient and a formula."""

import pytest
from ops_cases import CASES

from minnet import ops
from minnet.ops import OPERATIONS, Composite, Operation, Pointwise, View

#: The operations that minnet brings; others may have been defined by tests.
OURS = {name: c for name, c in OPERATIONS.items() if c.__module__.startswith("minnet.")}


def overrides(operation: type[Operation], method: str) -> bool:
    bases = (Operation, Pointwise, View, Composite)
    return getattr(operation, method) not in [getattr(base, method, None) for base in bases]


def test_every_operation_has_a_case() -> None:
    missing, unknown = set(OURS) - set(CASES), set(CASES) - set(OURS)
    assert not missing, f"operations without a case in tests/ops_cases.py: {sorted(missing)}"
    assert not unknown, f"cases of operations that do not exist: {sorted(unknown)}"


@pytest.mark.parametrize("name", OURS)
def test_every_operation_has_its_three_faces(name: str) -> None:
    operation = OURS[name]
    assert overrides(operation, "value"), "value: arrays in, array out"
    assert overrides(operation, "gradient") == operation.differentiable, (
        "gradient: exactly where differentiable"
    )
    has_formula = (
        issubclass(operation, View)
        or overrides(operation, "cells")
        or (issubclass(operation, Pointwise) and overrides(operation, "formula"))
        or (issubclass(operation, Composite) and overrides(operation, "steps"))
    )
    assert has_formula, "a formula: formula, cells or steps"
    assert operation.composite == issubclass(operation, Composite)


def test_every_public_function_is_listed() -> None:
    assert all(callable(f) for f in ops.FUNCTIONS.values())
    assert set(ops.FUNCTIONS) <= set(ops.__all__)
    assert all(hasattr(ops, name) for name in ops.__all__)
