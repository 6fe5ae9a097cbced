import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from limbeck.pages import Bar, Series, bar_chart, histogram, line_chart


def parse(figure):
    """The figure as a tree; it is well-formed, or this fails."""
    return ElementTree.fromstring(str(figure).replace("&#160;", " "))


def by_class(tree, name):
    return [e for e in tree.iter() if name in e.get("class", "").split()]


def points_of(path):
    """[(x, y)] of each stroke of a path."""
    strokes = [stroke for stroke in path.get("d").split("M") if stroke]
    return [[tuple(map(float, p.split())) for p in stroke.split("L")] for stroke in strokes]


def test_a_line_goes_through_its_points_and_breaks_at_gaps():
    series = Series(name="a", x=[0, 1, 2, 3, 4], y=[0, 1, np.nan, 0.5, 1])
    tree = parse(line_chart("t", [series], x_label="x", y_label="y"))
    (path,) = [e for e in by_class(tree, "line") if e.tag == "path"]
    first, second = points_of(path)
    assert [len(first), len(second)] == [2, 2]
    (x0, y0), (x1, y1) = first
    assert x1 > x0 and y1 < y0  # to the right, and up, where y is smaller
    assert second[1][1] == y1  # equal values, equal heights
    assert len(by_class(tree, "mark")) == 4


def test_every_drawing_has_a_name_a_sentence_and_its_numbers():
    series = [Series(name="a", x=[1, 2], y=[3, 4]), Series(name="b", x=[2, 8], y=[5, 6])]
    tree = parse(line_chart("Mass", series, x_label="k", y_label="mass", says="It rises."))
    svg = next(e for e in tree.iter("svg") if e.get("role") == "img")
    named = {e.get("id"): e.text for e in svg.iter() if e.get("id")}
    assert [named[i] for i in svg.get("aria-labelledby").split()] == ["Mass", "It rises."]
    rows = [[cell.text for cell in row] for row in tree.find("details").iter("tr")]
    assert rows == [["k", "a", "b"], ["1", "3", None], ["2", "4", "5"], ["8", None, "6"]]


def test_series_differ_in_colour_and_shape():
    series = [Series(name=str(i), x=[0], y=[i]) for i in range(6)]
    tree = parse(line_chart("t", series, x_label="x", y_label="y"))
    legend = by_class(tree, "swatch")
    assert len(legend) == 6
    colours = {mark.get("class") for swatch in legend for mark in by_class(swatch, "mark")}
    shapes = set()
    for swatch in legend:
        (mark,) = by_class(swatch, "mark")
        shapes.add(mark.get("points") or mark.tag)
    assert len(colours) == len(shapes) == 6


def test_a_single_series_has_no_legend():
    tree = parse(line_chart("t", [Series(name="a", x=[0, 1], y=[0, 1])], x_label="x", y_label="y"))
    assert not by_class(tree, "legend")


def test_a_band_follows_both_edges():
    series = Series(name="a", x=[0, 1], y=[1, 1], low=[0, 0], high=[2, 2])
    tree = parse(line_chart("t", [series], x_label="x", y_label="y"))
    (band,) = by_class(tree, "band")
    corners = [tuple(map(float, p.split(","))) for p in band.get("points").split()]
    assert len(corners) == 4 and len({y for _, y in corners}) == 2
    heads = [cell.text for cell in tree.find("details").iter("th") if cell.get("scope") == "col"]
    assert heads == ["x", "a", "a, low", "a, high"]


def test_many_points_are_a_line_without_marks():
    x = np.arange(1000)
    tree = parse(line_chart("t", [Series(name="a", x=x, y=x)], x_label="x", y_label="y"))
    assert not by_class(tree, "mark")


def test_all_is_inside_the_drawing():
    rng = np.random.default_rng(1)
    x = np.sort(np.exp(rng.normal(0, 5, 50)))
    series = [Series(name="a", x=x, y=rng.normal(0, 1e6, 50))]
    tree = parse(line_chart("t", series, x_label="x", y_label="y", x_scale="log"))
    svg = next(e for e in tree.iter("svg") if e.get("role") == "img")
    _, _, width, height = map(float, svg.get("viewBox").split())
    for path in by_class(svg, "line"):
        for stroke in points_of(path):
            for left, down in stroke:
                assert 0 <= left <= width and 0 <= down <= height


@pytest.mark.parametrize("y", [[np.nan, np.nan], [1.0, 1.0], [0.0, -1e-300]])
def test_odd_values_are_drawn_without_fail(y):
    parse(line_chart("t", [Series(name="a", x=[1, 2], y=y)], x_label="x", y_label="y"))


def test_no_series_is_an_empty_frame():
    parse(line_chart("t", [], x_label="x", y_label="y"))


def test_unlike_lengths_are_refused():
    with pytest.raises(ValueError, match=r"series a: x is \(2,\) and y is \(3,\)"):
        line_chart("t", [Series(name="a", x=[1, 2], y=[1, 2, 3])], x_label="x", y_label="y")


def test_a_histogram_has_the_shares_of_its_bins():
    tree = parse(histogram("t", [("a", [0, 0, 0, 1, np.nan])], x_label="x", num_bins=2))
    rows = [[cell.text for cell in row] for row in tree.find("details").iter("tr")]
    assert rows[1:] == [["0 to 0.5", "0.75"], ["0.5 to 1", "0.25"]]
    heights = [float(column.get("height")) for column in by_class(tree, "column")]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.3)  # drawn to a tenth of a pixel


def test_histograms_of_several_samples_are_outlines():
    tree = parse(histogram("t", [("a", [0, 1]), ("b", [1, 2])], x_label="x"))
    assert not by_class(tree, "column") and len(by_class(tree, "legend")) == 1


def test_bars_are_as_long_as_their_values():
    bars = [Bar(name="a", value=2.0), Bar(name="b", value=1.0, text="one"), Bar(name="c", value=0)]
    tree = parse(bar_chart("t", bars, label="bytes"))
    widths = [float(bar.get("width")) for bar in by_class(tree, "column")]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2) and widths[2] == 0
    assert [text.text for text in by_class(tree, "value")] == ["2", "one", "0"]


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_bar_below_zero_is_refused(value):
    with pytest.raises(ValueError, match="bar a: "):
        bar_chart("t", [Bar(name="a", value=value)], label="x")


def test_eighteen_lines_differ_in_colour_or_dashes():
    names = [f"run {number}" for number in range(18)]
    chart = line_chart(
        "many", [Series(name=n, x=[0, 1], y=[0, 1]) for n in names], x_label="x", y_label="y"
    )
    assert len(set(re.findall(r'<path class="(line s\d d\d)"', chart))) == 18
