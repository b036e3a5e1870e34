"""A model as a picture: a box for each layer, an arrow for each tensor from one to the next.

Boxes lie in rows: each below all that it needs. Those of a row are ordered by the mean position of
what they are connected to, which leaves few arrows crossing (Sugiyama et al. 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike, replacing
from minnet.graph import Call
from minnet.layers.base import short
from minnet.plots import new_figure, save_figure

HEIGHT, GAP, AISLE, MARGIN = 44, 36, 28, 16  # of boxes, between rows, between boxes, around all
CHARACTER = 7.2  # width of a letter of 12 points, on average
FILLS = {"InputLayer": "#e2efda", True: "#fff2cc", False: "#f2f2f2"}  # with parameters, without


@dataclass
class Box:
    """A layer's place, in pixels from the upper left corner; ``x`` is its middle."""

    title: str
    detail: str
    fill: str
    width: float
    x: float = 0.0
    y: float = 0.0


@dataclass
class Picture:
    """Boxes, and which arrows go from one to another."""

    boxes: list[Box]
    arrows: list[tuple[int, int]]
    width: float
    height: float


def arrange(calls: Sequence[Call]) -> Picture:
    """Where everything stands. Layers that are shared are one box with several arrows."""
    layers = list(dict.fromkeys(call.layer for call in calls))
    number = {layer: i for i, layer in enumerate(layers)}
    arrows = [(number[calls[k].layer], number[call.layer]) for call in calls for k in call.inputs]
    shapes = {call.layer: call.shape for call in calls}
    boxes = []
    for layer in layers:
        title, detail = f"{layer.name} ({type(layer).__name__})", short(shapes[layer])
        count = sum(p.size for p in layer.parameters.values())
        if count:
            detail += f" · {count:,} parameters"
        fill = FILLS.get(type(layer).__name__) or FILLS[count > 0]
        width = CHARACTER * max(len(title), len(detail)) + 20
        boxes.append(Box(title, detail, fill, width))
    rows = _rows(len(boxes), arrows)
    _place(boxes, rows, arrows)
    width = max(box.x + box.width / 2 for box in boxes) + MARGIN
    height = len(rows) * (HEIGHT + GAP) - GAP + 2 * MARGIN
    return Picture(boxes, arrows, width, height)


def _rows(count: int, arrows: list[tuple[int, int]]) -> list[list[int]]:
    """The longest way from an input gives a box its row; arrows are in the order of the calls."""
    depth = [0] * count
    for source, target in arrows:
        if source < target:  # a shared layer may get what was made of its first result
            depth[target] = max(depth[target], depth[source] + 1)
    rows: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for i, d in enumerate(depth):
        rows[d].append(i)
    return rows


def _place(boxes: list[Box], rows: list[list[int]], arrows: list[tuple[int, int]]) -> None:
    above: dict[int, list[int]] = {}
    for source, target in arrows:
        if source < target:
            above.setdefault(target, []).append(source)
    widest = max(sum(boxes[i].width + AISLE for i in row) - AISLE for row in rows)
    for depth, row in enumerate(rows):
        row.sort(key=lambda i: _mean([boxes[k].x for k in above.get(i, ())]))
        left = MARGIN + (widest - sum(boxes[i].width + AISLE for i in row) + AISLE) / 2
        for i in row:
            boxes[i].x, boxes[i].y = left + boxes[i].width / 2, MARGIN + depth * (HEIGHT + GAP)
            left += boxes[i].width + AISLE


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def svg(calls: Sequence[Call]) -> str:
    """The picture as the text of an SVG file."""
    picture = arrange(calls)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{picture.width:.0f}" '
        f'height="{picture.height:.0f}" font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{picture.width:.0f}" height="{picture.height:.0f}" fill="white"/>',
    ]
    for source, target in picture.arrows:
        (x1, y1), (x2, y2) = _ends(picture, source, target)
        bend = (y2 - y1) / 2
        parts.append(
            f'<path d="M{x1:.1f} {y1:.1f}C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} '
            f'{x2:.1f} {y2:.1f}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
        )
    for box in picture.boxes:
        left, middle = box.x - box.width / 2, f'x="{box.x:.1f}" text-anchor="middle"'
        parts.append(
            f'<rect x="{left:.1f}" y="{box.y}" width="{box.width:.1f}" height="{HEIGHT}" rx="5" '
            f'fill="{box.fill}" stroke="#888"/>'
            f'<text {middle} y="{box.y + 18}" font-weight="bold">{escape(box.title)}</text>'
            f'<text {middle} y="{box.y + 35}">{escape(box.detail)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _ends(picture: Picture, source: int, target: int) -> tuple[Any, Any]:
    a, b = picture.boxes[source], picture.boxes[target]
    return (a.x, a.y + HEIGHT), (b.x, b.y)


def draw(calls: Sequence[Call], path: PathLike) -> None:
    """Write the picture to a file, .svg or .png; see :meth:`minnet.model.Model.plot`."""
    ending = Path(path).suffix.lower()
    if ending == ".svg":
        with replacing(path, "a picture") as file:
            file.write_text(svg(calls), encoding="utf-8")
    elif ending == ".png":
        _draw_png(arrange(calls), path)
    else:
        received = f"the ending {ending!r}"
        raise ArgumentError(mismatch(f"plot {str(path)!r}", "a .svg or .png file", received))


def _draw_png(picture: Picture, path: PathLike) -> None:
    # In points, as many as pixels of the SVG, and twice as fine.
    figure = new_figure("A picture as PNG", picture.width / 72, picture.height / 72)
    figure.set_dpi(144)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.axis("off")
    arrow = {"arrowstyle": "-|>", "color": "#555", "shrinkA": 0, "shrinkB": 0}
    for source, target in picture.arrows:
        start, end = _ends(picture, source, target)
        axes.annotate("", end, start, arrowprops=arrow)
    for box in picture.boxes:
        left, right = box.x - box.width / 2, box.x + box.width / 2
        corners = [left, right, right, left], [box.y, box.y, box.y + HEIGHT, box.y + HEIGHT]
        axes.fill(*corners, fc=box.fill, ec="#888")
        text = {"ha": "center", "va": "center", "fontsize": 10}
        axes.text(box.x, box.y + 14, box.title, weight="bold", **text)
        axes.text(box.x, box.y + 31, box.detail, **text)
    save_figure(figure, path)
