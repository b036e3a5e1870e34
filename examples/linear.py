"""One neuron learns y = 2*x1 + 3*x2 + 1, and its first ten training steps become a workbook.

python examples/linear.py [linear.xlsx]
"""

import sys

import numpy as np

import minnet
from minnet import SGD, Dense, Sequential, export_xlsx

path = sys.argv[1] if len(sys.argv) > 1 else "linear.xlsx"

minnet.seed(0)  # the same first weights every time
x = np.random.default_rng(1).uniform(-1, 1, (30, 2))
y = x @ [2, 3] + 1

model = Sequential([Dense(1, input_dim=2)])
model.compile(SGD(lr=0.1), loss="mse")

# The model is exported as it is now, with its first weights: the book's formulas train it too.
export = export_xlsx(model, x, y, path, steps=10, batch_size=1)

print("loss before:", model.evaluate(x, y))
model.fit(x, y, batch_size=1, epochs=5, shuffle=False)  # in the order of the book
print("loss after: ", model.evaluate(x, y))

weight, bias = model.get_weights()
print("learned:", weight.ravel(), bias, "instead of 2, 3 and 1")
print(f"wrote {export.path}: {export.formulas} live formulas on sheets {', '.join(export.sheets)}")
