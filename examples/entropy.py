"""Why a loss takes the logarithm: three predictions, from unsure to sure and wrong.

python examples/entropy.py [entropy.xlsx]
"""

import sys

import numpy as np

from minnet import Tensor, export_xlsx, ops

path = sys.argv[1] if len(sys.argv) > 1 else "entropy.xlsx"

NAMES = ["cat", "dog", "plane"]
scores = np.array([[0.1, 0.0, -0.1], [4.0, 0.0, 0.0], [-4.0, 4.0, 0.0]])
labels = np.array([0, 0, 0])  # all three pictures show a cat


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean of -ln(probability of the right class)."""
    right = ops.one_hot(labels, len(NAMES), scores.dtype).named("right class")
    probabilities = ops.softmax(scores).named("probabilities")
    chosen = ops.sum(probabilities * right, axis=1).named("p of the right class")
    return (-ops.log(chosen)).named("losses").mean()


export = export_xlsx(cross_entropy, inputs={"scores": scores, "labels": labels}, path=path)

# The gradient says how to change the scores: (probability - right class) / number of pictures.
z = Tensor(scores, requires_grad=True)
cross_entropy(z, Tensor(labels)).backward()
for p, gradient in zip(ops.softmax(scores), z.grad.numpy(), strict=True):
    shown = ", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, p, strict=True))
    print(f"{shown}: loss {-np.log(p[0]):.3f}, gradient {gradient.round(3)}")
print(f"wrote {export.path}: {export.formulas} live formulas")
