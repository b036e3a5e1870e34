"""A model as a table: its layers, the shapes of what they give, their parameters' number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from minnet import drawing
from minnet.errors import ArgumentError
from minnet.files import PathLike
from minnet.graph import Call
from minnet.layers import Layer

COLUMNS = (29, 26, 10, 17)  # the least widths of the columns
HEADS = ("Layer (type)", "Output Shape", "Param #", "Connected to")


class Shown:
    """What a model shows of itself."""

    name: str

    @property
    def output_shape(self) -> Any:
        """See :class:`minnet.model.Model`."""
        raise NotImplementedError

    @property
    def calls(self) -> list[Call]:
        """Which layers are called, and with what, in the order in which they are calculated."""
        raise NotImplementedError(f"{type(self).__name__}.calls")

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print a table of layers, output shapes and parameter counts, never cut off.

        Where the model is not a chain, it also says what each layer is connected to.

        Raises :class:`~minnet.errors.ArgumentError` before the model is built.
        """
        self.output_shape  # noqa: B018 - raises where it is unknown
        for line in lines(self.name, self.calls):
            print_fn(line)

    def plot(self, path: PathLike) -> None:
        """Draw the layers and what goes from one to the next to a .svg or a .png file.

        A .png needs matplotlib: ``pip install "minnet[plots]"``.

        Raises :class:`~minnet.errors.ArgumentError` for another ending, or before the model is
        built; :class:`~minnet.errors.MissingDependencyError` without matplotlib.
        """
        self.output_shape  # noqa: B018 - raises where it is unknown
        drawing.draw(self.calls, path)

    def _repr_html_(self) -> str | None:
        """The summary and the picture, for notebooks; None, so the usual text, before building."""
        try:
            self.output_shape  # noqa: B018 - raises where it is unknown
        except ArgumentError:
            return None
        return html(self.name, self.calls) + drawing.svg(self.calls)


def counts(layers: Sequence[Layer]) -> dict[str, int]:
    """How many parameters there are, in Keras's words."""
    sizes = [(p.size, p.requires_grad) for layer in layers for p in layer.parameters.values()]
    total = sum(size for size, _ in sizes)
    trainable = sum(size for size, trains in sizes if trains)
    return {
        "Total params": total,
        "Trainable params": trainable,
        "Non-trainable params": total - trainable,
    }


def rows(calls: Sequence[Call]) -> list[tuple[str, ...]]:
    """One row for each layer; the last column is left out of a chain, where it says nothing new.

    A layer that is called several times has one row, connected to all that it is called with.
    """
    chain = all(call.inputs == ((k - 1,) if k else ()) for k, call in enumerate(calls))
    sources: dict[Layer, list[str]] = {}
    shapes: dict[Layer, str] = {}
    for layer, inputs, shape in calls:
        sources.setdefault(layer, []).extend(calls[k].layer.name for k in inputs)
        shapes.setdefault(layer, f"({', '.join(['None', *map(str, shape)])})")
    found: list[tuple[str, ...]] = []
    for layer, names in sources.items():
        count = sum(p.size for p in layer.parameters.values())
        row = f"{layer.name} ({type(layer).__name__})", shapes[layer], f"{count:,}"
        found.append(row if chain else (*row, ", ".join(names)))
    return found


def lines(title: str, calls: Sequence[Call]) -> list[str]:
    """The lines of a built model's summary; columns are as wide as their longest text."""
    body = rows(calls)
    table = [HEADS[: len(body[0])], *body]
    least = zip(*table, strict=True), COLUMNS
    widths = [max(w, *(len(text) + 2 for text in column)) for column, w in zip(*least)]
    texts = ["".join(map(str.ljust, row, widths)).rstrip() for row in table]
    thin, thick = "_" * sum(widths), "=" * sum(widths)
    layers = list(dict.fromkeys(call.layer for call in calls))
    totals = [f"{name}: {count:,}" for name, count in counts(layers).items()]
    return [f'Model: "{title}"', thin, texts[0], thick, *texts[1:], thick, *totals, thin]


def html(title: str, calls: Sequence[Call]) -> str:
    """The same as a table for notebooks."""
    body = rows(calls)
    head = "".join(f"<th>{name}</th>" for name in HEADS[: len(body[0])])
    cells = (
        "".join(f"<td style='text-align:left'>{escape(text)}</td>" for text in row) for row in body
    )
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    layers = list(dict.fromkeys(call.layer for call in calls))
    totals = "<br>".join(f"{name}: {count:,}" for name, count in counts(layers).items())
    return (
        f"<b>{escape(title)}</b><table><thead><tr>{head}</tr></thead><tbody>{table}</tbody>"
        f"</table><small>{totals}</small>"
    )
