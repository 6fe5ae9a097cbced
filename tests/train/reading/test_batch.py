import numpy as np
import pytest

from train.reading.batch import (
    FamilyArrays,
    base_group,
    bucket_length,
    count_items,
    cut,
    ladder_size,
    list_name,
    row_keys,
)

S, P, K = 12, 3, 2
GROUPS = ("masked", "all", "first")


def rows(n):
    """n rows with 3, 4, ... tokens and 0, 1, 2, 3, 0, ... masks; ids count up over all rows."""
    examples = {
        "key": np.arange(n * 16, dtype=np.uint8).reshape(n, 16),
        "ids": np.arange(1, n * S + 1, dtype=np.uint16).reshape(n, S),
        "num_tokens": (3 + np.arange(n) % 8).astype(np.uint16),
        "segment_split": np.full(n, 2, np.uint16),
        "mask_positions": np.tile(np.arange(P, dtype=np.uint16), (n, 1)),
        "mask_ids": np.arange(n * P, dtype=np.uint16).reshape(n, P),
        "num_masked": (np.arange(n) % 4).astype(np.uint16),
    }
    masked, tokens = (examples[name].astype(np.int64) for name in ("num_masked", "num_tokens"))
    logits = np.arange(masked.sum() * K, dtype=np.float16).reshape(-1, K)
    states = np.arange(tokens.sum(), dtype=np.float16)[:, None]
    # States lie in another order than the rows, as those of a mixture do.
    starts = (np.cumsum(tokens[::-1]) - tokens[::-1])[::-1]
    top = FamilyArrays(group="masked", counts=masked, fields={"logits": logits})
    families = {
        "top": top,
        "states": FamilyArrays(
            group="all", counts=tokens, starts=starts, fields={"states": states}
        ),
    }
    return examples, families


def partial_family(examples, here):
    """Logits of the rows in `here` (n,) only."""
    counts = np.where(here, examples["num_masked"].astype(np.int64), 0)
    logits = np.arange(counts.sum() * K, dtype=np.float16).reshape(-1, K)
    return FamilyArrays(group="masked", counts=counts, fields={"logits": logits}, is_partial=True)


def cut_all(n, *, micro_batch, num_micro, length=S):
    examples, families = rows(n)
    return cut(
        examples,
        families,
        num_real=n,
        micro_batch=micro_batch,
        num_micro=num_micro,
        length=length,
        groups=GROUPS,
    )


def real(batches, group, values):
    """The real entries of a list, over all micro-batches."""
    return np.concatenate([values(b)[b["items"][group]["valid"]] for b in batches])


@pytest.mark.parametrize(
    ("longest", "seq_length", "padded"),
    [
        (1, 128, 16),
        (16, 128, 16),  # a bucket's own length stays
        (17, 128, 32),
        (128, 128, 128),
        (100, 100, 100),  # never above the stored length
        (3, 16, 8),  # steps of at least 8
        (0, 16, 8),
    ],
)
def test_bucket_length_is_the_next_of_eight(longest, seq_length, padded):
    assert bucket_length(longest, seq_length=seq_length) == padded


@pytest.mark.parametrize(
    ("num_items", "bound", "size"),
    [(0, 640, 40), (40, 640, 40), (41, 640, 80), (640, 640, 640), (3, 4, 8)],
)
def test_ladder_size_is_the_next_sixteenth(num_items, bound, size):
    assert ladder_size(num_items, bound=bound) == size


def test_lists_do_not_depend_on_how_the_slice_is_cut():
    whole = cut_all(7, micro_batch=7, num_micro=1)
    parts = cut_all(7, micro_batch=3, num_micro=3)
    for group, values in (
        ("masked", lambda b: b["labels"]["masked"]),
        ("masked", lambda b: b["teacher"]["top"]["logits"]),
        ("all", lambda b: b["teacher"]["states"]["states"]),
        ("all", lambda b: b["ids"].reshape(-1)[b["items"]["all"]["index"]]),
        ("masked", lambda b: b["ids"].reshape(-1)[b["items"]["masked"]["index"]]),
        ("first", lambda b: b["ids"].reshape(-1)[b["items"]["first"]["index"]]),
    ):
        np.testing.assert_array_equal(real(whole, group, values), real(parts, group, values))
    assert count_items(whole, GROUPS) == count_items(parts, GROUPS)


