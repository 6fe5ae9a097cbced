"""`train plan`: the numbers of a recipe before anything is loaded."""

import json
import subprocess
import sys

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.ranks import World
from train.inputs import open_inputs
from train.recipe import Recipe
from train.starting.plan_command import plan, plan_of
from train.stream import Stream


def planned(plain, num_ranks=1):
    found = plan_of(yaml_file.from_plain(Recipe, plain, "recipe"), num_ranks=num_ranks)
    return found["stages"][0]


def fed(plain, num_ranks):
    """What the ranks read of the whole run, batch by batch."""
    recipe = yaml_file.from_plain(Recipe, plain, "recipe")
    batches = []
    for rank in range(num_ranks):
        source = open_inputs(recipe).source(World(rank=rank, size=num_ranks), ("masked", "all"))
        steps = recipe.training.steps
        with Stream(source, position=0, num_batches=steps) as stream:
            batches.append(list(stream))
    return batches


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_numbers_are_those_of_the_batches_that_come(shared_toy, num_ranks):
    # 40 steps of 7 rows are exactly 7 epochs of 40 rows.
    plain = shared_toy.distil(training={"micro_batch": 2, "steps": 40})
    found = planned(plain, num_ranks)
    batches = fed(plain, num_ranks)
    assert found["rows"] == sum(len(b.rows) for rank in batches for b in rank) == 280
    assert found["epochs"] == {"": 7.0}
    assert found["tokens"] == sum(b.num_tokens for rank in batches for b in rank)
    assert found["micro_batches"] == len(batches[0][0].micro)
    assert found["rows_per_micro"] == batches[0][0].micro[0]["ids"].shape[0] == 2
    assert found["padded_length"] == np.mean([b.length for b in batches[0][:8]])
    assert found["read_bytes_per_step"] == {
        name: 7
        * sum(path.stat().st_size for path in (shared_toy.root / name).glob("*.tfrecord"))
        / 40
        for name in ("examples", "top", "states")
    }


def test_rows_of_short_last_batches_are_counted(shared_toy):
    training = {"steps": 13, "order_boundary": "close"}
    found = planned(shared_toy.recipe(training=training))
    # 40 rows are 6 batches, the last one of 5: two epochs and one batch of the third.
    assert found["rows"] == 2 * 40 + 7
    assert found["rows"] == sum(
        len(b.rows) for b in fed(shared_toy.recipe(training=training), 1)[0]
    )


@pytest.mark.parametrize(("wire", "size", "more"), [("float32", 4, 0), ("float16", 2, 2)])
def test_gradients_are_the_trained_numbers_in_the_type_of_the_wire(shared_toy, wire, size, more):
    found = planned(shared_toy.distil(training={"wire": wire}))
    small = found["gradient_bytes"] - size * found["trained_parameters"]
    assert 0 < small <= 4 * (3 + found["trained_variables"])
    assert found["collectives"] == 2 + more
    frozen = planned(shared_toy.distil(model={"freeze": ["encoder/embeddings/token"]}))
    whole = planned(shared_toy.distil())
    assert whole["trained_parameters"] - frozen["trained_parameters"] == 50 * 8


def test_operations_are_those_of_the_padded_rows(shared_toy):
    found = planned(shared_toy.recipe(training={"global_batch": 5, "micro_batch": 2}), 2)
    inputs = open_inputs(yaml_file.from_plain(Recipe, shared_toy.recipe(), "recipe"))
    masked = inputs.examples.read(np.arange(40))["num_masked"].mean()
    # Two ranks of two micro-batches of two rows stand for five; the logits run at real masks only.
    slots = 8 * found["padded_length"]
    layer = slots * (4 * 8 * 8 + 2 * 8 * 16 + 2 * found["padded_length"] * 8)
    head = 5 * masked * (8 * 8 + 8 * 50)
    assert found["training_flops"] == pytest.approx(3 * 2 * (layer + head), rel=0.02)


def test_stages_are_planned_one_by_one(shared_toy):
    plain = shared_toy.distil(training={"steps": 0})
    plain["stages"] = [
        {"name": "one", "steps": 3, "freeze": ["encoder/embeddings"]},
        {"name": "two", "steps": 5, "unfreeze": ["encoder/embeddings"]},
    ]
    found = plan_of(yaml_file.from_plain(Recipe, plain, "recipe"), num_ranks=2)
    assert [(s["name"], s["steps"]) for s in found["stages"]] == [("01-one", 3), ("02-two", 5)]
    one, two = (stage["trained_parameters"] for stage in found["stages"])
    assert two - one == (50 + 16 + 2) * 8 + 2 * 8  # three tables and a norm


def test_mixture_reads_of_each_corpus_by_its_share(toy):
    for name, page in (("a", 0), ("b", 1000)):
        toy.examples(name, page=page)
    corpora = [
        {"name": n, "examples": str(toy.root / n), "weight": w} for n, w in (("a", 3), ("b", 1))
    ]
    plain = toy.recipe(training={"global_batch": 8, "steps": 20})
    plain["data"] = {"corpora": corpora}
    found = planned(plain)
    assert found["epochs"] == {"a": 3.0, "b": 1.0}
    read = found["read_bytes_per_step"]
    assert set(read) == {"a/examples", "b/examples"}
    assert read["a/examples"] == pytest.approx(3 * read["b/examples"], rel=0.01)


def test_command_prints_and_writes_without_tensorflow(shared_toy, tmp_path):
    recipe = shared_toy.write(shared_toy.distil())
    out = tmp_path / "plan.json"
    arguments = [
        "plan",
        str(recipe),
        "--ranks",
        "2",
        "--set",
        "training.steps=9",
        "--json",
        str(out),
    ]
    code = (
        "import sys; from train.commands import VERBS; VERBS['plan'][0](sys.argv[2:]); "
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "steps     9 = 63 rows = 1.57 epochs" in done.stdout
    assert "7 rows = 2 rank(s) x 1 micro-batch(es) x 4 rows, 1 of them padding" in done.stdout
    assert json.loads(out.read_text())["stages"][0]["steps"] == 9


def test_what_training_would_refuse_is_refused(shared_toy):
    recipe = str(shared_toy.write(shared_toy.distil()))
    with pytest.raises(UsageError, match="temperature 3 is not in the grid"):
        plan([recipe, "--set", "objective.0.temperature=3.0"])
    with pytest.raises(UsageError, match="--ranks is 0; it must be at least 1"):
        plan([recipe, "--ranks", "0"])
    with pytest.raises(UsageError, match="no directory; make it first"):
        plan([recipe, "--json", str(shared_toy.root / "none" / "plan.json")])
