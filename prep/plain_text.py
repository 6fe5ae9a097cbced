"""Documents out of one's own text files: four formats, read line by line.

  plain   a file is one document of running text; blank lines part its paragraphs
  blocks  one sentence a line, a blank line between documents (the input of BERT's scripts)
  lines   one sequence a line: a line is a document of one sentence, never split
  jsonl   a JSON object a line; its text is cut into paragraphs at line breaks

Paragraphs are kept; `blocks` and `lines` have one a document. A line that cannot be used (not
UTF-8, not JSON, no text in it) is a dead letter of its document.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

from prep.compressed import HEAD_BYTES, packing_of, read_blocks, unpacked
from prep.document import Document
from prep.sentences import split_sentences

__all__ = ["FORMATS", "READER", "Format", "TextDocument", "read_documents"]

READER = "plain text 2"
"""Name and version of the way that files are cut into documents; raise it with any change."""

Format = Literal["plain", "blocks", "lines", "jsonl"]
FORMATS: tuple[Format, ...] = ("plain", "blocks", "lines", "jsonl")

MAX_LINE_BYTES = 64 << 20
MAX_DOCUMENT_CHARACTERS = 64 << 20  # of a document of many lines


@dataclass(frozen=True, kw_only=True)
class TextDocument:
    """One document of a text file."""

    number: int
    """Its number in the file, from 0; documents that cannot be used are counted too."""
    title: str = ""
    """Its title, where the format has one."""
    text: Document = Document(sentences=(), paragraphs=())
    """Its sentences and paragraphs; none for an empty document."""
    problem: str = ""
    """Why it cannot be used, in one word; empty for a sound one."""
    detail: str = ""
    """More about the problem, with the line's number."""


class _Bad(Exception):
    """A line that cannot be used: problem and detail."""


def read_documents(
    file: BinaryIO,
    *,
    path: str,
    format: Format,
    language: str,
    text_field: str = "text",
    title_field: str = "title",
) -> Iterator[TextDocument]:
    """Yields the documents of a file (plain, bz2, gz or xz) in order.

    Args:
      file: the file, open at its start; seekable.
      path: its name, for errors.
      format: how documents and sentences are marked.
      language: of the sentence splitter, for `plain` and `jsonl`.
      text_field: member of the objects of `jsonl` that holds the text; a string.
      title_field: member that may hold a title.

    Raises:
      LimbeckError: the file is damaged.
      OSError: the file cannot be read.
    """
    packing = packing_of(file.read(HEAD_BYTES), path=path)
    file.seek(0)
    lines = enumerate(_lines(read_blocks(unpacked(file, packing), path=path)), start=1)
    if format == "plain":
        yield _plain(lines, language)
    elif format == "blocks":
        yield from _blocks(lines)
    else:
        for number, (line_number, line) in enumerate(lines):
            try:
                text = _decode(line, line_number)
                if format == "lines":
                    yield TextDocument(
                        number=number, text=Document.of_paragraphs([_one_line(text)])
                    )
                    continue
                title, text = _object(text, line_number, text_field, title_field)
                yield TextDocument(
                    number=number, title=title, text=_document(text.splitlines(), language)
                )
            except _Bad as error:
                yield _unusable(number, error)


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields lines without their line feed; one that is too long comes in as far as the limit."""
    rest = b""
    for block in blocks:
        *whole, tail = block.split(b"\n")
        if whole:
            yield rest + whole[0]
            yield from whole[1:]
            rest = tail
        elif len(rest) <= MAX_LINE_BYTES:  # beyond it, the line is refused anyway
            rest += tail
    if rest:
        yield rest


def _decode(line: bytes, number: int) -> str:
    if len(line) > MAX_LINE_BYTES:
        raise _Bad("too_large", f"line {number} is longer than {MAX_LINE_BYTES} bytes")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise _Bad("bad_characters", f"line {number}: not UTF-8 at byte {error.start}") from None


def _check_size(num_characters: int, number: int) -> None:
    if num_characters > MAX_DOCUMENT_CHARACTERS:
        raise _Bad(
            "too_large",
            f"line {number}: the document is longer than {MAX_DOCUMENT_CHARACTERS} characters",
        )


def _one_line(text: str) -> tuple[str, ...]:
    sentence = " ".join(text.split())
    return (sentence,) if sentence else ()


def _plain(lines: Iterator[tuple[int, bytes]], language: str) -> TextDocument:
    paragraphs: list[str] = []
    words: list[str] = []
    size = 0
    try:
        for number, line in lines:
            text = _decode(line, number).strip()
            size += len(text)
            _check_size(size, number)
            if text:
                words.append(text)
            else:
                paragraphs.append(" ".join(words))
                words = []
    except _Bad as error:
        return _unusable(0, error)
    paragraphs.append(" ".join(words))
    return TextDocument(number=0, text=_document(paragraphs, language))


def _document(paragraphs: Sequence[str], language: str) -> Document:
    return Document.of_paragraphs(split_sentences(text, language=language) for text in paragraphs)


def _unusable(number: int, error: _Bad) -> TextDocument:
    return TextDocument(number=number, problem=error.args[0], detail=error.args[1])


def _blocks(lines: Iterator[tuple[int, bytes]]) -> Iterator[TextDocument]:
    number = size = 0
    sentences: list[str] = []
    bad: _Bad | None = None
    started = False
    for line_number, line in lines:
        try:
            text = " ".join(_decode(line, line_number).split())
            size = size + len(text) if text else 0
            _check_size(size, line_number)
        except _Bad as error:
            bad, started = bad or error, True
            sentences.clear()
            continue
        if text:
            sentences.append(text)
            started = True
        elif started:
            yield _block(number, sentences, bad)
            number, sentences, bad, started = number + 1, [], None, False
    if started:
        yield _block(number, sentences, bad)


def _block(number: int, sentences: list[str], bad: _Bad | None) -> TextDocument:
    if bad is not None:
        return _unusable(number, bad)
    return TextDocument(number=number, text=Document.of_paragraphs([sentences]))


def _object(text: str, number: int, text_field: str, title_field: str) -> tuple[str, str]:
    """Returns title and text of one line of `jsonl`."""
    try:
        value: Any = json.loads(text) if text.strip() else {text_field: ""}
    except (ValueError, RecursionError) as error:
        raise _Bad("bad_json", f"line {number}: {error}") from None
    body = value.get(text_field) if isinstance(value, dict) else None
    if not isinstance(body, str):
        raise _Bad("no_text", f"line {number}: no string {text_field!r} in it")
    title = value.get(title_field)
    return _sound(title, number) if isinstance(title, str) else "", _sound(body, number)


def _sound(text: str, number: int) -> str:
    """Refuses half surrogate pairs, which JSON escapes can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Bad("bad_characters", f"line {number}: holds a lone surrogate") from None
    return text
