"""A masker keeps the promises of masking, whatever the choice."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.kinds.settings import ExampleSettings
from prep.maskings.masker import Masker

MASK, VOCAB = 3, 1000
STARTS = np.arange(VOCAB) % 3 != 0


def masker(**options):
    weighted = options.get("masking") == "weighted"
    return Masker(
        settings=ExampleSettings(kind="mlm", **options),
        mask_id=MASK,
        vocab_size=VOCAB,
        word_starts=STARTS,
        chances=np.full(VOCAB, 0.15) if weighted else None,
    )


def sequence(length, start=0):
    ids = np.array([1, *(100 + (start + 7 * n) % 900 for n in range(length)), 2])
    return ids, np.arange(1, length + 1)


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 126),
    masking=st.sampled_from(["token", "whole-word", "span", "ngram", "weighted"]),
    key=st.binary(min_size=16, max_size=16),
)
def test_unmasking_gives_the_original(length, masking, key):
    ids, candidates = sequence(length)
    masked = masker(masking=masking).mask(ids, candidates, key=key)
    restored = masked.ids.copy()
    restored[masked.positions] = masked.true_ids
    assert restored.tolist() == ids.tolist()
    assert len(masked.positions) <= 20 and masked.ids.min() >= 0 and masked.ids.max() < VOCAB
    again = masker(masking=masking).mask(ids, candidates, key=key)
    assert again.ids.tolist() == masked.ids.tolist()


@pytest.mark.parametrize("masking", ["token", "whole-word", "span", "ngram"])
def test_share_of_masked_tokens_is_15_percent(masking):
    ids, candidates = sequence(120)
    trials, total = 400, 0
    for number in range(trials):
        masked = masker(masking=masking).mask(ids, candidates, key=number.to_bytes(16, "big"))
        total += len(masked.positions)
    wanted = round(0.15 * len(ids))
    if masking == "token":
        assert total == trials * wanted
    else:  # a word may be left out for want of room, never more than one token short here
        assert wanted - 0.5 < total / trials <= wanted


@pytest.mark.parametrize("masking", ["token", "whole-word", "ngram", "weighted"])
def test_tokens_have_fates_of_their_own_in_80_10_10(masking):
    ids, candidates = sequence(120)
    counts = np.zeros(3)
    for number in range(800):
        masked = masker(masking=masking).mask(ids, candidates, key=number.to_bytes(16, "big"))
        new = masked.ids[masked.positions]
        counts += [(new == MASK).sum(), (new == masked.true_ids).sum(), len(new)]
    for found, share in ((counts[0], 0.8), (counts[1], 0.1)):
        bound = 4 * math.sqrt(share * (1 - share) / counts[2]) + 1 / VOCAB
        assert abs(found / counts[2] - share) < bound


@settings(max_examples=100, deadline=None)
@given(length=st.integers(1, 126), masking=st.sampled_from(["token", "whole-word"]))
def test_interleaved_passes_partition_the_tokens(length, masking):
    ids, candidates = sequence(length)
    how = masker(masking=masking, interleaved=True, dupe_factor=7)
    seen = []
    for key, masked in how.mask_passes(ids, candidates, page=b"p" * 10, sequence=4):
        assert key[12:] == (4).to_bytes(4, "big") and len(masked.positions) > 0
        seen += masked.positions.tolist()
    assert sorted(seen) == candidates.tolist()
