"""An elastic run in one process: ranks are lost, and come, in the test's imagination only."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from limbeck.config import yaml_file
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.ranks import World, collectives, elastic
from limbeck.runs import RunDirectory, read_metrics
from train import elastic as elastic_run
from train import loop
from train.checkpoints import checkpoint
from train.commands import run as run_command
from train.elastic import Member, train_elastically
from train.inputs import open_inputs
from train.job import build_job, in_world
from train.loop import Result, train
from train.recipe import Recipe
from train.step import Gradients, to_tensors
from train.stopping import StopRequest

pytestmark = pytest.mark.usefixtures("deterministic")


@pytest.fixture
def job_of(shared_toy, tmp_path):
    def make(**training):
        plain = shared_toy.recipe(training=training)
        recipe = yaml_file.from_plain(Recipe, plain, "recipe")
        return build_job(open_inputs(recipe), RunDirectory(tmp_path), World())

    return make


def two_ranks(monkeypatch):
    """Lets sums be those of two ranks that hold the same."""
    horovod = SimpleNamespace(
        size=lambda: 2,
        Sum=None,
        grouped_allreduce=lambda tensors, *, op, name: [2 * tensor for tensor in tensors],
    )
    monkeypatch.setattr(collectives, "_horovod", horovod)


def test_sums_compiled_for_one_rank_are_compiled_anew_for_two(job_of, monkeypatch):
    job = job_of()
    local = Gradients(grads=[np.float32([1.0])], sums=np.float32([3.0]))
    assert float(job.step.reduce(local).sums[0]) == 3.0
    two_ranks(monkeypatch)
    assert float(job.step.reduce(local).sums[0]) == 3.0  # the trap: one rank is compiled in
    job = in_world(job, World(rank=1, size=2))
    assert float(job.step.reduce(local).sums[0]) == 6.0
    assert float(job.step.reduce(local).grads[0][0]) == 2.0


@pytest.mark.parametrize(
    ("micro_batch", "kept"),
    [
        (2, True),  # two rows at once, with one rank and with two: nothing is compiled anew
        (None, False),  # the whole slice at once: 7 rows, then 4
    ],
)
def test_gradients_are_compiled_anew_only_for_other_rows(job_of, micro_batch, kept):
    job = job_of(micro_batch=micro_batch)

    def compute(job):
        batch = job.source.read(job.source.global_rows(0))
        factors = job.objective.factors(job.objective.counts(batch.items))
        job.step.gradients([to_tensors(m) for m in batch.micro], factors, step=0)
        return job.step._micro

    before = compute(job)
    after = compute(in_world(job, World(rank=1, size=2)))
    assert (before is after) == kept


def lose_a_rank(monkeypatch, *, at, error=None, times=1):
    """Lets the update after `at` steps fail as one does whose sums fail; returns the worlds met."""
    import tensorflow as tf

    text = "Horovod has been shut down [[{{node HorovodGroupedAllreduce}}]]"
    error = error or tf.errors.UnknownError(None, None, text)
    honest, failed, met = loop.advance, [], []

    def advance(job, before, batch, **others):
        if before.step == at and len(failed) < times:
            failed.append(before.step)
            honest(job, before, batch, **others)  # what it has changed must be undone
            raise error
        return honest(job, before, batch, **others)

    def meet():
        met.append(World())
        return met[-1]

    monkeypatch.setattr(loop, "advance", advance)
    monkeypatch.setattr(elastic, "rejoin", meet)
    return met


def train_both(shared_toy, tmp_path, *, said, **changes):
    """The run as it is without anything, and the elastic one; directories of both."""
    recipe = yaml_file.from_plain(Recipe, shared_toy.recipe(**changes), "recipe")
    straight, lossy = tmp_path / "straight", tmp_path / "lossy"
    result = train_elastically(lambda: recipe, lossy, World(), commit_every=2, say=said.append)
    assert result.finished and result.step == 6
    train(recipe, straight, say=lambda line: None)
    return straight, lossy


def test_run_that_loses_a_rank_ends_in_the_same_bytes(shared_toy, tmp_path, monkeypatch):
    met, said = lose_a_rank(monkeypatch, at=5), []
    straight, lossy = train_both(shared_toy, tmp_path, said=said)
    assert len(met) == 1
    assert "elastic   1 rank(s) now, as a rank was lost; goes on after step 4" in said
    assert said[-1].startswith("complete  all 6 steps")
    last = checkpoint.file_name(6)
    assert (lossy / "checkpoints" / last).read_bytes() == (
        straight / "checkpoints" / last
    ).read_bytes()
    assert (lossy / "ledger.jsonl").read_bytes() == (straight / "ledger.jsonl").read_bytes()
    both = [list(read_metrics(path / "metrics.jsonl")) for path in (lossy, straight)]
    assert [line["step"] for line in both[0]] == [1, 2, 3, 4, 5, 6]
    assert [line["train/loss"] for line in both[0]] == [line["train/loss"] for line in both[1]]


@pytest.mark.slow  # the test above goes most of the same way
def test_rank_lost_before_the_first_commit_starts_from_the_first_weights(
    shared_toy, tmp_path, monkeypatch
):
    met, said = lose_a_rank(monkeypatch, at=1, times=2), []
    straight, lossy = train_both(shared_toy, tmp_path, said=said)
    assert len(met) == 2
    assert sum("goes on after step 0" in line for line in said) == 2
    assert (lossy / "ledger.jsonl").read_bytes() == (straight / "ledger.jsonl").read_bytes()
    last = checkpoint.file_name(6)
    tensors = [checkpoint.load(path / "checkpoints" / last).tensors for path in (lossy, straight)]
    for name, tensor in tensors[1].items():
        np.testing.assert_array_equal(tensors[0][name], tensor)


@pytest.mark.slow  # as above
def test_complete_run_is_not_made_again(shared_toy, tmp_path):
    recipe = yaml_file.from_plain(Recipe, shared_toy.recipe(), "recipe")
    train(recipe, tmp_path / "run", say=lambda line: None)
    said = []
    result = train_elastically(lambda: recipe, tmp_path / "run", World(), say=said.append)
    assert result.finished and result.step == 6 and result.student is None
    assert "complete" in said[0]


def test_damaged_data_is_no_lost_rank(shared_toy, tmp_path, monkeypatch):
    recipe = yaml_file.from_plain(Recipe, shared_toy.recipe(), "recipe")
    met = lose_a_rank(monkeypatch, at=3, error=LimbeckError("row 7 is damaged"))
    with pytest.raises(LimbeckError, match="row 7"):
        train_elastically(lambda: recipe, tmp_path / "run", World(), say=lambda line: None)
    assert not met


def test_end_without_all_steps_is_refused(job_of, tmp_path):
    member = Member(lambda: pytest.fail("read"), tmp_path, StopRequest(), commit_every=1, say=print)
    job = member._job = job_of(steps=6)
    whole = Result(
        run_dir=tmp_path,
        step=6,
        finished=True,
        loss=1.0,
        scores=None,
        student=job.step.student,
    )
    with pytest.raises(LimbeckError, match="ended after step 6 with 0 updates, and 6 were asked"):
        member.check(whole)
    job.step.optimizer.updates.assign(np.array([5, 1, 0]))  # one was left out
    member.check(whole)
    with pytest.raises(LimbeckError, match="ended after step 5"):
        member.check(dataclasses.replace(whole, step=5))
    job.step.optimizer.updates.assign(np.array([5, 0, 0]))
    with pytest.raises(LimbeckError, match="ended after step 5 with 5 updates, and 6 were asked"):
        member.check(dataclasses.replace(whole, step=5))
    member.check(dataclasses.replace(whole, step=5, finished=False))  # stopped as asked


def member_of(tmp_path, *, step):
    member = Member(lambda: pytest.fail("read"), tmp_path, StopRequest(), commit_every=1, say=print)
    member.state.save(step=step, record=b"")
    return member


def test_process_that_comes_later_and_differs_is_left_out(shared_toy, tmp_path, monkeypatch):
    recipe = yaml_file.from_plain(Recipe, shared_toy.recipe(), "recipe")
    inputs = open_inputs(recipe)
    monkeypatch.setattr(elastic_run, "traits", lambda recipe, inputs: {"keras": "3.15"})
    leader = json.dumps(["node1", {"keras": "3.14"}]).encode()
    monkeypatch.setattr(elastic_run.ranks, "gather_bytes", lambda mine: [leader, mine])
    member_of(tmp_path, step=0)._compare(inputs)  # it was here before: the other one decides
    with pytest.raises(UsageError, match=r"left out.*keras is 3\.14 on node1 \(rank 0\) and 3\.15"):
        member_of(tmp_path, step=-1)._compare(inputs)
    monkeypatch.setattr(elastic_run.ranks, "gather_bytes", lambda mine: [mine, mine])
    member_of(tmp_path, step=-1)._compare(inputs)


def test_process_that_does_not_see_the_run_is_left_out(tmp_path):
    member = member_of(tmp_path / "not mounted here", step=-1)
    with pytest.raises(UsageError, match="this host does not see what the others write"):
        member._opened(World(), first=False)


def test_stages_and_useless_options_are_refused(shared_toy, tmp_path):
    stages = [{"name": "one", "steps": 2}, {"name": "two", "steps": 2}]
    plain = shared_toy.recipe(stages=stages)
    del plain["training"]["steps"]  # each stage has its own
    recipe = yaml_file.from_plain(Recipe, plain, "recipe")
    with pytest.raises(UsageError, match="stages is not trained elastically"):
        train_elastically(lambda: recipe, tmp_path / "run", World(), say=lambda line: None)
    with pytest.raises(UsageError, match="--commit-every has an effect under `launch elastic`"):
        run_command(["recipe.yaml", "--run-dir", "run", "--commit-every", "5"])
