"""Commands that make a model of photographs; :mod:`minnet.cli` makes them commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from minnet.cli_models import Force, Preprocessing
from minnet.console import complain, plain
from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.files import require_new

Weights = Annotated[
    Path,
    typer.Option(
        help="A VGG16's weights, in any format that minnet convert reads, or a model of finetune's."
    ),
]
Size = Annotated[
    int | None,
    typer.Option(min=32, help="Height and width that images are made; else WEIGHTS', or 224."),
]


def finetune(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Has train/ and valid/, a directory a class in each."),
    ],
    weights: Weights,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="The model to write.")
    ],
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LAYER", help="Then train the layers from this one on, too."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="For the new head.")] = 12,
    lr: Annotated[float, typer.Option(help="The new head's learning rate.")] = 1e-3,
    from_epochs: Annotated[int, typer.Option(min=1, help="With --from: for these layers.")] = 1,
    from_lr: Annotated[float, typer.Option(help="With --from: their learning rate.")] = 1e-5,
    batch_size: Annotated[int, typer.Option(min=1, help="With --from: images in a step.")] = 16,
    cache: Annotated[
        Path | None,
        typer.Option(help="For what the frozen layers give; MODEL.features if left out."),
    ] = None,
    size: Size = None,
    preprocessing: Preprocessing = None,
    seed: Annotated[int | None, typer.Option(min=0, help="To get the same model again.")] = None,
    force: Force = False,
) -> None:
    """Teach a VGG16 the classes of a folder of photographs.

    A new head is trained on what the other layers give, which is calculated once and kept; with
    --from the layers from that one on then learn too, at a smaller rate. minnet predict uses the
    model.
    """
    import minnet
    from minnet.saving import require_savable
    from minnet.vgg16 import finetuning
    from minnet.vgg16.commands import opened

    unfrozen = finetuning.Stage(from_epochs, from_lr, batch_size)
    if start is None and unfrozen != finetuning.UNFROZEN:
        expected = "--from-epochs, --from-lr and --batch-size with --from"
        raise ArgumentError(mismatch("minnet finetune", expected, "no --from"))
    require_new(output, force)
    require_savable(output)
    if seed is not None:
        minnet.seed(seed)
    vgg = opened(weights, preprocessing, None if size is None else (size, size))
    kept = cache or output.with_name(f"{output.name}.features")
    head = finetuning.HEAD._replace(epochs=epochs, lr=lr)
    written = 0

    def write() -> None:
        nonlocal written
        vgg.save(output)
        written += 1

    try:
        finetuning.finetune(vgg, directory, kept, head, start, unfrozen, write)
    except KeyboardInterrupt:
        if written:
            done = f"{written - 1} of {from_epochs} epochs from {start} on"
            complain(f"stopped; {output} has the new head, {done}")
        raise
    names = plain(", ".join(vgg.classes))
    print(f"Wrote {plain(str(output))}: {names}. The features are in {plain(str(kept))}.")


def features(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Has a directory a class, or train/ and valid/ with them."
        ),
    ],
    weights: Weights,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="CACHE", help="The directory to fill.")
    ],
    upto: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Whose outputs; if left out, those finetune wants."),
    ] = None,
    size: Size = None,
    preprocessing: Preprocessing = None,
) -> None:
    """Run photographs through a VGG16 once, and keep what comes out as a NumPy array.

    After a kill the same command goes on where it was. If weights or settings change, there will
    be a new array; if files do, only new images are calculated. minnet finetune --cache CACHE
    finds it.
    """
    from minnet.vgg16 import finetuning
    from minnet.vgg16.commands import opened

    vgg = opened(weights, preprocessing, None if size is None else (size, size))
    for part, kept in finetuning.features(vgg, directory, output, upto).items():
        print(plain(f"{part}: {kept.x.dtype} {kept.x.shape} in {kept.x.filename}"))


def weights(
    net: Annotated[str, typer.Argument(metavar="NET", help="vgg16.")],
    notop: Annotated[
        bool, typer.Option("--notop", help="The convolutions alone: 59 MB, not 553.")
    ] = False,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="A directory on the network that has them.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The directory to keep the file in."),
    ] = None,
) -> None:
    """Download the official weights, if they are not here yet, and print the file's path.

    The file is checked against its published checksum. After an interruption the same command
    goes on where it was.
    """
    from minnet.vgg16 import official

    if net != "vgg16":
        raise unknown_name("net", net, ["vgg16"])
    print(plain(str(official.download(not notop, mirror, output))))
