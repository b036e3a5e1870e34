"""The commands ``minnet demo NAME``: small networks, each printed and written as a workbook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

demo = typer.Typer(
    help="Train or compute a small network, print it, and write it as a workbook.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Output = Annotated[
    Path, typer.Option("--output", "-o", help="The workbook to write; replaced if it exists.")
]


@demo.command()
def linear(
    output: Output = Path("linear.xlsx"),
    epochs: Annotated[int, typer.Option(min=0, help="Times to go over all points.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Points per training step.")] = 1,
    lr: Annotated[float, typer.Option(help="Learning rate, above 0.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Draws the points and the weights.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to show in the book.")] = 10,
) -> None:
    """One neuron learns y = 2*x1 + 3*x2 + 1 from thirty points."""
    from minnet.demos import linear

    linear.run(output, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, steps=steps)


@demo.command()
def layers(output: Output = Path("layers.xlsx")) -> None:
    """The lesson's network of three layers, with the lesson's numbers."""
    from minnet.demos import layers

    layers.run(output)


@demo.command()
def random(output: Output = Path("random.xlsx")) -> None:
    """The same network, one block below the other, with weights that the spreadsheet draws."""
    from minnet.demos import layers

    layers.run_random(output)


@demo.command()
def entropy(output: Output = Path("entropy.xlsx")) -> None:
    """Softmax and cross-entropy, with the lesson's numbers."""
    from minnet.demos import entropy

    entropy.run(output)


@demo.command()
def digits(output: Output = Path("digits.xlsx")) -> None:
    """A small convolutional network learns to read handwritten digits."""
    from minnet.demos import digits

    digits.run(output)


@demo.command()
def conv(output: Output = Path("conv.xlsx")) -> None:
    """A digit through two convolutions, max-pooling and a dense layer, as in the lesson."""
    from minnet.demos import conv

    conv.run(output)


@demo.command()
def graddesc(output: Output = Path("graddesc.xlsx")) -> None:
    """Eight optimizers find a line, a row of cells for each step."""
    from minnet.demos import graddesc

    graddesc.run(output)


@demo.command()
def collab(output: Output = Path("collab.xlsx")) -> None:
    """Who will like which movie: factors found by gradient descent, from the lesson's ratings."""
    from minnet.demos import collab

    collab.run(output)


@demo.command()
def xor(output: Output = Path("xor.xlsx")) -> None:
    """The smallest problem that needs two layers, learned in twelve steps."""
    from minnet.demos import xor

    xor.run(output)


@demo.command()
def universal(output: Output = Path("universal.xlsx")) -> None:
    """Pairs of sigmoids make bars, bars make any curve: change them and watch the picture."""
    from minnet.demos import universal

    universal.run(output)
