"""``minnet export``: a saved model's pass over some rows as a workbook."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from minnet.cli_models import Force
from minnet.errors import ArgumentError, FileError, WorkbookError, mismatch

ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Saved by model.save, or a VGG16's weights.")
]


def export(
    model: ModelFile,
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            help="Images, .csv, .npy or .npz; given once more for more rows. NAME=FILE for a model "
            "with several inputs.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The workbook to write.")],
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="What the rows should give: 3, or 3,1,0 (classes, or numbers), or a .csv, .npy or "
            ".npz file. NAME=… for a model with several outputs."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps to show.")] = 1,
    divide_by: Annotated[
        float, typer.Option(help="Divide inputs, as in training: 255 for pixels from 0 to 1.")
    ] = 1.0,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER,ROW,COLUMN,CHANNEL",
            help="Show this neuron and what it sees, layer by layer; LAYER,UNIT for a dense one.",
        ),
    ] = None,
    probe_layers: Annotated[
        int | None, typer.Option(min=0, help="How many layers before it; else all that fit.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="strips, layers side by side, or lesson, one below the other.")
    ] = "strips",
    max_formulas: Annotated[int, typer.Option(min=1, help="Live formulas at most.")] = 50_000,
    force: Force = False,
) -> None:
    """Write what a saved model does with some rows as a workbook of live formulas.

    With a target it shows training steps, without one what the model predicts. Layers too large to
    show get a sheet of statistics, pictures and one neuron, live.
    """
    from minnet.data.files import read_inputs, read_targets
    from minnet.demos.output import print_export, workbook_path
    from minnet.files import require_new
    from minnet.spreadsheet import export_xlsx
    from minnet.spreadsheet.live import TooLarge
    from minnet.vgg16.commands import any_model

    if steps > 1 and not target:
        received = f"--steps {steps} alone"
        raise ArgumentError(mismatch("minnet export", "--steps with --target", received))
    path = require_new(workbook_path(output), force)
    net = any_model(model)
    net.class_names = _classes(model, net)
    x = _divided(read_inputs(net, inputs), divide_by)
    y = None
    if target:
        _require_loss(model, net)
        y = read_targets(net, target)
    watch = _progress_bar()
    try:
        done = export_xlsx(
            net, x, y, path, steps=steps, max_formulas=max_formulas, watch=watch,
            probe=None if probe is None else _place(probe), probe_layers=probe_layers,
            layout=layout,
        )  # fmt: skip
    except TooLarge as error:
        advice = "Give fewer rows or --steps, or allow more: --max-formulas"
        raise WorkbookError(f"{error.fact} {advice} {error.formulas}.") from None
    finally:
        watch.ends()
    print_export(done)


def _require_loss(path: Path, net: Any) -> None:
    if net.loss is None:
        advice = "Weights alone have none; a model has one that was compiled before it was saved."
        expected = "a model with a loss for --target"
        raise ArgumentError(mismatch(str(path), expected, "one without", advice))


def _place(text: str) -> list[str | int]:
    """``conv,3,4,17`` as a layer's name and whole numbers; a name may have commas too."""
    name, numbers = text, list[int]()
    while "," in name:
        rest, _, last = name.rpartition(",")
        if not last.strip().isdecimal():
            break
        name, numbers = rest, [int(last), *numbers]
    return [name, *numbers]


def _classes(path: Path, net: Any) -> list[str] | None:
    """The names of the classes that the file has, or ImageNet's for a thousand if at hand."""
    from minnet.loading import class_names, is_model
    from minnet.vgg16 import imagenet_classes

    names = class_names(path) if is_model(path) else None
    if names is not None or net.output_shape != (1000,):
        return names
    try:
        return [found.name for found in imagenet_classes()]
    except FileError:
        return None


def _divided(x: Any, by: float) -> Any:
    if not 0 < abs(by) < float("inf"):
        raise ArgumentError(mismatch("--divide-by", "a number other than 0", f"{by:g}"))
    if by == 1.0:
        return x
    return [part / by for part in x] if isinstance(x, list) else x / by


def _progress_bar() -> Any:
    from minnet.spreadsheet.xlsx import Watch

    class Bar(Watch):
        """Says how large the book will be, and on a terminal how much of it is written."""

        bar: Any = None

        def begins(self, formulas: int, size: int) -> None:
            print(f"Writing {formulas:,} live formulas, about {_bytes(size)}")
            if sys.stderr.isatty():
                self.bar = typer.progressbar(length=formulas, file=sys.stderr)
                self.bar.__enter__()

        def wrote(self, formulas: int) -> None:
            if self.bar is not None:
                self.bar.update(formulas)

        def ends(self) -> None:
            if self.bar is not None:
                self.bar.__exit__(None, None, None)

    return Bar()


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size // 1000, 1)} kB"
