"""From a recipe to commands: the exact lines of --dry-run, and baselines of equal steps."""

import shlex
import subprocess
from pathlib import Path

import pytest

from launch.environment import environment_prefix, mpi_environment
from launch.jobs.mpirun import mpirun_command
from launch.recipes.catalogue import load
from launch.recipes.dry_run import dry_lines
from launch.recipes.method import Evaluate, Prepare
from launch.recipes.place import Place
from launch.recipes.plan import Command, Planned, plan
from launch.recipes.training_recipes import option_text, plain_of
from launch.recipes.written import with_settings
from limbeck.config.errors import UsageError
from limbeck.config.located import parse_yaml

GOLDEN = """\
# toy: A method
export PATH=BIN:"$PATH"

# what recipes share, made where it is missing
# $examples = base/examples  (the demo's masked sentence pairs: train, heldout, tokenizer)
# $teacher = base/teacher  (the demo's masked-LM teacher, tuned from the encoder)
# $heldout_labels = base/heldout_labels  (the teacher's answers on the held-out examples: sparse, \
hidden)
python -m launch.recipes.base --demo base examples teacher heldout_labels

# labels (extract) -> out/toy/labels
mkdir -p out/toy
cat > out/toy/labels.yaml <<'END'
families:
  sparse:
    kind: sparse
    k: 10
    threshold: null
    sample: false
    form: grid
    temperatures:
    - 1.0
    positions: masked
    records: 1.0
END
python -m extract run out/toy/labels.yaml --teacher base/teacher --examples base/examples/train \
--out out/toy/labels/train

# student (train) -> out/toy/student
MPIRUN python -m train run toy/student.yaml --run-dir out/toy/student --set \
data.examples=base/examples/train --set data.labels.sparse=out/toy/labels/train/sparse --set \
model.checkpoint=base/teacher

# baseline (baseline) -> out/baselines/KEY/run
mkdir -p out/baselines/KEY
cat > out/baselines/KEY/recipe.yaml <<'END'
data:
  examples: base/examples/train
model:
  checkpoint: base/teacher
  layers:
  - 1
  - 3
  start: checkpoint
name: baseline
objective:
- loss: mlm
optimizer:
  learning_rate: 0.0005
seed: 2
training:
  global_batch: 32
  steps: 10
END
MPIRUN python -m train run out/baselines/KEY/recipe.yaml --run-dir out/baselines/KEY/run

# folder (export) -> out/toy/folder
python -m train export out/toy/student --out out/toy/folder

# scores (evaluate) -> out/toy/scores
mkdir -p out/toy/scores
python -m train evaluate out/toy/folder --examples base/examples/heldout --labels \
base/heldout_labels/sparse --json out/toy/scores/student.json
python -m train evaluate out/baselines/KEY/run --examples base/examples/heldout --labels \
base/heldout_labels/sparse --json out/toy/scores/baseline.json"""


@pytest.fixture
def place(recipe_file, base, monkeypatch) -> Place:
    monkeypatch.chdir(recipe_file.parent)
    return Place(name="toy", folder=recipe_file.with_suffix(""), out=Path("out"), base=base)


def test_dry_run_prints_the_exact_commands(recipe_file, place):
    method = load(recipe_file)
    planned = plan(method, place)
    key = planned[2].output.parent.name
    lines = dry_lines(method, place, planned, demo=Path("base"))
    text = "\n".join(line for line in lines if not line.startswith("export OPAL_PREFIX="))
    mpirun = shlex.join(mpirun_command(2, ["python"])).removesuffix(" python")
    for found, name in ((key, "KEY"), (mpirun, "MPIRUN"), (f"{environment_prefix()}/bin", "BIN")):
        text = text.replace(found, name)
    assert text == GOLDEN


