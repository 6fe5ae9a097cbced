"""The output of a job, line by line, with the rank that each line is of.

Open MPI marks what a rank prints with `[1,RANK]<stdout>:` where `orte_tag_output` is set, also in
the middle of a line when the rank wrote it in pieces; pieces of several ranks may share a line.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["TAGGED", "Line", "demultiplex"]

TAGGED = {"OMPI_MCA_orte_tag_output": "1"}
"""Makes Open MPI 4 mark the lines."""

_TAG = re.compile(r"(\[1,\d+\]<std(?:out|err|diag)>:)")
_PARTS = re.compile(r"\[1,(\d+)\]<(std\w+)>:")
# Our own processes say who they are where a message could be anyone's.
_OWN = re.compile(r" ?\[r(\d+)\] ?")


@dataclass(frozen=True)
class Line:
    """A line without its end."""

    rank: int | None
    """Whose; None for what the launcher says itself, or where it is not known."""

    text: str
    """Without marks."""

    def __str__(self) -> str:
        """Returns `[r3] text`."""
        return self.text if self.rank is None else f"[r{self.rank}] {self.text}"


def demultiplex(chunks: Iterable[str]) -> Iterator[Line]:
    """Puts the pieces of every rank's lines together.

    Args:
      chunks: pieces of the output as they come, each up to and with the end of a line.
    """
    parts: dict[tuple[int, str] | None, str] = {}
    for chunk in chunks:
        whose: tuple[int, str] | None = None
        for piece in _TAG.split(chunk):
            if match := _PARTS.fullmatch(piece):
                whose = int(match[1]), match[2]
                continue
            text = parts.pop(whose, "") + piece
            if text.endswith("\n"):
                yield _line(whose, text)
            elif text:
                parts[whose] = text
    for whose, text in parts.items():
        yield _line(whose, text)


def _line(whose: tuple[int, str] | None, text: str) -> Line:
    text = text.rstrip("\r\n")
    rank = None if whose is None else whose[0]
    if match := _OWN.match(text):
        return Line(int(match[1]), text[match.end() :])
    return Line(rank, text)
