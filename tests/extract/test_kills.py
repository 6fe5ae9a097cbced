"""Workers that are killed at random instants, and come again, end in the same bytes."""

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from limbeck.records import DatasetWriter, open_dataset, shards_of
from limbeck.records.manifest import MANIFEST
from limbeck.records.verify import verify

pytestmark = pytest.mark.faults
SERVER = Path(__file__).parent / "kill_server.py"
PATIENCE_S = 240  # of a loaded machine


class Server:
    """The process that the workers are forks of."""

    def __init__(self, *modules):
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do, **request):
        print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


class Workers:
    """`count` workers of one job, each started again when it is killed."""

    def __init__(self, server, job, out, count, arguments):
        self.server, self.job, self.out, self.count = server, job, out, count
        self.arguments = arguments
        self.running = {}
        self.ended = set()
        for index in range(count):
            self.start(index)

    def start(self, index):
        arguments = {"out": str(self.out), "index": index, "count": self.count, **self.arguments}
        self.running[index] = self.server.ask("start", job=self.job, arguments=arguments)

    def kill(self, index):
        code = self.server.ask("kill", pid=self.running.pop(index))
        if code == 0:  # it was done a moment before
            self.ended.add(index)
        else:
            assert code == -9, self.log()
            self.start(index)
        return code == -9

    def look(self):
        """Notes who has ended; every end but a kill must be a good one."""
        for index, pid in list(self.running.items()):
            code = self.server.ask("poll", pid=pid)
            if code is not None:
                assert code == 0, self.log()
                del self.running[index]
                self.ended.add(index)

    def wait(self):
        deadline = time.monotonic() + PATIENCE_S
        while self.running:
            self.look()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def log(self):
        return Path(f"{self.out}.log").read_text()


def contents(out):
    """Every file by its name, but for metrics; of manifests all but who wrote them and when."""
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    files = {name: data for name, data in files.items() if not name.startswith("metrics/")}
    for name, data in files.items():
        if name.endswith(MANIFEST):
            files[name] = json.loads(data)["content"]
    return files


def kill_until_done(server, job, out, count, arguments, rng, *, num_kills, whole_s, expected):
    """Runs jobs on one output after another until `num_kills` workers have been killed.

    Returns:
      How many outputs were completed, each compared with `expected`.
    """
    kills = rounds = 0
    while kills < num_kills:
        workers, started = Workers(server, job, out, count, arguments), time.monotonic()
        kills_before = kills
        while workers.running and kills < num_kills:
            # Anywhere in what a run takes, most often early, so that every part is hit.
            deadline = time.monotonic() + rng.random() ** 2 * whole_s
            while workers.running and time.monotonic() < deadline:
                workers.look()
                time.sleep(0.001)
            if workers.running:
                kills += workers.kill(rng.choice(sorted(workers.running)))
        if kills == kills_before:  # the machine is less loaded than it was
            whole_s = min(whole_s, time.monotonic() - started)
        workers.wait()
        assert contents(out) == expected
        for family in sorted(p.parent for p in out.rglob(MANIFEST)):
            assert verify(str(family)) == ()
        shutil.rmtree(out)
        rounds += 1
    return rounds


def run_whole(server, job, out, arguments):
    """Runs one worker without a fault; returns what it wrote, and its seconds."""
    started = time.monotonic()
    Workers(server, job, out, 1, arguments).wait()
    return contents(out), time.monotonic() - started


@pytest.fixture
def records_server():
    modules = "numpy", "extract.workers", "limbeck.records"
    server = Server(*modules)
    yield server
    server.close()


@pytest.mark.parametrize(
    "count, num_kills",
    [
        pytest.param(1, 3, marks=pytest.mark.slow),
        (2, 4),
        pytest.param(4, 5, marks=pytest.mark.slow),
    ],
)
def test_workers_killed_while_writing_end_in_the_same_bytes(
    records_server, tmp_path, count, num_kills
):
    """The short form: claims, shards and manifests of extraction, without its teacher."""
    arguments = {"num_shards": 8, "slow_s": 0.004}
    expected, whole_s = run_whole(records_server, "records", tmp_path / "whole", arguments)
    assert len(expected) == 2 * (8 * 3 + 3)
    kill_until_done(
        records_server,
        "records",
        tmp_path / "killed",
        count,
        arguments,
        random.Random(count),
        num_kills=num_kills,
        whole_s=whole_s,
        expected=expected,
    )


RECIPE = {
    "families": {
        "sparse": {"kind": "sparse", "k": 4, "temperatures": [1.0, 2.0]},
        "some": {"kind": "hidden", "layer": 1, "records": 0.5},
        "final": {"kind": "final"},  # fitted before the first shard, with tensors beside it
    },
    "batch_tokens": 256,
    "window_rows": 16,
}


def in_shards(examples_dir, out, num_shards):
    """The same examples in more shards."""
    with open_dataset(examples_dir) as examples:
        rows = examples.read(range(examples.num_rows))
        content = examples.content
    writer = DatasetWriter(
        str(out),
        name=content.name,
        kind="examples",
        layout=content.layout,
        num_shards=num_shards,
        settings=content.settings,
        tokenizer=content.tokenizer,
        seed=content.seed,
    )
    writer.open()
    shards = shards_of(rows["key"], num_shards)
    for number in range(num_shards):
        mine = {name: values[shards == number] for name, values in rows.items()}
        writer.write_shard(
            number,
            mine,
            lengths=mine["num_tokens"],
            labelled_positions=int(mine["num_masked"].sum()),
        )
    writer.finish()
    return str(out)


@pytest.fixture
def extract_server():
    server = Server("extract.run", "limbeck.teachers.keras_teacher")
    yield server
    server.close()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_kills_of_extraction_end_in_the_same_bytes(
    extract_server, teacher_dir, make_examples, tmp_path
):
    """Goal: 100 kills at random instants over 1, 2 and 4 workers, all byte-identical."""
    made = make_examples(tmp_path / "made", num_rows=240, seed=9)
    examples = in_shards(made, tmp_path / "examples", 12)
    arguments = {"examples": examples, "teacher": teacher_dir, "recipe": RECIPE}
    expected, whole_s = run_whole(extract_server, "extract", tmp_path / "whole", arguments)
    assert {str(Path(name).parent) for name in expected} == {"sparse", "some", "final"}
    for count, num_kills in ((1, 33), (2, 33), (4, 34)):
        rounds = kill_until_done(
            extract_server,
            "extract",
            tmp_path / f"killed-{count}",
            count,
            arguments,
            random.Random(count),
            num_kills=num_kills,
            whole_s=whole_s,
            expected=expected,
        )
        print(f"{count} workers: {num_kills} kills over {rounds} outputs")
