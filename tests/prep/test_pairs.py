import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from prep.pairs import Pair, build_pairs, trim
from prep.seeds import below, generator

OTHER = 10_000  # tokens of partner documents begin here

documents = st.lists(st.integers(1, 30), min_size=1, max_size=25).map(
    lambda lengths: number_tokens(lengths, 0)
)


def number_tokens(lengths, start):
    """Sentences of the given lengths whose tokens are all different and count up."""
    sentences = []
    for length in lengths:
        sentences.append(list(range(start, start + length)))
        start += length
    return sentences


def rng_of(number, stage="pairs"):
    return generator(seed=number, key=b"p" * 16, stage=stage)


def partner(draw):
    return number_tokens([5, 1, 7, 3], OTHER * (draw + 1))


def pairs_of(sentences, *, max_seq_length=32, short_seq_prob=0.1, number=0, partner=partner):
    return list(
        build_pairs(
            sentences,
            max_seq_length=max_seq_length,
            short_seq_prob=short_seq_prob,
            rng=rng_of(number),
            partner=partner,
        )
    )


def slow_trim_lengths(first, second, max_tokens):
    """One token at a time from the longer side; the second where they are equal."""
    while first + second > max_tokens:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


def bert_pairs(sentences, *, max_seq_length, short_seq_prob, number):
    """BERT's walk over a document, written as plainly as it can be, on the same draws."""
    rng = rng_of(number)
    max_tokens = max_seq_length - 3
    target = max_tokens
    if rng.random() < short_seq_prob:
        target = 2 + below(rng, max_tokens - 1)
    draws = 0
    chunk, length, i = [], 0, 0
    while i < len(sentences):
        chunk.append(sentences[i])
        length += len(sentences[i])
        if i == len(sentences) - 1 or length >= target:
            end_of_first = 1
            if len(chunk) >= 2:
                end_of_first = 1 + below(rng, len(chunk) - 1)
            first = sum(chunk[:end_of_first], [])
            is_random = len(chunk) == 1 or rng.random() < 0.5
            second = []
            if is_random:
                other = partner(draws)
                draws += 1
                for position in range(below(rng, len(other)), len(other)):
                    second = second + other[position]
                    if len(second) >= target - len(first):
                        break
                i -= len(chunk) - end_of_first
            else:
                second = sum(chunk[end_of_first:], [])
            first, second = trim(first, second, max_tokens=max_tokens, rng=rng)
            yield Pair(first=first, second=second, is_random_next=is_random)
            chunk, length = [], 0
        i += 1


@settings(max_examples=300, deadline=None)
@given(
    sentences=documents,
    max_seq_length=st.integers(5, 64),
    short_seq_prob=st.sampled_from([0.0, 0.1, 1.0]),
    number=st.integers(0, 10_000),
)
def test_pairs_equal_the_published_walk(sentences, max_seq_length, short_seq_prob, number):
    options = {"max_seq_length": max_seq_length, "short_seq_prob": short_seq_prob}
    ours = pairs_of(sentences, number=number, **options)
    assert ours == list(bert_pairs(sentences, number=number, **options))


def is_run(tokens):
    return tokens == list(range(tokens[0], tokens[0] + len(tokens)))


@settings(max_examples=300, deadline=None)
@given(sentences=documents, max_seq_length=st.integers(5, 64), number=st.integers(0, 10_000))
def test_pairs_of_any_document_keep_their_promises(sentences, max_seq_length, number):
    pairs = pairs_of(sentences, max_seq_length=max_seq_length, number=number)
    position = -1
    for pair in pairs:
        assert pair.first and pair.second
        assert len(pair.first) + len(pair.second) <= max_seq_length - 3
        assert is_run(pair.first) and is_run(pair.second)
        assert pair.first[0] > position  # in the document's order, nothing twice
        position = pair.first[-1]
        assert (pair.second[0] >= OTHER) == pair.is_random_next
        if not pair.is_random_next:
            assert pair.second[0] > position
            position = pair.second[-1]
    assert pairs


def test_nothing_is_lost_where_nothing_is_trimmed():
    # A's and actual B's together are the document: sentences a random B displaced come again.
    sentences = number_tokens([3] * 60, 0)
    for number in range(50):
        seen = []
        for pair in pairs_of(
            sentences,
            max_seq_length=303,
            number=number,
            partner=lambda n: number_tokens([1], OTHER),
        ):
            seen += pair.first
            if not pair.is_random_next:
                seen += pair.second
        assert seen == list(range(180))


def test_one_sentence_always_gets_a_random_next():
    for number in range(50):
        [pair] = pairs_of(number_tokens([4], 0), number=number)
        assert pair.is_random_next and pair.first == [0, 1, 2, 3]


def test_half_of_the_pairs_are_random_where_both_are_possible():
    flags = []
    for number in range(3000):
        # Two sentences reach the target together: the first decision is free.
        flags.append(
            pairs_of(number_tokens([15, 15], 0), number=number, short_seq_prob=0)[0].is_random_next
        )
    assert abs(np.mean(flags) - 0.5) < 4 * 0.5 / len(flags) ** 0.5


def test_partner_without_tokens_is_drawn_again():
    asked = []

    def sometimes_empty(draw):
        asked.append(draw)
        return [[], []] if draw < 3 else number_tokens([4], OTHER)

    [pair] = pairs_of(number_tokens([4], 0), partner=sometimes_empty)
    assert asked == [0, 1, 2, 3] and pair.second[0] == OTHER


def test_partners_without_any_token_are_an_error():
    with pytest.raises(LimbeckError, match="have no token in them"):
        pairs_of(number_tokens([4], 0), partner=lambda draw: [[]])


@pytest.mark.parametrize(
    ("first", "second", "max_tokens", "expected"),
    [
        (3, 4, 10, (3, 4)),  # short enough
        (3, 4, 7, (3, 4)),  # exactly long enough
        (8, 4, 10, (6, 4)),  # only the longer one
        (4, 8, 10, (4, 6)),
        (8, 8, 9, (5, 4)),  # level: the second first, then in turns
        (2, 9, 4, (2, 2)),
        (9, 2, 3, (2, 1)),
    ],
)
def test_trim_shortens_the_longer_side(first, second, max_tokens, expected):
    one, two = trim(
        list(range(first)), list(range(100, 100 + second)), max_tokens=max_tokens, rng=rng_of(1)
    )
    assert (len(one), len(two)) == expected
    assert is_run(one) and is_run(two)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(2, 60))
def test_trim_ends_at_the_lengths_of_the_loop(first, second, max_tokens):
    one, two = trim([0] * first, [0] * second, max_tokens=max_tokens, rng=rng_of(1))
    assert (len(one), len(two)) == slow_trim_lengths(first, second, max_tokens)


def test_trim_cuts_front_and_back_equally_often():
    fronts = [
        trim(list(range(20)), [0], max_tokens=11, rng=rng_of(number))[0][0]
        for number in range(4000)
    ]
    # 10 tokens go, each from the front with probability 1/2: mean 5, variance 2.5.
    assert abs(np.mean(fronts) - 5) < 4 * (2.5 / len(fronts)) ** 0.5
    assert abs(np.var(fronts) - 2.5) < 0.4


def test_a_million_tokens_on_one_line_take_no_time():
    started = time.monotonic()
    [pair] = pairs_of([list(range(1_000_000))], max_seq_length=128)
    assert len(pair.first) + len(pair.second) <= 125
    assert time.monotonic() - started < 5
