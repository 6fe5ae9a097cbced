"""Staging by real processes: killed, at once, on a full disk; and out of S3."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.config import LimbeckError, UsageError
from limbeck.records.manifest import read_manifest
from limbeck.records.staging import stage
from limbeck.records.staging_store import bytes_below
from limbeck.records.verify import verify
from tests.s3 import s3_client, s3_server

KILLER = Path(__file__).parent / "staging_killer.py"
ROOT = KILLER.parents[3]
BIG = 10**9


@pytest.fixture
def start():
    """Starts the killer; what still runs at the end of a test is killed by its number."""
    started = []

    def run(to, *sources, kill_at=0, budget=BIG):
        arguments = [str(to), str(budget), str(kill_at), *map(str, sources)]
        process = subprocess.Popen(
            [sys.executable, str(KILLER), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def go_on(process, pieces=10**6):
    """Lets a copy go on for so many pieces; returns the last line."""
    line = ""
    for _ in range(pieces):
        line = process.stdout.readline()
        if " of " not in line:
            break
        try:
            process.stdin.write("\n")
            process.stdin.flush()
        except BrokenPipeError:
            break
    return line


def contents(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir()}


def is_whole_or_absent(local, source):
    """Whether what has a dataset's name is one."""
    target = local / f"{source.name}-{read_manifest(source).id[:12]}"
    return not target.exists() or (contents(target) == contents(source) and not verify(str(target)))


@pytest.mark.faults
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_copy_killed_at_any_piece_goes_on_and_ends_in_the_same_bytes(
    masters, tmp_path, start, seed
):
    draw = random.Random(seed)
    sources = (masters / "examples", masters / "labels")
    budget = sum(path.stat().st_size for source in sources for path in source.iterdir())
    for _ in range(3):
        process = start(tmp_path, *sources, budget=budget)
        go_on(process, draw.randrange(1, 25))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        assert all(is_whole_or_absent(tmp_path, source) for source in sources)
        assert bytes_below(str(tmp_path)) <= budget
    stage([str(source) for source in sources], str(tmp_path), budget=budget)
    for source in sources:
        target = tmp_path / f"{source.name}-{read_manifest(source).id[:12]}"
        assert contents(target) == contents(source)
    assert bytes_below(str(tmp_path)) == budget  # no leftovers


@pytest.mark.faults
@pytest.mark.slow
def test_kill_at_every_change_of_the_disk_leaves_whole_datasets_or_none(masters, tmp_path, start):
    source = masters / "examples"
    kept = []
    for kill_at in range(1, 100):
        local = tmp_path / str(kill_at)
        process = start(local, source, kill_at=kill_at)
        process.communicate(timeout=30)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        assert is_whole_or_absent(local, source)
        (staged,) = stage([str(source)], str(local), budget=BIG)
        assert contents(staged.path) == contents(source)
        assert bytes_below(str(local)) == staged.num_bytes
        kept.append(staged.num_bytes - staged.copied_bytes)
    assert 20 < len(kept) < 99
    assert kept == sorted(kept)  # nothing that was whole is copied again
    assert kept[-1] > 0


