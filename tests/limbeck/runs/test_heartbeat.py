"""Heartbeats: whole files, what the work has done, and that the process lives."""

import os
import threading
import time
from pathlib import Path

import pytest

from limbeck.config.errors import LimbeckError
from limbeck.runs import Heartbeat, read_heartbeats, still_working


def wait_for(condition, *, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_each_rank_has_its_last_beat(tmp_path: Path) -> None:
    for rank in (0, 3):
        with Heartbeat(tmp_path / "heartbeat", rank=rank, interval_s=3600.0) as heartbeat:
            for step in range(3):
                heartbeat.beat(step=step)
            heartbeat.write()
    read = read_heartbeats(tmp_path / "heartbeat")
    assert sorted(read) == [0, 3]
    assert (read[3]["step"], read[3]["beats"], read[3]["pid"]) == (2, 3, os.getpid())
    assert sorted(os.listdir(tmp_path / "heartbeat")) == ["rank-00000.json", "rank-00003.json"]


def test_first_beat_is_written_at_once_and_later_ones_at_their_time(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, rank=0, interval_s=3600.0) as heartbeat:
        assert not list(tmp_path.iterdir())
        for step in range(4):
            heartbeat.beat(step=step)
        assert read_heartbeats(tmp_path)[0]["step"] == 0


def test_process_is_alive_while_its_work_stands_still(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, rank=0, interval_s=0.01) as heartbeat:
        heartbeat.beat(step=7)
        wait_for(lambda: read_heartbeats(tmp_path)[0]["alive"] >= 5)
        assert read_heartbeats(tmp_path)[0]["beats"] == 1


@pytest.mark.parametrize("failed", [False, True])
def test_rank_that_leaves_in_order_says_so(tmp_path: Path, failed: bool) -> None:
    threads = threading.active_count()
    try:
        with Heartbeat(tmp_path, rank=0) as heartbeat:
            heartbeat.beat(step=1)
            if failed:
                raise KeyError
    except KeyError:
        pass
    assert read_heartbeats(tmp_path)[0]["ended"] is not failed
    assert threading.active_count() == threads


def test_long_phase_counts_for_the_heartbeat_of_the_process(tmp_path: Path) -> None:
    still_working()  # without one it is nothing
    with Heartbeat(tmp_path, rank=0) as heartbeat:
        heartbeat.beat(step=2)
        still_working()
    assert read_heartbeats(tmp_path)[0]["beats"] == 2
    still_working()
    with Heartbeat(tmp_path, rank=0):
        still_working(step=9)
    assert read_heartbeats(tmp_path)[0]["step"] == 9


def test_directory_that_takes_no_file_is_told_once_and_stops_nothing(
    tmp_path: Path, caplog
) -> None:
    with Heartbeat(tmp_path / "there", rank=0, interval_s=3600.0) as heartbeat:
        (tmp_path / "there").write_text("a file")
        heartbeat.beat(step=1)
        heartbeat.write()
    assert caplog.text.count("no heartbeat: File exists") == 1


def test_file_that_is_no_heartbeat_is_named(tmp_path: Path) -> None:
    for text in ("{", "{}", "[]"):
        (tmp_path / "rank-00001.json").write_text(text)
        with pytest.raises(LimbeckError, match="rank-00001.json: not a heartbeat"):
            read_heartbeats(tmp_path)
