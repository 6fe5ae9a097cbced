"""Stages unfolded into runs: directories, frozen variables, lines, and which projections go on."""

import pytest

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.config.place import placed
from train.recipe import Recipe
from train.starting.stages import carries, goes_on_from, stage_runs
from train.students.trained import frozen_names

TEXT = """\
name: toy
seed: 3
data: {examples: examples, labels: {top: a, states: b, more: c}}
model:
  architecture: {vocab_size: 50, num_layers: 3, hidden_dim: 8, num_heads: 2, intermediate_dim: 8}
  freeze: [encoder/embeddings/position]
optimizer: {learning_rate: 5e-5}
training: {global_batch: 8}
objective:
- {loss: kl, signal: top}
stages:
- name: states
  steps: 10
  objective:
  - {loss: hidden_mse, signal: states, student_layer: 1, projection: linear}
  - {loss: hidden_mse, signal: more, student_layer: 2, projection: linear}
- name: head
  steps: 20
  freeze: [encoder]
- name: gradual
  steps: 5
  unfreeze: layer_by_layer
- name: again
  steps: 5
  objective:
  - {loss: hidden_mse, signal: states, student_layer: 1, projection: linear}
  - {loss: hidden_mse, signal: more, student_layer: 3, projection: linear}
- name: apart
  steps: 5
  data: {examples: other, labels: {top: d}}
- name: groups
  steps: 7
  groups: {low: [encoder/layer_0, encoder/layer_1], head: [head]}
"""
NAMES = [
    *(f"encoder/embeddings/{name}" for name in ("token", "position", "norm/gamma")),
    *(f"encoder/layer_{i}/attention/query/kernel" for i in range(3)),
    *("head/transform/kernel", "head/output_bias"),
]


def recipe_of(text=TEXT):
    return yaml_file.loads(text, Recipe, "r.yaml")


@pytest.fixture(scope="module")
def runs():
    recipe = recipe_of()
    return stage_runs(recipe, "run", recipe.model.architecture)


def trained(run):
    """What a stage trains, shortened."""
    frozen = frozen_names(NAMES, run.recipe.model.freeze)
    return [name for name in NAMES if f"model/{name}" not in frozen]


def test_gradual_stages_are_unfolded_into_numbered_directories(runs):
    assert [str(run.directory) for run in runs] == [
        *("run/stages/01-states", "run/stages/02-head"),
        *("run/stages/03-gradual-layer_2", "run/stages/04-gradual-layer_1"),
        *("run/stages/05-gradual-layer_0", "run/stages/06-gradual-embeddings"),
        *("run/stages/07-again", "run/stages/08-apart"),
        *("run/stages/09-groups-low", "run/stages/10-groups-head"),
    ]
    assert [run.recipe.training.steps for run in runs] == [10, 20, 5, 5, 5, 5, 5, 5, 7, 7]
    assert runs[3].recipe.name == "toy: 04-gradual-layer_1"


def test_layers_are_freed_from_the_top_and_what_the_recipe_freezes_stays(runs):
    head, layers = NAMES[6:], NAMES[3:6]
    embeddings = [NAMES[0], NAMES[2]]  # without positions
    assert trained(runs[0]) == [*embeddings, *layers, *head]
    assert trained(runs[1]) == head
    assert trained(runs[2]) == [layers[2], *head]
    assert trained(runs[3]) == [*layers[1:], *head]
    assert trained(runs[4]) == [*layers, *head]
    assert trained(runs[5]) == trained(runs[6]) == trained(runs[7]) == trained(runs[0])
    assert trained(runs[8]) == [*embeddings, *layers]
    assert trained(runs[9]) == trained(runs[0])


def test_shared_layers_are_one_group_and_a_norm_after_the_last_goes_with_it():
    shape = {"vocab_size": 50, "num_layers": 3, "hidden_dim": 8, "num_heads": 2}
    albert = EncoderArchitecture(
        **shape, intermediate_dim=8, family="albert", shared_layers=True, embedding_dim=4
    )
    names = [run.name for run in stage_runs(recipe_of(), "run", albert)]
    assert names[2:5] == ["03-gradual-layer_0", "04-gradual-embeddings", "05-again"]
    pre = EncoderArchitecture(
        **shape, intermediate_dim=8, family="megatron-bert", norm_position="pre"
    )
    frozen = stage_runs(recipe_of(), "run", pre)[2].recipe.model.freeze
    assert "!encoder/final_norm" in frozen


def test_rows_go_on_where_the_last_stage_with_the_same_data_ended(runs):
    assert [goes_on_from(runs, n) for n in range(len(runs))] == [
        *(None, 0, 1, 2, 3, 4, 5, None, 6, 8)
    ]


def test_projection_goes_on_where_it_is_the_same_map(runs):
    first, again, head = (runs[n].recipe for n in (0, 6, 1))
    assert carries(first, again, "0_hidden_mse")
    assert not carries(first, again, "1_hidden_mse_2")  # of layer 2 there, of layer 3 here
    assert not carries(first, head, "0_hidden_mse")
    assert carries(first, head, "named_by_the_recipe")


@pytest.mark.parametrize(
    ("number", "message", "line"),
    [
        (0, "objective[1].student_layer is 9", 16),
        (1, "objective[0].temperature is 3", 10),
        (1, "model.freeze: no variable", 19),
        (2, "model.freeze: no variable", 22),
        (6, "objective[1].signal", 27),
        (7, "data.labels.top: of another teacher", 30),
        (8, "model.freeze: no variable", 33),
        (8, "data.labels.top: of another teacher", 3),
        (9, "training.steps", 32),
    ],
)
def test_late_error_of_a_stage_finds_the_line_of_the_recipe(runs, number, message, line):
    settings = runs[number].recipe
    with pytest.raises(UsageError) as error, placed(settings):
        raise UsageError(message)
    assert str(error.value) == f"r.yaml:{line}: {message}"
