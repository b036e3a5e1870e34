"""Any function of tensors that ends in one number has gradients, and can become a workbook.

python examples/function.py [function.xlsx]
"""

import sys

import numpy as np

from minnet import Tensor, export_xlsx, verify_xlsx

path = sys.argv[1] if len(sys.argv) > 1 else "function.xlsx"


def valley(x: Tensor, y: Tensor) -> Tensor:
    """A curved valley, a gentle form of Rosenbrock's; its lowest point is at (1, 1)."""
    along = ((1 - x) ** 2).named("along")
    across = ((y - x**2) ** 2).named("across")
    return along + 10 * across


# Backward: the gradient at (-1, 2), beside what pencil and paper give.
x, y = (Tensor(np.array(number), requires_grad=True) for number in (-1.0, 2.0))
valley(x, y).backward()
print("d/dx:", x.grad.item(), "by hand:", -2 * (1 - -1) - 40 * -1 * (2 - 1))
print("d/dy:", y.grad.item(), "by hand:", 20 * (2 - 1))

# Downhill, step by step.
for step in range(2_001):
    height = valley(x, y)
    if step % 500 == 0:
        print(f"step {step:4}: x {x.item():.4f}, y {y.item():.4f}, height {height.item():.2e}")
    x.grad = y.grad = None
    height.backward()
    x.data, y.data = x.data - 0.005 * x.grad.data, y.data - 0.005 * y.grad.data

export_xlsx(valley, inputs={"x": -1.0, "y": 2.0}, path=path)
print(verify_xlsx(path).summary())
