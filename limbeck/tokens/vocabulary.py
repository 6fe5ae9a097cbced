"""Reading and checking a WordPiece vocabulary file: one token a line, the line is the id."""

import os

from limbeck.config.errors import LimbeckError

__all__ = ["SPECIAL_TOKENS", "read_vocabulary"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Tokens every vocabulary must hold."""


def read_vocabulary(
    path: str | os.PathLike[str], *, expected_size: int | None = None
) -> tuple[str, ...]:
    """Reads a `vocab.txt` and returns its tokens by id.

    Args:
      path: the file; UTF-8, lines end with a line feed.
      expected_size: number of tokens it must have, such as a teacher's; None for any.

    Raises:
      LimbeckError: names the file and, where there is one, the line.
      OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LimbeckError(f"{path}: line {line}: not UTF-8; is it a vocabulary file?") from None
    # Not splitlines(): vocabularies hold tokens such as U+2028 that it would take for line ends.
    tokens = text.split("\n")
    if tokens[-1] == "":
        tokens.pop()
    if not tokens:
        raise LimbeckError(f"{path}: the vocabulary is empty")
    _check_lines(path, tokens)
    if missing := [token for token in SPECIAL_TOKENS if token not in tokens]:
        raise LimbeckError(
            f"{path}: {', '.join(missing)} missing among its {len(tokens)} tokens; "
            "a WordPiece vocabulary needs a line for each special token"
        )
    if expected_size is not None and len(tokens) != expected_size:
        raise LimbeckError(
            f"{path}: {len(tokens)} tokens where {expected_size} are expected; "
            "is it another model's?"
        )
    return tuple(tokens)


def _check_lines(path: str | os.PathLike[str], tokens: list[str]) -> None:
    first_line: dict[str, int] = {}
    for line, token in enumerate(tokens, start=1):
        if not token.strip("\r"):
            raise LimbeckError(f"{path}: line {line} is empty; each line is one token")
        if token.endswith("\r"):
            raise LimbeckError(f"{path}: line {line} ends with CR LF; convert the file to LF lines")
        if token in first_line:
            raise LimbeckError(
                f"{path}: line {line} repeats the token {token!r} of line {first_line[token]}; "
                "a token can have only one id"
            )
        first_line[token] = line
