"""Questions to long contexts: windows that overlap, as in BERT's run_squad.

A window holds the question and as many tokens of the context as fit; the next one starts
`doc_stride` tokens later, until the end of the context is in one. Each token of the context keeps
its characters, so a predicted span maps back to the text. A window that does not hold the whole
answer points at position 0, [CLS].
"""

# T tokens of the context

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Window", "answer_tokens", "windows"]

Offsets = Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Window:
    """Tokens [begin, end) of a context."""

    begin: int
    """First token."""
    end: int
    """Behind the last one."""

    def holds(self, first: int, last: int) -> bool:
        """Says whether tokens `first` to `last` all lie in it."""
        return self.begin <= first <= last < self.end


def windows(num_tokens: int, *, room: int, stride: int) -> Iterator[Window]:
    """Yields the windows over a context of `num_tokens` >= 1 tokens, `room` in each."""
    begin = 0
    while True:
        end = min(begin + room, num_tokens)
        yield Window(begin=begin, end=end)
        if end == num_tokens:
            return
        begin += min(room, stride)


def answer_tokens(offsets: Offsets, *, start: int, stop: int) -> tuple[int, int] | None:
    """Returns the first and last token that overlap characters [start, stop); None for none."""
    inside = [n for n, (a, b) in enumerate(offsets) if a < stop and b > start]
    return (inside[0], inside[-1]) if inside else None
