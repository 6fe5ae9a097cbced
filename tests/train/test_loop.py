"""Runs in this process; what kills processes or needs several is in test_ranks.py."""

import json

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.models.masked_lm import build_masked_lm
from limbeck.models.names import named_variables
from limbeck.runs import read_metrics
from train.checkpoints import checkpoint
from train.checkpoints.restore import load_run
from train.evaluate import Evaluator
from train.evaluation.unigram import Unigram
from train.loop import train
from train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("deterministic")

WIDE = {"hidden_dim": 32, "intermediate_dim": 64}


def recipe_of(plain):
    return yaml_file.from_plain(Recipe, plain, "recipe")


def losses(run_dir):
    lines = read_metrics(run_dir / "metrics.jsonl")
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def final_bytes(run_dir):
    return checkpoint.list_checkpoints(run_dir / "checkpoints")[0].read_bytes()


def test_hard_labels_alone_teach_the_pattern(toy):
    toy.examples(num_rows=600)
    toy.examples("heldout", num_rows=60, seed=9, page=1000)
    plain = toy.recipe(
        data={"heldout": str(toy.root / "heldout")},
        optimizer={"learning_rate": 0.01, "warmup_steps": 20},
        training={
            "global_batch": 64,
            "steps": 200,
            "log_every": 50,
            "checkpoint_every": 1000,
            "verify_order_every": 0,
        },
    )
    plain["model"]["architecture"].update(WIDE)
    result = train(recipe_of(plain), toy.root / "run", say=lambda line: None)
    floor = Evaluator(
        Unigram.fit(_open(toy, "examples"), vocab_size=50), _open(toy, "heldout"), vocab_size=50
    ).scores()
    assert result.finished and result.step == 200
    # 0.62 and 1.47 nats against 0.03 and 3.7 nats when this was written.
    assert result.scores.accuracy > 0.4 and floor.accuracy < 0.1
    assert result.scores.cross_entropy < floor.cross_entropy / 2


def _open(toy, name):
    from limbeck.records.dataset import open_dataset

    return open_dataset(toy.root / name)


def test_all_losses_together_fall_and_are_reported(toy):
    toy.all_families()
    said = []
    plain = toy.distil(
        optimizer={"learning_rate": 0.02},
        training={"global_batch": 40, "steps": 30, "log_every": 10, "checkpoint_every": 30},
    )
    result = train(recipe_of(plain), toy.root / "run", say=said.append)
    lines = list(read_metrics(toy.root / "run" / "metrics.jsonl"))
    assert [line["step"] for line in lines] == [10, 20, 30]
    for name in ("train/loss", "train/loss_kl", "train/loss_mlm", "train/loss_hidden_mse"):
        assert lines[-1][name] < lines[0][name]
    rows = _open(toy, "examples").read(np.arange(40))
    assert lines[0]["train/count_mlm"] == rows["num_masked"].sum()  # each step is one epoch
    assert lines[0]["train/count_hidden_mse"] == rows["num_tokens"].sum()
    total = 2.0 * lines[-1]["train/loss_kl"] + 0.3 * lines[-1]["train/loss_mlm"]
    total += 0.1 * lines[-1]["train/loss_hidden_mse"]
    assert lines[-1]["train/loss"] == pytest.approx(total, rel=1e-6)
    assert result.loss == lines[-1]["train/loss"]
    text = "\n".join(said)
    assert "40 rows = 1 rank(s) x 1 micro-batch(es) x 40 rows" in text
    assert "30 = 1,200 rows = 30.00 epochs" in text
    assert "promise   bit-exact" in text
    assert list((toy.root / "run" / "tensorboard").iterdir())
    # The projection is trained and kept.
    tensors = checkpoint.load_newest(toy.root / "run" / "checkpoints").tensors
    assert tensors["projection/2_hidden_mse/kernel"].shape == (8, 12)


class Stop(Exception):
    pass


