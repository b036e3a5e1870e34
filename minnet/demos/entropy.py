"""The lesson ``entropy_example``: softmax over five classes, and how wrong a prediction is."""

from __future__ import annotations

import math

import numpy as np

from minnet import ops
from minnet.demos.output import PathLike, print_export, workbook_path
from minnet.spreadsheet import export_xlsx
from minnet.tensor import Array, Tensor

#: The lesson draws these at random; here they are as its sheet was saved.
SCORES = {
    "cat": -2.0756151098951037,
    "dog": -0.11171473940962784,
    "plane": 1.269946142602584,
    "fish": -0.9518479080168163,
    "building": 1.4501606231001265,
}
IS_CAT = [True, True, False, False, True]
PREDICTIONS = [0.5, 0.98, 0.9, 0.5, 0.9]
NOTES = (
    "Two sheets of fast.ai's entropy_example.xlsx side by side: softmax over five scores and its "
    "loss for a picture of a cat; and binary cross-entropy, for five pictures of which a network "
    "says how likely a cat is.",
    "The lesson's LOG has base 10: where it shows 0.3010 for a prediction of 0.5, ln gives 0.6931. "
    "Losses of neural networks take ln, because softmax − target is the gradient of that one, and "
    "so it is here: divide by ln(10) = 2.3026 for the lesson's numbers.",
    "The lesson draws its five scores at random; here they are as its file was saved. The total is "
    "a sum of both losses only because a backward pass starts at one number.",
)


def inputs() -> dict[str, Array]:
    """The arguments of :func:`entropy`; the picture's label is 0, a cat."""
    return {
        "scores": np.array([list(SCORES.values())]),
        "label": np.array([0]),
        "is_cat": np.array(IS_CAT)[:, None],
        "predictions": np.array(PREDICTIONS)[:, None],
    }


def entropy(scores: Tensor, label: Tensor, is_cat: Tensor, predictions: Tensor) -> Tensor:
    """Both cross-entropies of the lesson; they share nothing but this sum."""
    target = ops.one_hot(label, len(SCORES), scores.dtype).named("target")
    categorical = ops.softmax_cross_entropy(scores, target).named("categorical loss")
    no_cat = (1 - predictions).named("p of no cat")
    probability = ops.where(is_cat, predictions, no_cat).named("p of the truth")
    losses = (-ops.log(probability).named("ln p")).named("binary losses")
    binary = losses.mean().named("binary loss")
    total: Tensor = (categorical + binary).named("total")
    return total


def run(output: PathLike = "entropy.xlsx") -> None:
    """Print both parts of the lesson and write them as one live book."""
    path = workbook_path(output)
    title = f"entropy: scores of {', '.join(SCORES)}; then five times: is it a cat?"
    export = export_xlsx(entropy, inputs=inputs(), path=path, title=title, notes=NOTES)

    scores = np.array(list(SCORES.values()))
    probabilities = ops.softmax(scores)
    print("Softmax turns scores into probabilities\n")
    print(f"{'':9}{'score':>8}{'e^score':>10}{'softmax':>10}")
    for name, score, p in zip(SCORES, scores, probabilities, strict=True):
        print(f"{name:9}{score:8.4f}{math.exp(score):10.4f}{p:10.4f}")
    print(f"\nIf it is a cat, the loss is -ln({probabilities[0]:.4f}) ", end="")
    print(f"= {-math.log(probabilities[0]):.4f}.\n")

    print("Binary cross-entropy: -ln of the probability that the truth was given\n")
    print(f"is cat{'prediction':>13}{'loss':>10}{'sheet':>10}")
    losses = [-math.log(p if cat else 1 - p) for cat, p in zip(IS_CAT, PREDICTIONS, strict=True)]
    for cat, p, loss in zip(IS_CAT, PREDICTIONS, losses, strict=True):
        print(f"{int(cat):6}{p:13.2f}{loss:10.4f}{loss / math.log(10):10.4f}")
    print(f"mean{np.mean(losses):25.4f}")
    print("\nThe column 'sheet' has the lesson's numbers: its LOG has base 10. Losses and their")
    print("gradients in neural networks are those of ln, the natural logarithm.")
    print_export(export)
    print("Its total is a sum of two losses only because a backward pass starts at one number.")
