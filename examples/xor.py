"""XOR: the smallest problem that a single layer cannot solve and two layers can.

python examples/xor.py [xor.xlsx]
"""

import sys

import minnet
from minnet.callbacks import EarlyStopping

path = sys.argv[1] if len(sys.argv) > 1 else "xor.xlsx"
x = [[0, 0], [0, 1], [1, 0], [1, 1]]
y = [0, 1, 1, 0]

for hidden in (0, 4):
    minnet.seed(1)
    layers = [minnet.Dense(hidden, activation="tanh")] if hidden else []
    model = minnet.Sequential([*layers, minnet.Dense(1, activation="sigmoid")])
    model.compile(minnet.Adam(lr=0.05), loss="binary_crossentropy", metrics=["accuracy"])
    good_enough = EarlyStopping("loss", min_delta=1e-4, patience=50)
    history = model.fit(x, y, batch_size=4, epochs=1000, verbose=0, callbacks=[good_enough])
    print(f"{hidden} hidden units: loss {history.history['loss'][-1]:.4f} "
          f"after {len(history.epoch)} epochs")  # fmt: skip
    for row, output in zip(x, model.predict(x)[:, 0]):
        print(f"  {row[0]} xor {row[1]} = {output:.3f}")

# How the trained network does it: four lines through the corners of a square, and their sum.
model.export_xlsx(x, y, path, title="XOR, solved")
print(minnet.verify_xlsx(path).summary())
