"""The same network trained by every optimizer, and Adam's first steps as a workbook.

python examples/optimizers.py [optimizers.xlsx]
"""

import sys

import numpy as np

from minnet import SGD, Adadelta, Adagrad, Adam, AdamW, Dense, Eve, RMSprop, Sequential, schedules

path = sys.argv[1] if len(sys.argv) > 1 else "optimizers.xlsx"

# Two half moons, one inside the other.
rng = np.random.default_rng(0)
angle = rng.uniform(0, np.pi, 200)
label = np.arange(200) % 2
x = np.stack([np.cos(angle) + label, np.sin(angle) * (1 - 2 * label) + 0.5 * label], axis=1)
x += 0.1 * rng.normal(size=x.shape)

EPOCHS, BATCH = 30, 20
STEPS = EPOCHS * len(x) // BATCH


def network(optimizer):
    model = Sequential([Dense(8, "tanh", input_dim=2), Dense(2, "softmax")], seed=0)
    model.compile(optimizer, "sparse_categorical_crossentropy", ["accuracy"])
    return model


print("suggested for SGD:", f"{network('sgd').find_lr(x, label).suggestion:.2g}")
optimizers = {
    "SGD": SGD(0.1),
    "SGD, momentum": SGD(0.1, momentum=0.9),
    "SGD, Nesterov": SGD(0.1, momentum=0.9, nesterov=True),
    "SGD, one cycle": SGD(schedules.OneCycle(0.5, STEPS), momentum=0.9),
    "Adagrad": Adagrad(0.1),
    "RMSprop": RMSprop(0.01),
    "Adadelta": Adadelta(1.0),
    "Adam": Adam(0.02),
    "Adam, cosine": Adam(schedules.CosineDecay(0.05, STEPS)),
    "AdamW": AdamW(0.02),
    "Eve": Eve(0.02),
}
print(f"after {EPOCHS} epochs:     loss  accuracy")
for name, optimizer in optimizers.items():
    model = network(optimizer)
    model.fit(x, label, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    loss, accuracy = model.evaluate(x, label)
    print(f"{name:16}{loss:9.4f}{accuracy:10.3f}")

export = network(Adam(schedules.CosineDecay(0.05, STEPS))).export_xlsx(
    x[:6], label[:6], path, steps=3
)
print(f"wrote {export.path}: {export.formulas} live formulas on sheets {', '.join(export.sheets)}")
