"""A model as a picture: a box for each layer, an arrow for each tensor from one to the next.

Boxes lie in rows: each below all that it needs. Those of a row are ordered by the mean position of
what is above them, and an arrow that passes a row has a place in it, so that no arrow runs through
a box and few cross (Sugiyama et al. 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from minnet.errors import ArgumentError, mismatch
from minnet.files import PathLike, replacing
from minnet.graph import Call
from minnet.layers.base import short
from minnet.plots import new_figure, save_figure

HEIGHT, GAP, AISLE, MARGIN = 44, 36, 28, 16  # of boxes, between rows, between boxes, around all
CHARACTER = 7.2  # width of a letter of 12 points, on average
INPUT, LEARNING, PLAIN, PASSAGE = "#e2efda", "#fff2cc", "#f2f2f2", ""  # fills; a passage has none
LINE = "#555555"

Point = tuple[float, float]


@dataclass
class Box:
    """A layer's place, or that of an arrow which passes its row; ``x`` is its middle, in pixels."""

    title: str
    detail: str
    fill: str
    width: float
    x: float = 0.0
    y: float = 0.0


@dataclass
class Picture:
    """Boxes and arrows: the numbers of the boxes that an arrow goes through."""

    boxes: list[Box]
    arrows: list[list[int]]
    width: float
    height: float


def arrange(calls: Sequence[Call]) -> Picture:
    """Where everything stands. Layers that are shared are one box with several arrows."""
    layers = list(dict.fromkeys(call.layer for call in calls))
    number = {layer: i for i, layer in enumerate(layers)}
    shapes = {call.layer: call.shape for call in calls}
    boxes = []
    for layer in layers:
        title, detail = f"{layer.name} ({type(layer).__name__})", short(shapes[layer])
        count = sum(p.size for p in layer.parameters.values())
        if count:
            detail += f" · {count:,} parameters"
        fill = LEARNING if count else INPUT if type(layer).__name__ == "InputLayer" else PLAIN
        width = CHARACTER * max(len(title), len(detail)) + 20
        boxes.append(Box(title, detail, fill, width))
    pairs = [(number[calls[k].layer], number[call.layer]) for call in calls for k in call.inputs]
    rows, arrows = _rows(boxes, list(dict.fromkeys(pairs)))
    _place(boxes, rows, arrows)
    width = max(box.x + box.width / 2 for box in boxes) + MARGIN
    return Picture(boxes, arrows, width, len(rows) * (HEIGHT + GAP) - GAP + 2 * MARGIN)


def _rows(
    boxes: list[Box], pairs: list[tuple[int, int]]
) -> tuple[list[list[int]], list[list[int]]]:
    """Boxes by rows, and arrows with their passages; a box's row is the longest way to it."""
    depth = [0] * len(boxes)
    for source, target in pairs:
        if source < target:  # a shared layer may be given what was made of its first result
            depth[target] = max(depth[target], depth[source] + 1)
    rows: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for i, d in enumerate(depth):
        rows[d].append(i)
    arrows = []
    for source, target in pairs:
        arrow = [source]
        for d in range(depth[source] + 1, depth[target]):
            rows[d].append(len(boxes))
            arrow.append(len(boxes))
            boxes.append(Box("", "", PASSAGE, 0.0))
        arrows.append([*arrow, target])
    return rows, arrows


def _place(boxes: list[Box], rows: list[list[int]], arrows: list[list[int]]) -> None:
    above: dict[int, list[int]] = {}
    for arrow in arrows:
        for source, target in pairwise(arrow):
            above.setdefault(target, []).append(source)
    lengths = [sum(boxes[i].width + AISLE for i in row) - AISLE for row in rows]
    for depth, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if depth:
            row.sort(key=lambda i: sum(boxes[k].x for k in above[i]) / len(above[i]))
        left = MARGIN + (max(lengths) - length) / 2
        for i in row:
            boxes[i].x, boxes[i].y = left + boxes[i].width / 2, MARGIN + depth * (HEIGHT + GAP)
            left += boxes[i].width + AISLE


def curves(picture: Picture, arrow: list[int]) -> list[tuple[Point, Point, Point, Point]]:
    """An arrow as Bézier curves: through the gaps between rows, and straight through the rows."""
    found = []
    boxes = [picture.boxes[i] for i in arrow]
    for a, b in pairwise(boxes):
        if a.fill == PASSAGE:
            top, bottom = (a.x, a.y), (a.x, a.y + HEIGHT)
            found.append((top, top, bottom, bottom))
        start, end = (a.x, a.y + HEIGHT), (b.x, b.y)
        middle = (start[1] + end[1]) / 2
        found.append((start, (a.x, middle), (b.x, middle), end))
    return found


def svg(calls: Sequence[Call]) -> str:
    """The picture as the text of an SVG file."""
    picture = arrange(calls)
    size = f'width="{picture.width:.0f}" height="{picture.height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        f'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect {size} fill="white"/>',
    ]
    for arrow in picture.arrows:
        lines = curves(picture, arrow)
        path = f"M{_point(lines[0][0])}" + "".join(
            f"C{' '.join(map(_point, points))}" for _, *points in lines
        )
        parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#tip)"/>')
    for box in picture.boxes:
        if box.fill == PASSAGE:
            continue
        left, middle = box.x - box.width / 2, f'x="{box.x:.1f}" text-anchor="middle"'
        parts.append(
            f'<rect x="{left:.1f}" y="{box.y}" width="{box.width:.1f}" height="{HEIGHT}" rx="5" '
            f'fill="{box.fill}" stroke="#888"/>'
            f'<text {middle} y="{box.y + 18}" font-weight="bold">{escape(box.title)}</text>'
            f'<text {middle} y="{box.y + 35}">{escape(box.detail)}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def _point(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def draw(calls: Sequence[Call], path: PathLike) -> None:
    """Write the picture to a file, .svg or .png; see :meth:`minnet.Sequential.plot`."""
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
    figure.set_layout_engine("none")
    figure.set_dpi(144)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))
    axes.axis("off")
    for arrow in picture.arrows:
        lines = curves(picture, arrow)
        points = [_between(line, step / 12) for line in lines for step in range(13)]
        axes.plot(*zip(*points), color=LINE, linewidth=1)
        (x, y), tip = points[-1], {"arrowstyle": "-|>", "color": LINE, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, y), (x, y - 9), arrowprops=tip)
    for box in picture.boxes:
        if box.fill == PASSAGE:
            continue
        left, right, low = box.x - box.width / 2, box.x + box.width / 2, box.y + HEIGHT
        corners = [left, right, right, left], [box.y, box.y, low, low]
        axes.fill(*corners, fc=box.fill, ec="#888888")
        text = {"ha": "center", "va": "center", "fontsize": 10}
        axes.text(box.x, box.y + 14, box.title, weight="bold", **text)
        axes.text(box.x, box.y + 31, box.detail, **text)
    save_figure(figure, path)


def _between(line: tuple[Point, Point, Point, Point], t: float) -> Point:
    """A point of a Bézier curve."""
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    return (
        sum(w * point[0] for w, point in zip(weights, line, strict=True)),
        sum(w * point[1] for w, point in zip(weights, line, strict=True)),
    )
