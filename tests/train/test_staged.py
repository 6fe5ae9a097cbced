"""Runs in stages: a chain of runs that starts each from the one before, and resumes anywhere."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.ranks import World
from limbeck.runs import stage_runs_of, student_run
from tests.train.conftest import Toy
from train.checkpoints import checkpoint
from train.inputs import open_inputs, student_architecture
from train.ledger import audit
from train.loop import train
from train.recipe import Recipe
from train.starting.stages import stage_runs

ROOT = Path(__file__).resolve().parents[2]


def staged(toy, **changes):
    """Three stages: states through a projection, logits with frozen layers, both from the top."""
    plain = toy.distil(**changes)
    kl, mlm, states = plain["objective"]
    states = {**states, "projection_name": "wide"}
    plain["objective"] = [kl, states]
    plain["stages"] = [
        {"name": "states", "steps": 5, "objective": [states]},
        {
            "name": "logits",
            "steps": 4,
            "objective": [kl, mlm],
            "freeze": ["encoder"],
            "optimizer": {"learning_rate": 0.02, "warmup_steps": 0},
        },
        {"name": "both", "steps": 3, "unfreeze": "layer_by_layer"},
    ]
    del plain["training"]["steps"]
    return plain


NAMES = ["01-states", "02-logits", "03-both-layer_0", "04-both-embeddings"]
STEPS = [5, 4, 3, 3]


def recipe_of(plain):
    return yaml_file.from_plain(Recipe, plain, "recipe")


def silent(line):
    pass


def newest(run_dir, number):
    return checkpoint.load_newest(run_dir / "stages" / NAMES[number] / "checkpoints")


def contents(run_dir):
    """Bytes of all checkpoints, ledgers and the lineage, by path."""
    files = [
        *run_dir.glob("stages/*/checkpoints/*"),
        *run_dir.glob("stages/*/ledger.jsonl"),
        run_dir / "lineage.json",
    ]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(shared_toy):
    """A run in stages, uninterrupted, and what it said."""
    from tensorflow.python.framework import config

    said = []
    result = train(recipe_of(staged(shared_toy)), shared_toy.root / "whole", say=said.append)
    config.disable_op_determinism()
    return result, said


def test_stages_are_runs_of_their_own_in_a_chain(shared_toy, whole):
    result, said = whole
    run_dir = shared_toy.root / "whole"
    assert result.finished and result.step == sum(STEPS) and result.run_dir == run_dir
    assert [path.name for path in stage_runs_of(run_dir)] == NAMES
    assert [newest(run_dir, n).progressed.step for n in range(4)] == STEPS
    assert sum(line.startswith("stage     ") for line in said) == 4
    weights = {f"model/{n}": v for n, v in checkpoint_names(result.student).items()}
    for name, value in weights.items():
        np.testing.assert_array_equal(value, newest(run_dir, 3).tensors[name])


def checkpoint_names(student):
    named = {n: v for n, v in student.named_variables.items() if n.startswith("model/")}
    return {name.removeprefix("model/"): v.numpy() for name, v in named.items()}


def test_lineage_says_which_checkpoint_each_stage_started_from(shared_toy, whole):
    run_dir = shared_toy.root / "whole"
    lines = json.loads((run_dir / "lineage.json").read_text())["stages"]
    assert [line["stage"] for line in lines] == NAMES
    assert [line["steps_made"] for line in lines] == STEPS
    assert lines[0]["from"] is None
    for number in range(1, 4):
        before = newest(run_dir, number - 1)
        origin = {"stage": NAMES[number - 1], "step": STEPS[number - 1], "sha256": before.sha256}
        assert lines[number]["from"] == newest(run_dir, number).progressed.origin == origin


def test_weights_and_named_projections_go_on_and_frozen_ones_stay(shared_toy, whole):
    run_dir = shared_toy.root / "whole"
    first, second, third = (newest(run_dir, n).tensors for n in range(3))
    encoder = [name for name in second if name.startswith("model/encoder/")]
    for name in encoder:  # frozen in the second stage
        np.testing.assert_array_equal(first[name], second[name])
    assert any(np.any(second[n] != first[n]) for n in second if n.startswith("model/head/"))
    embeddings = [name for name in encoder if "/embeddings/" in name]
    layers = [name for name in encoder if "/layer_0/" in name]
    assert all(np.array_equal(third[n], second[n]) for n in embeddings)
    assert all(np.any(third[n] != second[n]) for n in layers if n.endswith("outer/kernel"))
    # The second stage has no projection; the third starts its own anew, the fourth takes it over.
    assert not any(name.startswith("projection/") for name in second)
    fourth = newest(run_dir, 3).tensors["projection/wide/kernel"]
    moved = np.abs(fourth - third["projection/wide/kernel"]).max()
    assert 0 < moved < 0.1  # three steps of Adam at rates up to 0.01


def test_optimiser_is_new_and_rows_go_on(shared_toy, whole):
    run_dir = shared_toy.root / "whole"
    lines = []
    for name in NAMES:
        text = (run_dir / "stages" / name / "ledger.jsonl").read_text()
        lines += [json.loads(line) for line in text.splitlines()]
    assert [line["step"] for line in lines] == [s for n in STEPS for s in range(1, n + 1)]
    assert [line["position"] for line in lines] == list(range(0, 7 * sum(STEPS), 7))
    for number, steps in enumerate(STEPS):
        applied, left_out, _ = newest(run_dir, number).tensors["optimizer/00000"]
        assert (applied, left_out) == (steps, 0)


class Stop(Exception):
    pass


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    "where",
    [
        pytest.param("01-states", marks=pytest.mark.slow),
        pytest.param("02-logits", marks=pytest.mark.slow),
        "between",
    ],
)
def test_run_that_dies_in_or_between_stages_goes_on_to_the_same_bytes(shared_toy, whole, where):
    recipe, cut = recipe_of(staged(shared_toy)), shared_toy.root / f"cut-{where}"
    stage = []

    def die(line):
        if line.startswith("stage "):
            stage.append(line)
            if where == "between" and len(stage) == 3:
                raise Stop
        if where in (stage or [""])[-1] and line.startswith("step 4/"):
            raise Stop

    with pytest.raises(Stop):
        train(recipe, cut, say=die)
    result = train(recipe, cut, say=silent)
    assert result.finished and result.step == sum(STEPS)
    assert contents(cut) == contents(shared_toy.root / "whole")
    # Complete, it makes no step more.
    said = []
    assert train(recipe, cut, say=said.append).finished
    assert not any(line.startswith("step ") for line in said)


@pytest.mark.usefixtures("deterministic")
def test_stage_with_other_data_reads_those_and_the_next_goes_on_with_the_first(tmp_path):
    toy = Toy(tmp_path)
    toy.all_families(num_rows=30)
    other = toy.examples("other", num_rows=25, seed=9, page=500)
    plain = staged(toy)
    kl, states = plain["objective"]
    plain["objective"], plain["data"]["labels"] = [kl], {"top": str(tmp_path / "top")}
    plain["stages"] = [
        {"name": "before", "steps": 3},
        {
            "name": "away",
            "steps": 2,
            "data": {"examples": str(other)},
            "objective": [{"loss": "mlm"}],
        },
        {"name": "after", "steps": 2},
    ]
    recipe = recipe_of(plain)
    assert train(recipe, tmp_path / "run", say=silent).finished
    positions = []
    for stage in stage_runs(recipe, tmp_path / "run", student_architecture(recipe.model)):
        path = stage.directory / "ledger.jsonl"
        source = open_inputs(stage.recipe).source(World(), ["masked"])
        assert audit(path, source) == stage.recipe.training.steps
        positions.append([json.loads(line)["position"] for line in path.read_text().splitlines()])
    assert positions == [[0, 7, 14], [0, 7], [21, 28]]


@pytest.mark.usefixtures("deterministic")
def test_stage_that_started_from_other_weights_is_refused(shared_toy, whole):
    recipe, run_dir = recipe_of(staged(shared_toy)), shared_toy.root / "mixed"
    shutil.copytree(shared_toy.root / "whole", run_dir)
    other = shared_toy.root / "other"
    plain = staged(shared_toy, optimizer={"learning_rate": 0.03})
    plain["stages"] = plain["stages"][:1]
    plain["objective"], plain["data"] = [], {**plain["data"], "labels": {}}
    plain["data"]["labels"] = {"states": str(shared_toy.root / "states")}
    train(recipe_of(plain), other, say=silent)
    made = newest(other, 0)
    hash_here = newest(run_dir, 0).progressed.config_hash
    progressed = dataclasses.replace(made.progressed, config_hash=hash_here)
    directory = run_dir / "stages" / NAMES[0] / "checkpoints"
    checkpoint.save(directory, dataclasses.replace(made, progressed=progressed), keep=1)
    for name in NAMES[1:]:  # the second has a step to make
        for path in (run_dir / "stages" / name / "checkpoints").iterdir():
            if path.name != checkpoint.file_name(3):
                path.unlink()
    with pytest.raises(UsageError, match="started from .* and the stage before has made"):
        train(recipe, run_dir, say=silent)


@pytest.mark.usefixtures("deterministic")
def test_pattern_of_a_later_stage_is_refused_before_the_first_one_trains(shared_toy):
    plain = staged(shared_toy)
    plain["stages"][1]["freeze"] = ["encoder/layer_7"]
    path = shared_toy.write(plain, "bad_freeze.yaml")
    text = path.read_text()
    line = text[: text.index('"freeze"')].count("\n") + 1
    recipe = yaml_file.load(path, Recipe)
    said = []
    with pytest.raises(UsageError, match=rf"bad_freeze\.yaml:{line}: model\.freeze: no variable"):
        train(recipe, shared_toy.root / "bad_freeze", say=said.append)
    assert not any(text.startswith("step ") for text in said)


def test_student_of_a_run_in_stages_is_that_of_the_last_that_has_begun(tmp_path):
    assert student_run(tmp_path) == tmp_path and not stage_runs_of(tmp_path)
    for name in ("01-a", "02-b", "10-c"):
        (tmp_path / "stages" / name / "checkpoints").mkdir(parents=True)
    assert student_run(tmp_path) == tmp_path
    for name in ("10-c", "02-b"):
        (tmp_path / "stages" / name / "checkpoints" / "step-00000001.safetensors").touch()
    assert [path.name for path in stage_runs_of(tmp_path)] == ["02-b", "10-c"]
    assert student_run(tmp_path).name == "10-c"


def test_verbs_take_the_directory_of_the_whole_run(shared_toy, whole, inside):
    root = shared_toy.root
    (root / "tokenizer").mkdir(exist_ok=True)
    (root / "tokenizer" / "vocab.txt").write_text("\n".join(shared_toy.words) + "\n")
    done = inside("evaluate", root / "whole", "--examples", root / "examples")
    assert done.returncode == 0, done.stderr
    assert "04-both-embeddings after step 3" in done.stdout
    exported = inside("export", root / "whole", "--out", root / "student")
    assert exported.returncode == 0 and (root / "student" / "model.safetensors").is_file()
    done = inside("report", root / "whole")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:5]] == NAMES
    assert (root / "whole" / "report.html").is_file()


def start(recipe, run_dir, *, size=1):
    """Starts `python -m train run`, under mpirun when there are several ranks."""
    from launch.environment import mpi_environment
    from launch.jobs.mpirun import mpirun_command

    line = [sys.executable, "-m", "train", "run", str(recipe), "--run-dir", str(run_dir)]
    return subprocess.Popen(
        mpirun_command(size, line) if size > 1 else line,
        cwd=ROOT,
        env={**os.environ, **mpi_environment(), "TF_NUM_INTRAOP_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.faults
@pytest.mark.slow
def test_kills_inside_and_between_stages_never_change_the_result(shared_toy):
    root = shared_toy.root
    recipe = shared_toy.write(
        staged(shared_toy, training={"checkpoint_every": 1}), "staged-kills.yaml"
    )
    straight, killed = root / "straight", root / "killed"
    with start(recipe, straight) as process:
        log = process.communicate(timeout=300)[0]
    assert process.returncode == 0, log
    rng = np.random.default_rng(3)
    # Inside the first stage, as the second and the third begin, inside the last one.
    for mark, after in (("step 3/5", 1), ("stage     2", 1), ("stage     3", 1), ("step 2/3", 1)):
        with start(recipe, killed) as process:
            for line in process.stdout:
                if line.startswith(mark):
                    break
            else:
                pytest.fail(f"{mark!r} was never said")
            time.sleep(float(rng.uniform(0, 0.05)) * after)
            process.send_signal(signal.SIGKILL)
            process.stdout.read()
        assert process.returncode == -signal.SIGKILL
    with start(recipe, killed) as process:
        log = process.communicate(timeout=300)[0]
    assert process.returncode == 0, log
    assert contents(killed) == contents(straight)
    with start(recipe, killed) as process:
        log = process.communicate(timeout=60)[0]
    assert process.returncode == 0 and log.strip().endswith("complete, all 4 stages are done")


@pytest.mark.ranks(2)
@pytest.mark.faults
@pytest.mark.slow
def test_two_ranks_go_on_with_the_stages_that_one_began(shared_toy, whole):
    root = shared_toy.root
    recipe = shared_toy.write(staged(shared_toy), "staged-ranks.yaml")
    run_dir = root / "ranks"
    with start(recipe, run_dir) as process:
        for line in process.stdout:
            if line.startswith("stage     2"):
                break
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    with start(recipe, run_dir, size=2) as process:
        log = process.communicate(timeout=300)[0]
    assert process.returncode == 0, log
    assert "2 rank(s)" in log and "stages/01-states: complete, all 5 steps are done" in log
    one = root / "whole"
    for number, name in enumerate(NAMES):
        path = Path("stages") / name / "ledger.jsonl"
        assert (run_dir / path).read_bytes() == (one / path).read_bytes()  # the same rows
        mine, theirs = newest(run_dir, number).tensors, newest(one, number).tensors
        for key, tensor in theirs.items():
            if key.startswith("model/"):
                np.testing.assert_allclose(mine[key], tensor, rtol=1e-3, atol=1e-4)
    lines = json.loads((run_dir / "lineage.json").read_text())["stages"]
    assert [line["steps_made"] for line in lines] == STEPS
