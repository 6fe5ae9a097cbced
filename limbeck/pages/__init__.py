"""Small web pages of numbers: one file each, charts as inline SVG, nothing fetched, no script.

    page = Page(title="Labels of the demo", lead="What the teacher left behind.", sections=[
        Section(title="Entropy", body=[
            line_chart("...", [Series(name="k 16", x=x, y=y)], x_label="k", y_label="mass"),
        ]),
    ])
    write_page("inspect.html", page)

Pages read well on paper, on a phone, in the dark and aloud: every chart has a sentence that says
what it shows and its numbers as a table. Standard library and NumPy only.
"""

from limbeck.pages.bars import Bar, bar_chart
from limbeck.pages.lines import Series, histogram, line_chart
from limbeck.pages.markup import Markup, element, text_of
from limbeck.pages.page import Page, Section, figure_row, notes, page_html, write_page
from limbeck.pages.scales import number_text
from limbeck.pages.tables import table

__all__ = [
    "Bar",
    "Markup",
    "Page",
    "Section",
    "Series",
    "bar_chart",
    "element",
    "figure_row",
    "histogram",
    "line_chart",
    "notes",
    "number_text",
    "page_html",
    "table",
    "text_of",
    "write_page",
]
