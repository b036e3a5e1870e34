"""The network of fast.ai's lesson ``layers_example``, 3 → 4 → 3 → 2: fixed weights, or drawn."""

from __future__ import annotations

import math

import numpy as np

from minnet.autodiff import grad
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.layers import Dense
from minnet.optimizers import SGD
from minnet.sequential import Sequential
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array, Tensor

X = [[2.0, 3.0, 1.0]]
Y = [[0.0, 1.0]]
WEIGHTS = [
    [
        [-0.8900533477311829, 0.41497220804917784, 0.7598658919912091, 1.1583529509710278],
        [-0.05700436463094319, 0.4301050222988099, -0.8461964261435019, 0.04449933269528214],
        [0.14310609495579724, -0.06563539973649177, 0.5334174262181, -0.121607611207199],
    ],
    [
        [0.009921982349928105, 0.5564194509341791, 0.5629498213438496],
        [0.16629726290805955, 0.4100372173175283, 0.7557712015960452],
        [-0.5162842246281253, 0.304141974326572, 0.14340303938162163],
        [-0.8894066720001745, 0.4885386117559762, -0.5720088090773133],
    ],
    [
        [-0.3083335159846231, 0.03396564389822082],
        [0.40708588185630706, 0.007230214767298163],
        [0.4074688949954317, 0.07356725531662694],
    ],
]


#: What the book of fixed weights says about the lesson's sheet ``fixed``.
FIXED_NOTES = (
    "The numbers are those of sheet 'fixed' of fast.ai's layers_example.xlsx, but for the loss: "
    "its LOG has base 10 and gives 0.528, while the gradient it uses, softmax − y, is that of ln, "
    "which gives 1.217. ln stands here.",
    "It changes the last weights alone; here all three layers learn. Sheet 'step 2' begins with "
    "the new weights, and 'training' shows by how much the loss has fallen. What the lesson calls "
    "'modified to test d' is sheet 'check': choose any weight and nudge it.",
)
#: What the book of drawn weights says about the lesson's sheet ``random``.
NOTES = (
    "Sheet 'random' of fast.ai's layers_example.xlsx, with what it leaves out: the gradients of "
    "all layers, and the new weights.",
    "Three things are otherwise than there. It draws weights with a standard deviation of 2/n; He "
    "et al. (2015) found √(2/n) right for relu, and that is what stands here. Its dl/dw is the "
    "weight times dl/dout, where the activation belongs. Its 'rmse' is not divided by the number "
    "of outputs, and its gradient, softmax - y, is that of another loss, the cross-entropy.",
)


def network(lr: float = 0.01) -> Sequential:
    """The lesson's network with the lesson's weights, in float64."""
    model = random_network(lr)
    model.set_weights(WEIGHTS)
    return model


def random_network(lr: float = 0.01) -> Sequential:
    """The lesson's network with drawn weights (He et al. 2015), in float64."""
    layers = [
        Dense(4, "relu", use_bias=False, input_dim=3, kernel_initializer="he_normal"),
        Dense(3, "relu", use_bias=False, kernel_initializer="he_normal"),
        Dense(2, "softmax", use_bias=False, kernel_initializer="he_normal"),
    ]
    model = Sequential(layers, name="layers_example", dtype=np.float64, seed=0)
    model.compile(SGD(lr=lr), loss="categorical_crossentropy")
    return model


def train_one_step(model: Sequential) -> dict[str, Array]:
    """All numbers of one training step, under the lesson's words for them."""
    values: dict[str, Array] = {}
    x, y = Tensor(np.array(X)), Tensor(np.array(Y))
    for number, layer in enumerate(model.layers, 1):
        values[f"linear {number}"] = layer.scores(x).numpy()
        x = layer(x)
        name = "softmax" if layer is model.layers[-1] else f"activations {number}"
        values[name] = x.numpy()
    loss, _ = model.loss_of(Tensor(np.array(X)), y)
    values["loss"] = loss.numpy()
    values["dl/dw 3"] = grad(loss, model.parameters()[-1]).numpy()
    model.train_on_batch(X, Y)
    values["new weights 3"] = model.get_weights()[-1]
    return values


def run(output: PathLike = "layers.xlsx") -> dict[str, Array]:
    """Compute the lesson's numbers, print them, and write them as a live book."""
    path = workbook_path(output)
    model = network()
    export = export_xlsx(model, X, Y, path, steps=2, notes=FIXED_NOTES)

    print("The lesson's network, 3 -> 4 -> 3 -> 2, for x = (2, 3, 1) and y = (0, 1)\n")
    values = train_one_step(model)
    for name, value in values.items():
        rows = np.atleast_2d(value)
        for number, row in enumerate(rows):
            heading = name if number == 0 else ""
            print(f"{heading:15}" + "".join(f"{element:9.4f}" for element in row))
    loss = float(values["loss"])
    print(f"\nThe loss is -ln(p), {loss:.4f}. The lesson's sheet shows {loss / math.log(10):.4f}:")
    print("its LOG has base 10, though its gradient, softmax - y, is that of ln.")
    print_export(export)
    return values


def run_random(output: PathLike = "random.xlsx") -> float:
    """Write the network with weights that the spreadsheet draws; gives the loss as stored."""
    path = workbook_path(output)
    model = random_network()
    export = export_xlsx(
        model, X, Y, path, layout="lesson", random_weights="live", notes=NOTES,
        title="minnet: layers_example, random weights",
    )  # fmt: skip
    loss = float(export.passes[0].result.value)
    print("The lesson's network, 3 -> 4 -> 3 -> 2, with weights that the spreadsheet draws.\n")
    print(
        f"With those of the model the loss is {loss:.4f}. Press F9 in the book: new weights, a new"
    )
    print("loss, and gradients that fit them.")
    print_export(export)
    return loss
