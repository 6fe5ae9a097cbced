"""Bar charts: one bar a name, lying, so that long names are readable."""

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.pages.frame import WIDTH, figure
from limbeck.pages.markup import Markup, element
from limbeck.pages.scales import number_text

__all__ = ["Bar", "bar_chart"]

_ROW = 30.0
_LETTER = 9.0  # mean width of a letter at 16 pixels, as on phones


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar."""

    name: str
    """What it stands for."""
    value: float
    """Its length, at least 0."""
    text: str = ""
    """What stands at its end; the value where empty."""


def bar_chart(title: str, bars: Sequence[Bar], *, label: str, says: str = "") -> Markup:
    """Returns a figure with a bar a value, all from 0.

    Args:
      title: what is compared.
      bars: in the order from top to bottom.
      label: name and unit of the values.
      says: the finding in a sentence.

    Raises:
      ValueError: a value below 0, or none.
    """
    for bar in bars:
        if not bar.value >= 0:
            raise ValueError(f"bar {bar.name}: {bar.value} is not at least 0")
    longest = max((bar.value for bar in bars), default=0.0) or 1.0
    texts = [bar.text or number_text(bar.value) for bar in bars]
    left = min(170.0, max((len(bar.name) for bar in bars), default=0) * _LETTER + 10)
    room = WIDTH - left - max((len(text) for text in texts), default=0) * _LETTER - 12
    drawing = []
    for number, (bar, text) in enumerate(zip(bars, texts, strict=True)):
        middle, length = number * _ROW + _ROW / 2, bar.value / longest * room
        name = _shortened(bar.name, int((left - 10) / _LETTER))
        whole = element("title", None, f"{bar.name}: {text}")
        drawing += [
            element("text", {"x": left - 8, "y": middle + 4, "text-anchor": "end"}, name),
            element(
                "rect",
                {"class": "column s0", "x": left, "y": middle - 9, "width": length, "height": 18.0},
                whole,
            ),
            element("text", {"x": left + length + 6, "y": middle + 4, "class": "value"}, text),
        ]
    return figure(
        title,
        drawing,
        says=says,
        height=max(1, len(bars)) * _ROW,
        columns=["", label],
        rows=[[bar.name, bar.value] for bar in bars],
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(1, most - 1)] + "\N{HORIZONTAL ELLIPSIS}"
