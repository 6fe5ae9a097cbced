"""Tables: headed, aligned by kind, and free to scroll inside a narrow page."""

import re
from collections.abc import Sequence

from limbeck.pages.markup import Markup, element
from limbeck.pages.scales import number_text

__all__ = ["table"]

_QUANTITY = re.compile(r"[<>]?-?[0-9][0-9.,]*([kMGT]|(e-?[0-9]+)| ?(%|[kMGT]?B))?")
_LONG = 24  # letters from which a cell may be broken into lines


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    caption: str | Markup,
    row_heads: bool = True,
) -> Markup:
    """Returns a table with a caption; columns of numbers, with or without a unit, align right.

    Args:
      columns: heads.
      rows: cells; numbers are shortened for people, None is an empty cell.
      caption: what it shows.
      row_heads: whether the first cell of a row names the row.

    Raises:
      ValueError: a row is not as long as the heads.
    """
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row has {len(row)} cells; there are {len(columns)} columns")
    numeric = [
        all(row[i] in (None, "") or _is_number(row[i]) or _is_quantity(row[i]) for row in rows)
        for i in range(len(columns))
    ]
    classes = [("number" if is_number and rows else None) for is_number in numeric]
    head = element(
        "tr",
        None,
        *(
            element("th", {"scope": "col", "class": c}, n)
            for n, c in zip(columns, classes, strict=True)
        ),
    )
    body = [
        element(
            "tr",
            None,
            *(
                _cell(v, c, head=row_heads and i == 0)
                for i, (v, c) in enumerate(zip(row, classes, strict=True))
            ),
        )
        for row in rows
    ]
    whole = element(
        "table",
        None,
        element("caption", None, element("span", None, caption)),
        element("thead", None, head),
        element("tbody", None, *body),
    )
    return element("div", {"class": "scroll", "tabindex": "0", "role": "group"}, whole)


def _cell(value: object, kind: str | None, *, head: bool) -> Markup:
    text = number_text(float(value)) if _is_number(value) else "" if value is None else value  # type: ignore[arg-type]
    if head:
        return element("th", {"scope": "row", "class": kind}, text)
    is_long = isinstance(text, str) and len(text) > _LONG
    return element("td", {"class": kind or ("long" if is_long else None)}, text)


def _is_quantity(value: object) -> bool:
    return isinstance(value, str) and _QUANTITY.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, str | bool)