def test_a_dry_run_pasted_into_a_shell_does_the_steps(recipe_file, place, monkeypatch):
    """In a directory where nothing is: `cheap_step` stands for the stages' commands."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    outputs = {name: Path("out") / name for name in ("one and two", "run", "scores")}
    arguments = [("cheap_step", str(outputs["one and two"]), "it's")]
    arguments += [("cheap_step", str(outputs["run"]), "b")]
    arguments += [("cheap_step", str(outputs["scores"] / "student"), "c")]
    kinds = [Prepare(name="a", command="text"), Prepare(name="b", command="text")]
    kinds += [Evaluate(name="c", models={}, examples="x")]
    planned = [
        Planned(
            step=step,
            output=output,
            commands=(Command(name=step.name, title="", arguments=line, ranks=ranks),),
            writes={str(output.parent / f"{step.name} text"): "x: $HOME\n"},
        )
        for step, output, line, ranks in zip(
            kinds, outputs.values(), arguments, (1, 2, 1), strict=True
        )
    ]
    lines = dry_lines(load(recipe_file), place, planned, demo=Path("base"))
    environment = mpi_environment() | {"PATH": "/usr/bin:/bin"}
    environment.pop("OPAL_PREFIX", None)
    subprocess.run(["bash", "-e", "-c", "\n".join(lines)], env=environment, check=True)
    assert (outputs["one and two"] / "result").read_text() == "it's"
    assert len(Path("out/run.starts").read_text().splitlines()) == 2  # ranks
    assert (outputs["scores"] / "student" / "result").read_text() == "c"
    assert Path("out/a text").read_text() == "x: $HOME\n"


def test_parents_are_the_names_that_a_step_refers_to(recipe_file, place):
    parents = {step.name: step.parents for step in plan(load(recipe_file), place)}
    assert parents == {
        "labels": ("teacher", "examples"),
        "student": ("examples", "labels", "teacher"),
        "baseline": ("examples", "teacher"),
        "folder": ("student",),
        "scores": ("folder", "baseline", "examples", "heldout_labels"),
    }


def test_equal_baselines_of_two_recipes_share_a_run(recipe_file, place):
    method = load(recipe_file)
    text = (place.folder / "student.yaml").read_text()
    first = plan(method, place)[2].output
    (place.folder / "student.yaml").write_text(
        text.replace("name: toy", "name: other").replace("loss: kl", "loss: soft_ce")
    )
    assert plan(method, place)[2].output == first
    (place.folder / "student.yaml").write_text(text.replace("seed: 2", "seed: 3"))
    assert plan(method, place)[2].output != first


def test_settings_of_the_student_are_those_of_its_baseline(recipe_file, place):
    method = with_settings(load(recipe_file), ["student.training.steps=4"])
    assert "steps: 4" in next(iter(plan(method, place)[2].writes.values()))


def test_a_baseline_of_other_steps_is_refused(recipe_file, place):
    method = with_settings(load(recipe_file), ["baseline.training.steps=20"])
    with pytest.raises(UsageError, match="student makes 10 steps and its baseline 20") as caught:
        plan(method, place)
    line = recipe_file.read_text().splitlines().index("  - step: baseline") + 1
    assert str(caught.value).startswith(f"{recipe_file}:{line}: ")
    assert str(caught.value).endswith("also set baseline.training.steps=10")


def test_a_training_recipe_that_is_not_there_is_refused(recipe_file, place):
    (place.folder / "student.yaml").unlink()
    with pytest.raises(UsageError, match=r"step 'student': toy/student\.yaml: no such file"):
        plan(load(recipe_file), place)


def chained(text: str) -> str:
    """The recipe with a second training that starts where the first one ended."""
    return text.replace(
        "  - step: evaluate",
        "  - step: train\n    name: tuned\n    recipe: student.yaml\n    set:\n"
        "      model.checkpoint: $folder\n  - step: evaluate",
    ).replace("student: $folder", "student: $tuned")


def test_steps_are_counted_over_a_chain(recipe_file, place):
    recipe_file.write_text(chained(recipe_file.read_text()))
    with pytest.raises(UsageError, match="student makes 20 steps and its baseline 10"):
        plan(load(recipe_file), place)
    method = with_settings(load(recipe_file), ["baseline.training.steps=20"])
    assert len(plan(method, place)) == 6


STAGES = """\
stages:
  - name: a
    steps: 6
  - name: b
    steps: 2
    groups:
      head: [classifier]
      encoder: [encoder]
