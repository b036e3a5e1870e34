"""The command ``minnet``: workbooks; :mod:`minnet.cli_models` has the commands for models,
:mod:`minnet.cli_export` and :mod:`minnet.cli_vgg16` those that export and train them, and
:mod:`minnet.cli_demos` the demos.

Commands import what they need when they run, so that ``minnet --help`` answers at once.
"""

from __future__ import annotations

import io
import sys
import warnings
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from minnet import cli_demos, cli_export, cli_models, cli_vgg16
from minnet.cli_models import Force
from minnet.console import FAILED, complain, plain
from minnet.errors import MinnetError, WorkbookError
from minnet.files import require_new

if TYPE_CHECKING:
    from minnet.spreadsheet.verify import CellDifference

WORST = 5  # differing cells that are listed

DIFFERENT, INTERRUPTED = 1, 130  # exit codes


class Engine(str, Enum):
    """The programs that recalculate."""

    ironcalc = "ironcalc"
    libreoffice = "libreoffice"


class _Commands(TyperGroup):
    """Commands whose warnings and expected failures are lines on stderr; exit code 2 for those."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                # Pillow's are about photographs that it has read all the same, and name no file.
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.showwarning = lambda message, *where, **more: complain(message)
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has left: Typer ends quietly
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (MinnetError, OSError) as error:
            complain(error)
            raise typer.Exit(FAILED) from None
        except MemoryError as error:
            complain(f"out of memory. {error}")
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
app.add_typer(cli_demos.demo, name="demo")
for command in (
    cli_export.export,
    *(cli_models.convert, cli_models.predict, cli_models.summary),
    *(cli_vgg16.finetune, cli_vgg16.features, cli_vgg16.weights),
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _minnet(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from minnet import __version__

        print(f"minnet {__version__}")
        raise typer.Exit()


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
            complain(error)
            code = FAILED
            continue
        print(plain(report.summary()))
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
def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A workbook (.xlsx).")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    tolerance: Annotated[
        float, typer.Option(min=0, help="The largest difference, relative, that is no difference.")
    ] = 0.0,
) -> None:
    """Compare the numbers of two workbooks, tensor by tensor.

    The exit code is 1 if a tensor differs or is missing, and 2 if a book cannot be read.
    """
    from minnet.spreadsheet import diff_xlsx

    found = diff_xlsx(first, second, tolerance)
    for tensor in found.tensors:
        before, after = (plain(str(v)) for v in (tensor.before, tensor.after))
        print(f"{plain(tensor.name)}: {tensor.differing:,} of {tensor.cells:,} numbers differ,")
        print(
            f"  most in {plain(tensor.cell)}: {before} -> {after}, "
            f"difference {tensor.difference:.3g}"
        )
    for book, names in ((first, found.only_first), (second, found.only_second)):
        if names:
            print(f"Only in {plain(str(book))}: {plain(', '.join(names))}")
    print(f"{found.equal:,} tensors are equal, {len(found.tensors):,} differ.")
    raise typer.Exit(0 if found.same else DIFFERENT)


@app.command()
def read(
    book: Annotated[Path, typer.Argument(metavar="BOOK", help="A workbook of the model (.xlsx).")],
    model: Annotated[Path, typer.Option("--model", help="The model, saved by model.save.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model to write.")],
    force: Force = False,
) -> None:
    """Load the weights that were edited in a workbook into its model, and save that.

    Rows and columns may have been inserted around the blocks, sheets renamed, and the book saved
    by another program.
    """
    from minnet.loading import class_names, load_model
    from minnet.saving import require_savable, save
    from minnet.spreadsheet import read_xlsx

    require_new(output, force)
    require_savable(output)
    net, names = load_model(model), class_names(model)
    rate = net.optimizer.base_lr
    found = read_xlsx(book, net)
    save(net, output, class_names=names)
    for change in found.changes:
        at = ", ".join(map(str, change.place))
        print(f"{plain(change.name)}: {change.differing:,} of {change.size:,} numbers changed,")
        print(f"  most at [{at}]: {change.before:.7g} -> {change.after:.7g}")
    if found.learning_rate not in (None, rate):
        print(f"learning rate: {rate:.7g} -> {found.learning_rate:.7g}")
    if found.probed:
        print(f"{len(found.probed):,} weights are too large for the book and are as they were.")
    same = len(found.weights) - len(found.changes)
    print(f"{len(found.changes):,} weights changed, {same:,} are as they were. Wrote {output}")


def _texts(cell: CellDifference) -> list[str]:
    values = (cell.stored, cell.recalculated)
    stored, recalculated = ("nothing" if v is None else plain(str(v)) for v in values)
    formula = plain(f"={cell.formula}")
    return [plain(cell.sheet), cell.cell, formula, stored, recalculated, f"{cell.difference:.3g}"]


class _Nowhere(io.StringIO):
    """In the place of an output that is closed, for which Python has None."""

    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    """The entry point."""
    # Else what is printed to a closed stderr appears on stdout.
    sys.stdout, sys.stderr = sys.stdout or _Nowhere(), sys.stderr or _Nowhere()
    # A character that the terminal cannot show must not end a command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="minnet")
