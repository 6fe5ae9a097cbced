import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from limbeck.pages import (
    Markup,
    Page,
    Section,
    Series,
    element,
    line_chart,
    page_html,
    table,
    write_page,
)
from limbeck.pages.style import STYLE

VOID = {"meta", "line", "rect", "circle", "polygon", "path", "br", "hr"}


class Balance(HTMLParser):
    """Checks that every element is closed in turn; collects tags, ids and text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.ids, self.words = [], [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page(*body):
    return Page(title="T", lead="L", sections=[Section(title="One", body=body)])


def test_a_page_is_balanced_and_needs_nothing_from_elsewhere():
    chart = line_chart("c", [Series(name="a", x=[0, 1], y=[0, 1])], x_label="x", y_label="y")
    other = line_chart("d", [Series(name="a", x=[0, 1], y=[0, 1])], x_label="x", y_label="y")
    html = page_html(page("Words.", chart, other, table(["a"], [[1]], caption="t")))
    found = Balance(html)
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert len(set(found.ids)) == len(found.ids)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not re.search(r"https?:|url\(|@import|javascript:", html)


@pytest.mark.parametrize(
    "nasty", ["<script>alert(1)</script>", "a & b", 'x" onload="y', "\x00\x1b"]
)
def test_text_stays_text_wherever_it_stands(nasty):
    bad = Page(
        title=nasty,
        lead=nasty,
        facts=[(nasty, nasty)],
        sections=[
            Section(title=nasty, body=[nasty, table([nasty], [[nasty]], caption=nasty)]),
            Section(
                title="2",
                body=[
                    line_chart(
                        nasty,
                        [Series(name=nasty, x=[0], y=[0]), Series(name="b", x=[0], y=[0])],
                        x_label=nasty,
                        y_label=nasty,
                        says=nasty,
                    )
                ],
            ),
        ],
    )
    html = page_html(bad)
    found = Balance(html)
    assert "script" not in found.tags and "\x00" not in html and "\x1b" not in html
    assert not re.search(r"<[^>]* onload=\"", html.replace("&quot;", ""))


def test_a_page_is_ascii_whatever_its_words(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, page("\N{SNOWMAN} \N{GREEK SMALL LETTER TAU}"))
    data = path.read_bytes()
    assert data.isascii() and b"&#9731;" in data
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_equal_pages_are_equal_bytes():
    assert page_html(page("a")) == page_html(page("a"))


def test_elements_escape_what_is_not_markup():
    assert element("p", {"class": None, "hidden": True, "title": '"'}, "<", Markup("<b>x</b>")) == (
        '<p hidden title="&quot;">&lt;<b>x</b></p>'
    )


def test_columns_of_numbers_and_quantities_align_right():
    html = table(
        ["name", "n", "share", "mixed"],
        [["a", 1, "5.1%", "3"], ["b", None, "<0.1%", "three"]],
        caption="t",
    )
    classes = re.findall(r'<th scope="col"( class="number")?>(\w+)', html)
    assert [name for right, name in classes if right] == ["n", "share"]


def test_a_short_row_is_refused():
    with pytest.raises(ValueError, match="a row has 1 cells; there are 2 columns"):
        table(["a", "b"], [[1]], caption="t")


def _luminance(colour):
    digits = colour * 2 if len(colour) == 3 else colour
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(a, b):
    """Ratio of WCAG 2: (L1 + 0.05) / (L2 + 0.05)."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1])  # light, dark
def test_words_and_marks_stand_out_from_their_ground(mode):
    blocks = re.findall(r":root\{([^}]*)\}", STYLE)
    colours = dict(re.findall(r"--(\w+):#([0-9a-f]+)", blocks[mode]))
    grounds = [colours["ground"], colours["panel"]]
    for ground in grounds:
        assert _contrast(colours["ink"], ground) >= 7
        assert _contrast(colours["faint"], ground) >= 4.5  # the text level of WCAG 2 AA
        for number in range(6):
            assert _contrast(colours[f"c{number}"], ground) >= 3  # its level for graphics
    assert _contrast(colours["ink"], colours["mark"]) >= 4.5
    assert _contrast(colours["c0"], colours["ground"]) >= 4.5  # links


def test_pages_need_no_framework():
    code = (
        "import sys, limbeck.pages; print({'tensorflow', 'torch', 'matplotlib'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_quantities_below_zero_and_with_suffixes_align_right():
    rows = [["a", "-0.0082", "38.0k", "2.5e-4", "3d"], ["b", "0.5", "", "1", "4"]]
    html = table(["", "below zero", "count", "small", "word"], rows, caption="c")
    assert html.count('<th scope="col" class="number">') == 3
