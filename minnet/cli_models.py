"""Commands about saved models and weights; :mod:`minnet.cli` makes them commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minnet.console import FAILED, complain, plain
from minnet.errors import FileError
from minnet.files import require_new

Force = Annotated[bool, typer.Option("--force", help="Replace a file that exists.")]
Preprocessing = Annotated[
    str | None,
    typer.Option(help="What is done to its images: caffe, torch, rescale; found if left out."),
]


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A VGG16's weights.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="A .safetensors, .npz, .h5 or .weights.h5 file.")
    ],
    convention: Annotated[
        str | None,
        typer.Option(help="How IN's numbers lie: keras, theano, torchvision; found if left out."),
    ] = None,
    preprocessing: Preprocessing = None,
    force: Force = False,
) -> None:
    """Write a VGG16's weights from Keras, PyTorch, timm or ONNX to a file of minnet's or Keras's.

    Nothing in IN is executed. What was found, and which images the net expects, is printed.
    """
    from minnet import weights

    require_new(target, force)
    report = weights.convert(source, target, convention, preprocessing)
    for line in str(report).splitlines():
        print(plain(line))


def predict(
    model: Annotated[
        Path, typer.Argument(help="A model that Vgg16.save wrote, or a VGG16's weights.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file instead.")] = None,
    preprocessing: Preprocessing = None,
    force: Force = False,
) -> None:
    """Name the likeliest classes of images: file, place, class, probability.

    An image that cannot be read is reported, and left out; the exit code is then 2.
    """
    from minnet.vgg16 import commands

    if csv is not None:
        require_new(csv, force)
    unread: list[FileError] = []

    def report(error: FileError) -> None:
        unread.append(error)
        complain(error)

    for texts in commands.predict(model, images, top, csv, preprocessing, report):
        print(*map(plain, texts), sep="\t")
    if unread:
        raise typer.Exit(FAILED)


def summary(
    model: Annotated[
        Path, typer.Argument(help="A saved model (.safetensors), or a VGG16's weights.")
    ],
    preprocessing: Preprocessing = None,
) -> None:
    """Print a model's layers, shapes and parameters."""
    from minnet.vgg16.commands import any_model

    any_model(model, preprocessing).summary()
