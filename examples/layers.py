"""Three layers, five training steps in a workbook, and the way back from an edited workbook.

python examples/layers.py [layers.xlsx]
"""

import sys

import numpy as np

from minnet import SGD, Dense, Sequential, export_xlsx, read_xlsx
from minnet.demos.layers import WEIGHTS, X, Y  # the numbers of the lesson's sheet

path = sys.argv[1] if len(sys.argv) > 1 else "layers.xlsx"

model = Sequential(name="layers", dtype=np.float64)
model.add(Dense(4, activation="relu", use_bias=False, input_dim=3, name="first"))
model.add(Dense(3, activation="relu", use_bias=False, name="second"))
model.add(Dense(2, activation="softmax", use_bias=False, name="last"))
model.set_weights(WEIGHTS)
model.compile(SGD(lr=0.1), loss="categorical_crossentropy")
model.summary()

# Layers are named, so the book's areas are too: first_weight, last_weight_grad, last_weight_new, …
export_xlsx(model, X, Y, path, steps=5)

# Open the book, change a blue weight or the learning rate, and watch the loss on sheet 'training'.
# Once saved, this brings the edited weights back; here nobody has changed any.
found = read_xlsx(path, model)
print("weights changed in the book:", ", ".join(found.changed) or "none")

for step in range(1, 6):
    print(f"step {step}: loss {model.train_on_batch(X, Y):.6f}")
print("prediction:", model.predict(X)[0], "wanted:", Y[0])