@pytest.mark.faults
@pytest.mark.slow
def test_killed_eviction_leaves_whole_datasets_or_none(masters, tmp_path, start):
    source, budget = masters / "examples", 0
    for kill_at in (1, 2, 3, 5, 8):
        local = tmp_path / str(kill_at)
        (other,) = stage([str(masters / "other")], str(local), budget=BIG)
        budget = sum(path.stat().st_size for path in source.iterdir())
        code = KILLER.read_text().replace("budget=int(budget)", "budget=int(budget), evict=True")
        process = subprocess.run(
            [sys.executable, "-c", code, str(local), str(budget), str(kill_at), str(source)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=30,
        )
        assert process.returncode == -signal.SIGKILL
        assert is_whole_or_absent(local, masters / "other")
        stage([str(source)], str(local), budget=budget, evict=True)
        assert is_whole_or_absent(local, source)
        assert bytes_below(str(local)) == budget


@pytest.mark.faults
def test_of_two_processes_at_once_one_copies_and_both_find_the_same(masters, tmp_path, start):
    source = masters / "examples"
    first = start(tmp_path, source)
    go_on(first, 2)
    second = start(tmp_path, source)
    assert "waiting for another process that stages here" in second.stdout.readline()
    path, copied = go_on(first).split()[1:]
    assert int(copied) > 0
    assert go_on(second).split()[1:] == [path, "0"]
    assert first.wait(timeout=10) == second.wait(timeout=10) == 0


@pytest.mark.faults
def test_where_the_one_that_copies_is_killed_the_waiting_one_goes_on(masters, tmp_path, start):
    source = masters / "labels"
    first = start(tmp_path, source)
    go_on(first, 3)
    second = start(tmp_path, source)
    assert "waiting" in second.stdout.readline()
    first.send_signal(signal.SIGKILL)
    last = go_on(second)
    assert last.startswith("staged ")
    assert contents(last.split()[1]) == contents(source)


def test_full_disk_leaves_no_half_file_and_the_next_call_goes_on(masters, tmp_path):
    source = masters / "examples"
    sizes = sorted(path.stat().st_size for path in source.iterdir())
    script = (
        "import resource, sys; from limbeck.records.staging import stage; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({sizes[-1] - 1},) * 2); "
        "stage([sys.argv[1]], sys.argv[2], budget=10**9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "could not be written: File too large; no half file was left" in done.stderr
    (half,) = tmp_path.glob("*.partial")
    assert not list(half.glob("*.tmp-*")) and not (half / "manifest.json").exists()
    (staged,) = stage([str(source)], str(tmp_path), budget=BIG)
    assert contents(staged.path) == contents(source)


@pytest.fixture(scope="module")
def bucket():
    """A client of a local S3 server; its address is in the environment meanwhile."""
    with s3_server() as address, s3_client(address) as client:
        client.create_bucket(Bucket="limbeck-staging")
        yield client


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_datasets_come_out_of_s3_and_damaged_ones_do_not(bucket, masters, tmp_path):
    def upload(source, prefix):
        for path in source.iterdir():
            key = f"{prefix}/{path.name}"
            bucket.put_object(Bucket="limbeck-staging", Key=key, Body=path.read_bytes())

    source, url = masters / "examples", "s3://limbeck-staging/sets/train"
    upload(source, "sets/train")
    (staged,) = stage([url], str(tmp_path), budget=BIG)
    assert Path(staged.path).name == f"train-{read_manifest(source).id[:12]}"
    assert contents(staged.path) == contents(source)
    assert stage([f"{url}/"], str(tmp_path), budget=BIG)[0].copied_bytes == 0

    name = read_manifest(masters / "labels").content.shards[0].name
    upload(masters / "labels", "sets/labels")
    data = bytearray((masters / "labels" / name).read_bytes())
    data[20] ^= 1
    bucket.put_object(Bucket="limbeck-staging", Key=f"sets/labels/{name}", Body=bytes(data))
    with pytest.raises(LimbeckError, match=f"sets/labels/{name}: expected SHA-256"):
        stage(["s3://limbeck-staging/sets/labels"], str(tmp_path), budget=BIG)
    bucket.delete_object(Bucket="limbeck-staging", Key=f"sets/labels/{name}")
    with pytest.raises(LimbeckError, match=f"sets/labels/{name}: .*it is missing"):
        stage(["s3://limbeck-staging/sets/labels"], str(tmp_path), budget=BIG)
    bucket.delete_object(Bucket="limbeck-staging", Key="sets/labels/manifest.json")
    with pytest.raises(LimbeckError, match=r"no manifest.json: not a dataset, or not finished"):
        stage(["s3://limbeck-staging/sets/labels"], str(tmp_path), budget=BIG)
    with pytest.raises(UsageError, match="s3://limbeck-staging/none: no such directory"):
        stage(["s3://limbeck-staging/none"], str(tmp_path), budget=BIG)
