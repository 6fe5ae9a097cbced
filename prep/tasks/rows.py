"""What a row of a labelled file says, before it is tokenised."""

from dataclasses import dataclass

__all__ = ["Bad", "Question", "Row", "Text", "Unusable", "Words"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something in a file that is counted as one row."""

    number: int
    """Its number in the file, from 0; rows that cannot be used are counted too."""
    where: str
    """Where it stands, for people: `line 12`, or a path into a JSON file."""


@dataclass(frozen=True, kw_only=True)
class Text(Row):
    """One or two texts with an answer."""

    first: str
    """The text; empty for an empty row."""
    second: str = ""
    """The second one, where rows have two."""
    labels: tuple[str, ...] | None = None
    """Names of its labels (exactly one for classification); None where there is no answer."""
    target: float | None = None
    """The number of a regression."""


@dataclass(frozen=True, kw_only=True)
class Words(Row):
    """A sentence cut into words, with a tag each."""

    words: tuple[str, ...]
    """The words."""
    tags: tuple[str, ...] | None = None
    """As many tags; None where there are no answers."""


@dataclass(frozen=True, kw_only=True)
class Question(Row):
    """A question to a context."""

    question: str
    """The question."""
    context: str
    """Where the answer is looked for."""
    answerable: bool | None = None
    """Whether the context answers it; None where nobody says."""
    start: int = 0
    """First character of the answer in the context; of no meaning without one."""
    stop: int = 0
    """Behind the answer's last character."""


@dataclass(frozen=True, kw_only=True)
class Bad(Row):
    """A row that cannot be used."""

    reason: str
    """In one word."""
    detail: str
    """What was expected and what came."""


class Unusable(Exception):
    """Raised inside a reader for one row: reason and detail."""
