"""Elements of HTML and SVG as strings that know they are markup: everything else is escaped."""

from html import escape

__all__ = ["Markup", "element", "text_of"]

_VOID = frozenset({"br", "circle", "col", "hr", "line", "meta", "path", "polygon", "rect"})


class Markup(str):
    """Text that is markup already; a plain `str` put into an element is escaped."""

    __slots__ = ()


def element(tag: str, attributes: dict[str, object] | None = None, /, *children: object) -> Markup:
    """Returns one element.

    Args:
      tag: its name.
      attributes: name -> value; those that are None or False are left out, True stands alone.
      children: markup as it is; all else as escaped text.
    """
    parts = [tag]
    for name, value in (attributes or {}).items():
        if value is None or value is False:
            continue
        parts.append(name if value is True else f'{name}="{escape(_word(value))}"')
    opening = " ".join(parts)
    inner = "".join(text_of(child) for child in children)
    if not inner and tag in _VOID:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{inner}</{tag}>")


def text_of(value: object) -> Markup:
    """Returns markup as it is, anything else as escaped text."""
    if isinstance(value, Markup):
        return value
    # A control character would make the page unreadable for strict parsers; tokens may hold them.
    plain = "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )
    return Markup(escape(plain))


def _word(value: object) -> str:
    """Coordinates to a tenth of a pixel: charts of thousands of points stay small."""
    if isinstance(value, float):
        text = f"{value:.1f}"
        return text[:-2] if text.endswith(".0") else text
    return str(value)
