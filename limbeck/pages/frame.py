"""What all charts share: the figure with its sentence, the frame with its axes, the numbers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.pages.markup import Markup, element
from limbeck.pages.scales import Scale, number_text
from limbeck.pages.tables import table

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Plot",
    "figure",
    "legend",
    "line_class",
    "marker",
    "x_axis",
    "y_axis",
]

# Drawn at the width of a phone, so that 13-pixel letters stay readable there; two fit side by side
# on a desk.
WIDTH, HEIGHT = 440.0, 256.0
_SHAPES = ("circle", "square", "triangle", "diamond", "bar", "cross")
_LETTER = 9.0  # mean width of a letter at 16 pixels, as on phones


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Where the data of a chart are drawn, in pixels of its view box."""

    left: float = 52.0
    """Right of the vertical axis's numbers."""
    right: float = WIDTH - 14.0
    """End of the horizontal axis."""
    top: float = 30.0
    """Below the vertical axis's name."""
    bottom: float = HEIGHT - 44.0
    """Above the horizontal axis's numbers."""


def figure(
    title: str,
    drawing: Sequence[Markup],
    *,
    says: str,
    height: float = HEIGHT,
    key: Markup | None = None,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
) -> Markup:
    """Returns a chart with its title, a sentence on what it says, and its numbers as a table.

    Args:
      title: heads the figure and names the drawing for who cannot see it.
      drawing: elements of the SVG.
      says: the finding, one or two sentences; below the title and read aloud.
      height: of the drawing.
      key: the legend.
      columns: heads of the table.
      rows: its cells.
    """
    name = "c" + hashlib.sha256(f"{title}\n{says}".encode()).hexdigest()[:10]
    svg = element(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH:g} {height:g}",
            "role": "img",
            "aria-labelledby": f"{name}t {name}d",
        },
        element("title", {"id": f"{name}t"}, title),
        element("desc", {"id": f"{name}d"}, says),
        *drawing,
    )
    numbers = element(
        "details",
        None,
        element("summary", None, "Numbers"),
        table(columns, rows, caption=title),
    )
    caption = element(
        "figcaption",
        None,
        element("strong", None, title),
        element("span", None, says) if says else "",
    )
    return element("figure", {"class": "chart"}, caption, key or "", svg, numbers)


def x_axis(
    scale: Scale, plot: Plot, label: str, *, ticks: Sequence[float] | None = None
) -> list[Markup]:
    """Returns the horizontal axis: a line, ticks with numbers, and what they count."""
    line = {"x1": plot.left, "x2": plot.right, "y1": plot.bottom, "y2": plot.bottom}
    parts = [element("line", {"class": "axis", **line})]
    last_end = -1e9
    for tick in scale.ticks() if ticks is None else ticks:
        place, text = float(scale(tick)), number_text(tick)
        half = len(text) * _LETTER / 2
        if place - half < last_end + 6:
            continue  # two numbers would touch
        last_end = place + half
        parts.append(
            element(
                "line",
                {
                    "class": "axis",
                    "x1": place,
                    "x2": place,
                    "y1": plot.bottom,
                    "y2": plot.bottom + 4,
                },
            )
        )
        parts.append(
            element("text", {"x": place, "y": plot.bottom + 17, "text-anchor": "middle"}, text)
        )
    middle = (plot.left + plot.right) / 2
    where = {"x": middle, "y": plot.bottom + 37, "text-anchor": "middle", "class": "name"}
    return [*parts, element("text", where, label)]


def y_axis(scale: Scale, plot: Plot, label: str) -> list[Markup]:
    """Returns the vertical axis: numbers with faint lines across, and its name above them."""
    parts = []
    for tick in scale.ticks(5):
        place = float(scale(tick))
        across = {"x1": plot.left, "x2": plot.right, "y1": place, "y2": place}
        parts.append(element("line", {"class": "grid", **across}))
        where = {"x": plot.left - 6, "y": place + 4, "text-anchor": "end"}
        parts.append(element("text", where, number_text(tick)))
    return [*parts, element("text", {"x": 2.0, "y": 13.0, "class": "name"}, label)]


def legend(names: Sequence[str]) -> Markup | None:
    """Returns which mark is which; None where there is one series only."""
    if len(names) < 2:
        return None
    entries = []
    for number, name in enumerate(names):
        swatch = element(
            "svg",
            {"viewBox": "0 0 26 12", "class": "swatch", "aria-hidden": "true"},
            element("line", {"class": line_class(number), "x1": 1, "x2": 25, "y1": 6, "y2": 6}),
            marker(13.0, 6.0, number),
        )
        entries.append(element("li", None, swatch, name))
    return element("ul", {"class": "legend"}, *entries)


def line_class(number: int) -> str:
    """Returns the class of series `number`: six colours, then again dashed, then dotted."""
    return f"line s{number % 6} d{number // 6 % 3}"


def marker(x: float, y: float, number: int, *, tip: str = "") -> Markup:
    """Returns the mark of series `number` at a point: shape and colour both tell them apart."""
    shape = _SHAPES[number % len(_SHAPES)]
    attributes: dict[str, object] = {"class": f"mark s{number % 6}"}
    title = [element("title", None, tip)] if tip else []
    if shape == "circle":
        return element("circle", {**attributes, "cx": x, "cy": y, "r": 3.2}, *title)
    outlines: dict[str, Sequence[tuple[float, float]]] = {
        "square": [(-3, -3), (3, -3), (3, 3), (-3, 3)],
        "triangle": [(0, -4), (4, 3), (-4, 3)],
        "diamond": [(0, -4.2), (4.2, 0), (0, 4.2), (-4.2, 0)],
        "bar": [(-1.6, -4), (1.6, -4), (1.6, 4), (-1.6, 4)],
        "cross": [(-4, -3), (-3, -4), (0, -1), (3, -4), (4, -3), (1, 0)]
        + [(4, 3), (3, 4), (0, 1), (-3, 4), (-4, 3), (-1, 0)],
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in outlines[shape])
    return element("polygon", {**attributes, "points": points}, *title)
