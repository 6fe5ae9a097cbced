"""Both sides of the reading benchmark give the same arrays, and both see damage."""

import numpy as np
import pytest

from bench._stream_read import (
    compare,
    input_layout,
    read_random,
    read_sequential,
    sequential,
    write,
)
from limbeck.records import CorruptRecord, open_dataset

NUM_ROWS = 600  # two whole batches and a part


@pytest.fixture
def corpus(tmp_path):
    with write(str(tmp_path / "corpus"), input_layout(20), NUM_ROWS, num_shards=2) as dataset:
        yield dataset


@pytest.mark.parametrize("threads", [1, 2])
def test_both_sides_give_the_same_rows_of_the_same_arrays(corpus, threads):
    ours = corpus.read(np.arange(NUM_ROWS))
    batches = list(sequential(corpus, threads=threads, parse=True))
    for name, values in ours.items():
        theirs = np.concatenate([batch[name].numpy() for batch in batches])
        assert theirs.dtype == values.dtype and np.array_equal(theirs, values), name
    assert ours.keys() == batches[0].keys()
    assert read_random(corpus, threads=threads, seed=1) == NUM_ROWS


def test_damage_is_noticed_by_both_sides(corpus):
    import tensorflow as tf

    place = corpus.place(NUM_ROWS - 1)
    with open(place.path, "r+b") as file:
        file.seek(place.offset + 50)
        file.write(b"\xff\xfe\xfd")
    for parse in (False, True):
        with pytest.raises(tf.errors.DataLossError):
            read_sequential(corpus, threads=1, parse=parse)
    with pytest.raises(CorruptRecord):
        read_random(corpus, threads=2, seed=1)


def test_every_ratio_is_there(corpus):
    with open_dataset(corpus.directory) as other:
        found = compare(corpus, other, threads=1, blocks=1)
    ratios = {name: value for name, value in found.items() if "over" in name}
    assert len(ratios) == 8 and all(value > 0 for value in ratios.values())
