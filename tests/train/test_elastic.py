"""Runs whose ranks are killed, removed and added while they train, under `launch elastic`.

Names of this machine (localhost, 127.0.0.1, 127.1, 127.0.1) stand for hosts. What is done next
always waits for a line of the log, so a loaded machine changes nothing but the time.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from launch.processes.table import read_table
from limbeck.config import yaml_file
from limbeck.runs import read_metrics
from train.checkpoints import checkpoint
from train.inputs import open_inputs
from train.ledger import audit
from train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
CHECKS = str(Path(__file__).with_name("elastic_checks.py"))
STEPS = 160
A, B, C = "localhost:1", "127.0.0.1:1", "127.1:1"  # three names of this machine
ODD = "127.0.1:1"  # a fourth, on which elastic_checks.py has another recipe
LINE_S = 120.0  # for any line of the log to come: starting a process on a loaded machine
pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(420)]


class Job:
    """A run under `launch elastic`, with its log and all its processes."""

    def __init__(self, root, recipe, run_dir, hosts, *, slow=True, options=()):
        self.run_dir, self.slow, self._hostfile = run_dir, root / "slow", root / "hosts"
        if slow:
            self.slow.touch()
        self.hosts(*hosts)
        train = [CHECKS, str(self.slow), "run", str(recipe), "--run-dir", str(run_dir)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "launch", "elastic", "--hostfile", str(self._hostfile)),
                *(*options, "--", sys.executable, *train, "--commit-every", "2"),
            ],
            cwd=ROOT,
            env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines, self._news = [], threading.Condition()
        self._pids = {}
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=t) for t in (self._read, self._watch)]
        for thread in self._threads:
            thread.start()

    def _read(self):
        for line in self._process.stdout:
            with self._news:
                self.lines.append((time.monotonic(), line))
                self._news.notify_all()
        with self._news:
            self._ended.set()
            self._news.notify_all()

    def _watch(self):
        """Writes down every process that ever came of the job."""
        while not self._ended.is_set():
            self.look()
            time.sleep(0.2)

    def look(self):
        table, found = read_table(), {self._process.pid}
        grown = True
        while grown:
            more = {p.pid for p in table.values() if p.parent in found} - found
            found, grown = found | more, bool(more)
        self._pids |= {pid: table[pid].started for pid in found if pid in table}

    @property
    def log(self):
        return "".join(line for _, line in self.lines)

    def wait_for(self, text, *, after=0, within_s=LINE_S):
        """Returns (number of the line, when it came) of the first line with `text` from there."""
        deadline = time.monotonic() + within_s
        with self._news:
            while True:
                for number in range(after, len(self.lines)):
                    if text in self.lines[number][1]:
                        return number, self.lines[number][0]
                left = deadline - time.monotonic()
                assert left > 0 and not self._ended.is_set(), f"no {text!r} in\n{self.log}"
                self._news.wait(min(left, 1.0))

    def steps_on(self, number, *, after):
        """Waits for so many more lines of steps."""
        for _ in range(number):
            after = self.wait_for("step ", after=after + 1)[0]
        return after

    def hosts(self, *lines):
        """Replaces the list of hosts as a whole."""
        new = self._hostfile.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.replace(self._hostfile)

    def kill(self, rank, number=signal.SIGKILL):
        beat = json.loads((self.run_dir / "heartbeat" / f"rank-{rank:05d}.json").read_text())
        os.kill(int(beat["pid"]), number)
        return time.monotonic()

    def terminate(self):
        self._process.terminate()

    def wait(self, *, within_s=180.0):
        """Returns the exit code; nothing of the job may be left."""
        code = self._process.wait(within_s)
        for thread in self._threads:
            thread.join(10)
        table = read_table()
        left = [pid for pid, started in self._pids.items() if _same(table, pid, started)]
        assert not left, f"{left} of {sorted(self._pids)} are still there\n{self.log}"
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.slow.unlink(missing_ok=True)
        if self._process.poll() is None:
            self.look()
            self._process.kill()
        for pid, started in self._pids.items():
            if _same(read_table(), pid, started):
                os.kill(pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join(10)
        self._process.stdout.close()
        self._process.wait(10)


def _same(table, pid, started):
    return pid in table and table[pid].started == started and table[pid].is_there


@pytest.fixture(scope="module")
def job(shared_toy):
    """A recipe with every loss, batches of 7 rows of uneven lengths."""
    training = {"steps": STEPS, "checkpoint_every": 50, "global_batch": 7, "micro_batch": 4}
    return shared_toy.root, shared_toy.write(shared_toy.distil(training=training))


@pytest.fixture(scope="module")
def straight(job, command_line):
    """The same run on two ranks under mpirun, uninterrupted."""
    root, recipe = job
    directory = root / "straight"
    command_line(2, recipe, directory)
    return directory


@pytest.fixture(scope="module")
def command_line():
    def run(size, recipe, run_dir):
        line = [sys.executable, "-m", "train", "run", str(recipe), "--run-dir", str(run_dir)]
        launch = [sys.executable, "-m", "launch", "run", "-np", str(size), "--", *line]
        environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run(launch, cwd=ROOT, env=environment, check=True, timeout=240)

    return run


def assert_same_data(run_dir, straight, recipe):
    """Every step once, and the batches of a run that nothing happened to."""
    assert (run_dir / "ledger.jsonl").read_bytes() == (straight / "ledger.jsonl").read_bytes()
    inputs = open_inputs(yaml_file.load(recipe, Recipe))
    from limbeck.ranks import World

    assert audit(run_dir / "ledger.jsonl", inputs.source(World(), ())) == STEPS
    steps = [line["step"] for line in read_metrics(run_dir / "metrics.jsonl")]
    assert steps == list(range(1, STEPS + 1))


def losses(run_dir):
    return np.array([line["train/loss"] for line in read_metrics(run_dir / "metrics.jsonl")])


def final(run_dir):
    return run_dir / "checkpoints" / checkpoint.file_name(STEPS)


def assert_near(run_dir, straight):
    """Equal sums but for their order; Adam lets that grow, so early losses are compared."""
    np.testing.assert_allclose(losses(run_dir)[:20], losses(straight)[:20], rtol=1e-5)
    np.testing.assert_allclose(losses(run_dir), losses(straight), rtol=0.05)
    mine, theirs = (checkpoint.load(final(d)).tensors for d in (run_dir, straight))
    assert mine["optimizer/00000"].tolist() == theirs["optimizer/00000"].tolist()  # updates made
    for name, tensor in theirs.items():
        if name.startswith("model/"):
            np.testing.assert_allclose(mine[name], tensor, rtol=0.05, atol=0.02)


@pytest.mark.ranks(2)
def test_hosts_added_killed_and_removed_feed_every_row_once(job, straight):
    """1 -> 2 -> 1 -> 2 -> 1 ranks; the last change takes the leader away."""
    root, recipe = job
    run_dir = root / "resized"
    with Job(root, recipe, run_dir, [A]) as run:
        at = run.steps_on(5, after=run.wait_for("promise")[0])
        run.hosts(A, B)
        changed = time.monotonic()
        at, when = run.wait_for("2 rank(s) now, as hosts were added or removed", after=at)
        print(f"\nadded: {when - changed:.1f} s")
        at = run.steps_on(5, after=at)
        changed = run.kill(1)
        at, when = run.wait_for("1 rank(s) now, as a rank was lost", after=at)
        print(f"killed: {when - changed:.1f} s")
        assert when - changed < 30
        at = run.steps_on(5, after=at)
        run.hosts(A, C)
        at, _ = run.wait_for("2 rank(s) now, as hosts were added or removed", after=at)
        at = run.steps_on(5, after=at)
        run.hosts(C)
        changed = time.monotonic()
        at, when = run.wait_for("1 rank(s) now, as hosts were added or removed", after=at)
        print(f"leader removed: {when - changed:.1f} s")
        run.slow.unlink()
        run.wait_for(f"complete  all {STEPS} steps are done", after=at)
        assert run.wait() == 0, run.log
    assert_same_data(run_dir, straight, recipe)
    assert_near(run_dir, straight)
    assert [path.name for path in (run_dir / "heartbeat").glob("rank-*")] == ["rank-00000.json"]


@pytest.mark.ranks(2)
def test_leader_killed_and_host_of_another_recipe_left_out_feed_every_row_once(job, straight):
    """The other rank leads on; then a host comes whose recipe has another seed."""
    root, recipe = job
    run_dir = root / "led-on"
    with Job(root, recipe, run_dir, [A, B]) as run:
        at = run.steps_on(5, after=run.wait_for("promise")[0])
        changed = run.kill(0)
        at, when = run.wait_for("1 rank(s) now, as a rank was lost", after=at)
        print(f"\nleader killed: {when - changed:.1f} s")
        assert when - changed < 30
        at = run.steps_on(5, after=at)
        run.hosts(A, B, ODD)  # A stays left out, since its rank has failed
        at, _ = run.wait_for("[r1] train run: error: ", after=at)
        assert "holds a run with other settings: seed" in run.lines[at][1]
        at, _ = run.wait_for("1 rank(s) now, as a rank was lost", after=at)
        run.slow.unlink()
        run.wait_for(f"complete  all {STEPS} steps are done", after=at)
        assert run.wait() == 0, run.log
    assert_same_data(run_dir, straight, recipe)
    assert_near(run_dir, straight)


@pytest.mark.ranks(2)
def test_frozen_rank_is_noticed_and_its_host_tried_again_once_killed(job, straight):
    root, recipe = job
    run_dir = root / "frozen"
    options = ("--meet-s", "40", "--cooldown", "1", "5")
    with Job(root, recipe, run_dir, [A, B], options=options) as run:
        at = run.steps_on(5, after=run.wait_for("promise")[0])
        run.kill(1, signal.SIGSTOP)
        at, _ = run.wait_for("background loop uncaught exception", after=at)
        run.kill(1)
        at, _ = run.wait_for("1 rank(s) now, as a rank was lost", after=at)
        at, _ = run.wait_for("2 rank(s) now, as hosts were added or removed", after=at)
        run.slow.unlink()
        run.wait_for(f"complete  all {STEPS} steps are done", after=at)
        assert run.wait() == 0, run.log
    assert_same_data(run_dir, straight, recipe)


@pytest.mark.ranks(2)
def test_asked_to_stop_and_gone_on_with_ends_in_the_bytes_of_mpirun(job, straight):
    root, recipe = job
    run_dir = root / "stopped"
    with Job(root, recipe, run_dir, [A, B]) as run:
        run.steps_on(5, after=run.wait_for("promise")[0])
        run.terminate()
        assert run.wait() == 143, run.log
        assert "stopped   after step" in run.log
    with Job(root, recipe, run_dir, [A, B], slow=False) as run:
        run.wait_for("bit-exact: goes on as if it had not been interrupted")
        assert run.wait() == 0, run.log
        assert "resumed   after step" in run.log
    assert final(run_dir).read_bytes() == final(straight).read_bytes()
    assert (run_dir / "ledger.jsonl").read_bytes() == (straight / "ledger.jsonl").read_bytes()
    np.testing.assert_array_equal(losses(run_dir), losses(straight))
