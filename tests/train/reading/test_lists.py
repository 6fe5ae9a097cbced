"""Lists of entries against loops over rows."""

import numpy as np
import pytest

from tests.train.kinds import task_rows
from train.reading.batch import base_group, base_list, count_items, cut, in_corpus
from train.reading.lists import LISTS

N, T = 9, 16


@pytest.fixture(scope="module")
def rows():
    """Rows with every label; every fourth has none."""
    return task_rows("classification", N, seed=3, page=0)


def naive(rows, name):
    """(row, token, label) of every entry, from the definitions."""
    for i in range(N):
        n = int(rows["num_tokens"][i])
        if name == "next":
            for t in range(n - 1):
                yield i, t, rows["ids"][i, t + 1]
        elif name == "tags":
            for t in range(n):
                if rows["tags"][i, t] != 65_535:
                    yield i, t, rows["tags"][i, t]
        elif name == "class" and rows["class_id"][i] >= 0:
            yield i, 0, rows["class_id"][i]
        elif name == "flags" and rows["class_flags"][i, 0] != 255:
            yield i, 0, rows["class_flags"][i]
        elif name == "target" and not np.isnan(rows["target"][i]):
            yield i, 0, rows["target"][i]
        elif name == "sentence" and rows["is_random_next"][i] in (0, 1):
            yield i, 0, rows["is_random_next"][i]
        elif name == "span" and rows["answerable"][i] != 255:
            yield i, 0, (rows["span_start"][i], rows["span_end"][i])


def cut_rows(rows, groups, *, micro_batch=4, num_micro=3, **options):
    return cut(
        rows,
        {},
        num_real=N,
        micro_batch=micro_batch,
        num_micro=num_micro,
        length=T,
        groups=groups,
        **options,
    )


def entries(batches, name, micro_batch=4):
    """(row, token) and labels of the real entries."""
    places, labels = [], []
    for number, batch in enumerate(batches):
        items = batch["items"][name]
        index = items["index"][items["valid"]]
        places += [(number * micro_batch + i // T, i % T) for i in index.tolist()]
        labels.append(batch["labels"][name][items["valid"]])
    return places, np.concatenate(labels)


@pytest.mark.parametrize("name", ["next", "class", "flags", "target", "tags", "sentence", "span"])
def test_lists_hold_the_labelled_entries_and_no_others(rows, name):
    expected = list(naive(rows, name))
    batches = cut_rows(rows, [name])
    places, labels = entries(batches, name)
    assert places == [(i, t) for i, t, _ in expected]
    np.testing.assert_array_equal(labels, np.array([label for _, _, label in expected]))
    assert count_items(batches, [name])[name] == len(expected) > 0
    dtype = np.float32 if name in ("flags", "target") else np.int32
    assert labels.dtype == dtype


def test_lists_of_rows_without_labels_are_empty_and_legal(rows):
    none = dict(rows)
    none["class_id"] = np.full(N, -1, np.int32)
    none["num_tokens"] = np.ones(N, np.uint16)
    none["segment_split"] = np.ones(N, np.uint16)
    (batch,) = cut_rows(none, ["class", "next"], micro_batch=N, num_micro=1)
    assert count_items([batch], ["class", "next"])["class"] == 0
    assert not batch["items"]["next"]["valid"].any()
    assert batch["items"]["class"]["index"].shape == batch["labels"]["class"].shape


def test_list_of_a_corpus_holds_its_rows_and_their_places_in_the_whole_list(rows):
    mixed = {**rows, "corpus": (np.arange(N) % 2).astype(np.int32)}
    name = in_corpus("class", "news")
    assert (base_list(name), in_corpus("class", None)) == ("class", "class")
    assert base_group("masked of top") == "masked" == base_list(in_corpus("masked", "a"))
    batches = cut_rows(mixed, ["class", name], corpora=("web", "news"))
    places, labels = entries(batches, name)
    expected = [(i, t, label) for i, t, label in naive(rows, "class") if i % 2 == 1]
    assert places == [(i, t) for i, t, _ in expected]
    assert labels.tolist() == [label for _, _, label in expected]
    for batch in batches:
        part, whole = batch["items"][name], batch["items"]["class"]
        entry = part["entry"][part["valid"]]
        np.testing.assert_array_equal(whole["index"][entry], part["index"][part["valid"]])


def test_next_tokens_stand_among_all_tokens(rows):
    for batch in cut_rows(rows, ["all", "next"]):
        part, whole = batch["items"]["next"], batch["items"]["all"]
        entry = part["entry"][part["valid"]]
        np.testing.assert_array_equal(whole["index"][entry], part["index"][part["valid"]])
        # Of `all` the labels are tags, -1 where a token carries none.
        tags = batch["labels"]["all"][whole["valid"]]
        assert set(tags.tolist()) <= {-1, 0, 1, 2}


def test_every_list_says_which_rows_without_reading_labels_of_others(rows):
    fields = {"ids", "num_tokens", "segment_split", "key", "class_id"}
    few = {name: values for name, values in rows.items() if name in fields}
    (batch,) = cut_rows(few, ["class", "all", "first"], micro_batch=N, num_micro=1)
    assert "all" not in batch["labels"]  # no tags there
    np.testing.assert_array_equal(batch["labels"]["first"][:N], rows["class_id"])
    assert set(LISTS) >= {"masked", "all", "first"}
