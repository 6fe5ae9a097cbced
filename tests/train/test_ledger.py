import dataclasses
import json

import numpy as np
import pytest

from limbeck.config import LimbeckError
from limbeck.order import Order
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from train.ledger import Ledger, audit, keys_digest
from train.reading.mixture import Corpora, CorpusInputs
from train.stream import Source


@pytest.fixture
def source(shared_toy):
    examples = open_dataset(shared_toy.root / "examples")
    return Source(
        corpora=Corpora((CorpusInputs(name="", examples=examples),)),
        order=Order(examples.num_rows, 3),
        global_batch=7,
        world=World(),
        micro_batch=None,
        groups=("masked",),
        vocab_size=50,
    )


def test_rows_of_the_order_are_proved_and_noted(source, tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, source, World(), last_step=-1)
    batch = source.read(source.global_rows(35))
    ledger.verify(batch, step=6)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert line == {
        "step": 6,
        "epoch": 0,
        "position": 35,
        "rows": 7,
        "digest": keys_digest(batch.keys),
    }


@pytest.mark.parametrize("change", ["swapped", "repeated", "missing", "position"])
def test_other_rows_than_the_order_says_are_refused(source, tmp_path, change):
    batch = source.read(source.global_rows(0))
    keys = batch.keys.copy()
    if change == "swapped":
        keys[[0, 1]] = keys[[1, 0]]
    elif change == "repeated":
        keys[1] = keys[0]
    elif change == "missing":
        keys = keys[:-1]
    position = 7 if change == "position" else 0
    batch = dataclasses.replace(batch, keys=keys, position=position)
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(LimbeckError, match="step 1: the ranks fed other rows"):
        Ledger(path, source, World(), last_step=-1).verify(batch, step=1)
    assert not path.exists()


def test_resumed_ledger_drops_what_is_done_again(source, tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, source, World(), last_step=-1)
    for step in (1, 2, 3):
        ledger.verify(source.read(source.global_rows(7 * step)), step=step)
    whole = path.read_bytes()
    ledger = Ledger(path, source, World(), last_step=1)
    assert len(path.read_text().splitlines()) == 1
    for step in (2, 3):
        ledger.verify(source.read(source.global_rows(7 * step)), step=step)
    assert path.read_bytes() == whole


def test_digest_depends_on_the_order_of_keys():
    keys = np.arange(32, dtype=np.uint8).reshape(2, 16)
    assert keys_digest(keys) != keys_digest(keys[::-1])


def test_audit_proves_a_ledger_and_names_the_line_that_is_wrong(source, tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, source, World(), last_step=-1)
    for step in range(1, 8):
        ledger.verify(source.read(source.global_rows(7 * step)), step=step)
    assert audit(path, source) == 7
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], *lines[3:]]))  # a step that was not checked
    assert audit(path, source) == 6
    skipped = lines[3].replace('"step": 4', '"step": 3')
    path.write_text("\n".join([*lines[:2], skipped]))
    with pytest.raises(
        LimbeckError, match=r"line 3 \(step 3\): starts at position 28; rows from 21"
    ):
        audit(path, source)
    path.write_text("\n".join([lines[0], lines[1].replace('"digest": "', '"digest": "0')]))
    with pytest.raises(LimbeckError, match=r"line 2 \(step 2\): the rows that were fed"):
        audit(path, source)
