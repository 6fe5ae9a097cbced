"""A run across two hosts: what it makes, what it says, and how it ends when something breaks."""

import json
import sys
import time

import numpy as np
import pytest

from limbeck.runs import read_metrics
from tests.hosts.conftest import Job, kill, launch_line
from tests.train.conftest import Toy
from train.checkpoints import checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.ranks(2),
    pytest.mark.timeout(1200),
]

STEPS = 12
DOWN_S = 10.0  # after a rank was killed, on a loaded machine; a second alone
CUT_S = 30.0  # after a host vanished
STOPPED, KILLED, LOST = 143, 137, 205  # the last is Open MPI's, for a daemon it lost


@pytest.fixture
def toy(tmp_path):
    toy = Toy(tmp_path)
    toy.all_families()
    return toy


def train(toy, name, **training):
    """The command that trains in the directory of this name."""
    plain = toy.distil(training={"steps": STEPS, "micro_batch": 4, **training})
    recipe = toy.write(plain, f"{name}.yaml")
    return ["python", "-m", "train", "run", recipe, "--run-dir", toy.root / name]


def column(run_dir, name):
    return [line[name] for line in read_metrics(run_dir / "metrics.jsonl") if name in line]


def assert_same_training(one, other):
    """Equal batches, losses and weights, to the last bit; surroundings may differ."""
    assert (one / "ledger.jsonl").read_bytes() == (other / "ledger.jsonl").read_bytes()
    np.testing.assert_array_equal(column(one, "train/loss"), column(other, "train/loss"))
    first, second = (checkpoint.load_newest(path / "checkpoints") for path in (one, other))
    assert first.progressed.step == second.progressed.step == STEPS
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        np.testing.assert_array_equal(tensor, second.tensors[name], err_msg=name)


def test_training_across_hosts_is_that_of_one_host_and_a_slow_link_only_takes_time(net, toy):
    one, two = net.hosts.values()
    shares = {}
    for name in ("alone", "across", "slow"):
        if name == "slow" and (reason := two.slow_down("150kbit")):
            pytest.skip(reason)
        command = train(toy, name)
        line = launch_line(net, 2, *command)
        if name == "alone":
            line = [sys.executable, "-m", "launch", "run", "-np", "2", "--", *map(str, command)]
        with Job(one, line) as job:
            assert job.wait() == 0, job.log
        beats = [json.loads(path.read_bytes()) for path in (toy.root / name).glob("heartbeat/*")]
        names = {beat["rank"]: beat["host"] for beat in beats}
        assert names == {0: one.name, 1: one.name if name == "alone" else two.name}
        shares[name] = float(np.median(column(toy.root / name, "speed/comm_share")[2:]))
        assert one.is_empty(within_s=10) and two.is_empty(within_s=10)
    assert_same_training(toy.root / "across", toy.root / "alone")
    assert_same_training(toy.root / "slow", toy.root / "alone")
    assert shares["slow"] > shares["across"]


@pytest.fixture
def running(net, toy):
    """A long job across both hosts, at its third step; its run's directory."""
    line = launch_line(net, 2, *train(toy, "run", steps=100_000, log_every=3, checkpoint_every=3))
    with Job(next(iter(net.hosts.values())), line) as job:
        job.read_until(lambda text: text.startswith("step ") and "3/100000" in text)
        yield job, toy.root / "run"


def test_job_that_is_asked_to_stop_saves_and_ends_on_all_hosts(net, running):
    job, run_dir = running
    job.ask_to_stop()
    assert job.wait() == STOPPED, job.log
    (said,) = [line for line in job.lines if line.startswith("stopped   after step ")]
    newest = checkpoint.list_checkpoints(run_dir / "checkpoints")[0]
    assert newest.name == checkpoint.file_name(int(said.split()[3]))
    assert all(host.is_empty(within_s=5) for host in net.hosts.values())


def test_killed_rank_of_another_host_ends_the_job_everywhere(net, running):
    job, run_dir = running
    one, two = net.hosts.values()
    beat = json.loads((run_dir / "heartbeat" / "rank-00001.json").read_bytes())
    assert beat["host"] == two.name and beat["pid"] in two.pids()
    killed_s = kill(beat["pid"])
    assert job.wait() == KILLED, job.log
    assert time.monotonic() - killed_s < DOWN_S
    assert f"on node {two.name}" in job.log and "rank 1" in job.log
    assert one.is_empty(within_s=5) and two.is_empty(within_s=5)


def test_host_that_is_cut_off_ends_the_job_within_half_a_minute(net, running):
    job, _ = running
    one, two = net.hosts.values()
    two.cut()
    cut_s = time.monotonic()
    assert job.wait() == LOST, job.log
    assert time.monotonic() - cut_s < CUT_S
    assert two.name in job.log
    assert one.is_empty(within_s=5)
