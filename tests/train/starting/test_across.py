"""Ranks that differ end together, before anything starts, with one line that says where.

Here ranks are threads of one process; across_checks.py has them as processes under mpirun.
"""

import json
import shutil
import threading
from pathlib import Path

import pytest

from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.ranks import World, together
from train.inputs import open_inputs
from train.recipe import Recipe
from train.starting import across
from train.starting.across import different, prepare_alike

CHECKS = str(Path(__file__).with_name("across_checks.py"))
CODE = {"Python": "3.11.7", "keras": "3.15.1"}
SIZE = 3


@pytest.mark.parametrize(
    "hosts, values, expected",
    [
        ("ab", [{"keras": "3"}, {"keras": "3"}], []),
        (
            "ab",
            [{"keras": "3", "numpy": "2"}, {"keras": "4", "numpy": "2"}],
            ["keras is 3 on a (rank 0) and 4 on b (rank 1)"],
        ),
        (
            "aabbb",  # several ranks of a host are counted
            [{"k": "3"}, {"k": "3"}, {"k": "4"}, {"k": "4"}, {"k": "4"}],
            ["k is 3 on a (rank 0 and 1 more) and 4 on b (rank 2 and 2 more)"],
        ),
        (
            "aa",  # one host, of two environments
            [{"k": "3"}, {"k": "4"}],
            ["k is 3 on a (rank 0) and 4 on a (rank 1)"],
        ),
        ("ab", [{"k": "3"}, {}], ["k is 3 on a (rank 0) and missing on b (rank 1)"]),
        (
            "abcdef",  # not every host of a large job
            [{"k": "3"}, *[{"k": "4"}] * 5],
            ["k is 3 on a (rank 0) and 4 on b (rank 1), c (rank 2), d (rank 3), 2 more hosts"],
        ),
    ],
)
def test_what_differs_is_told_with_values_and_places(hosts, values, expected):
    assert different(hosts, values) == expected


