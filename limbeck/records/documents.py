"""Documents: what preparation makes of a page, one sentence an item."""

from limbeck.records.layout import KEY, Field, Layout

__all__ = ["documents_layout"]


def documents_layout() -> Layout:
    """Returns the layout of a documents dataset.

    Fields:
      key: (16,) uint8; corpus and page.
      title: utf8; the page's title, empty where there is none.
      sentences: list of utf8; the page's sentences in order.
    """
    return Layout((KEY, Field("title", "utf8"), Field("sentences", "utf8", (None,))))
