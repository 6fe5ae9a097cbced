import numpy as np
import pytest

from prep.partners import LazyTokens, PartnerPool, TokenCache


def test_choose_never_returns_the_document_itself():
    pool = PartnerPool(np.array([2, 5, 9]))
    for own in (2, 5, 9):
        chosen = {pool.choose(own, value << 60) for value in range(16)}
        assert chosen == {2, 5, 9} - {own}


def test_choose_is_uniform_over_the_others():
    pool = PartnerPool(np.arange(0, 22, 2))
    values = [int(v) for v in np.random.default_rng(0).integers(0, 1 << 63, 20_000) * 2]
    chosen = [pool.choose(8, value) for value in values]
    counts = np.array([chosen.count(row) for row in range(0, 22, 2) if row != 8])
    assert counts.sum() == 20_000
    assert ((counts - 2000) ** 2 / 2000).sum() < 34  # 9 degrees of freedom, p = 0.0001


def test_pool_of_one_is_refused():
    with pytest.raises(ValueError, match="no partners"):
        PartnerPool(np.array([3]))


def counting_encoder(calls):
    def encode(texts):
        calls.append(list(texts))
        return [[len(text)] for text in texts]

    return encode


def test_lazy_tokens_are_made_when_asked_for_and_once():
    calls = []
    tokens = LazyTokens(["a", "bb", "ccc"], counting_encoder(calls))
    assert len(tokens) == 3 and calls == []
    assert tokens[1] == [2] and tokens[1] == [2]
    assert calls == [["bb"]]
    assert tokens.all() == [[1], [2], [3]]
    assert calls == [["bb"], ["a", "ccc"]]
    assert tokens.all() == [[1], [2], [3]] and len(calls) == 2


def test_cache_keeps_the_documents_used_last():
    loaded = []

    def load(row):
        loaded.append(row)
        return LazyTokens([str(row)], lambda texts: [[0] for _ in texts])

    cache = TokenCache(load, capacity=2)
    first = cache.get(1)
    cache.get(2)
    assert cache.get(1) is first
    cache.get(3)  # 2 is the one not used for longest
    assert cache.get(1) is first
    cache.get(2)
    assert loaded == [1, 2, 3, 2]
