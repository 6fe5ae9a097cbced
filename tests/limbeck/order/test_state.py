"""The stream's state: small, exact, and refused where it does not fit."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order import MAX_STATE_BYTES, StreamState

IDS = tuple(hashlib.sha256(name.encode()).hexdigest() for name in ("examples", "sparse"))
STATE = StreamState(
    dataset_ids=IDS, seed=7, boundary="run_on", epoch=2, position=250, global_batch=32
)
FITS = {"dataset_ids": IDS, "seed": 7, "boundary": "run_on", "num_rows": 100}


@given(
    seed=st.integers(-(2**63), 2**63),
    boundary=st.sampled_from(["run_on", "close"]),
    position=st.integers(0, 2**62),
    global_batch=st.integers(1, 2**31),
    num_ids=st.integers(1, 10),
)
def test_round_trip_keeps_everything_in_512_bytes(
    seed: int, boundary: str, position: int, global_batch: int, num_ids: int
) -> None:
    state = StreamState(
        dataset_ids=IDS[:1] * num_ids,
        seed=seed,
        boundary=boundary,  # type: ignore[arg-type]
        epoch=position // 3,
        position=position,
        global_batch=global_batch,
    )
    text = state.to_json()
    assert len(text.encode()) <= MAX_STATE_BYTES == 512
    assert StreamState.from_json(text) == state
    assert StreamState.from_json(text).to_json() == text


def test_many_datasets_are_kept_as_one_hash_of_them_all() -> None:
    many = tuple(f"{i:064x}" for i in range(40))
    state = dataclasses.replace(STATE, dataset_ids=many)
    assert len(state.dataset_ids) == 1
    assert StreamState.from_json(state.to_json()) == state
    state.check_fits(**{**FITS, "dataset_ids": many[::-1]})
    with pytest.raises(UsageError, match="is missing here"):
        state.check_fits(**{**FITS, "dataset_ids": many[:-1]})


def test_state_without_a_mode_is_one_of_the_full_order() -> None:
    plain = json.loads(STATE.to_json())
    assert plain.pop("mode") == "full"
    assert StreamState.from_json(json.dumps(plain)) == STATE


def test_matching_state_fits_and_another_batch_size_too() -> None:
    STATE.check_fits(**FITS)
    STATE.check_fits(**{**FITS, "dataset_ids": IDS[::-1]})
    dataclasses.replace(STATE, global_batch=5).check_fits(**FITS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 8}, ["seed is 7 in the checkpoint and 8 here"]),
        ({"boundary": "close"}, ["boundary is 'run_on' in the checkpoint and 'close' here"]),
        ({"mode": "two_level 8x4"}, ["mode is 'full' in the checkpoint and 'two_level 8x4' here"]),
        ({"order_version": 2}, ["order_version is 1 in the checkpoint and 2 here"]),
        ({"num_rows": 50}, ["epoch is 2 in the checkpoint and 5 here"]),
        ({"dataset_ids": IDS[:1]}, [f"dataset {IDS[1][:24]} is missing here"]),
        ({"dataset_ids": ("f" * 64, *IDS)}, [f"dataset {'f' * 24} is new here"]),
        ({"seed": 8, "boundary": "close", "num_rows": 0}, ["seed", "boundary", "epoch"]),
    ],
)
def test_misfit_is_refused_with_every_difference(change: dict, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        STATE.check_fits(**{**FITS, **change})
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1.5}, "whole number in seed"),
        ({"position": True}, "whole number in position"),
        ({"boundary": "never"}, "'never'"),
        ({"dataset_ids": "ab"}, "dataset_ids"),
        ({"extra": 1}, "extra"),
        ({"mode": 1}, "mode 1"),
        ({"position": -1}, "position -1"),
        ({"global_batch": 0}, "global_batch 0"),
    ],
)
def test_damaged_state_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StreamState.from_json(json.dumps({**json.loads(STATE.to_json()), **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}"])
def test_text_that_is_no_state_is_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="state"):
        StreamState.from_json(text)
