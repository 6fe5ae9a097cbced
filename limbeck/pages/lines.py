"""Line charts and histograms."""

# n points of a series

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.pages.frame import Plot, figure, legend, line_class, marker, x_axis, y_axis
from limbeck.pages.markup import Markup, element
from limbeck.pages.scales import Scale, ScaleKind, number_text, scale_for

__all__ = ["Series", "histogram", "line_chart"]

MOST_MARKS = 24  # points of a series that get a mark of their own


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One line of a chart."""

    name: str
    """For the legend."""
    x: npt.ArrayLike
    """(n,) ascending."""
    y: npt.ArrayLike
    """(n,); NaN leaves a gap."""
    low: npt.ArrayLike | None = None
    """(n,) lower edge of a band around it."""
    high: npt.ArrayLike | None = None
    """(n,) upper edge."""


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    says: str = "",
    x_scale: ScaleKind = "linear",
    y_scale: ScaleKind = "linear",
    x_ticks: Sequence[float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Markup:
    """Returns a figure with a line a series.

    Args:
      title: what is plotted.
      series: up to eighteen are told apart, six easily.
      x_label: name and unit of the horizontal axis.
      y_label: name and unit of the vertical axis.
      says: the finding in a sentence.
      x_scale: linear or log.
      y_scale: linear or log.
      x_ticks: where the horizontal axis has numbers; None chooses.
      y_limits: range of the vertical axis; None shows all values.

    Raises:
      ValueError: a series whose x and y are not equally long.
    """
    arrays = [_arrays(one) for one in series]
    plot = Plot()
    xs = np.concatenate([a[0] for a in arrays] or [np.zeros(0)])
    edges = [edge for a in arrays for edge in a[1:] if edge is not None]
    across = scale_for(xs, start=plot.left, stop=plot.right, kind=x_scale)
    upward = scale_for(
        np.concatenate(edges or [np.zeros(0)]),
        start=plot.bottom,
        stop=plot.top,
        kind=y_scale,
        limits=y_limits,
        whole=True,
    )
    drawing = [*y_axis(upward, plot, y_label), *x_axis(across, plot, x_label, ticks=x_ticks)]
    for number, (x, _, low, high) in enumerate(arrays):
        if low is not None and high is not None:
            drawing.append(_band(across(x), upward(low), upward(high), number))
    for number, (one, (x, y, _, _)) in enumerate(zip(series, arrays, strict=True)):
        drawing += _line(one.name, x, y, across, upward, number)
    return figure(
        title,
        drawing,
        says=says,
        key=legend([one.name for one in series]),
        columns=[x_label, *_heads(series, y_label)],
        rows=_rows(series, arrays),
    )


def histogram(
    title: str,
    samples: Sequence[tuple[str, npt.ArrayLike]],
    *,
    x_label: str,
    says: str = "",
    num_bins: int = 24,
) -> Markup:
    """Returns a figure of the shares of values in equal bins; outlines where there are several.

    Args:
      title: what is counted.
      samples: name and values (n,) each; what is not finite is left out.
      x_label: name and unit of the values.
      says: the finding in a sentence.
      num_bins: over the range of all samples.
    """
    finite = [(n, v[np.isfinite(v)]) for n, v in ((n, np.asarray(v, float)) for n, v in samples)]
    values = np.concatenate([v for _, v in finite] or [np.zeros(0)])
    plot = Plot()
    across = scale_for(values, start=plot.left, stop=plot.right)
    edges = np.linspace(across.low, across.high, num_bins + 1)
    shares = [np.histogram(v, edges)[0] / max(1, len(v)) for _, v in finite]
    top = max([float(s.max(initial=0.0)) for s in shares] or [0.0]) or 1.0
    upward = scale_for([0.0, top], start=plot.bottom, stop=plot.top, whole=True)
    drawing = [*y_axis(upward, plot, "share of positions"), *x_axis(across, plot, x_label)]
    for number, share in enumerate(shares):
        draw = _columns if len(shares) == 1 else _outline
        drawing += draw(edges, share, across, upward, number)
    rows = [
        [f"{number_text(a)} to {number_text(b)}", *(s[i] for s in shares)]
        for i, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    ]
    names = [name for name, _ in finite]
    return figure(
        title, drawing, says=says, key=legend(names), columns=[x_label, *names], rows=rows
    )


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]


def _arrays(one: Series) -> Arrays:
    x, y = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"series {one.name}: x is {x.shape} and y is {y.shape}; both must be (n,)")
    low, high = (None if e is None else np.asarray(e, np.float64) for e in (one.low, one.high))
    return x, y, low, high


def _line(
    name: str, x: np.ndarray, y: np.ndarray, across: Scale, upward: Scale, number: int
) -> list[Markup]:
    left, up = across(x), upward(y)
    seen = np.isfinite(left) & np.isfinite(up)
    steps, pen_is_down = [], False
    for i, is_seen in enumerate(seen):
        if is_seen:
            steps.append(f"{'L' if pen_is_down else 'M'}{left[i]:.1f} {up[i]:.1f}")
        pen_is_down = bool(is_seen)
    parts = [element("path", {"class": line_class(number), "d": "".join(steps)})] if steps else []
    if seen.sum() <= MOST_MARKS:
        parts += [
            marker(left[i], up[i], number, tip=f"{name}: {number_text(x[i])}, {number_text(y[i])}")
            for i in np.flatnonzero(seen)
        ]
    return parts


def _band(left: np.ndarray, low: np.ndarray, high: np.ndarray, number: int) -> Markup:
    seen = np.isfinite(left) & np.isfinite(low) & np.isfinite(high)
    edge = [*zip(left[seen], high[seen], strict=True)]
    edge += [*zip(left[seen][::-1], low[seen][::-1], strict=True)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
    return element("polygon", {"class": f"band s{number % 6}", "points": points})


def _columns(
    edges: np.ndarray, share: np.ndarray, across: Scale, upward: Scale, number: int
) -> list[Markup]:
    parts = []
    for start, end, value in zip(edges[:-1], edges[1:], share, strict=True):
        left, right, y = float(across(start)), float(across(end)), float(upward(value))
        tip = f"{number_text(start)} to {number_text(end)}: {value:.1%}"
        box = {"x": left + 0.5, "y": y, "width": right - left - 1.0, "height": upward.start - y}
        parts.append(
            element("rect", {"class": f"column s{number % 6}", **box}, element("title", None, tip))
        )
    return parts


def _outline(
    edges: np.ndarray, share: np.ndarray, across: Scale, upward: Scale, number: int
) -> list[Markup]:
    x = np.repeat(across(edges), 2)[1:-1]
    y = np.repeat(upward(share), 2)
    steps = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    peak = int(np.argmax(share))
    middle = float(across((edges[peak] + edges[peak + 1]) / 2))
    path = element("path", {"class": line_class(number), "d": f"M{steps}"})
    return [path, marker(middle, float(upward(share[peak])), number)]


def _heads(series: Sequence[Series], y_label: str) -> list[str]:
    heads = []
    for one in series:
        name = one.name or y_label
        heads += [name, f"{name}, low", f"{name}, high"] if one.low is not None else [name]
    return heads


def _rows(series: Sequence[Series], arrays: Sequence[Arrays]) -> list[list[object]]:
    columns: list[dict[float, float]] = []
    for x, y, low, high in arrays:
        columns += [
            dict(zip(x.tolist(), c.tolist(), strict=True)) for c in (y, low, high) if c is not None
        ]
    places = sorted({place for column in columns for place in column})
    return [[place, *(column.get(place) for column in columns)] for place in places]