class Ranks:
    """Runs a function on three ranks, each a thread on a host of its own."""

    def __init__(self, monkeypatch):
        self.said = []
        self._barrier = threading.Barrier(SIZE, timeout=30)
        self._data = [b""] * SIZE
        self._here = threading.local()
        monkeypatch.setattr(across.ranks, "gather_bytes", self._gather)
        monkeypatch.setattr(together, "gather_bytes", self._gather)
        monkeypatch.setattr(together, "barrier", self._barrier.wait)
        monkeypatch.setattr(together, "print", self._print, raising=False)
        for module in (across, together):
            monkeypatch.setattr(module.socket, "gethostname", lambda: f"node{self._here.rank}")
        monkeypatch.setattr(across, "_code", lambda recipe: self._here.code)

    def run(self, function, *, code=None):
        """What `function(world)` returned on each rank, or the exit code it ended with."""
        results = [None] * SIZE

        def work(rank):
            self._here.rank = rank
            self._here.code = {**CODE, **(code or {}).get(rank, {})}
            try:
                results[rank] = function(World(rank=rank, size=SIZE))
            except SystemExit as end:
                results[rank] = f"exit {end.code}"

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(SIZE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def _gather(self, data):
        self._data[self._here.rank] = data
        self._barrier.wait()
        everything = list(self._data)
        self._barrier.wait()
        return everything

    def _print(self, line, **options):
        self.said.append((self._here.rank, line))


@pytest.fixture
def threads(monkeypatch):
    return Ranks(monkeypatch)


@pytest.fixture
def recipe(toy):
    toy.examples()
    return yaml_file.load(toy.write(toy.recipe()), Recipe)


@pytest.fixture
def run_dir(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


def prepared(world, recipe, run_dir, prepare=lambda: "ready", opened=lambda result: []):
    return prepare_alike(world, recipe, run_dir, prepare, opened=opened, prog="train run")


def assert_one_line(threads, results, *parts, code=2):
    assert results == [f"exit {code}"] * SIZE
    ((rank, line),) = threads.said
    assert rank == 0 and line.startswith("train run: error: ")
    for part in parts:
        assert part in line, line


def test_one_rank_compares_nothing(recipe, run_dir, monkeypatch):
    monkeypatch.setattr(across.ranks, "gather_bytes", None)
    assert prepared(World(), recipe, run_dir) == "ready"
    assert not list(run_dir.iterdir())


def test_ranks_that_are_alike_go_on_and_leave_nothing(threads, recipe, run_dir):
    inputs = open_inputs(recipe)
    results = threads.run(
        lambda world: prepared(world, recipe, run_dir, opened=lambda result: [inputs])
    )
    assert results == ["ready"] * SIZE and not threads.said
    assert not list(run_dir.iterdir())


def test_other_version_on_one_host_is_named(threads, recipe, run_dir):
    results = threads.run(
        lambda world: prepared(world, recipe, run_dir), code={2: {"keras": "3.14.0"}}
    )
    assert_one_line(
        threads,
        results,
        "the ranks differ: keras is 3.15.1 on node0 (rank 0), node1 (rank 1) and 3.14.0 on "
        "node2 (rank 2); make them equal on all hosts",
    )


def test_other_recipe_on_one_host_is_named_by_its_settings(threads, toy, recipe, run_dir):
    changed = toy.recipe(training={"steps": 7}, optimizer={"learning_rate": 0.02})
    other = yaml_file.load(toy.write(changed, "other.yaml"), Recipe)
    results = threads.run(
        lambda world: prepared(world, other if world.rank == 1 else recipe, run_dir)
    )
    assert_one_line(
        threads,
        results,
        "training.steps is 6 on node0 (rank 0), node2 (rank 2) and 7 on node1 (rank 1)",
        "optimizer.learning_rate is 0.01 on",
        "give all hosts the same recipe file",
    )


def test_many_differences_are_counted(threads, recipe, run_dir):
    many = {f"package{i}": "1" for i in range(10)}
    results = threads.run(lambda world: prepared(world, recipe, run_dir), code={1: many})
    assert_one_line(threads, results, "package2 is missing on", "; 7 more; make")


def test_other_examples_in_the_same_place_are_named(threads, toy, recipe, run_dir):
    usual = open_inputs(recipe)
    shutil.rmtree(toy.root / "examples")
    other = open_inputs(yaml_file.load(toy.write(toy.recipe(data=moved(toy))), Recipe))
    results = threads.run(
        lambda world: prepared(
            world, recipe, run_dir, opened=lambda result: [other if world.rank == 2 else usual]
        )
    )
    ids = [inputs.examples.id[:12] for inputs in (usual, other)]
    assert ids[0] != ids[1]
    assert_one_line(
        threads,
        results,
        f"dataset {toy.root / 'examples'} is {ids[0]} on node0 (rank 0), node1 (rank 1) and "
        f"{ids[1]} on node2 (rank 2)",
        "copy the same files to all hosts",
    )


def moved(toy):
    """Other examples where the usual ones were."""
    toy.examples(seed=5)
    return {"examples": str(toy.root / "examples")}


def test_what_one_rank_cannot_open_is_told_with_its_host(threads, recipe, run_dir):
    def prepare(world):
        if world.rank == 1:
            raise UsageError("data/examples: no such directory")
        return "ready"

    results = threads.run(lambda world: prepared(world, recipe, run_dir, lambda: prepare(world)))
    assert_one_line(threads, results, "rank 1 on node1: data/examples: no such directory")


def test_directory_that_only_the_leader_writes_to_is_told_with_the_hosts(
    threads, recipe, run_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(across, "SEEN_WITHIN_S", 0.2)
    (tmp_path / "elsewhere").mkdir()
    results = threads.run(
        lambda world: prepared(world, recipe, tmp_path / "elsewhere" if world.rank else run_dir)
    )
    assert_one_line(
        threads,
        results,
        f"{run_dir}: not the same directory on node1 (rank 1), node2 (rank 2) as on node0 (rank 0)",
        "mount it, or choose another --run-dir",
    )
    assert not list(run_dir.iterdir())


def test_directory_that_shows_files_late_will_do(threads, recipe, run_dir, monkeypatch):
    monkeypatch.setattr(across, "SEEN_WITHIN_S", 30)
    looks, exists = [], Path.exists

    def late(path):
        if "shared.tmp-" in path.name:
            looks.append(path)
            return len(looks) > SIZE and exists(path)
        return exists(path)

    monkeypatch.setattr(Path, "exists", late)
    assert threads.run(lambda world: prepared(world, recipe, run_dir)) == ["ready"] * SIZE


def test_directory_that_the_leader_cannot_write_to_ends_all(threads, recipe, tmp_path):
    missing = tmp_path / "nothing"
    results = threads.run(lambda world: prepared(world, recipe, missing))
    assert_one_line(threads, results, "rank 0 on node0: ", "No such file or directory", code=1)


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_two_processes_that_differ_end_together(toy, mpirun):
    toy.all_families()
    toy.write(toy.distil())
    done = mpirun(2, [CHECKS, str(toy.root)], timeout_s=300)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("CHECK ")]
    found = json.loads(line.removeprefix("CHECK "))
    version, code, directory, recipe, data = (
        found[name] for name in ("version", "code", "directory", "recipe", "data")
    )
    for leader, other in found.values():
        assert leader["code"] == other["code"] == 2 and not other["lines"]
        (line,) = leader["lines"]
        assert line.startswith("train run: error: ") and "node1 (rank 1)" in line, line
    assert "numpy is 1.0 on node0 (rank 0)" not in version[0]["lines"][0]
    assert "and 1.0 on node1 (rank 1)" in version[0]["lines"][0]
    assert "the code of limbeck and train is " in code[0]["lines"][0]
    assert "not the same directory on node1 (rank 1)" in directory[0]["lines"][0]
    assert "seed is 3 on node0 (rank 0) and 4 on" in recipe[0]["lines"][0]
    assert f"dataset {toy.root / 'top'} is " in data[0]["lines"][0]
