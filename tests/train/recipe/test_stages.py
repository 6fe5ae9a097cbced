"""Recipes with stages: what each stage is, and which mistakes are refused on which line."""

import dataclasses

import pytest

from limbeck.config import UsageError, yaml_file
from train.recipe import Recipe

HEAD = """\
name: toy
seed: 3
data:
  examples: examples/train
  labels: {top: labels/top, states: labels/states}
  heldout: examples/heldout
  heldout_labels: {top: heldout/top, states: heldout/states}
model:
  architecture: {vocab_size: 50, num_layers: 2, hidden_dim: 8, num_heads: 2, intermediate_dim: 8}
  freeze: [encoder/embeddings/token]
optimizer:
  learning_rate: 5e-5
  warmup_steps: 2
training:
  global_batch: 8
  evaluate_every: 5
  patience: 2
"""
STAGES = """\
objective:
- {loss: mlm}
stages:
- name: states
  steps: 10
  objective:
  - {loss: hidden_mse, signal: states, student_layer: 1}
  patience: 0
- name: logits
  steps: 20
  objective:
  - loss: kl
    signal: top
    temperature: 2
  freeze: [encoder]
  optimizer:
    learning_rate: 1e-3
    decay: constant
- name: labels
  steps: 5
  unfreeze: layer_by_layer
"""


def load(text=HEAD + STAGES, **options):
    return yaml_file.loads(text, Recipe, "r.yaml", **options)


def test_stage_is_a_recipe_of_its_own_with_what_it_uses():
    recipe = load()
    first, second, third = (recipe.of_stage(n) for n in range(3))
    assert [r.training.steps for r in (first, second, third)] == [10, 20, 5]
    assert [r.training.patience for r in (first, second, third)] == [0, 2, 2]
    assert recipe.num_steps == 35
    assert [term.loss for r in (first, second, third) for term in r.objective] == [
        *("hidden_mse", "kl", "mlm")
    ]
    assert first.data.labels == {"states": "labels/states"}
    assert second.data.labels == {"top": "labels/top"} and not third.data.labels
    # The KL is of use to every evaluation, a cosine only where layers are compared.
    assert set(first.data.heldout_labels) == {"top", "states"}
    assert set(second.data.heldout_labels) == set(third.data.heldout_labels) == {"top"}
    assert first.optimizer == third.optimizer == recipe.optimizer
    assert second.optimizer == dataclasses.replace(
        recipe.optimizer, learning_rate=1e-3, decay="constant"
    )
    assert not any(r.stages for r in (first, second, third))


def test_recipe_with_stages_survives_a_round_trip():
    recipe = load()
    assert yaml_file.loads(yaml_file.dump(recipe), Recipe) == recipe
    assert yaml_file.from_plain(Recipe, yaml_file.to_plain(recipe), "plain") == recipe


def test_null_is_a_setting_of_a_stage_like_others():
    recipe = load(HEAD + STAGES.replace("decay: constant", "clip_norm: null"))
    assert recipe.of_stage(1).optimizer.clip_norm is None
    assert recipe.of_stage(2).optimizer.clip_norm == 1.0


def test_stage_may_read_other_data():
    other = "- {name: more, steps: 4, data: {examples: other}, patience: 0}\n"
    text = (HEAD + STAGES + other).replace("evaluate_every: 5", "log_every: 5")
    text = text.replace("  patience: 2\n", "")
    assert load(text).of_stage(3).data.examples == "other"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("global_batch: 8", "global_batch: 8\n  steps: 3", "r.yaml:16: training.steps has no"),
        ("name: logits", "name: a/b", "r.yaml:26: stages[1]: name is 'a/b'; expected letters"),
        ("name: logits", "name: states", "r.yaml:26: stages[1].name is 'states', as that of a"),
        ("steps: 20", "steps: 0", "r.yaml:27: stages[1]: steps is 0"),
        ("signal: top", "signal: bottom", "r.yaml:30: stages[1].objective[0].signal is 'bottom'"),
        ("temperature: 2", "temperature: 0", "r.yaml:31: stages[1].objective[0]: temperature"),
        ("learning_rate: 1e-3", "learning_rate: 0", "r.yaml:34: stages[1].optimizer.learning_rat"),
        ("decay: constant", "dekay: constant", "r.yaml:35: stages[1].optimizer.dekay is no sett"),
        ("decay: constant", "warmup_steps: 21", "r.yaml:35: stages[1].optimizer.warmup_steps is"),
        ("decay: constant", "decay: never", "r.yaml:35: stages[1].optimizer.decay is 'never'"),
        ("- {loss: mlm}\n", "- {loss: kl, signal: more}\n", "r.yaml:19: objective[0].signal is"),
        ("  - {loss: hidden_mse, sig", "  - {loss: hidden_mse, weight: 0, sig", "r.yaml:24: stag"),
        ("patience: 0", "patience: -1", "r.yaml:25: stages[0]: patience is -1"),
        ("  freeze: [encoder]\n", "  unfreeze: [encoder]\n", "r.yaml:32: stages[1].unfreeze: no"),
        ("unfreeze: layer_by_layer", "unfreeze: top_down", "r.yaml:38: stages[2].unfreeze is"),
        ("states: labels/states", "states: a, m: b", "r.yaml:5: data.labels.m: no term of any"),
        (
            "unfreeze: layer_by_layer",
            "unfreeze: layer_by_layer\n  groups: {a: [encoder]}",
            "groups are freed one after the other; leave unfreeze out",
        ),
        ("unfreeze: layer_by_layer", "groups: {a: []}", "r.yaml:38: stages[2]: groups.a is empty"),
        (
            "unfreeze: layer_by_layer",
            "objective: [{loss: mlm}]",
            "r.yaml:18: objective has no effect: every stage has one of its own",
        ),
        ("objective:\n- {loss: mlm}\n", "", "r.yaml:34: stages[2] has no objective, and neither"),
        ("  heldout: examples/heldout\n  heldout_labels", "  heldout_labels", "heldout is not"),
    ],
)
def test_mistake_in_a_stage_is_refused_with_its_line(old, new, message):
    text = HEAD + STAGES
    assert text.count(old) >= 1
    with pytest.raises(UsageError) as error:
        load(text.replace(old, new, 1))
    assert message in str(error.value)
    assert str(error.value).startswith("r.yaml:")


def test_override_of_a_stage_is_named_as_the_place():
    with pytest.raises(UsageError, match=r"^--set stages.0.steps=0: stages\[0\]: steps is 0"):
        load(overrides=["stages.0.steps=0"])