def test_lists_hold_what_the_rows_say():
    examples, families = rows(5)
    (batch,) = cut_all(5, micro_batch=5, num_micro=1)
    expected_ids, expected_true, expected_logits = [], [], []
    for i in range(5):
        for slot in range(int(examples["num_masked"][i])):
            expected_ids.append(examples["ids"][i, examples["mask_positions"][i, slot]])
            expected_true.append(examples["mask_ids"][i, slot])
            start = int(families["top"].row_starts[i])
            expected_logits.append(families["top"].fields["logits"][start + slot])
    items = batch["items"]["masked"]
    valid = items["valid"]
    assert batch["ids"].reshape(-1)[items["index"]][valid].tolist() == expected_ids
    assert batch["labels"]["masked"][valid].tolist() == expected_true
    np.testing.assert_array_equal(batch["teacher"]["top"]["logits"][valid], expected_logits)
    counts = count_items([batch], GROUPS)
    assert counts["masked"] == len(expected_ids)
    assert counts["all"] == examples["num_tokens"].sum()
    assert counts["first"] == 5


def test_segments_and_mask_stop_at_the_last_token():
    (batch,) = cut_all(2, micro_batch=2, num_micro=1, length=8)
    assert batch["segment_ids"].tolist() == [[0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]]
    assert batch["attention_mask"].sum(axis=1).tolist() == [3, 4]
    assert batch["ids"].shape == (2, 8)


def test_padding_rows_copy_a_real_row_and_count_for_nothing():
    batches = cut_all(4, micro_batch=3, num_micro=2)
    assert [len(b["ids"]) for b in batches] == [3, 3]
    np.testing.assert_array_equal(batches[1]["ids"][1:], batches[0]["ids"][[0, 0]])
    for group in GROUPS:
        index, valid = (batches[1]["items"][group][name] for name in ("index", "valid"))
        assert (index[valid] < S).all()  # row 3 of the slice is row 0 of its micro-batch
        assert (index[~valid] == 0).all()


def test_rank_without_rows_gets_one_stand_in_and_no_entries():
    examples, families = rows(1)
    (batch,) = cut(
        examples, families, num_real=0, micro_batch=1, num_micro=1, length=S, groups=GROUPS
    )
    assert batch["attention_mask"].sum() > 0  # real data: nothing in it can be NaN
    counts = count_items([batch], GROUPS)
    assert set(counts.values()) == {0} and set(GROUPS) < counts.keys()


@pytest.mark.parametrize(("micro_batch", "num_micro"), [(8, 1), (3, 3)])
def test_partial_family_has_a_list_of_its_own_rows(micro_batch, num_micro):
    examples, _ = rows(8)
    here = np.array([0, 1, 1, 0, 0, 1, 0, 0], bool)
    family = partial_family(examples, here)
    name = list_name("masked", "top")
    batches = cut(
        examples,
        {"top": family},
        num_real=8,
        micro_batch=micro_batch,
        num_micro=num_micro,
        length=S,
        groups=("masked", name),
    )
    assert base_group(name) == "masked"
    assert count_items(batches, [name])[name] == family.counts.sum() == 4
    got = real(batches, name, lambda b: b["teacher"]["top"]["logits"])
    np.testing.assert_array_equal(got, family.fields["logits"])  # rows ascend
    for batch in batches:
        own, group = batch["items"][name], batch["items"]["masked"]
        # An entry says where in the group's list, so that logits are computed once for all terms.
        entry = own["entry"][own["valid"]]
        np.testing.assert_array_equal(group["index"][entry], own["index"][own["valid"]])
        assert group["valid"][entry].all()


