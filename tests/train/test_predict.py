import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError
from limbeck.models import build_masked_lm
from limbeck.tokens import SPECIAL_TOKENS, WordPiece
from train.predict import encode_with_masks, fill_masks


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "the", "cat", "sat", "##s"]) + "\n")
    return WordPiece(path)


@pytest.fixture(scope="module")
def model():
    shape = EncoderArchitecture(
        vocab_size=len(SPECIAL_TOKENS) + 4,
        num_layers=1,
        hidden_dim=4,
        num_heads=1,
        intermediate_dim=4,
        max_positions=8,
    )
    return build_masked_lm(shape, seed=0)


def test_masks_stand_where_the_text_has_them(tokenizer):
    ids = encode_with_masks("the [MASK] sat[MASK]", tokenizer)
    tokens = [tokenizer.token(i) for i in ids]
    assert tokens == ["[CLS]", "the", "[MASK]", "sat", "[MASK]", "[SEP]"]


def test_every_mask_gets_the_likeliest_tokens(tokenizer, model):
    (fillings,) = fill_masks(model, tokenizer, ["[MASK] cats [MASK]"], top=3)
    assert [f.position for f in fillings] == [1, 4]
    for filling in fillings:
        assert len(filling.tokens) == 3
        assert list(filling.probabilities) == sorted(filling.probabilities, reverse=True)
    (everything, _) = fill_masks(model, tokenizer, ["[MASK] cats [MASK]"], top=100)[0]
    assert sum(everything.probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("the cat sat", "has no"), ("[MASK] " + "cat " * 7, "has 10 tokens; the model takes 8")],
)
def test_sentence_that_cannot_be_filled_is_refused(tokenizer, model, text, message):
    with pytest.raises(UsageError, match=message):
        fill_masks(model, tokenizer, [text])
