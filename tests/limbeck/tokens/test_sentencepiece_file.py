import pytest
import sentencepiece

from limbeck.config.errors import LimbeckError
from limbeck.tokens.sentencepiece_file import (
    CONTROL,
    make_control,
    meaning,
    read_pieces,
    without_trainer_facts,
)

from .conftest import spm_model  # isort: skip


@pytest.fixture(scope="module")
def model():
    return spm_model(user_defined_symbols="[MASK]", byte_fallback=True)


def processor(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def test_pieces_are_those_of_the_library(model):
    theirs = processor(model)
    pieces = read_pieces(model, where="m")
    assert len(pieces) == theirs.GetPieceSize()
    for number, piece in enumerate(pieces):
        assert piece.text == theirs.IdToPiece(number)
        assert piece.score == theirs.GetScore(number)
        assert (piece.kind == CONTROL) == theirs.IsControl(number)
        assert (piece.kind == 6) == theirs.IsByte(number)


def test_control_symbol_keeps_its_id_and_is_found_in_no_text(model):
    before = processor(model)
    number = before.PieceToId("[MASK]")
    assert number in before.EncodeAsIds("a[MASK]b")
    changed = make_control(model, {"[MASK]"})
    after = processor(changed)
    assert after.PieceToId("[MASK]") == number and after.IsControl(number)
    assert number not in after.EncodeAsIds("a[MASK]b")
    assert after.EncodeAsIds("The river.") == before.EncodeAsIds("The river.")
    assert make_control(model, set()) == model


def test_what_says_how_a_model_was_trained_is_not_its_meaning(model):
    other = spm_model(
        user_defined_symbols="[MASK]",
        byte_fallback=True,
        num_threads=1,
        seed_sentencepiece_size=999_999,
    )
    assert other != model and meaning(other) == meaning(model)
    assert meaning(spm_model(user_defined_symbols="[MASK]")) != meaning(model)
    slim = without_trainer_facts(model)
    assert len(slim) < len(model) and slim == without_trainer_facts(slim)
    assert processor(slim).EncodeAsIds("The \u0101 river.") == processor(model).EncodeAsIds(
        "The \u0101 river."
    )


@pytest.mark.parametrize("data", [b"", b"text", b"\x0a\xff\xff\xff\xff\xff", b"\x08\x01", b"\x0b"])
def test_other_bytes_are_refused(data):
    with pytest.raises(LimbeckError, match="m: not a SentencePiece model, or a damaged one"):
        read_pieces(data, where="m")


def test_every_cut_of_a_model_is_refused_or_lacks_pieces(model):
    whole = len(read_pieces(model, where="m"))
    for end in range(0, len(model), 499):
        try:
            assert len(read_pieces(model[:end], where="m")) <= whole
        except LimbeckError as error:
            assert "damaged" in str(error)