def test_run_that_dies_goes_on_to_the_same_bytes(toy):
    toy.all_families()
    plain = toy.distil(training={"steps": 10, "checkpoint_every": 4})
    recipe = recipe_of(toy.dropping(plain))
    train(recipe, toy.root / "whole", say=lambda line: None)

    def die_at_six(line):
        if line.startswith("step  6/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, toy.root / "cut", say=die_at_six)
    said = []
    train(recipe, toy.root / "cut", say=said.append)
    assert any("resumed   after step 4, at position 28" in line for line in said)
    assert any("bit-exact: goes on" in line for line in said)
    assert final_bytes(toy.root / "cut") == final_bytes(toy.root / "whole")
    assert losses(toy.root / "cut") == losses(toy.root / "whole")
    ledgers = [(toy.root / name / "ledger.jsonl").read_bytes() for name in ("cut", "whole")]
    assert ledgers[0] == ledgers[1]


@pytest.mark.faults
def test_damaged_newest_checkpoint_costs_steps_but_not_the_result(toy, capsys):
    toy.examples()
    recipe = recipe_of(toy.recipe(training={"steps": 9}))
    train(recipe, toy.root / "run", say=lambda line: None)
    sound = final_bytes(toy.root / "run")
    path = checkpoint.list_checkpoints(toy.root / "run" / "checkpoints")[0]
    path.write_bytes(sound[:-3])
    said = []
    train(recipe, toy.root / "run", say=said.append)
    assert any("resumed   after step 6" in line for line in said)
    assert "WARNING" in capsys.readouterr().err
    assert final_bytes(toy.root / "run") == sound


def test_finished_run_says_so_and_changes_nothing(toy):
    toy.examples()
    recipe = recipe_of(toy.recipe())
    train(recipe, toy.root / "run", say=lambda line: None)
    before = {p: p.stat().st_mtime_ns for p in (toy.root / "run").rglob("*") if p.is_file()}
    said = []
    result = train(recipe, toy.root / "run", say=said.append)
    assert result.finished and "complete, all 6 steps are done" in said[0]
    after = {p: p.stat().st_mtime_ns for p in (toy.root / "run").rglob("*") if p.is_file()}
    assert before == after


def test_gradient_that_is_not_finite_ends_the_run_and_is_not_saved(toy):
    toy.examples()
    recipe = recipe_of(
        toy.recipe(
            optimizer={"learning_rate": 1e38, "warmup_steps": 0, "clip_norm": None},
            training={"steps": 50, "checkpoint_every": 1},
        )
    )
    with pytest.raises(LimbeckError, match=r"step \d+: the (loss of mlm|gradient) is not finite"):
        train(recipe, toy.root / "run", say=lambda line: None)
    newest = checkpoint.load_newest(toy.root / "run" / "checkpoints")
    assert newest is None or newest.progressed.step < 50


def test_run_can_be_loaded_as_a_model(toy):
    toy.examples()
    recipe = recipe_of(toy.recipe())
    result = train(recipe, toy.root / "run", say=lambda line: None)
    loaded_recipe, newest, model = load_run(toy.root / "run")
    assert loaded_recipe == recipe and newest.progressed.step == 6
    for a, b in zip(model.variables, result.student.model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_variables_stay_and_stand_in_checkpoints(toy):
    toy.examples()
    plain = toy.recipe()
    plain["model"]["freeze"] = ["encoder/embeddings/token", "encoder/layer_0/attention"]
    said = []
    result = train(recipe_of(plain), toy.root / "run", say=said.append)
    _, newest, model = load_run(toy.root / "run")
    start = named_variables(build_masked_lm(model.architecture, seed=plain["seed"]))
    frozen = {f"model/{n}" for n in start if n == "encoder/embeddings/token"}
    frozen |= {f"model/{n}" for n in start if n.startswith("encoder/layer_0/attention/")}
    assert result.student.frozen == frozen and len(frozen) == 1 + 8
    for name, variable in named_variables(model).items():
        same = np.array_equal(variable, start[name])
        assert same == (f"model/{name}" in frozen), name
        np.testing.assert_array_equal(newest.tensors[f"model/{name}"], variable)
    assert any("688 frozen" in line for line in said)  # 50 x 8 and 4 x (8 x 8 + 8)


def test_model_of_a_run_without_checkpoint_is_refused(toy):
    toy.examples()
    recipe = recipe_of(toy.recipe(training={"checkpoint_every": 100}))

    def die(line):
        if line.startswith("step 2/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, toy.root / "run", say=die)
    with pytest.raises(UsageError, match="no checkpoint yet"):
        load_run(toy.root / "run")


def test_other_data_under_the_same_path_is_refused(toy):
    import shutil

    toy.examples()
    recipe = recipe_of(toy.recipe(training={"steps": 3}))
    train(recipe, toy.root / "run", say=lambda line: None)
    shutil.rmtree(toy.root / "examples")
    toy.examples(seed=4)
    config = json.loads((toy.root / "run" / "config.json").read_text())
    assert config["training"]["steps"] == 3
    longer = recipe_of(toy.recipe(training={"steps": 3}))
    # Complete runs read nothing; one that has steps left must not go on with other rows.
    path = checkpoint.list_checkpoints(toy.root / "run" / "checkpoints")[0]
    path.rename(path.with_name("step-00000002.safetensors"))
    with pytest.raises(UsageError, match="does not fit this run: dataset"):
        train(longer, toy.root / "run", say=lambda line: None)
