import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import UsageError
from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from prep.kinds.maker import make_maker
from prep.kinds.settings import ExampleSettings

END = 4999


def build(toy, documents, *, length, drop=False):
    how = ExampleSettings(kind="clm", max_seq_length=length, drop_tails=drop)
    return make_maker(how, toy("gpt2")).make(documents)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8), length=st.integers(3, 40))
def test_blocks_are_the_documents_joined_by_end_of_text(toy, document, columns, lengths, length):
    documents = [document(page, [n] if n else []) for page, n in enumerate(lengths, start=1)]
    expected = [t for d in documents if d.sentences for t in [*d.sentences[0], END]]
    for drop in (False, True):
        made = build(toy, documents, length=length, drop=drop)
        check_examples(columns(made.rows), vocab_size=5000)
        assert made.rows.dtype.names == ("key", "ids", "num_tokens", "segment_split")
        counts = made.rows["num_tokens"].tolist()
        found = [t for row, n in zip(made.rows, counts, strict=True) for t in row["ids"][:n]]
        kept = len(expected) - len(expected) % length if drop else len(expected)
        assert found == expected[:kept]
        assert made.notes.get("dropped_tokens", 0) == len(expected) - kept
        assert all(n == length for n in (counts if drop else counts[:-1]))
        keys = [split_key(key) for key in made.rows["key"]]
        assert len({(k.page, k.sequence) for k in keys}) == len(keys)
        starts = np.cumsum([0] + [n + 1 if n else 0 for n in lengths])
        for fate, n, begin in zip(made.filters, lengths, starts, strict=False):
            assert fate == ("no_tokens" if not n else "tail" if begin >= kept else "")


def test_block_bears_the_key_of_the_document_of_its_first_token(toy, document):
    documents = [document(1, [4]), document(2, []), document(3, [7]), document(4, [1])]
    rows = build(toy, documents, length=5).rows
    # 4 tokens and an end, 7 and an end, 1 and an end: the second document has nothing.
    keys = [split_key(key) for key in rows["key"]]
    assert [(k.page, k.sequence) for k in keys] == [(1, 0), (3, 0), (3, 1)]
    assert rows["num_tokens"].tolist() == [5, 5, 5]
    assert rows["ids"][2].tolist()[2:] == [END, document(4, [1]).sentences[0][0], END]


def test_tokenizer_without_end_of_text_is_refused(toy):
    with pytest.raises(UsageError, match="needs a tokenizer with an end-of-text token; .*bert"):
        make_maker(ExampleSettings(kind="clm"), toy("bert"))
