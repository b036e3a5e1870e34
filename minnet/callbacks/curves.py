"""The curves of a history: which numbers belong into one chart, which are the better, a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minnet.files import PathLike
from minnet.plots import new_figure, save_figure

VALIDATION = "val_"
#: Parts of names of numbers that are the better the larger they are.
_LARGER = ("acc", "auc", "precision", "recall", "f1")


def larger_is_better(name: str) -> bool:
    """True of accuracies and the like."""
    return any(part in name for part in _LARGER)


def best_of(values: Iterable[float], larger: bool) -> float | None:
    """The largest number, or the smallest one; None where all are infinite, or no numbers."""
    return (max if larger else min)(filter(math.isfinite, values), default=None)


def groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by what they measure: {'loss': ['loss', 'val_loss'], …}."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.removeprefix(VALIDATION), []).append(name)
    return found


def draw(epochs: Sequence[int], history: Mapping[str, Sequence[float]], path: PathLike) -> None:
    """See :meth:`minnet.callbacks.History.plot`; epochs count from 0, in the picture from 1."""
    charts = groups(history)
    figure = new_figure("Drawing a history", 5.5 * len(charts), 4)
    all_axes = figure.subplots(1, len(charts), squeeze=False)[0]
    for axes, (title, names) in zip(all_axes, charts.items(), strict=True):
        for name in names:
            values = history[name]
            # One that was not measured in the first epochs has fewer values.
            numbers = [epoch + 1 for epoch in epochs[-len(values) :]]
            last = name == names[-1] and title != "lr"
            _curve(axes, numbers, values, name, larger_is_better(title) if last else None)
        if len(names) > 1:
            axes.legend()
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(y=0.12)
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def _curve(
    axes: Any, epochs: list[int], values: Sequence[float], name: str, larger: bool | None
) -> None:
    """One curve; ``larger``: whether the largest or the smallest value is marked, None for none."""
    validation = name.startswith(VALIDATION)
    color, label = ("tab:orange", "validation") if validation else ("tab:blue", "training")
    marker = "o" if len(values) <= 40 else None
    axes.plot(epochs, values, color=color, label=label, marker=marker, markersize=3)
    best = None if larger is None else best_of(values, larger)
    if best is None:
        return
    at = epochs[list(values).index(best)]
    axes.plot(at, best, "o", color=color, markersize=9, fillstyle="none")
    axes.annotate(
        *(f"{best:.4g}", (at, best), (0, -14 if larger else 8)),
        textcoords="offset points",
        ha="center",
        color=color,
    )
