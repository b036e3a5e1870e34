"""Let hypothesis find the mistake in a layer's gradient, and shrink it to the smallest example.

    python examples/property_test.py

``LeakyRelu`` below is an operation of one's own with a gradient written by hand. Its author forgot
the slope for negative numbers. Nothing crashes and training even seems to work.
"""

from typing import Any

import numpy as np
from hypothesis import given, settings

from minnet import Layer, Tensor, ops
from minnet.testing import arrays, assert_gradients, shapes


class LeakyRelu(ops.Pointwise):
    """x where x > 0, else slope·x."""

    name = "leaky_relu"
    slope = 0.1

    def value(self, x: Any) -> Any:
        return np.where(x > 0, x, self.slope * x)

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return ops.where(x > 0, g, 0)  # the mistake: 0 should be slope·g

    def formula(self, *cells: str) -> str:
        (x,) = cells
        return f"IF({x}>0,{x},{self.slope}*{x})"


class RightLeakyRelu(LeakyRelu):
    """The same with its gradient put right."""

    name = "right_leaky_relu"

    def gradient(self, index: int, g: Any, out: Any, x: Any) -> Any:
        return ops.where(x > 0, g, self.slope * g)


class LeakyLayer(Layer):
    """One factor for each feature, then the operation."""

    def __init__(self, operation: LeakyRelu):
        super().__init__()
        self.operation = operation

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.add_parameter("factor", input_shape, "ones")
        return input_shape

    def call(self, x: Tensor) -> Any:
        return self.operation(x * self.parameters["factor"])


def check(operation: LeakyRelu) -> None:
    """The property: at any input, both gradients (input, parameter) are those of differences."""

    @settings(derandomize=True, database=None, deadline=None, print_blob=False)
    @given(arrays(shapes(min_dims=2, max_dims=2)))
    def gradients_are_right(x: Any) -> None:
        assert_gradients(LeakyLayer(operation), x, order=2)

    gradients_are_right()


if __name__ == "__main__":
    try:
        check(LeakyRelu())
    except AssertionError as error:
        print("Found, and shrunk to one number:\n")
        print(error)
    else:
        raise SystemExit("the mistake was not found")
    check(RightLeakyRelu())
    print("\nWith the slope in its gradient the layer passes, to second order.")
