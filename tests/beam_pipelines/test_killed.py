"""Runs that are killed at any moment, and run again, end in the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.faults


def start(module, *arguments):
    """Starts a command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_and_wait_for_all(process):
    """Kills the driver alone and waits until its workers are gone by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive, f"left behind: {alive}"


def wait_for(path, process, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_wikipedia_killed_while_it_writes_goes_on_to_the_same_bytes(
    run, small_dump, tmp_path, tree, workers
):
    module = "beam_pipelines.wikipedia"
    arguments = ("--dump", small_dump, "--num-shards", 64, "--workers", workers)
    assert run(module, *arguments, "--out", tmp_path / "whole").code == 0
    out = tmp_path / "killed"
    process = start(module, *arguments, "--out", out)
    wait_for(out / "documents-00003-of-00064.json", process)
    kill_and_wait_for_all(process)
    done_before = {p.name: p.stat().st_mtime_ns for p in out.glob("*.json")}
    again = run(module, *arguments, "--out", out)
    assert (again.code, again.err) == (0, "")
    assert tree(out) == tree(tmp_path / "whole")
    if done_before and "manifest.json" not in done_before:
        kept = [n for n, t in done_before.items() if (out / n).stat().st_mtime_ns == t]
        assert len(kept) == len(done_before)  # finished shards were not written again


def test_examples_killed_at_random_moments_end_in_the_same_bytes(
    run, documents, vocab, tmp_path, tree
):
    module = "beam_pipelines.examples"
    arguments = ("--documents", documents, "--vocab", vocab, "--num-shards", 40)
    arguments += ("--heldout-fraction", 0.3, "--max-seq-length", 48, "--dupe-factor", 3)
    started = time.monotonic()
    assert run(module, *arguments, "--out", tmp_path / "whole").code == 0
    whole_s = time.monotonic() - started
    out = tmp_path / "killed"
    moments = random.Random(1)
    for _ in range(2):
        process = start(module, *arguments, "--out", out)
        try:
            process.wait(timeout=moments.uniform(0.3, 1.0) * whole_s)
        except subprocess.TimeoutExpired:
            kill_and_wait_for_all(process)
    again = run(module, *arguments, "--out", out)
    assert again.code == 0
    assert tree(out) == tree(tmp_path / "whole")


def test_worker_that_is_killed_ends_the_command_with_one_line(small_dump, tmp_path, run, tree):
    module = "beam_pipelines.wikipedia"
    arguments = ("--dump", small_dump, "--num-shards", 16, "--workers", 2, "--out", tmp_path / "o")
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    workers = []
    while not workers:
        assert process.poll() is None
        time.sleep(0.02)
        workers = [
            child
            for child in psutil.Process(process.pid).children()
            if "beam_pipelines.worker" in child.cmdline()
        ]
    workers[0].send_signal(signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = error.splitlines()
    assert "a worker process was ended by SIGKILL (out of memory?)" in line
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert run(module, *arguments).code == 0


def test_interrupt_ends_everything_with_code_130(small_dump, tmp_path):
    arguments = ("--dump", small_dump, "--workers", 2, "--out", tmp_path / "out")
    command = [sys.executable, "-m", "beam_pipelines.wikipedia", *map(str, arguments)]
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (workers := psutil.Process(process.pid).children()):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.splitlines()[-1].endswith("interrupted")
    assert not psutil.wait_procs(workers, timeout=30)[1]


def test_full_disk_is_one_line_and_the_next_run_goes_on(small_dump, tmp_path, run, tree):
    """A file size limit stands for a full disk: the kernel refuses the write."""
    module = "beam_pipelines.wikipedia"
    arguments = ("--dump", small_dump, "--num-shards", 1)
    assert run(module, *arguments, "--out", tmp_path / "whole").code == 0
    # 2 KiB: enough for job.json, too little for the rows on their way to the shard.
    limited = f"ulimit -f 2; exec {sys.executable} -m {module} "
    limited += " ".join(map(str, (*arguments, "--out", tmp_path / "out")))
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert f"{tmp_path / 'out'}/job.json.tmp-" in line and ": could not be written" in line
    assert run(module, *arguments, "--out", tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
