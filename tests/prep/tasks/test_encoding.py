"""Labelled rows become rows of examples."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.records.examples import NO_CHARACTER, check_examples
from limbeck.records.keys import make_key, split_key
from prep.tasks.labels import sorted_labels
from prep.tasks.reading import read_rows
from prep.tasks.rows import Bad, Question, Text, Words
from prep.tasks.windows import answer_tokens, windows


def encode(encoder, rows):
    made = encoder.encode(rows, corpus="c", first_page=0)
    columns = {name: np.ascontiguousarray(made.rows[name]) for name in made.rows.dtype.names}
    check_examples(
        columns, vocab_size=encoder.tokenizer.vocab_size, num_labels=len(encoder.labels) or None
    )
    assert made.kept + sum(made.filtered.values()) + len(made.bad) == len(rows)
    return made


def text(first, second="", number=0, **answer):
    return Text(number=number, where="line 1", first=first, second=second, **answer)


def pieces(encoder, row):
    return [encoder.tokenizer.token(n) for n in row["ids"][: row["num_tokens"]]]


def test_classification_rows_have_the_number_of_their_label(encoder):
    how = encoder(task="classification", labels=("bad", "good"))
    made = encode(
        how,
        [
            text("A good film.", labels=("good",)),
            text("The dog", number=1),
            text("A", number=2, labels=("fine",)),
            text("", number=3),
        ],
    )
    assert made.rows["class_id"].tolist() == [1, -1]
    assert pieces(how, made.rows[0]) == ["[CLS]", "a", "good", "film", ".", "[SEP]"]
    [bad] = made.bad
    assert (bad.number, bad.reason) == (2, "label") and "'fine' is none of the labels" in bad.detail
    assert dict(made.filtered) == {"empty": 1}
    assert made.rows["key"][1].tobytes() == make_key(corpus="c", page=1)


def test_long_texts_lose_their_ends_and_it_is_counted(encoder):
    how = encoder(task="classification", labels=("x",), max_seq_length=8)
    made = encode(how, [text("a good film . the dog runs", labels=("x",))])
    assert pieces(how, made.rows[0]) == ["[CLS]", "a", "good", "film", ".", "the", "dog", "[SEP]"]
    assert dict(made.notes) == {"truncated_rows": 1, "truncated_tokens": 1}


def test_pairs_lose_the_end_of_the_longer_text(encoder):
    how = encoder(task="regression", text_pair="b", max_seq_length=8)
    made = encode(how, [text("a good film . the", "the dog", target=2.5)])
    found = pieces(how, made.rows[0])
    assert found == ["[CLS]", "a", "good", "film", "[SEP]", "the", "dog", "[SEP]"]
    assert made.rows["segment_split"][0] == 5 and made.rows["target"][0] == 2.5
    made = encode(how, [text("a good", "the dog")])
    assert np.isnan(made.rows["target"][0]) and not made.notes


def test_multi_label_rows_have_a_flag_a_label(encoder):
    how = encoder(task="multi-label", labels=("x", "y", "z"))
    rows = [text("a", labels=("z", "x")), text("a", number=1, labels=()), text("a", number=2)]
    made = encode(how, rows)
    assert made.rows["class_flags"].tolist() == [[1, 0, 1], [0, 0, 0], [255, 255, 255]]


def words(sentence, tags=None, number=0):
    return Words(
        number=number,
        where="line 1",
        words=tuple(sentence.split()),
        tags=None if tags is None else tuple(tags.split()),
    )


@pytest.mark.parametrize(
    ("all_pieces", "expected"), [(False, [1, 0, None, 1]), (True, [1, 0, 0, 1])]
)
def test_tags_stand_at_the_first_piece_or_at_all(encoder, all_pieces, expected):
    how = encoder(task="tagging", labels=("O", "X"), label_all_pieces=all_pieces)
    made = encode(how, [words("the playing dog", "X O X")])
    assert pieces(how, made.rows[0])[1:-1] == ["the", "play", "##ing", "dog"]
    tags = made.rows["tags"][0].tolist()
    assert tags == [65535, *(65535 if t is None else t for t in expected)] + [65535] * 11


def test_words_behind_the_end_and_words_without_tokens_are_counted(encoder):
    how = encoder(task="tagging", labels=("O",), max_seq_length=6)
    made = encode(how, [words("the playing dog runs in", "O O O O O"), words("\x01 dog", "O O", 1)])
    assert dict(made.notes) == {
        "truncated_rows": 1,
        "truncated_tokens": 2,
        "words_cut_off": 2,
        "words_without_tokens": 1,
    }
    assert (made.rows["tags"][1] != 65535).sum() == 1


def test_tag_that_is_no_label_spoils_its_row_even_when_cut_off(encoder):
    how = encoder(task="tagging", labels=("O",), max_seq_length=6)
    made = encode(how, [words("the dog the dog the dog", "O O O O O Z")])
    assert [bad.reason for bad in made.bad] == ["label"]


@settings(max_examples=200, deadline=None)
@given(num_tokens=st.integers(1, 300), room=st.integers(1, 60), stride=st.integers(1, 80))
def test_windows_cover_every_token_and_step_by_the_stride(num_tokens, room, stride):
    found = list(windows(num_tokens, room=room, stride=stride))
    covered = {n for window in found for n in range(window.begin, window.end)}
    assert covered == set(range(num_tokens))
    assert all(1 <= w.end - w.begin <= room for w in found)
    assert found[-1].end == num_tokens and all(w.end < num_tokens for w in found[:-1])
    steps = {b.begin - a.begin for a, b in zip(found, found[1:], strict=False)}
    assert steps <= {min(room, stride)}


def test_answer_tokens_overlap_the_answers_characters():
    offsets = [(0, 3), (4, 8), (8, 11), (12, 15)]
    assert answer_tokens(offsets, start=4, stop=11) == (1, 2)
    assert answer_tokens(offsets, start=5, stop=6) == (1, 1)
    assert answer_tokens(offsets, start=3, stop=4) is None


CONTEXT = "The dog runs in New York.  A good film, a bad play; the player plays in PARIS 1 2 3."


def question(start, stop, *, answerable=True, context=CONTEXT):
    return Question(
        number=3,
        where="data[0]",
        question="Where?",
        context=context,
        answerable=answerable,
        start=start,
        stop=stop,
    )


@pytest.mark.parametrize("answer", ["New York", "player plays", "PARIS", "The dog", "3"])
def test_windows_map_back_to_the_characters_of_the_answer(encoder, answer):
    how = encoder(task="qa", format="squad", max_query_length=2, doc_stride=4)
    start = CONTEXT.index(answer)
    made = encode(how, [question(start, start + len(answer))])
    assert len(made.rows) > 3
    found = 0
    for sequence, row in enumerate(made.rows):
        key = split_key(row["key"])
        assert (key.page, key.sequence) == (3, sequence)
        names = pieces(how, row)
        assert names[:3] == ["[CLS]", "where", "?"] and row["answerable"] == 1
        assert row["segment_split"] == 4
        for slot, name in enumerate(names):
            if name in ("[CLS]", "[SEP]") or slot < 4:
                assert row["char_starts"][slot] == row["char_ends"][slot] == NO_CHARACTER
            elif name != "[UNK]":
                piece = CONTEXT[row["char_starts"][slot] : row["char_ends"][slot]]
                assert piece.lower() == name.removeprefix("##")
        first, last = int(row["span_start"]), int(row["span_end"])
        if last:
            found += 1
            assert CONTEXT[row["char_starts"][first] : row["char_ends"][last]] == answer
        else:  # the answer is not wholly in this window
            held = CONTEXT[row["char_starts"][4] : row["char_ends"][len(names) - 2]]
            assert answer not in held
    assert found >= 1


def test_unanswerable_and_unlabelled_questions_point_at_the_first_token(encoder):
    how = encoder(task="qa", format="squad", max_query_length=2)
    for answerable, stored in ((False, 0), (None, 255)):
        rows = encode(how, [question(0, 0, answerable=answerable)]).rows
        assert set(rows["answerable"].tolist()) == {stored}
        assert not rows["span_start"].any() and not rows["span_end"].any()


def test_answer_of_which_nothing_is_left_is_not_used(encoder):
    how = encoder(task="qa", format="squad", max_query_length=2)
    context = "The dog \x01 runs."
    made = encode(how, [question(8, 9, context=context)])
    assert [bad.reason for bad in made.bad] == ["answer"]
    assert "leaves nothing of the answer" in made.bad[0].detail


def test_long_questions_are_cut_and_counted(encoder):
    how = encoder(task="qa", format="squad", max_query_length=1)
    made = encode(how, [question(0, 3)])
    assert dict(made.notes) == {"truncated_questions": 1}


def test_row_without_room_for_a_context_is_refused(encoder):
    with pytest.raises(UsageError, match="max_seq_length is 16; .* at least 68"):
        encoder(task="qa", format="squad")


def test_labels_are_sorted_as_numbers_if_all_are():
    assert sorted_labels(["10", "9", "1"]) == ("1", "9", "10")
    assert sorted_labels(["b", "10", "9"]) == ("10", "9", "b")
    with pytest.raises(UsageError, match="no row bears a label"):
        sorted_labels([])


def test_bad_rows_stay_bad(encoder, write):
    how = encoder(task="classification", labels=("x",))
    path = write("a.jsonl", json.dumps({"text": 1, "label": "x"}))
    rows = list(
        read_rows(path, encoder(task="classification", format="jsonl", labels=("x",)).settings)
    )
    assert isinstance(rows[0], Bad) and encode(how, rows).bad == rows


@pytest.fixture(scope="module")
def byte_tokenizer(tmp_path_factory):
    """RoBERTa's kind of tokenizer with a token for each byte and no merges."""
    from tokenizers.pre_tokenizers import ByteLevel

    from limbeck.tokens import load_tokenizer

    folder = tmp_path_factory.mktemp("bytes")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    (folder / "vocab.json").write_text(json.dumps({t: n for n, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    names = zip(("bos", "pad", "eos", "unk", "mask"), special, strict=True)
    config = {f"{name}_token": token for name, token in names} | {
        "tokenizer_class": "RobertaTokenizer"
    }
    config |= {"cls_token": "<s>", "sep_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return load_tokenizer(folder)


@settings(max_examples=100, deadline=None)
@given(
    context=st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=60
    ),
    places=st.tuples(st.integers(0, 59), st.integers(1, 10)),
    stride=st.integers(1, 40),
)
def test_answers_in_any_characters_map_back_over_bytes(byte_tokenizer, context, places, stride):
    from prep.kinds.frame import frame_of
    from prep.tasks.encoding import TaskEncoder
    from prep.tasks.settings import TaskSettings

    start = places[0] % len(context)
    stop = min(start + places[1], len(context))
    how = TaskEncoder(
        settings=TaskSettings(
            task="qa", format="squad", max_seq_length=48, max_query_length=3, doc_stride=stride
        ),
        tokenizer=byte_tokenizer,
        frame=frame_of(byte_tokenizer, what="a test"),
        labels=(),
    )
    made = encode(how, [question(start, stop, context=context)])
    assert len(made.rows) or not context.strip() or made.bad
    answer = context[start:stop]
    for row in made.rows:
        first, last = int(row["span_start"]), int(row["span_end"])
        if last:
            found = context[row["char_starts"][first] : row["char_ends"][last]]
            assert found.strip() in answer or answer.strip() in found
    if made.rows.size and answer.strip() == answer and len(answer.encode()) + stride <= 40:
        assert made.rows["span_end"].any()
