"""What stands around the tokens of a sequence, by family.

    BERT     [CLS] A [SEP] B [SEP]     segments 0 and 1
    RoBERTa  <s> A </s></s> B </s>     one segment: its models have no second one
    GPT-2    no such tokens: blocks of text, or lines between its begin and end

Which of the first two it is is told by the name of the beginning token, <s> or another.
"""

# T tokens of a sequence, C candidate positions

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.tokens.tokenizer import Tokenizer

__all__ = ["Frame", "Framed", "frame_of", "line_frame_of"]

Int64 = npt.NDArray[np.int64]
Tokens = Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Framed:
    """A sequence with everything that stands around it."""

    ids: Int64
    """(T,) tokens."""
    split: int
    """Tokens of the first segment; T where there is one."""
    candidates: Int64
    """(C,) positions of real tokens, ascending."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Special tokens of a family."""

    begin: int
    """First token of every sequence."""
    end: int
    """Last token of every segment."""
    num_between: int = 1
    """How many `end` stand between two segments."""
    has_segments: bool = True
    """Whether the second segment is told from the first by its segment ids."""

    @property
    def num_around_pair(self) -> int:
        """Special tokens of a pair."""
        return 2 + self.num_between

    def single(self, *parts: Tokens) -> Framed:
        """Frames one segment; between its parts (of several documents) stands one `end`."""
        return self._framed(parts, num_between=1, has_segments=False)

    def pair(self, first: Tokens, second: Tokens) -> Framed:
        """Frames two segments."""
        return self._framed(
            (first, second), num_between=self.num_between, has_segments=self.has_segments
        )

    def _framed(self, parts: Sequence[Tokens], *, num_between: int, has_segments: bool) -> Framed:
        ids = [self.begin]
        candidates: list[Int64] = []
        split = 0
        for number, part in enumerate(parts):
            if number == 1 and has_segments:
                split = len(ids) + 1
            if number:
                ids += [self.end] * num_between
            candidates.append(np.arange(len(ids), len(ids) + len(part)))
            ids += part
        ids.append(self.end)
        return Framed(
            ids=np.array(ids, np.int64),
            split=split or len(ids),
            candidates=np.concatenate(candidates),
        )


def frame_of(tokenizer: Tokenizer, *, what: str) -> Frame:
    """Returns a family's frame.

    Args:
      tokenizer: of the family.
      what: needs the frame, for the message.

    Raises:
      UsageError: the tokenizer has no such tokens.
    """
    special = tokenizer.special
    if special.cls is None or special.sep is None:
        raise UsageError(
            f"{what} needs a tokenizer with tokens that begin and end a segment ([CLS] and [SEP], "
            f"or <s> and </s>); this one ({tokenizer.info().get('kind')}) has none: it can make "
            "--kind clm, and --kind lines with --masking none"
        )
    doubled = tokenizer.token(special.cls) == "<s>"
    return Frame(
        begin=special.cls,
        end=special.sep,
        num_between=2 if doubled else 1,
        has_segments=not doubled,
    )


def line_frame_of(tokenizer: Tokenizer) -> Frame:
    """Returns what stands around a single line: the family's frame, or its begin and end of text.

    Raises:
      UsageError: the tokenizer has neither.
    """
    special = tokenizer.special
    end = special.eos if special.eos is not None else special.bos
    begin = special.bos if special.bos is not None else end
    if special.cls is not None or begin is None or end is None:
        return frame_of(tokenizer, what="--kind lines")
    return Frame(begin=begin, end=end)
