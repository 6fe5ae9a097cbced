"""When a job counts as frozen, by files that a test writes and a clock that it turns."""

import json
import os
import subprocess
import sys

import pytest

from launch.supervision.watch import Watch


class Job:
    """Ranks that beat as told, seconds as told."""

    def __init__(self, root):
        self.root, self.now = root, 0.0
        self.beats = {}

    def watch(self):
        return Watch(self.root, progress_timeout_s=60, start_timeout_s=300, clock=lambda: self.now)

    def beat(self, rank, *, place="heartbeat", step=None, moves=True, pid=1, host="far", **more):
        beats, alive = self.beats.get((place, rank), (0, 0))
        beats, alive = beats + moves, alive + 1
        self.beats[place, rank] = beats, alive
        values = {"rank": rank, "beats": beats, "alive": alive, "step": beats, "host": host}
        values |= {"pid": pid, "ended": False, **more}
        (self.root / place).mkdir(parents=True, exist_ok=True)
        path = self.root / place / f"rank-{rank:05d}.json"
        path.write_text(json.dumps(values))


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def test_job_that_moves_is_never_frozen(job):
    watch = job.watch()
    for _ in range(50):
        job.now += 50
        job.beat(0)
        job.beat(1)
        assert watch.look() is None
    assert watch.step == 50


def test_rank_whose_process_is_silent_is_the_culprit(job):
    """The other one waits for it in a collective: alive, without progress."""
    watch = job.watch()
    job.beat(0), job.beat(1), watch.look()
    for job.now in range(5, 61, 5):
        job.beat(0, moves=False)
        assert watch.look() is None
    job.now = 61
    found = watch.look()
    assert (found.rank, found.host) == (1, "far")
    assert found.reason == (
        "no progress for 61 s (--progress-timeout): rank 1 on far after step 1 is frozen"
    )


def test_where_all_processes_live_nobody_is_blamed(job):
    watch = job.watch()
    job.beat(0), job.beat(1), watch.look()
    for job.now in range(5, 66, 5):
        job.beat(0, moves=False)
        job.beat(1, moves=False)
        found = watch.look()
    assert found.rank is None
    assert "all processes live, waiting or looping: rank 0 on far after step 1, rank 1" in (
        found.reason
    )


def test_files_of_an_earlier_start_do_not_count(job):
    job.beat(0, step=70), job.beat(1)
    watch = job.watch()
    job.now = 299
    assert watch.look() is None and watch.step is None and watch.pids == []
    job.now = 301
    assert "no heartbeat of any rank, for 301 s (--start-timeout)" in watch.look().reason


def test_start_after_the_start_timeout_is_still_a_start(job):
    watch = job.watch()
    job.now = 290
    job.beat(0)
    assert watch.look() is None
    job.now = 340
    assert watch.look() is None  # 50 s without progress
    job.now = 351
    assert watch.look() is not None


def test_ranks_that_left_in_order_have_the_start_timeout_to_go(job):
    watch = job.watch()
    job.beat(0), job.beat(1), watch.look()
    job.beat(0, ended=True), job.beat(1, ended=True), watch.look()
    job.now = 290
    assert watch.look() is None
    job.beat(0, place="stages/02-next/heartbeat")  # the next stage has begun
    assert watch.look() is None
    job.now = 351
    assert watch.look().rank == 0


def test_one_rank_still_at_work_has_the_progress_timeout(job):
    watch = job.watch()
    job.beat(0), job.beat(1), watch.look()
    job.beat(0, ended=True), watch.look()
    job.now = 61
    assert watch.look().rank == 1


def test_workers_of_an_extraction_are_seen(job):
    watch = job.watch()
    job.beat(0, place="metrics"), watch.look()
    assert watch.step == 1


def test_file_that_cannot_be_read_counts_as_not_changed(job):
    watch = job.watch()
    job.beat(0), watch.look()
    (job.root / "heartbeat" / "rank-00000.json").write_text("{")
    assert watch.look() is None
    job.now = 61
    assert watch.look().rank == 0


def test_process_that_is_stopped_here_is_named_as_such(job):
    import signal
    import socket

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        child.send_signal(signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        watch = job.watch()
        for rank, pid in ((0, os.getpid()), (1, child.pid)):
            job.beat(rank, pid=pid, host=socket.gethostname())
        watch.look()
        assert sorted(watch.pids) == sorted([os.getpid(), child.pid])
        job.now = 61
        for rank, pid in ((0, os.getpid()), (1, child.pid)):
            job.beat(rank, pid=pid, host=socket.gethostname(), moves=False)
        found = watch.look()
        assert found.rank == 1
        assert "after step 1 is frozen (stopped by a signal)" in found.reason
    finally:
        child.kill()
        child.wait(30)
