"""`launch run` as users call it. Programs are small shells; ssh, where there is one, is FAKE."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.jobs.run_options import RunOptions, split_command
from launch.jobs.versions import found_here
from limbeck.config.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


def launch_run(*arguments, timeout_s=60, **settings):
    return subprocess.run(
        [sys.executable, "-m", "launch", "run", *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def has_mpi():
    return (Path(sys.prefix) / "limbeck-mpi.json").exists()


pytestmark = pytest.mark.skipif(not has_mpi(), reason="Horovod is not built; run `make setup`")


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("kill -KILL $$", 128 + signal.SIGKILL)]
)
def test_exit_code_is_that_of_the_ranks(script, code):
    done = launch_run("-np", "2", "--", "sh", "-c", script)
    assert done.returncode == code, done.stderr


def test_printed_command_can_be_run_by_hand():
    arguments = [
        "-np",
        "2",
        "--set",
        "cycle_time_ms=5",
        "--",
        "sh",
        "-c",
        "echo $HOROVOD_CYCLE_TIME",
    ]
    printed = launch_run(*arguments, "--", "x").stderr.splitlines()[0]
    again = subprocess.run(
        shlex.split(printed),
        env={**os.environ, "OPAL_PREFIX": sys.prefix},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert again.stdout.split() == ["5.0", "5.0"]
    assert " -x HOROVOD_CYCLE_TIME=5.0 sh -c" in printed


def test_dry_run_prints_and_asks_no_host(fake_ssh, tmp_path):
    fake_ssh({})
    hosts = tmp_path / "hosts"
    hosts.write_text("one.invalid slots=2\ntwo.invalid slots=1\n")
    done = launch_run("-np", "3", "--hostfile", str(hosts), "--dry-run", "--", "python", "x.py")
    assert done.returncode == 0 and not (tmp_path / "fake-ssh.log").exists()
    line = shlex.split(done.stderr)
    assert line[-2:] == [sys.executable, "x.py"]
    assert line[line.index("--host") + 1] == "one.invalid:2,two.invalid:1"
    assert line[line.index("--wdir") + 1] == str(ROOT)


@pytest.mark.slow
def test_ranks_on_several_hosts_through_a_fake_ssh(fake_ssh):
    """Both hosts are this machine behind the fake; mpirun's own calls go through it too."""
    calls = fake_ssh({"one.invalid": {"run": True}, "two.invalid": {"run": True}})
    done = launch_run(
        *("-np", "3", "--hosts", "one.invalid:2,two.invalid:1", "--ssh-port", "2222"),
        *("--export", "GREETING", "--tag-output", "--set", "log_level=error", "--"),
        *("sh", "-c", "echo $OMPI_COMM_WORLD_LOCAL_RANK $GREETING $HOROVOD_LOG_LEVEL in $(pwd)"),
        GREETING="hello",
    )
    assert done.returncode == 0, done.stderr
    said = sorted(line.split(">:")[1].strip() for line in done.stdout.splitlines())
    assert said == [f"{rank} hello error in {ROOT}" for rank in (0, 0, 1)]
    asked, started = calls()[:2], calls()[2:]
    assert len(asked) == 2 and len(started) == 2
    for call in calls():
        words = [word for word in call if word != "-x"]  # Open MPI's: no X11
        assert words[:6] == "-p 2222 -o BatchMode=yes -o StrictHostKeyChecking=yes".split()


def test_bad_hosts_are_all_named_and_nothing_is_started(fake_ssh, tmp_path):
    versions = {**found_here(), "tensorflow": "2.20.0"}
    other = {"stdout": json.dumps({"versions": versions})}
    unknown = {"code": 255, "stderr": "Host key verification failed.\n"}
    calls = fake_ssh({"one.invalid": unknown, "two.invalid": other})
    started = tmp_path / "started"
    done = launch_run(
        *("-np", "2", "--hosts", "one.invalid:1,two.invalid:1", "--", "touch", str(started))
    )
    assert done.returncode == 2 and not started.exists() and len(calls()) == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("launch run: error: ")]
    assert len(errors) == 2
    assert "one.invalid: its host key is not known here" in errors[0]
    assert "two.invalid: tensorflow 2.20.0 there" in errors[1]


def test_knobs_win_over_the_environment_and_say_so(tmp_path):
    knobs = tmp_path / "knobs.yaml"
    knobs.write_text("cycle_time_ms: 2.5\n")
    arguments = ["-np", "1", "--knobs", str(knobs), "--", "sh", "-c", "echo $HOROVOD_CYCLE_TIME"]
    done = launch_run(*arguments, HOROVOD_CYCLE_TIME="7")
    assert done.stdout.split() == ["2.5"]
    assert "HOROVOD_CYCLE_TIME is '7' in the environment and '2.5' in the knobs" in done.stderr


@pytest.mark.slow
@pytest.mark.faults
def test_sigterm_lets_the_ranks_save(tmp_path):
    """mpirun would kill them a second after a SIGTERM of its own."""
    script = tmp_path / "rank.sh"
    script.write_text(
        f"trap 'sleep 2; echo saved > {tmp_path}/$OMPI_COMM_WORLD_RANK; exit 143' USR1\n"
        f"touch {tmp_path}/up-$OMPI_COMM_WORLD_RANK\n"
        "while true; do sleep 0.1; done\n"
    )
    line = [sys.executable, "-m", "launch", "run", "-np", "2", "--", "sh", str(script)]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not all((tmp_path / f"up-{rank}").exists() for rank in range(2)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["saved\n", "saved\n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-np", "2"], "no command: python -m launch run OPTIONS -- COMMAND"),
        (["-np", "2", "--", "no-such-program"], "no-such-program: there is no such program"),
        (["-np", "5", "--hosts", "a:2,b:2", "--", "true"], "-np 5: the 2 hosts together have 4"),
        (["-np", "2", "--hostfile", "nowhere", "--", "true"], "nowhere: No such file"),
        (["-np", "2", "--set", "cycletime=1", "--", "true"], "did you mean 'cycle_time_ms'?"),
        (
            ["-np", "2", "--set", "timeline=/no/where/t.json", "--", "true"],
            "no directory /no/where",
        ),
        (["-np", "2", "--hosts", "a:2", "--ssh-key", "nokey", "--", "true"], "--ssh-key nokey"),
        (["-np", "2", "--hosts", "a:2", "--ports", "1-2", "--", "true"], "ports 1-2: expected"),
        (["-np", "2", "--hosts", "a:2", "--export", "NOPE", "--", "true"], "--export NOPE"),
        (["-np", "2", "--mca", "pml", "--", "true"], "--mca pml: expected NAME=VALUE"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments, message, capsys):
    from launch.jobs.run import run

    with pytest.raises(UsageError) as refused:
        run(arguments)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_ranks": 0}, "-np 0"),
        ({"num_ranks": 1, "hosts": "a:1", "hostfile": "h"}, "give one of them"),
        ({"num_ranks": 1, "interface": ("eth0",)}, "--interface has no effect without"),
        ({"num_ranks": 1, "oversubscribe": True}, "--oversubscribe has no effect without"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RunOptions(**options)


def test_only_the_first_dashes_divide():
    assert split_command(["-np", "2", "--", "a", "--", "b"], verb="run") == (
        ["-np", "2"],
        ["a", "--", "b"],
    )
    assert split_command(["--help"], verb="run") == (["--help"], [])
