"""A network whose weights the spreadsheet draws, in the lesson's form: one block below the other.

python examples/random_weights.py [random_weights.xlsx]
"""

import sys

from minnet import SGD, Dense, Sequential, export_xlsx

path = sys.argv[1] if len(sys.argv) > 1 else "random_weights.xlsx"

model = Sequential(name="random")
model.add(Dense(4, activation="relu", input_dim=3, kernel_initializer="he_normal"))
model.add(Dense(2, activation="softmax", kernel_initializer="glorot_normal"))
model.compile(optimizer=SGD(lr=0.1), loss="categorical_crossentropy")

# The model's own weights are stored beside the formulas, until the first recalculation (F9).
export_xlsx(model, [[2, 3, 1]], [[0, 1]], path, layout="lesson", random_weights="live")
print(f"Wrote {path}. Each F9 draws new weights; loss and gradients follow.")
