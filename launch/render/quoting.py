"""Words of a shell script, and values of a header, that mean what was given and nothing else."""

import os
import re
import shlex
from collections.abc import Mapping, Sequence

from limbeck.config.errors import UsageError

__all__ = ["check_name", "comment_block", "exports", "join", "quote"]

# Header lines are read by the scheduler and not by a shell, and each has quoting rules of its own:
# only what needs none is let through.
_PLAIN = re.compile(r"[A-Za-z0-9_.,:/@%+=\[\]&|*()-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote(word: str) -> str:
    """Returns one word of a Bash script, on one line whatever it holds.

    Raises:
      UsageError: it holds a NUL character, which no argument can.
    """
    if "\0" in word:
        raise UsageError(f"{word!r}: holds a NUL character, which no program can be given")
    if word.isascii() and (word.isprintable() or not word):
        return shlex.quote(word)
    # A line break inside quotes would be a line of its own to whoever reads scripts line by line,
    # as schedulers do.
    return f"$'{''.join(map(_escaped, os.fsencode(word)))}'"


def _escaped(byte: int) -> str:
    character = chr(byte)
    if 32 <= byte < 127 and character not in "'\\":
        return character
    return f"\\{byte:03o}"  # three digits always, so a digit behind it is no part of it


def join(words: Sequence[str]) -> str:
    """Returns the words as a line of Bash that gives exactly these."""
    return " ".join(map(quote, words))


def exports(variables: Mapping[str, str]) -> list[str]:
    """Returns a line of Bash for each variable.

    Raises:
      UsageError: a name is none that a shell takes.
    """
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise UsageError(f"--env {name}: not the name of an environment variable")
    return [f"export {name}={quote(value)}" for name, value in variables.items()]


def check_name(option: str, value: str) -> None:
    """Refuses a value that cannot stand in a scheduler's header line as it is.

    Raises:
      UsageError: it is empty or holds spaces, quotes, `$` or other signs.
    """
    if not _PLAIN.fullmatch(value):
        raise UsageError(
            f"{option} {quote(value)}: this goes into a header line that no shell reads; "
            "use letters, digits and _ . , : / @ % + = - only"
        )


def comment_block(written_by: Sequence[str], submit: Sequence[str]) -> list[str]:
    """Returns the head of a file: how to submit it and the command that wrote it."""
    return [*(f"# {line}" for line in submit), f"# Written by: {join(written_by)}"]
