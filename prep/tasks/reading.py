"""Reads the rows of a labelled file; each is usable, or says where it stands and what is wrong.

A table's row has as many columns as its header, or its first row, else it is not used: a stray tab
would shift the label. Blank lines of tables are rows without text.
"""

import math
from collections.abc import Iterator
from typing import Any

from prep.tasks.conll import read_conll
from prep.tasks.rows import Bad, Row, Text, Unusable, Words
from prep.tasks.settings import TaskSettings
from prep.tasks.squad import read_squad
from prep.tasks.tables import Cells, read_table

__all__ = ["read_rows"]


def read_rows(path: str, settings: TaskSettings, *, labelled: bool = True) -> Iterator[Row]:
    """Yields the rows of a file (plain, bz2, gz or xz) in order.

    Args:
      path: the file.
      settings: task, format and columns.
      labelled: whether the answers are in the file; if not, they are not looked for.

    Raises:
      UsageError: a column that is asked for is not there.
      LimbeckError: the file is damaged, or is not of this format.
      OSError: the file cannot be read.
    """
    if settings.format == "squad":
        yield from read_squad(path, labelled=labelled)
        return
    if settings.format == "conll":
        yield from read_conll(path, settings, labelled=labelled)
        return
    for cells in read_table(path, settings, labelled=labelled):
        if isinstance(cells, Bad):
            yield cells
            continue
        try:
            yield _tagged(cells, settings) if settings.task == "tagging" else _text(cells, settings)
        except Unusable as error:
            yield Bad(
                number=cells.number, where=cells.where, reason=error.args[0], detail=error.args[1]
            )


def _text(cells: Cells, settings: TaskSettings) -> Text:
    text, pair = _string(cells.text, settings.text), ""
    if settings.text_pair:
        pair = _string(cells.text_pair, settings.text_pair)
    labels: tuple[str, ...] | None = None
    target: float | None = None
    if cells.has_label and text:
        if settings.task == "regression":
            target = _number(cells.label, settings.label)
        else:
            labels = _labels(cells.label, settings)
    return Text(
        number=cells.number,
        where=cells.where,
        first=text,
        second=pair,
        labels=labels,
        target=target,
    )


def _tagged(cells: Cells, settings: TaskSettings) -> Words:
    words = _list(cells.text, settings.text, separator=None)
    tags = _list(cells.label, settings.label, separator=None) if cells.has_label else None
    if tags is not None and len(tags) != len(words):
        raise Unusable("tags", f"{len(words)} words and {len(tags)} tags; they must be as many")
    return Words(number=cells.number, where=cells.where, words=words, tags=tags)


def _labels(value: Any, settings: TaskSettings) -> tuple[str, ...]:
    if settings.task == "multi-label":
        return _list(value, settings.label, separator=settings.label_separator)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unusable("label", f"{settings.label} is {value!r}; expected the name of a label")
    name = str(value).strip()
    if not name:
        raise Unusable("label", f"{settings.label} is empty")
    return (name,)


def _number(value: Any, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) < 3.4e38:  # what a float32 holds; False for NaN
        raise Unusable("number", f"{name} is {value!r}; expected a finite number")
    return number


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable("text", f"{name} is {value!r}; expected a string")
    return value.strip()


def _list(value: Any, name: str, *, separator: str | None) -> tuple[str, ...]:
    """Returns the items of a JSON list, or of a string that `separator` (None: space) parts."""
    if isinstance(value, str):
        return tuple(item for part in value.split(separator) if (item := part.strip()))
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unusable("list", f"{name} is {value!r:.80}; expected a list of strings")
    return tuple(value)
