"""What a caller of ``export_xlsx`` asks for beside the numbers, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minnet.checks import items, whole
from minnet.errors import ArgumentError, mismatch, unknown_name
from minnet.layers import Dense
from minnet.sequential import Sequential
from minnet.spreadsheet.book import Look
from minnet.spreadsheet.page import LAYOUTS
from minnet.spreadsheet.xlsx import Watch

RANDOM_WEIGHTS = ("values", "live")


@dataclass(frozen=True)
class Wish:
    """Where a workbook goes, how large it may be, and how it looks.

    Raises :class:`~minnet.errors.ArgumentError` for unknown names, and for what is no list.
    """

    path: Path
    most: int  # formulas
    title: str | None = None
    notes: Sequence[str] = ()
    layout: str = "strips"
    random_weights: str = "values"
    class_names: Sequence[str] | None = None
    pictures: Sequence[Any] | None = field(default=None, repr=False)
    watch: Watch | None = None

    def __post_init__(self) -> None:
        whole("max_formulas", self.most, 1)
        items("notes", self.notes, "a list of texts", str)
        if self.class_names is not None:
            items("class_names", self.class_names, "a list of names")
        if self.pictures is not None:
            items("pictures", self.pictures, "a list of pictures")
        if self.layout not in tuple(LAYOUTS):
            raise unknown_name("layout", self.layout, LAYOUTS)
        if self.random_weights not in RANDOM_WEIGHTS:
            raise unknown_name("random_weights", self.random_weights, RANDOM_WEIGHTS)

    @property
    def live(self) -> bool:
        """Whether weights are the spreadsheet's own draws."""
        return self.random_weights == "live"

    def look(self, model: Any, rows: int) -> Look:
        """How the sheets of a model look that is given so many rows.

        Raises :class:`~minnet.errors.ArgumentError` for pictures of other rows, and for a model
        that the lesson's layout cannot show.
        """
        if self.pictures is not None and len(self.pictures) != rows:
            expected = f"a picture for each of {rows} rows"
            raise ArgumentError(mismatch("export_xlsx", expected, f"{len(self.pictures)}"))
        if self.layout == "lesson":
            _require_chain(model)
        names, own = self.class_names, self.class_names is None
        if names is None:
            names = getattr(model, "class_names", None) or ()
        return Look(self.layout, tuple(map(str, names)), own)

    def require_function(self) -> None:
        """Raises :class:`~minnet.errors.ArgumentError` for wishes that only a model can fulfil."""
        wishes = {
            "layout": self.layout != "strips",
            "random_weights": self.live,
            "class_names": self.class_names is not None,
            "pictures": self.pictures is not None,
        }
        for name, is_set in wishes.items():
            if is_set:
                expected = "options that functions have too"
                raise ArgumentError(mismatch("export_xlsx of a function", expected, f"{name}="))


def _require_chain(model: Any) -> None:
    expected = "a chain of dense layers for layout='lesson'"
    advice = "Leave layout= out: strips show every model."
    if not isinstance(model, Sequential):
        received = f"a {type(model).__name__} model"
        raise ArgumentError(mismatch("export_xlsx", expected, received, advice))
    for layer in model.layers:
        shapes = [layer.input_shape, layer.output_shape]
        dense = isinstance(layer, Dense) or not layer.parameters
        if not dense or any(shape is not None and len(shape) != 1 for shape in shapes):
            received = f"{layer.name!r}, {layer.describe()}"
            raise ArgumentError(mismatch("export_xlsx", expected, received, advice))
