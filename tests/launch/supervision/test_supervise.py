"""`launch supervise` with plain processes that behave as jobs do. No ranks and no TensorFlow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.processes.table import read_process
from launch.supervision.supervise import supervise
from limbeck.config.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
JOB = str(Path(__file__).with_name("supervised.py"))
pytestmark = pytest.mark.faults


class Supervised:
    """A running `launch supervise` over the job of supervised.py."""

    def __init__(self, run_dir, *acts, options=()):
        self.run_dir = run_dir
        own = ["supervise", "--run-dir", str(run_dir), "--back-off", "0.05", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launch", *own, "--", "python", JOB, str(run_dir), *acts],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, text):
        """Reads the output up to a line."""
        for line in self.process.stdout:
            if text in line:
                return
        pytest.fail(f"no {text!r}")

    def end(self):
        """Exit code and the rest of the output; nothing is left of any start."""
        output, _ = self.process.communicate(timeout=60)
        assert all(not is_there(pid) for pid in self.pids)
        return self.process.returncode, output

    @property
    def pids(self):
        found = self.run_dir / "starts", self.run_dir / "pids"
        return [int(pid) for file in found if file.exists() for pid in file.read_text().split()]

    @property
    def events(self):
        lines = (self.run_dir / "supervise.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def is_there(pid):
    process = read_process(pid)
    return process is not None and process.is_there


@pytest.fixture
def supervised(tmp_path):
    started = []

    def start(*acts, options=()):
        started.append(Supervised(tmp_path / "run", *acts, options=options))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate(timeout=30)
        for pid in each.pids:  # by number and at once: these were started above
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)


def test_job_that_dies_is_started_again_until_it_is_done(supervised):
    job = supervised("saves_and_dies3", "saves_and_dies5", "done")
    code, output = job.end()
    assert code == 0, output
    assert output.count("a process died by signal 9 (SIGKILL) (code 137") == 2
    assert "it had reached step 2, and saved step 5" in output
    assert "all done" in (job.run_dir / "supervise.log").read_text()
    ends = [event for event in job.events if event["event"] == "end"]
    assert [(e["code"], e["action"], e["saved_step"]) for e in ends] == [
        (137, "restart", 3),
        (137, "restart", 5),
        (0, "done", 5),
    ]
    assert job.events[-1]["event"] == "over" and job.events[-1]["restarts"] == 2
    pauses = [event["seconds"] for event in job.events if event["event"] == "pause"]
    assert pauses == [0.05, 0.05]  # progress was made, so they do not grow


@pytest.mark.slow
def test_crash_loop_ends_with_one_clear_line(supervised):
    job = supervised("saves_and_dies3", *["dies"] * 5, options=["--max-idle-restarts", "1"])
    code, output = job.end()
    assert code == 137
    assert "a crash loop: 2 ends in a row without a new checkpoint" in output.splitlines()[-1]
    assert len([event for event in job.events if event["event"] == "start"]) == 3


@pytest.mark.slow
def test_bug_is_shown_and_not_started_again(supervised):
    job = supervised("raises")
    code, output = job.end()
    assert code == 1
    assert "a process raised an exception, which another start would meet again" in output
    assert "\n  KeyError: 'a bug'\n" in output
    assert job.events[-1]["restarts"] == 0


@pytest.mark.slow
def test_frozen_job_is_found_named_and_started_again(supervised):
    job = supervised("freezes", "done", options=["--progress-timeout", "0.7"])
    code, output = job.end()
    assert code == 0
    (first, _) = [event for event in job.events if event["event"] == "end"]
    assert (first["code"], first["rank"]) == (124, 0)
    assert "rank 0 on " in first["reason"] and "after step 1 is frozen (stopped" in first["reason"]
    assert first["seconds"] < 10


@pytest.mark.slow
def test_lost_host_is_left_out_of_the_next_start(supervised, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("node1 slots=2\nnode2 slots=2\n")
    acts = ["loses_host", "done", "-np", "4", "--hostfile", str(hosts)]
    job = supervised(*acts, options=["--hostfile", str(hosts)])
    code, output = job.end()
    copy = job.run_dir / "hostfile"
    assert code == 0
    assert f"supervise: node2 is left out: 1 host with 2 slots in {copy}" in output
    assert f"all done loses_host done -np 2 --hostfile {copy}\n" in output
    assert copy.read_text() == "node1 slots=2\n"


@pytest.mark.slow
def test_job_that_never_beats_is_ended_after_the_start_timeout(supervised):
    job = supervised("never_beats", options=["--start-timeout", "0.5", "--max-restarts", "0"])
    code, output = job.end()
    assert code == 124
    assert "no heartbeat of any rank, for 1 s (--start-timeout)" in output
    assert "gave up" in output and "after 0 restarts (--max-restarts)" in output


@pytest.mark.parametrize(
    "number, code",
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_request_to_stop_lets_the_job_save_and_is_not_a_crash(supervised, number, code):
    job = supervised("saves_when_asked")
    job.until("at work")
    job.process.send_signal(number)
    got, output = job.end()
    assert got == code
    assert f"stop in 120 s (SIGTERM to python {job.pids[0]})" in output
    assert "saved\n" in output
    assert job.events[-1]["saved_step"] == 9 and job.events[-1]["restarts"] == 0
    assert job.events[-2]["reason"] == f"saved as asked by {number.name}"


@pytest.mark.slow
def test_job_that_does_not_stop_when_asked_is_ended_after_the_grace_time(supervised):
    job = supervised("ignores", options=["--grace", "0.5"])
    job.until("at work")
    job.process.send_signal(signal.SIGUSR1)
    code, output = job.end()
    assert code == 143
    assert "SIGUSR1: asked the job" in output and "ending the job by force" in output


@pytest.mark.slow
def test_request_during_the_pause_ends_it(supervised):
    job = supervised("dies", "done", options=["--back-off", "60"])
    job.until("restart 1 of 3 in 60 s")
    job.process.send_signal(signal.SIGTERM)
    assert job.end()[0] == 143
    assert job.events[-1]["reason"] == "asked to stop during the pause"


@pytest.mark.slow
def test_supervisor_goes_on_where_nobody_reads_its_output(supervised):
    job = supervised("saves_and_dies3", "done")
    job.process.stdout.close()
    assert job.process.wait(60) == 0
    assert "all done" in (job.run_dir / "supervise.log").read_text()
    job.process.stdout = None


@pytest.mark.slow
def test_what_a_job_leaves_behind_is_ended_with_it(supervised):
    job = supervised("leaves_orphan")
    assert job.end()[0] == 0
    assert len(job.pids) == 3


@pytest.mark.slow
def test_nothing_is_left_when_the_supervisor_is_killed(supervised):
    """Not even what was not in the command's process group and does not hear SIGTERM."""
    job = supervised("has_deaf_child", options=["--grace", "0.5"])
    job.until("at work")
    time.sleep(1.5)  # until it has looked at its processes once more
    job.process.kill()
    deadline = time.monotonic() + 20
    while any(map(is_there, job.pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in job.pids if is_there(pid)]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--run-dir", "{run}"], "no command; give it after `--`"),
        (["--start-timeout", "9", "--", "true"], "--start-timeout has no effect without --run-dir"),
        (["--grace", "0", "--", "true"], "--grace is 0; it must be positive"),
        (["--run-dir", "{run}", "--hostfile", "{hosts}", "--", "true"], "does not name this file"),
    ],
)
def test_wrong_use_is_said_before_anything_starts(tmp_path, capsys, arguments, message):
    hosts = tmp_path / "hosts"
    hosts.write_text("a slots=1\n")
    arguments = [text.format(run=tmp_path / "run", hosts=hosts) for text in arguments]
    with pytest.raises((UsageError, SystemExit)) as error:
        supervise(arguments)
    said = capsys.readouterr().err if error.type is SystemExit else str(error.value)
    assert message in " ".join(said.replace("\u2502", " ").split())
    if error.type is SystemExit:
        assert error.value.code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_program_that_is_not_there_is_wrong_use(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "launch", "supervise", "--", "no-such-program-here"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "no-such-program-here: No such file or directory" in done.stderr
