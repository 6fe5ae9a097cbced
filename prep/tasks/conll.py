"""CoNLL files: a word and its columns on a line, a blank line between sentences.

Lines of `-DOCSTART-` part documents and are no sentences.
"""

from collections.abc import Iterator

from limbeck.config.errors import UsageError
from prep.tasks.lines import decoded, read_lines
from prep.tasks.rows import Bad, Row, Unusable, Words
from prep.tasks.settings import TaskSettings

__all__ = ["read_conll"]

_DOCUMENT = "-DOCSTART-"


def read_conll(path: str, settings: TaskSettings, *, labelled: bool) -> Iterator[Row]:
    """Yields the sentences of a file. See `prep.tasks.reading.read_rows`."""
    word_column = _column(path, "--text", settings.text, default="text", column=0)
    tag_column = _column(path, "--label", settings.label, default="label", column=-1)
    for number, (first, lines) in enumerate(_sentences(path)):
        where = f"line {first}"
        try:
            words, tags = _columns(lines, first, word_column, tag_column if labelled else None)
            yield Words(number=number, where=where, words=words, tags=tags)
        except Unusable as error:
            yield Bad(number=number, where=where, reason=error.args[0], detail=error.args[1])


def _column(path: str, flag: str, value: str, *, default: str, column: int) -> int:
    if value == default:
        return column
    if not (value.isascii() and value.isdigit() and int(value) >= 1):
        raise UsageError(f"{path}: {flag} {value}: columns of conll files have numbers, from 1")
    return int(value) - 1


def _sentences(path: str) -> Iterator[tuple[int, list[bytes]]]:
    """Yields the first line's number and the lines of each sentence."""
    first, lines = 0, []  # type: int, list[bytes]
    for number, line in read_lines(path):
        if line.strip() and not line.startswith(_DOCUMENT.encode()):
            first = first if lines else number
            lines.append(line)
        elif lines:
            yield first, lines
            lines = []
    if lines:
        yield first, lines


def _columns(
    lines: list[bytes], first: int, word_column: int, tag_column: int | None
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    words, tags = [], []
    # A sentence's lines have as many columns as its first; two are needed where there are tags.
    expected = 0
    for number, line in enumerate(lines, start=first):
        try:
            cells = decoded(line, number).split()
        except Unusable as error:
            raise Unusable(error.args[0], f"line {number}: {error.args[1]}") from None
        expected = expected or len(cells)
        needed = max(word_column, tag_column or 0) + 1
        needed = max(needed, 2) if tag_column is not None else needed
        if len(cells) != expected or len(cells) < needed:
            raise Unusable(
                "columns",
                f"line {number} has {len(cells)} columns; expected {max(expected, needed)}",
            )
        words.append(cells[word_column])
        if tag_column is not None:
            tags.append(cells[tag_column])
    return tuple(words), None if tag_column is None else tuple(tags)
