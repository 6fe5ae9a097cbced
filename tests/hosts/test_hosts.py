"""Jobs across hosts: where ranks run, what is refused before they start, extraction."""

import dataclasses
import json
import os
import signal
import sys

import pytest

from limbeck.records.manifest import MANIFEST
from tests.conftest import ROOT
from tests.extract import conftest as extraction
from tests.hosts.conftest import Job, launch_line
from tests.train.conftest import Toy

pytestmark = [pytest.mark.slow, pytest.mark.ranks(2)]

SAY = """
import json, os, pathlib, socket, sys
names = ("RANK", "LOCAL_RANK", "LOCAL_SIZE")
rank, *place = [int(os.environ[f"OMPI_COMM_WORLD_{name}"]) for name in names]
said = [*place, socket.gethostname(), os.getcwd(), os.environ.get("LIMBECK_X")]
pathlib.Path(sys.argv[1], f"rank-{rank}").write_text(json.dumps(said))
"""

# Made for extraction's own tests.
teacher_dir = extraction.teacher_dir
tokenizer_info = extraction.tokenizer_info
make_examples = extraction.make_examples
examples_dir = extraction.examples_dir


def test_ranks_fill_three_hosts_and_know_their_places(make_network, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_X", "handed on")
    net = make_network("one", "two", "three")
    one, two, three = net.hosts.values()
    with Job(one, launch_line(net, 5, "python", "-c", SAY, tmp_path, slots=2)) as job:
        assert job.wait() == 0, job.log
    expected = [(0, 2, one), (1, 2, one), (0, 2, two), (1, 2, two), (0, 1, three)]
    for rank, (local, size, host) in enumerate(expected):
        said = json.loads((tmp_path / f"rank-{rank}").read_text())
        assert said == [local, size, host.name, str(ROOT), "handed on"]
    assert all(host.is_empty(within_s=5) for host in (one, two, three))


@pytest.mark.parametrize(
    "what, expected",
    [
        ("cut off", "cannot be reached: no route to it"),
        ("frozen", "does not answer ssh within 10 s"),
        ("no sshd", "no ssh server answers there"),
        ("unknown", "its host key is not known here"),
        ("another key", "its host key is another one than known_hosts holds"),
        ("absent", "the name is not known here"),
    ],
)
def test_host_that_cannot_be_reached_is_named_and_nothing_starts(net, tmp_path, what, expected):
    one, two = net.hosts.values()
    name, options = two.name, []
    if what == "cut off":
        two.cut()
    elif what == "frozen":
        os.kill(two.sshd.pid, signal.SIGSTOP)
    elif what == "no sshd":
        options = ["--ssh-port", "2222"]
    elif what == "unknown":
        net.known_hosts.write_text("")
    elif what == "another key":
        (mine, key), (theirs, other) = (
            line.split(" ", 1) for line in net.known_hosts.read_text().splitlines()
        )
        net.known_hosts.write_text(f"{mine} {other}\n{theirs} {key}\n")
    else:
        name = "absent"
        net.hosts["two"] = dataclasses.replace(two, name=name)
    with Job(one, launch_line(net, 2, "python", "-c", SAY, tmp_path, options=options)) as job:
        assert job.wait() == 2, job.log
    errors = [text for text in job.lines if text.startswith("launch run: error: ")]
    assert len(errors) == 1 and f"{name}: " in errors[0] and expected in errors[0], job.log
    assert not list(tmp_path.glob("rank-*"))
    assert one.is_empty(within_s=5) and two.is_empty(within_s=5)


@pytest.mark.parametrize("what", ["data", "missing", "directory"])
def test_host_that_sees_other_files_ends_all_ranks_in_one_line(net, tmp_path, what):
    """Each host of a network has mounts of its own."""
    toy = Toy(tmp_path)
    examples, other = toy.examples(), toy.examples("other", seed=5)
    runs = tmp_path / "runs"
    runs.mkdir()
    one, two = net.hosts.values()
    expected = [f"{one.name} (rank 0)", f"{two.name} (rank 1)"]
    if what == "data":
        two.run("mount", "--bind", str(other), str(examples))
        expected.append(f"dataset {examples} is ")
    elif what == "missing":
        two.run("mount", "-t", "tmpfs", "none", str(examples))
        expected = [f"rank 1 on {two.name}: ", str(examples)]
    else:
        two.run("mount", "-t", "tmpfs", "none", str(runs))
        expected.append(f"{runs / 'run'}: not the same directory on {two.name}")
    recipe = toy.write(toy.recipe())
    command = ["python", "-m", "train", "run", recipe, "--run-dir", runs / "run"]
    with Job(one, launch_line(net, 2, *command)) as job:
        assert job.wait() == 2, job.log
    (error,) = [line for line in job.lines if line.startswith("train run: error: ")]
    for part in expected:
        assert part in error, error
    assert one.is_empty(within_s=5) and two.is_empty(within_s=5)


def test_extraction_across_hosts_shares_the_shards_and_makes_the_same_bytes(
    net, tmp_path, examples_dir, teacher_dir
):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "families: {sparse: {kind: sparse, k: 4, temperatures: [1.0, 2.0]}}\nbatch_tokens: 256\n"
    )
    one, two = net.hosts.values()
    command = ["python", "-m", "extract", "run", recipe, "--examples", examples_dir]
    command += ["--teacher", teacher_dir, "--worker", "auto", "--out"]
    with Job(one, launch_line(net, 2, *command, tmp_path / "across")) as job:
        assert job.wait() == 0, job.log
    alone = [sys.executable, *map(str, command[1:]), str(tmp_path / "alone")]
    with Job(one, alone) as job:
        assert job.wait() == 0, job.log
    assert files(tmp_path / "across") == files(tmp_path / "alone")
    metrics = sorted((tmp_path / "across" / "metrics").glob("*.jsonl"))
    assert [path.name for path in metrics] == ["worker-0-of-2.jsonl", "worker-1-of-2.jsonl"]
    assert one.is_empty(within_s=5) and two.is_empty(within_s=5)


def files(out):
    """Bytes of every file; of manifests, which say when and where, what they hold."""
    found = {str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file()}
    return {
        name: json.loads(path.read_bytes())["content"] if name.endswith(MANIFEST) else data
        for name, path in found.items()
        if not name.startswith("metrics/")
        for data in [path.read_bytes()]
    }
