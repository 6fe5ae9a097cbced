"""A few records as text, with the teacher's guesses beside the truth."""

# G guesses

from collections.abc import Sequence

import numpy as np

from extract.distributions import Distributions
from extract.samples import FamilySample
from limbeck.pages import Markup, Section, element
from limbeck.records.keys import split_key
from limbeck.tokens import Tokenizer

__all__ = ["record_section"]

NUM_RECORDS = 6
POSITIONS_SHOWN = 10
_MARKS = ("##", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}", "\N{LOWER ONE EIGHTH BLOCK}")


def record_section(
    sample: FamilySample, main: Distributions, tokenizer: Tokenizer | None
) -> Section:
    """Shows evenly spaced records of a sample; ids stand for words without a tokenizer.

    Args:
      sample: of the family that `main` is of; with its examples.
      main: the distributions.
      tokenizer: says what an id is.
    """
    labelled = np.unique(main.rows)
    places = np.linspace(0, len(labelled) - 1, min(NUM_RECORDS, len(labelled)))
    words = _Words(tokenizer)
    body: list[str] = [
        f"Guesses of {main.name} at T {main.temperature:g}, with their probability; the truth is "
        "underlined. Marked numbers in the text are the positions."
    ]
    for row in labelled[np.unique(places.astype(int))]:
        body.append(_record(sample, main, int(row), words))
    return Section(title="Records", body=body)


class _Words:
    """Ids as text."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer
        self._starts = None if tokenizer is None else tokenizer.word_starts
        self._special = set() if tokenizer is None else set(tokenizer.special.known().values())

    def word(self, number: int) -> str:
        """A token for itself, as the vocabulary writes it."""
        if self._tokenizer is None or not 0 <= number < self._tokenizer.vocab_size:
            return f"#{number}"
        return self._tokenizer.token(number)

    def piece(self, number: int, *, after: int = -1) -> str:
        """A token inside text, behind another: with a space between where a word starts."""
        text = self.word(number)
        if self._starts is None or not 0 <= number < len(self._starts):
            return f" {text}"
        space = " " if self._starts[number] or after in self._special else ""
        for mark in _MARKS:
            text = text.removeprefix(mark)
        return space + text


def _record(sample: FamilySample, main: Distributions, row: int, words: _Words) -> Markup:
    assert sample.examples is not None and main.tokens is not None
    at = np.flatnonzero(main.rows == row)
    if main.known[at].any():
        at = at[main.known[at]]
    left_out = len(at) - POSITIONS_SHOWN
    at = at[:POSITIONS_SHOWN]
    numbers = {int(main.tokens[i]): number for number, i in enumerate(at, start=1)}
    key = sample.keys[row]
    more = f", {left_out} more positions" if left_out > 0 else ""
    return element(
        "div",
        {"class": "record"},
        element("div", {"class": "key"}, f"{key.tobytes().hex()} ({split_key(key)}){more}"),
        element("blockquote", None, *_text(sample, row, numbers, words)),
        _guess_table(main, at, words),
    )


def _text(sample: FamilySample, row: int, numbers: dict[int, int], words: _Words) -> list[object]:
    assert sample.examples is not None
    ids = sample.examples["ids"][row, : int(sample.examples["num_tokens"][row])]
    parts: list[object] = []
    before = -1
    for place, number in enumerate(ids.astype(int).tolist()):
        text, before = words.piece(number, after=before), number
        if place in numbers:
            mark = element("mark", None, f"{numbers[place]}: {text.strip()}")
            parts += [" " if text.startswith(" ") else "", mark]
        else:
            parts.append(text)
    return parts


def _guess_table(main: Distributions, at: Sequence[int] | np.ndarray, words: _Words) -> Markup:
    head = element(
        "tr",
        None,
        *(element("th", {"scope": "col"}, name) for name in ("", "truth", "p", "guesses")),
    )
    rows = []
    for number, i in enumerate(at, start=1):
        truth = int(main.true_ids[i]) if main.true_ids is not None and main.known[i] else None
        prob = None if main.true_probs is None else float(main.true_probs[i])
        said = "" if prob is None or not np.isfinite(prob) else _share(prob)
        cells = (
            element("th", {"scope": "row"}, str(number)),
            element("td", None, "" if truth is None else words.word(truth)),
            element("td", {"class": "number"}, said),
            element("td", {"class": "long"}, *_guesses(main, int(i), truth, words)),
        )
        rows.append(element("tr", None, *cells))
    body = element("table", None, element("thead", None, head), element("tbody", None, *rows))
    return element("div", {"class": "scroll", "tabindex": "0", "role": "group"}, body)


def _guesses(main: Distributions, i: int, truth: int | None, words: _Words) -> list[Markup]:
    parts = []
    for number, prob in zip(main.guesses[i].tolist(), main.guess_probs[i].tolist(), strict=True):
        if number >= 0:
            kind = "right" if number == truth else None
            word = element("span", {"class": kind}, words.word(number))
            small = element("small", None, _share(prob))
            parts.append(element("span", {"class": "guess"}, word, " ", small))
    return parts


def _share(prob: float) -> str:
    return "<0.1%" if prob < 0.001 else f"{prob:.1%}" if prob < 0.0995 else f"{prob:.0%}"
