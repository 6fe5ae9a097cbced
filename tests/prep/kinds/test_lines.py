import pytest

from limbeck.config.errors import UsageError
from limbeck.records.keys import split_key
from prep.kinds.maker import make_maker
from prep.kinds.settings import ExampleSettings


def test_each_line_is_a_row_and_what_is_cut_off_is_counted(toy, document, unmasked):
    how = ExampleSettings(kind="lines", max_seq_length=10, max_predictions_per_seq=4, dupe_factor=2)
    text = document(1, [3, 12, 8])
    made = make_maker(how, toy("bert")).make([text, document(2, [])])
    assert dict(made.notes) == {"truncated_rows": 1, "truncated_tokens": 4}
    assert list(made.filters) == ["", "no_tokens"]
    for row in made.rows:
        key = split_key(row["key"])
        line = text.sentences[key.sequence]
        assert unmasked(row).tolist() == [101, *line[:8], 102]
        assert row["num_masked"] == max(1, round(0.15 * row["num_tokens"]))
    assert len(made.rows) == 6


@pytest.mark.parametrize(
    ("family", "around"), [("bert", (101, 102)), ("roberta", (0, 2)), ("gpt2", (4999, 4999))]
)
def test_unmasked_lines_stand_in_their_familys_frame(toy, document, family, around):
    how = ExampleSettings(kind="lines", masking="none", max_seq_length=10)
    [row] = make_maker(how, toy(family)).make([document(1, [3])]).rows
    assert row.dtype.names == ("key", "ids", "num_tokens", "segment_split")
    assert (row["ids"][0], row["ids"][4]) == around and row["num_tokens"] == 5


def test_masked_lines_of_a_tokenizer_without_mask_are_refused(toy):
    for family in ("gpt2", "maskless"):
        with pytest.raises(UsageError, match="--kind lines needs a tokenizer with a mask token"):
            make_maker(ExampleSettings(kind="lines"), toy(family))


@pytest.mark.parametrize("kind", ["pairs", "mlm", "unmasked-pairs"])
def test_kinds_that_gpt2_cannot_make_are_refused(toy, kind):
    message = f"--kind {kind} needs a tokenizer with .*can make --kind clm"
    with pytest.raises(UsageError, match=message):
        make_maker(ExampleSettings(kind=kind), toy("gpt2"), partner=lambda row, value: [])


def test_row_that_has_no_room_for_a_pair_is_refused(toy):
    how = ExampleSettings(max_seq_length=5, max_predictions_per_seq=1)
    make_maker(how, toy("bert"), partner=lambda row, value: [])
    with pytest.raises(UsageError, match="max_seq_length is 5; a pair .* has 4 special tokens"):
        make_maker(how, toy("roberta"), partner=lambda row, value: [])
