import pytest

from limbeck.config import UsageError, yaml_file
from train.recipe import Recipe

TEXT = """\
name: toy
seed: 3
data:
  examples: examples/train
  labels: {top: labels/t/top}
model:
  architecture: {vocab_size: 50, num_layers: 1, hidden_dim: 8, num_heads: 2, intermediate_dim: 8}
objective:
  - loss: kl
    signal: top
    temperature: 2
  - loss: mlm
    weight: 0.5
optimizer:
  learning_rate: 5e-5
training:
  global_batch: 8
  steps: 100
"""


def load(text=TEXT):
    return yaml_file.loads(text, Recipe, "recipe.yaml")


def test_recipe_survives_a_round_trip():
    recipe = load()
    assert recipe.objective[0].temperature == 2.0
    assert recipe.optimizer.learning_rate == 5e-5
    assert yaml_file.loads(yaml_file.dump(recipe), Recipe) == recipe
    assert yaml_file.from_plain(Recipe, yaml_file.to_plain(recipe), "plain") == recipe


def test_evaluating_without_heldout_examples_is_refused():
    with pytest.raises(UsageError, match="evaluate_every has no effect without data.heldout"):
        load(TEXT + "  evaluate_every: 10\n")


def test_scale_carries_the_square_of_the_temperature_unless_told_not_to():
    kl, mlm = load().objective
    assert (kl.scale_at(0.0), mlm.scale_at(0.0)) == (4.0, 0.5)
    plain = load(
        TEXT.replace("temperature: 2", "temperature: 2\n    scale_by_temperature_squared: false")
    )
    assert plain.objective[0].scale_at(0.0) == 1.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    weight: 0.5", "    wieght: 0.5", "recipe.yaml:13: unknown key 'wieght'"),
        ("seed: 3", "seed: 3\nseed: 4", "recipe.yaml:3: "),  # duplicate
        ("seed: 3", "seed: -1", "seed is -1"),
        ("    weight: 0.5", "    weight: 0", "weight is 0.0"),
        ("    signal: top\n", "", "recipe.yaml:9: objective[0]: signal is missing"),
        ("loss: mlm", "loss: mlm\n    signal: top", "recipe.yaml:13: unknown key 'signal'"),
        ("loss: mlm", "loss: mlm\n    temperature: 2", "unknown key 'temperature' in objective[1]"),
        ("loss: mlm", "loss: mlm\n    missing_mass: truncated", "unknown key 'missing_mass'"),
        ("loss: mlm", "loss: mlm\n    student_layer: 1", "unknown key 'student_layer'"),
        ("loss: mlm", "loss: hidden_mse\n    signal: top", "objective[1] lacks 'student_layer'"),
        ("loss: mlm", "loss: mlm\n    projection: linear", "unknown key 'projection'"),
        ("    signal: top", "    signal: other", "'other', which is not in data.labels"),
        (
            "{top: labels/t/top}",
            "{top: a, more: b}",
            "data.labels.more: no term of objective uses it",
        ),
        ("steps: 100", "steps: 0", "steps is 0"),
        ("steps: 100", "steps: 100\n  micro_batch: 0", "micro_batch is 0"),
        ("learning_rate: 5e-5", "learning_rate: 0", "learning_rate is 0"),
        ("learning_rate: 5e-5", "learning_rate: 1e-4\n  warmup_steps: 101", "more than the 100"),
        ("learning_rate: 5e-5", "learning_rate: 1e-4\n  beta_2: 1", "must be in [0, 1)"),
        ("model:\n", "model:\n  checkpoint: m\n", "no effect when start is random"),
        ("model:\n", "model:\n  construct: [{layers: first-1}]\n", "construct has no effect"),
        ("model:\n", "model:\n  construct: [{layers: most}]\n", "layers is 'most'; expected"),
        ("model:\n", "model:\n  construct: [{layer: most}]\n", "unknown key 'layer'"),
        (
            "model:\n",
            "model:\n  start: checkpoint\n  checkpoint: m\n  layers: [1]\n"
            "  construct: [{width: {importance: l2}}]\n",
            "layers is the short form of a step of construct",
        ),
        ("model:\n", "model:\n  start: checkpoint\n", "must name a model folder"),
        ("  examples: examples/train", "  examples: a\n  heldout_labels: {b: c}", "heldout is not"),
    ],
)
def test_bad_recipe_is_refused_with_its_reason(old, new, message):
    assert old in TEXT
    with pytest.raises(UsageError) as error:
        load(TEXT.replace(old, new))
    assert message in str(error.value)
    assert str(error.value).startswith("recipe.yaml:")


def test_override_goes_through_the_same_checks():
    recipe = yaml_file.override(load(), ["training.steps=7", "objective.1.weight=2"])
    assert recipe.training.steps == 7
    assert recipe.objective[1].weight == 2.0
    with pytest.raises(UsageError, match="steps is 0"):
        yaml_file.override(load(), ["training.steps=0"])