def test_list_of_a_family_that_has_none_of_the_rows_is_empty():
    examples, _ = rows(4)
    family = partial_family(examples, np.zeros(4, bool))
    name = list_name("masked", "top")
    (batch,) = cut(
        examples,
        {"top": family},
        num_real=4,
        micro_batch=4,
        num_micro=1,
        length=S,
        groups=("masked", name),
    )
    counts = count_items([batch], (name, "masked"))
    assert (counts[name], counts["masked"]) == (0, 6)


def test_pairs_are_counted_by_the_tokens_of_each_entrys_row():
    """Rows of 3, 4, 5 and 6 tokens with 0, 1, 2 and 3 masks; two rows fill the last micro-batch."""
    batches = cut_all(4, micro_batch=3, num_micro=2)
    counts = count_items(batches, GROUPS)
    expected = {
        "masked": 6,
        "masked pairs": 1 * 4 + 2 * 5 + 3 * 6,
        "all": 18,
        "all pairs": 3**2 + 4**2 + 5**2 + 6**2,
        "first": 4,
        "first pairs": 18,
    }
    assert expected.items() <= counts.items()
    assert counts == count_items(cut_all(4, micro_batch=4, num_micro=1), GROUPS)


def test_pairs_of_a_partial_family_are_those_of_its_rows():
    examples, _ = rows(4)
    family = partial_family(examples, np.array([1, 0, 1, 1], bool))
    name = list_name("masked", "top")
    batches = cut(
        examples,
        {"top": family},
        num_real=4,
        micro_batch=2,
        num_micro=2,
        length=8,
        groups=("masked", name),
    )
    counts = count_items(batches, ("masked", name))
    assert (counts[name], counts[f"{name} pairs"]) == (5, 2 * 5 + 3 * 6)
    assert (counts["masked"], counts["masked pairs"]) == (6, 32)


def test_places_go_on_over_micro_batches_and_copies_stand_at_the_copied_row():
    examples, families = rows(4)
    batches = cut(
        examples,
        families,
        num_real=4,
        micro_batch=3,
        num_micro=2,
        length=S,
        groups=GROUPS,
        first_place=10,
    )
    assert [b["places"].tolist() for b in batches] == [[10, 11, 12], [13, 10, 10]]
    assert batches[0]["places"].dtype == np.int32


def test_absent_rows_keep_their_places_and_move_no_other():
    examples, families = rows(6)
    whole = cut_all(6, micro_batch=3, num_micro=2)
    present = np.array([1, 0, 1, 1, 1, 0], bool)
    sound = {name: values[present] for name, values in examples.items()}
    counts = families["top"].counts
    kept = np.repeat(present, counts)
    top = FamilyArrays(
        group="masked",
        counts=counts[present],
        fields={"logits": families["top"].fields["logits"][kept]},
    )
    batches = cut(
        sound,
        {"top": top},
        num_real=6,
        micro_batch=3,
        num_micro=2,
        length=S,
        groups=("masked",),
        present=present,
    )
    for number, (before, after) in enumerate(zip(whole, batches, strict=True)):
        for row in range(3):
            if present[3 * number + row]:
                np.testing.assert_array_equal(after["ids"][row], before["ids"][row])
    got = real(batches, "masked", lambda b: b["teacher"]["top"]["logits"])
    np.testing.assert_array_equal(got, families["top"].fields["logits"][kept])
    assert (batches[1]["row_keys"][2] == batches[0]["row_keys"][0]).all()  # a copy, of weight 0


def test_row_keys_tell_every_byte_apart():
    keys = np.zeros((17, 16), np.uint8)
    keys[np.arange(1, 17), np.arange(16)] = 200
    words = row_keys(keys)
    assert words.shape == (17, 4) and words.dtype == np.int32
    assert len(np.unique(words, axis=0)) == 17
