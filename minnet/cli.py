"""The command ``minnet``: demos, checking workbooks, converting weights, predicting.

Commands import what they need when they run, so that ``minnet --help`` answers at once.
"""

from __future__ import annotations

import io
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from minnet.errors import MinnetError, WorkbookError

if TYPE_CHECKING:
    from minnet.spreadsheet.verify import CellDifference

WORST = 5  # differing cells that are listed

DIFFERENT, FAILED, INTERRUPTED = 1, 2, 130  # exit codes


class Engine(str, Enum):
    """The programs that recalculate."""

    ironcalc = "ironcalc"
    libreoffice = "libreoffice"


class _Commands(TyperGroup):
    """Commands whose expected failures are one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has left: Typer ends quietly
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (MinnetError, OSError) as error:
            _complain(error)
            raise typer.Exit(FAILED) from None


app = typer.Typer(
    name="minnet",
    cls=_Commands,
    help="A neural network you can open in a spreadsheet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
demo = typer.Typer(
    help="Train or compute a small network, print it, and write it as a workbook.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(demo, name="demo")

Output = Annotated[
    Path, typer.Option("--output", "-o", help="The workbook to write; replaced if it exists.")
]


@app.callback(invoke_without_command=True)
def _minnet(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from minnet import __version__

        print(f"minnet {__version__}")
        raise typer.Exit()


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
def entropy(output: Output = Path("entropy.xlsx")) -> None:
    """Softmax and cross-entropy, with the lesson's numbers."""
    from minnet.demos import entropy

    entropy.run(output)


@demo.command()
def digits(output: Output = Path("digits.xlsx")) -> None:
    """A network of two layers learns to read handwritten digits."""
    from minnet.demos import digits

    digits.run(output)


@demo.command()
def conv(output: Output = Path("conv.xlsx")) -> None:
    """A digit through two convolutions, max-pooling and a dense layer, as in the lesson."""
    from minnet.demos import conv

    conv.run(output)


@demo.command()
def graddesc(output: Output = Path("graddesc.xlsx")) -> None:
    """Six optimizers find a line, a row of cells for each step."""
    from minnet.demos import graddesc

    graddesc.run(output)


@app.command()
def check(
    books: Annotated[list[Path], typer.Argument(metavar="BOOK", help="Workbooks (.xlsx).")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="The largest difference, relative, that is accepted.")
    ] = 1e-9,
    engine: Annotated[Engine, typer.Option(help="Who recalculates.")] = Engine.ironcalc,
    cells: Annotated[bool, typer.Option("--cells", help="Print every formula cell.")] = False,
) -> None:
    """Recalculate workbooks and compare every formula's result with the number stored beside it.

    The exit code is 1 if a number differs or is missing, and 2 if a book cannot be checked.
    """
    from minnet.spreadsheet import verify_xlsx

    code = 0
    for book in books:
        try:
            report = verify_xlsx(book, tolerance, engine.value, every_cell=cells)
        except WorkbookError as error:
            _complain(error)
            code = FAILED
            continue
        print(_plain(report.summary()))
        if cells:
            print("sheet", "cell", "formula", "stored", "recalculated", "difference", sep="\t")
            for cell in report.all:
                print(*_texts(cell), sep="\t")
        elif not report.ok:
            worst = sorted(report.failures, key=lambda cell: cell.difference, reverse=True)
            for cell in worst[:WORST]:
                sheet, at, formula, stored, recalculated, far = _texts(cell)
                print(f"  {sheet}!{at} {formula}: {stored} stored, {recalculated} recalculated,")
                print(f"    difference {far}")
        if not report.ok:
            code = max(code, DIFFERENT)
    raise typer.Exit(code)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A VGG16's weights.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="A .safetensors, .npz, .h5 or .weights.h5 file.")
    ],
    convention: Annotated[
        str | None,
        typer.Option(help="How IN's numbers lie: keras, theano, torchvision; found if left out."),
    ] = None,
) -> None:
    """Write a VGG16's weights from Keras, PyTorch or timm to a file of minnet's or Keras's.

    Nothing in IN is executed. What was found, and which images the net expects, is printed.
    """
    from minnet import weights

    report = weights.convert(source, target, convention)
    for line in str(report).splitlines():
        print(_plain(line))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model that Vgg16.save wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Image files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 5,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file instead.")] = None,
) -> None:
    """Name the likeliest classes of images: file, place, class, probability."""
    from minnet.vgg16 import commands

    for texts in commands.predict(model, images, top, csv):
        print(*map(_plain, texts), sep="\t")


@app.command()
def summary(model: Annotated[Path, typer.Argument(help="A saved model (.safetensors).")]) -> None:
    """Print a saved model's layers, shapes and parameters."""
    from minnet import load_model

    load_model(model).summary()


def _texts(cell: CellDifference) -> list[str]:
    values = (cell.stored, cell.recalculated)
    stored, recalculated = ("nothing" if v is None else _plain(str(v)) for v in values)
    formula = _plain(f"={cell.formula}")
    return [_plain(cell.sheet), cell.cell, formula, stored, recalculated, f"{cell.difference:.3g}"]


def _plain(text: str) -> str:
    """A text from a file on one line: line breaks and control characters are escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _complain(error: Exception) -> None:
    print(f"minnet: {_plain(' '.join(str(error).split()))}", file=sys.stderr)


def main() -> None:
    """The entry point."""
    # A character that the terminal cannot show must not end a command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="minnet")
