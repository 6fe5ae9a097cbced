"""What every kind of tokenizer promises."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens import load_tokenizer, refuse_other_tokenizer, save_tokenizer

from .conftest import FORGERIES, KINDS, LINES, NASTY, texts  # isort: skip

TEXTS = [*NASTY, *LINES]
EACH_TEXT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_ids_do_not_depend_on_what_is_encoded_together(any_tokenizer):
    together = any_tokenizer.encode(TEXTS)
    assert together == [any_tokenizer.encode([text])[0] for text in TEXTS]
    assert any_tokenizer.encode([]) == []
    assert max(number for row in together for number in row) < any_tokenizer.vocab_size


@EACH_TEXT
@given(text=texts())
def test_text_never_becomes_a_special_id(any_tokenizer, text):
    special = any_tokenizer.special
    forbidden = set(special.known().values()) - {special.unk}
    [ids] = any_tokenizer.encode([text])
    assert not forbidden & set(ids)


def test_forged_tokens_are_taken_for_their_characters(any_tokenizer):
    special = set(any_tokenizer.special.known().values()) - {any_tokenizer.special.unk}
    for ids in any_tokenizer.encode(FORGERIES):
        assert len(ids) > 1 and not special & set(ids)


@EACH_TEXT
@given(text=texts())
def test_offsets_stand_beside_the_same_ids(any_tokenizer, text):
    ids, spans = any_tokenizer.encode_with_offsets(text)
    assert [ids] == any_tokenizer.encode([text])
    assert len(spans) == len(ids)
    assert all(0 <= begin <= end <= len(text) for begin, end in spans)
    assert [begin for begin, _ in spans] == sorted(begin for begin, _ in spans)


def test_offsets_cover_the_words_without_white_space(any_tokenizer):
    text = "The river  is long."
    ids, spans = any_tokenizer.encode_with_offsets(text)
    assert "".join(text[begin:end] for begin, end in spans) == "Theriverislong."
    assert spans[-1] == (18, 19)


def test_words_of_a_sentence_get_the_ids_of_the_sentence(any_tokenizer):
    words = ["The", "river", "flows", "3", "km"]
    pieces = any_tokenizer.encode_words(words)
    assert len(pieces) == len(words)
    assert [sum(pieces, [])] == any_tokenizer.encode([" ".join(words)])
    starts = any_tokenizer.word_starts
    for index, piece in enumerate(pieces):
        assert starts[piece].tolist()[1:] == [False] * (len(piece) - 1)
        assert index == 0 or starts[piece[0]]
    assert any_tokenizer.encode_words([]) == []


def test_word_starts_is_true_for_special_ids(any_tokenizer):
    starts = any_tokenizer.word_starts
    assert starts.shape == (any_tokenizer.vocab_size,) and starts.dtype == bool
    assert starts[list(any_tokenizer.special.known().values())].all()
    assert 0 < np.count_nonzero(starts) < len(starts)


def test_roles_that_examples_need_are_there(any_tokenizer):
    special = any_tokenizer.special
    assert None not in (special.pad, special.unk, special.cls, special.sep, special.mask)
    assert len({special.pad, special.unk, special.cls, special.sep, special.mask}) == 5


def test_copy_for_another_process_is_the_same(any_tokenizer):
    copy = pickle.loads(pickle.dumps(any_tokenizer))
    assert copy.fingerprint() == any_tokenizer.fingerprint()
    assert copy.encode(TEXTS) == any_tokenizer.encode(TEXTS)


def test_folder_is_written_and_loaded(any_tokenizer, tmp_path):
    save_tokenizer(any_tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path, expected_size=any_tokenizer.vocab_size)
    assert loaded.fingerprint() == any_tokenizer.fingerprint()
    assert loaded.encode(TEXTS) == any_tokenizer.encode(TEXTS)
    assert (loaded.special, loaded.info()) == (any_tokenizer.special, any_tokenizer.info())
    save_tokenizer(loaded, tmp_path)  # once more is no harm
    with pytest.raises(LimbeckError, match="tokens where 7 are expected"):
        load_tokenizer(tmp_path, expected_size=7)


def test_readable_text_comes_back(any_tokenizer):
    text = "the river flows"
    ids = any_tokenizer.encode([text])[0]
    assert any_tokenizer.decode(ids).strip() == text
    marked = any_tokenizer.decode([any_tokenizer.special.cls, *ids, any_tokenizer.special.mask])
    assert marked.startswith(any_tokenizer.token(any_tokenizer.special.cls))
    assert any_tokenizer.decode([]) == ""


@pytest.mark.parametrize("number", [-1, 100_000])
def test_token_of_an_unknown_id_is_an_error(any_tokenizer, number):
    with pytest.raises(IndexError, match=f"token id {number}; the vocabulary has ids 0 to"):
        any_tokenizer.token(number)


def test_each_kind_matches_itself_alone(tokenizer_folder):
    infos = {kind: load_tokenizer(tokenizer_folder(kind)).info() for kind in KINDS}
    assert len({info["fingerprint"] for info in infos.values()}) == len(KINDS)
    for kind, info in infos.items():
        for model in KINDS:
            arguments = {
                "examples": "examples",
                "model": tokenizer_folder(model),
                "vocab_size": info["vocab_size"],
            }
            if model == kind:
                refuse_other_tokenizer(info, **arguments)
            else:
                with pytest.raises(UsageError, match=f"{info['kind']}.*but that in .*{model}"):
                    refuse_other_tokenizer(info, **arguments)
