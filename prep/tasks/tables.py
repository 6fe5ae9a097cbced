"""Tables: tab-separated, comma-separated and JSON lines."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from prep.tasks.lines import MAX_LINE_BYTES, check_characters, decoded, read_lines
from prep.tasks.rows import Bad, Row, Unusable
from prep.tasks.settings import TaskSettings

__all__ = ["Cells", "read_table"]


@dataclass(frozen=True, kw_only=True)
class Cells(Row):
    """The cells of a row that are asked for, as they stand in the file."""

    text: Any
    """A string, or whatever JSON has there."""
    text_pair: Any = ""
    """Of the second text."""
    label: Any = ""
    """Of the answer."""
    has_label: bool = True
    """Whether the answer is to be read."""


def read_table(path: str, settings: TaskSettings, *, labelled: bool) -> Iterator[Cells | Bad]:
    """Yields the rows of a table. See `prep.tasks.reading.read_rows`."""
    if settings.format == "jsonl":
        yield from _objects(path, settings, labelled)
        return
    rows = _tsv(path) if settings.format == "tsv" else _csv(path)
    columns: _Columns | None = None
    number = 0
    for line, cells in rows:
        if columns is None and settings.header:
            columns = _Columns.of(path, settings, cells, labelled=labelled)
            continue
        where = f"line {line}"
        try:
            if isinstance(cells, Unusable):
                raise cells
            blank = not any(cells)
            if columns is None and not blank:
                columns = _Columns.of(path, settings, cells, labelled=labelled)
            if blank or columns is None:
                yield Cells(number=number, where=where, text="", has_label=False)
            else:
                yield columns.row(cells, number=number, where=where)
        except Unusable as error:
            yield Bad(number=number, where=where, reason=error.args[0], detail=error.args[1])
        number += 1


Line = tuple[int, "list[str] | Unusable"]


def _tsv(path: str) -> Iterator[Line]:
    for number, line in read_lines(path):
        try:
            yield number, decoded(line, number).split("\t")
        except Unusable as error:
            yield number, error


def _csv(path: str) -> Iterator[Line]:
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 go through as lone surrogates, so that they spoil just their row.
    lines = (
        f"{line.decode('utf-8-sig' if number == 1 else 'utf-8', 'surrogateescape')}\n"
        for number, line in read_lines(path)
    )
    reader = csv.reader(lines, strict=True)
    begin = 1
    try:
        for cells in reader:
            try:
                yield begin, [check_characters(cell) for cell in cells]
            except Unusable as error:
                yield begin, error
            begin = reader.line_num + 1
    except csv.Error as error:
        raise LimbeckError(
            f"{path}: line {begin}: {error}; is it --format tsv, which has no quotes?"
        ) from None


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where the columns that are asked for stand."""

    places: dict[str, int]
    """Option -> place, from 0."""
    num_columns: int
    """Columns of every row."""

    @classmethod
    def of(
        cls,
        path: str,
        settings: TaskSettings,
        cells: "Sequence[str] | Unusable",
        *,
        labelled: bool,
    ) -> "_Columns":
        """Finds the columns in the first row, which is the header where there is one."""
        if isinstance(cells, Unusable):
            raise LimbeckError(f"{path}: the header: {cells.args[1]}")
        names = [cell.strip() for cell in cells]
        asked = {"text": settings.text}
        asked |= {"text_pair": settings.text_pair} if settings.text_pair else {}
        asked |= {"label": settings.label} if labelled else {}
        places = {}
        for option, name in asked.items():
            flag = f"--{option.replace('_', '-')} {name}"
            places[option] = (
                _named(path, flag, name, names)
                if settings.header
                else _numbered(path, flag, name, len(names))
            )
        return cls(places=places, num_columns=len(names))

    def row(self, cells: Sequence[str], *, number: int, where: str) -> Cells:
        """Picks the cells of one row."""
        if len(cells) != self.num_columns:
            raise Unusable("columns", f"{len(cells)} columns; expected {self.num_columns}")
        picked = {option: cells[place] for option, place in self.places.items()}
        return Cells(number=number, where=where, has_label="label" in picked, **picked)


def _named(path: str, flag: str, name: str, names: Sequence[str]) -> int:
    if names.count(name) != 1:
        problem = "no column of that name" if name not in names else "two columns of that name"
        raise UsageError(
            f"{path}: {flag}: {problem}; the header has {', '.join(names):.300} (--no-header if "
            "the first line is a row)"
        )
    return names.index(name)


def _numbered(path: str, flag: str, name: str, num_columns: int) -> int:
    if not (name.isascii() and name.isdigit() and 1 <= int(name) <= num_columns):
        raise UsageError(
            f"{path}: {flag}: without a header, columns have numbers, here 1 to {num_columns}"
        )
    return int(name) - 1


def _objects(path: str, settings: TaskSettings, labelled: bool) -> Iterator[Cells | Bad]:
    asked = {"text": settings.text}
    asked |= {"text_pair": settings.text_pair} if settings.text_pair else {}
    asked |= {"label": settings.label} if labelled else {}
    for line_number, line in read_lines(path):
        number, where = line_number - 1, f"line {line_number}"
        try:
            text = decoded(line, line_number)
            if not text.strip():
                yield Cells(number=number, where=where, text="", has_label=False)
                continue
            found = {option: _member(text, name) for option, name in asked.items()}
            yield Cells(number=number, where=where, has_label=labelled, **found)
        except Unusable as error:
            yield Bad(number=number, where=where, reason=error.args[0], detail=error.args[1])


def _member(text: str, name: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable("bad_json", str(error)) from None
    if not isinstance(value, dict):
        raise Unusable("bad_json", f"a {type(value).__name__}; expected an object")
    if name not in value:
        raise Unusable("columns", f"no member {name!r}; there are {', '.join(value):.200}")
    found = value[name]
    for item in found if isinstance(found, list) else [found]:
        if isinstance(item, str):
            check_characters(item)
    return found
