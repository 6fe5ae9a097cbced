import json

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens.counts import read_counts, read_counts_file
from prep.counts import count_tokens, write_counts

INFO = {"kind": "wordpiece", "fingerprint": "ab" * 32, "vocab_size": 5}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "token_counts.json"
    write_counts(path, np.array([0, 3, 1, 0, 1 << 40]), tokenizer=INFO, source={"rows": 2})
    return path


def test_each_id_is_counted():
    assert count_tokens([[1, 4, 1], [], [2, 1]]).tolist() == [0, 3, 1, 0, 1]
    assert count_tokens([]).tolist() == []


def test_counts_come_back_exactly(path):
    counts = read_counts(path, fingerprint="ab" * 32)
    assert counts.dtype == np.int64 and counts.tolist() == [0, 3, 1, 0, 1 << 40]
    assert read_counts_file(path)["total"] == (1 << 40) + 4


def test_counts_of_another_tokenizer_are_refused(path):
    with pytest.raises(UsageError, match="counts of tokenizer abababababab, not of 0000"):
        read_counts(path, fingerprint="0" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [0, 3, 1, 0]},
        {"counts": [0, 3, 1, 0, 7]},
        {"counts": [0, 3, 1, 0, -1]},
        {"counts": [0, 3, 1, 0, "x"]},
        {"counts": None},
        {"tokenizer": {}},
        {"format": 2},
    ],
)
def test_damaged_file_is_refused(path, change):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LimbeckError, match="not a file of token counts, or a damaged one"):
        read_counts(path)


@pytest.mark.parametrize("content", ["", "[]", "\x00", "{}"])
def test_other_file_is_refused(path, content):
    path.write_text(content)
    with pytest.raises(LimbeckError, match=r"token_counts\.json: not a file of token counts"):
        read_counts(path)
