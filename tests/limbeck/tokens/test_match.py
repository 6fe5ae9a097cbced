import pytest

from limbeck.config.errors import UsageError
from limbeck.tokens import SPECIAL_TOKENS, load_tokenizer, refuse_other_tokenizer, save_tokenizer
from limbeck.tokens.wordpiece import WordPiece

WORDS = [*SPECIAL_TOKENS, "a", "b"]
NUM_WORDS = 7


@pytest.fixture
def folder(tmp_path):
    """Returns a function that writes a tokenizer folder."""

    def write(name, *, words=WORDS, lower_case=True):
        (tmp_path / f"{name}.txt").write_text("\n".join(words) + "\n")
        save_tokenizer(WordPiece(tmp_path / f"{name}.txt", lower_case), tmp_path / name)
        return tmp_path / name

    return write


def check(recorded, model, *, vocab_size=NUM_WORDS):
    refuse_other_tokenizer(recorded, examples="examples", model=model, vocab_size=vocab_size)


def test_same_tokenizer_in_another_place_is_accepted(folder):
    check(load_tokenizer(folder("one")).info(), folder("two"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"words": [*SPECIAL_TOKENS, "b", "a"]}, "the same words in another order"),
        ({"lower_case": False}, "the same words, cased"),
    ],
)
def test_other_meaning_of_equal_ids_is_refused(folder, change, reason):
    with pytest.raises(UsageError, match="equal ids would mean other words"):
        check(load_tokenizer(folder("one")).info(), folder("two", **change))


def test_other_number_of_ids_is_refused_without_the_models_words(folder, tmp_path):
    with pytest.raises(UsageError, match="tokenized with 7 ids, but .* has 8"):
        check(load_tokenizer(folder("one")).info(), tmp_path / "no-tokenizer", vocab_size=8)


def test_what_is_not_known_is_not_compared(folder, tmp_path):
    check(None, folder("one"))
    check(load_tokenizer(folder("two")).info(), tmp_path / "no-tokenizer")
