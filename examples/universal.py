"""Any curve from pairs of sigmoids: a bar steps up where it begins and down where it ends.

python examples/universal.py [universal.xlsx]
"""

import sys

import numpy as np

from minnet import Dense, Sequential, export_xlsx, verify_xlsx

path = sys.argv[1] if len(sys.argv) > 1 else "universal.xlsx"


def curve(x: np.ndarray) -> np.ndarray:
    """Any function of 0 to 1 will do: put one of your own here."""
    return np.abs(np.sin(9 * x)) * (1 - x)


def network(bars: int, steep: float) -> Sequential:
    """Two hidden neurons for each bar, all weights set by hand."""
    begin, end = np.arange(bars) / bars, (np.arange(bars) + 1) / bars
    height = curve((begin + end) / 2)
    model = Sequential(
        [Dense(2 * bars, activation="sigmoid", input_dim=1, name="steps"), Dense(1, name="sum")],
        dtype=np.float64,
    )
    model.set_weights(
        [
            np.full((1, 2 * bars), steep),
            -steep * np.concatenate([begin, end]),  # sigmoid(steep · (x − begin)), …
            np.concatenate([height, -height])[:, None],
            [0.0],
        ]
    )
    return model


x = (np.arange(500)[:, None] + 0.5) / 500
for bars in (2, 5, 10, 20, 50):
    off = np.abs(network(bars, 400.0 * bars).predict(x) - curve(x)).mean()
    print(f"{bars:3} bars: off by {off:.4f} on average")

rows = 12
for level in range(rows, 0, -1):  # the curve as dots, ten bars as blocks
    heights = network(10, 4000.0).predict(x[::8])[:, 0], curve(x[::8, 0])
    print("".join("#" if bar * rows >= level - 0.5 else "." if dot * rows >= level - 0.5 else " "
                  for bar, dot in zip(*heights)))  # fmt: skip

# With gentle steps the bars turn into waves.
export_xlsx(network(5, 30.0), x[::25], path=path, title="A curve from five gentle bars")
print(verify_xlsx(path).summary())
