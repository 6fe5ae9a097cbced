"""Labelled rows -> rows of examples."""

# N rows, S token slots, C labels

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.records.examples import NO_ANSWER_LABEL, NO_CHARACTER, NO_CLASS, NO_FLAG, NO_TAG
from limbeck.records.keys import make_key
from limbeck.tokens.tokenizer import Tokenizer
from prep.kinds.frame import Frame, Framed
from prep.kinds.rows import Rows, row_dtype
from prep.pairs import excess_of_each
from prep.tasks.rows import Bad, Question, Row, Text, Unusable, Words
from prep.tasks.settings import TaskSettings
from prep.tasks.windows import Window, answer_tokens, windows

__all__ = ["EMPTY", "Encoded", "TaskEncoder"]

EMPTY = "empty"
"""Filter that takes out rows of which the tokenizer leaves nothing."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What was made of some rows."""

    rows: npt.NDArray[Any]
    """(N,) structured rows of examples."""
    filtered: Mapping[str, int]
    """Filter -> rows it took out."""
    kept: int
    """Rows that are in `rows`, each at least once."""
    bad: Sequence[Bad]
    """Rows that could not be used."""
    notes: Mapping[str, int]
    """Facts to be told, such as tokens left out, and how many."""


@dataclass(frozen=True, kw_only=True)
class TaskEncoder:
    """What is needed to encode rows."""

    settings: TaskSettings
    """The task and its lengths."""
    tokenizer: Tokenizer
    """Of the rows."""
    frame: Frame
    """Around the texts."""
    labels: tuple[str, ...]
    """Names in the order of their numbers; () where answers have none."""

    def __post_init__(self) -> None:
        """Refuses lengths that leave no room."""
        needed = self.frame.num_around_pair + 2
        if self.settings.task == "qa":
            needed += self.settings.max_query_length - 1
        if self.settings.max_seq_length < needed:
            raise UsageError(
                f"max_seq_length is {self.settings.max_seq_length}; with this tokenizer it must be "
                f"at least {needed}"
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a row."""
        layout = self.settings.layout(
            vocab_size=self.tokenizer.vocab_size, num_labels=len(self.labels)
        )
        return row_dtype(layout)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.labels)}

    def encode(self, rows: Sequence[Row], *, corpus: str, first_page: int) -> Encoded:
        """Encodes rows of one file.

        Args:
          rows: as they were read.
          corpus: of their keys.
          first_page: of row 0 of the file; the others follow by their numbers.
        """
        job = _Job(encoder=self, out=Rows(self.dtype), corpus=corpus, first_page=first_page)
        for row in rows:
            job.add(row)
        return Encoded(
            rows=job.out.array(),
            filtered={EMPTY: job.num_empty} if job.num_empty else {},
            kept=job.num_kept,
            bad=job.bad,
            notes=job.notes,
        )

    def number(self, name: str) -> int:
        """Returns the number of a label.

        Raises:
          Unusable: there is none of that name.
        """
        if name not in self._numbers:
            known = ", ".join(self.labels)
            raise Unusable("label", f"{name!r} is none of the labels {known:.200}")
        return self._numbers[name]


class _Job:
    """Encodes rows one by one, and counts."""

    def __init__(self, *, encoder: TaskEncoder, out: Rows, corpus: str, first_page: int) -> None:
        self.out = out
        self.notes: Counter[str] = Counter()
        self.bad: list[Bad] = []
        self.num_empty = self.num_kept = 0
        self._encoder = encoder
        self._corpus, self._first_page = corpus, first_page

    def add(self, row: Row) -> None:
        """Encodes one row, or says why not."""
        add: dict[type[Row], Callable[[Any], bool]] = {
            Text: self._text,
            Words: self._words,
            Question: self._question,
        }
        if isinstance(row, Bad):
            self.bad.append(row)
            return
        try:
            kept = add[type(row)](row)
        except Unusable as error:
            reason, detail = error.args
            self.bad.append(Bad(number=row.number, where=row.where, reason=reason, detail=detail))
            return
        self.num_kept += kept
        self.num_empty += not kept

    def _key(self, row: Row, window: int = 0) -> bytes:
        page = self._first_page + row.number
        return make_key(corpus=self._corpus, page=page, sequence=window)

    def _text(self, row: Text) -> bool:
        encoder, settings = self._encoder, self._encoder.settings
        first, second = encoder.tokenizer.encode([row.first, row.second])
        if not first or (settings.text_pair and not second):
            return False
        fields = self._answer(row)
        self.out.add(self._framed(first, second), key=self._key(row), **fields)
        return True

    def _framed(self, first: list[int], second: list[int]) -> Framed:
        """Frames one or two texts, cut at their ends to the length."""
        frame, length = self._encoder.frame, self._encoder.settings.max_seq_length
        room = length - (frame.num_around_pair if second else 2)
        cut_first, cut_second = excess_of_each(len(first), len(second), max_tokens=room)
        self._cut(cut_first + cut_second)
        first, second = first[: len(first) - cut_first], second[: len(second) - cut_second]
        return frame.pair(first, second) if second else frame.single(first)

    def _cut(self, num_tokens: int) -> None:
        if num_tokens:
            self.notes["truncated_rows"] += 1
            self.notes["truncated_tokens"] += num_tokens

    def _answer(self, row: Text) -> dict[str, Any]:
        encoder = self._encoder
        match encoder.settings.task:
            case "regression":
                return {"target": np.nan if row.target is None else row.target}
            case "multi-label":
                if row.labels is None:
                    return {"class_flags": NO_FLAG}
                flags = np.zeros(len(encoder.labels), np.uint8)
                flags[[encoder.number(name) for name in row.labels]] = 1
                return {"class_flags": flags}
        if row.labels is None:
            return {"class_id": NO_CLASS}
        return {"class_id": encoder.number(row.labels[0])}

    def _words(self, row: Words) -> bool:
        encoder, settings = self._encoder, self._encoder.settings
        pieces = encoder.tokenizer.encode_words(row.words)
        room = settings.max_seq_length - 2
        tags = np.full(settings.max_seq_length, NO_TAG, np.uint16)
        ids: list[int] = []
        for number, word in enumerate(pieces):
            if row.tags is not None:
                tag = encoder.number(row.tags[number])  # also of words that are cut off
                begin = 1 + len(ids)
                labelled = begin + (len(word) if settings.label_all_pieces else min(1, len(word)))
                tags[begin : min(labelled, 1 + room)] = tag
                self.notes["words_without_tokens"] += not word
                self.notes["words_cut_off"] += bool(word) and len(ids) >= room
            ids += word
        self.notes = +self.notes  # without zeros
        if not ids:
            return False
        self._cut(max(0, len(ids) - room))
        self.out.add(self._encoder.frame.single(ids[:room]), key=self._key(row), tags=tags)
        return True

    def _question(self, row: Question) -> bool:
        encoder, settings = self._encoder, self._encoder.settings
        [query] = encoder.tokenizer.encode([row.question])
        context, offsets = encoder.tokenizer.encode_with_offsets(row.context)
        if not query or not context:
            return False
        answer = None
        if row.answerable:
            answer = answer_tokens(offsets, start=row.start, stop=row.stop)
            if answer is None:
                raise Unusable("answer", "the tokenizer leaves nothing of the answer")
        if len(query) > settings.max_query_length:
            self.notes["truncated_questions"] += 1
            query = query[: settings.max_query_length]
        room = settings.max_seq_length - len(query) - encoder.frame.num_around_pair
        found = windows(len(context), room=room, stride=settings.doc_stride)
        for number, window in enumerate(found):
            framed = encoder.frame.pair(query, context[window.begin : window.end])
            at = framed.candidates[len(query) :]
            self.out.add(
                framed,
                key=self._key(row, number),
                answerable=NO_ANSWER_LABEL if row.answerable is None else int(row.answerable),
                **_characters(settings.max_seq_length, at, offsets[window.begin : window.end]),
                **_span(answer, at, window),
            )
        return True


def _characters(
    length: int, at: npt.NDArray[np.int64], places: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """Returns where each slot's token stands in the context."""
    starts, ends = (np.full(length, NO_CHARACTER, np.uint32) for _ in range(2))
    starts[at], ends[at] = np.array(places, np.uint32).T
    return {"char_starts": starts, "char_ends": ends}


def _span(
    answer: tuple[int, int] | None, at: npt.NDArray[np.int64], window: Window
) -> dict[str, Any]:
    """Returns the slots of the answer's first and last token; 0 where it is not in the window."""
    if answer is None or not window.holds(*answer):
        return {"span_start": 0, "span_end": 0}
    first, last = answer
    return {"span_start": at[first - window.begin], "span_end": at[last - window.begin]}
