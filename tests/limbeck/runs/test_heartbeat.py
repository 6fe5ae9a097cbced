"""Heartbeats: whole files, a counter, and a rate that does not load the disk."""

import os
from pathlib import Path

import pytest

from limbeck.config.errors import LimbeckError
from limbeck.runs import Heartbeat, read_heartbeats


def test_each_rank_has_its_last_beat(tmp_path: Path) -> None:
    beats = [Heartbeat(tmp_path / "heartbeat", rank=rank, interval_s=0.0) for rank in (0, 3)]
    for step in range(3):
        assert all(beat.beat(step=step) for beat in beats)
    read = read_heartbeats(tmp_path / "heartbeat")
    assert sorted(read) == [0, 3]
    assert (read[3]["step"], read[3]["beats"], read[3]["pid"]) == (2, 3, os.getpid())
    assert sorted(os.listdir(tmp_path / "heartbeat")) == ["rank-00000.json", "rank-00003.json"]


def test_beats_inside_the_interval_cost_nothing(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path, rank=0, interval_s=3600.0)
    assert [beat.beat(step=step) for step in range(4)] == [True, False, False, False]
    assert read_heartbeats(tmp_path)[0]["step"] == 0


def test_file_that_is_no_heartbeat_is_named(tmp_path: Path) -> None:
    for text in ("{", "{}", "[]"):
        (tmp_path / "rank-00001.json").write_text(text)
        with pytest.raises(LimbeckError, match="rank-00001.json: not a heartbeat"):
            read_heartbeats(tmp_path)