training:
  global_batch: 32
"""


def test_stages_become_one_part_of_as_many_steps(recipe_file, place):
    file = place.folder / "student.yaml"
    head, _, _ = file.read_text().partition("training:")
    file.write_text(head + STAGES)
    text = next(iter(plan(load(recipe_file), place)[2].writes.values()))
    assert "steps: 10" in text
    assert "stages" not in text


def test_stages_of_unknown_length_are_refused(recipe_file, place):
    file = place.folder / "student.yaml"
    head, _, _ = file.read_text().partition("training:")
    file.write_text(head + STAGES.replace("    groups:", "    unfreeze: layer_by_layer\n    x:"))
    with pytest.raises(UsageError, match="'b' is unfrozen layer_by_layer"):
        plan(load(recipe_file), place)


@pytest.mark.parametrize(
    "setting, problem",
    [
        ("objective.7.weight=5", "objective is a list of 1; '7' is no index of it"),
        ("objective.x.weight=5", "objective is a list of 1; 'x' is no index of it"),
        ("seed.x=5", "seed is 2, which has no 'x' inside"),
        ("training=5", "training.steps must say how many steps are made"),
        ("training.steps=many", "training.steps must say how many steps are made"),
        ("stages=7", "stages is 7; expected a list of stages"),
    ],
)
def test_settings_that_fit_no_place_are_refused(recipe_file, place, setting, problem):
    method = with_settings(load(recipe_file), [f"student.{setting}"])
    with pytest.raises(UsageError) as caught:
        plan(method, place)
    assert str(caught.value) == f"--set student.{setting}: {problem}"


@pytest.mark.parametrize(
    "training, problem",
    [
        ("training:\n", "training.steps must say how many steps are made"),
        ("training: 5\n", "training.steps must say how many steps are made"),
        ("stages: 7\n", "stages is 7; expected a list of stages"),
        ("stages: [a]\n", r"stages\[0\].steps must say how many steps are made"),
        ("stages: [{steps: 2}, {steps: x}]\n", r"stages\[1\].steps must say"),
        ("# \udcff\n", "byte 0xff is not UTF-8"),
    ],
)
def test_a_training_recipe_without_steps_is_refused_with_its_line(
    recipe_file, place, training, problem
):
    file = place.folder / "student.yaml"
    head, _, _ = file.read_text().partition("training:")
    file.write_bytes((head + training).encode(errors="surrogateescape"))
    line = head.count("\n") + 1
    with pytest.raises(UsageError, match=rf"step 'baseline': toy/student\.yaml:{line}: {problem}"):
        plan(load(recipe_file), place)


def test_what_is_dropped_need_not_be_there(recipe_file, place):
    text = recipe_file.read_text()
    recipe_file.write_text(
        text.replace("[{loss: mlm}]", "[{loss: mlm}]\n    drop: [seed.x, no.such, model.layers]")
    )
    text = next(iter(plan(load(recipe_file), place)[2].writes.values()))
    assert "seed: 2" in text
    assert "layers" not in text


@pytest.mark.parametrize(
    "value, text",
    [
        ("12", '"12"'),
        ("a b", '"a b"'),
        ("data/x-1", "data/x-1"),
        ((1, 2), "[1, 2]"),
        (("a", "b, c"), '[a, "b, c"]'),
        (True, "true"),
        (1e-5, "1e-05"),
    ],
)
def test_values_are_read_back_as_they_are(value, text):
    assert option_text(value) == text
    read = plain_of(parse_yaml(text, name="-"))
    assert (tuple(read) if isinstance(read, list) else read) == value
