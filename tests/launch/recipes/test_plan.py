"""From a recipe to commands: the exact lines of --dry-run, and baselines of equal steps."""

from pathlib import Path

import pytest

from launch.recipes.catalogue import load, with_settings
from launch.recipes.dry_run import dry_lines
from launch.recipes.place import Place
from launch.recipes.plan import plan
from limbeck.config.errors import UsageError

GOLDEN = """\
# toy: A method
# $examples = base/examples  (the demo's masked sentence pairs: train, heldout, tokenizer)
# $teacher = base/teacher  (the demo's masked-LM teacher, tuned from the encoder)
# $heldout_labels = base/heldout_labels  (the teacher's answers on the held-out examples: sparse, \
hidden)

# labels (extract) -> out/toy/labels
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
mpirun -np 2 python -m train run toy/student.yaml --run-dir out/toy/student --set \
data.examples=base/examples/train --set data.labels.sparse=out/toy/labels/train/sparse --set \
model.checkpoint=base/teacher

# baseline (baseline) -> out/baselines/KEY/run
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
mpirun -np 2 python -m train run out/baselines/KEY/recipe.yaml --run-dir out/baselines/KEY/run

# folder (export) -> out/toy/folder
python -m train export out/toy/student --out out/toy/folder

# scores (evaluate) -> out/toy/scores
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
    text = "\n".join(dry_lines(method, place, planned)).replace(key, "KEY")
    assert text == GOLDEN


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
    with pytest.raises(UsageError, match="student makes 10 steps and its baseline 20"):
        plan(method, place)


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
