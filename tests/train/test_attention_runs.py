"""Runs on relations and attention: stored whole or in part, saved, resumed, exported."""

import numpy as np
import pytest

from limbeck.config import UsageError, yaml_file
from limbeck.labels.signals import AttentionSignal, QkvSignal, RelationsSignal
from limbeck.runs import RunDirectory
from limbeck.weights.export import export_hf
from train.inputs import open_inputs
from train.recipe import Recipe

SIGNALS = {
    "inputs": RelationsSignal(layer=2),
    "some": RelationsSignal(layer=2, records=0.4),
    "qkv": QkvSignal(layer=2),
    "maps": AttentionSignal(layer=1),
}
LAYER = {"student_layer": 1}
TERMS = [
    {"loss": "relations", "signal": "some", "relation_heads": 4, **LAYER, "student": "auxiliary"},
    {"loss": "relations", "signal": "inputs", "relation_heads": 2, **LAYER},
    {"loss": "minilm_v1", "signal": "qkv", **LAYER},
    {"loss": "attention_mse", "signal": "some", **LAYER},
    {"loss": "tinybert_attention", "signals": ["qkv", "inputs"], "student_layers": [1, 1]},
    {"loss": "attention_ce", "signal": "maps", **LAYER},
    {"loss": "attention_ce_mean", "signal": "qkv", **LAYER},
]


@pytest.fixture(scope="module")
def labelled(shared_toy):
    """The toy examples and what an extraction stores of a teacher beside them."""
    from tensorflow.python.framework import config

    from extract.run import extract
    from extract.settings import ExtractSettings
    from limbeck.architectures import EncoderArchitecture
    from limbeck.models.masked_lm import build_masked_lm
    from limbeck.tokens import WordPiece

    architecture = EncoderArchitecture(
        vocab_size=50,
        num_layers=2,
        hidden_dim=24,
        num_heads=2,
        intermediate_dim=24,
        max_positions=16,
        initializer_range=0.4,
    )
    folder = str(shared_toy.root / "attentive")
    tokenizer = WordPiece(shared_toy.tokenizer())
    export_hf(build_masked_lm(architecture, seed=5), folder, tokenizer=tokenizer)
    settings = ExtractSettings(
        families=SIGNALS,
        examples=str(shared_toy.root / "examples"),
        teacher=folder,
        out=str(shared_toy.root / "inside"),
        seed=3,
        threads=0,
    )
    extract(settings, say=lambda line: None)
    yield shared_toy
    config.disable_op_determinism()


def recipe_of(toy, objective):
    fields = ("signal", "attention_signal")
    used = {term[name] for term in objective for name in fields if name in term}
    used |= {name for term in objective for name in term.get("signals", ())}
    labels = {name: str(toy.root / "inside" / name) for name in used}
    data = {"examples": str(toy.root / "examples"), "labels": labels}
    return yaml_file.from_plain(Recipe, toy.recipe(data=data, objective=objective), "recipe")


def test_run_with_an_auxiliary_block_resumes_to_the_same_bytes(labelled, tmp_path, deterministic):
    from train.checkpoints import checkpoint
    from train.loop import train

    recipe, lines = recipe_of(labelled, [TERMS[0], TERMS[2], TERMS[5]]), []
    result = train(recipe, tmp_path / "run", say=lines.append)
    assert result.finished and np.isfinite(result.loss)
    checkpoints = RunDirectory(tmp_path / "run").checkpoints
    before = checkpoint.load_newest(checkpoints)
    block = {f"projection/0_relations/{p}/kernel" for p in ("query", "key", "value")}
    assert all(any(name.endswith(part) for name in before.tensors) for part in block)
    checkpoint.list_checkpoints(checkpoints)[0].unlink()  # as if killed after the one before it
    train(recipe, tmp_path / "run", say=lines.append)
    after = checkpoint.load_newest(checkpoints)
    assert before.progressed.step == after.progressed.step == 6
    for name, tensor in before.tensors.items():
        np.testing.assert_array_equal(after.tensors[name], tensor, err_msg=name)


def test_counts_are_those_of_what_is_labelled(labelled):
    from limbeck.ranks import World
    from train.objective import bind

    recipe = recipe_of(labelled, TERMS)
    inputs = open_inputs(recipe)
    objective = bind(recipe.objective, inputs.families, inputs.student)
    source = inputs.source(World(), objective.lists)
    batch = source.read(source.global_rows(0))
    counts = dict(zip(objective.names, objective.counts(batch.items), strict=True))
    items, mask = batch.micro[0]["items"], batch.micro[0]["attention_mask"]
    lengths = mask.sum(1)[:7]
    some = items["all of some"]
    labelled_rows = np.unique(some["index"][some["valid"]] // mask.shape[1])
    assert 0 < len(labelled_rows) < 7
    assert counts["relations"] == lengths[labelled_rows].sum()
    assert counts["relations_2"] == counts["minilm_v1"] == lengths.sum()
    assert counts["attention_mse"] == (lengths[labelled_rows] ** 2).sum()
    assert counts["tinybert_attention"] == 7


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            {"loss": "relations", "signal": "inputs", "relation_heads": 3, **LAYER},
            r"objective\[0\]\.relation_heads is 3, which does not divide 8",
        ),
        (
            {"loss": "attention_mse", "signal": "maps", **LAYER},
            r"objective\[0\]\.signal: loss attention_mse needs scores",
        ),
        (
            {"loss": "minilm_v1", "signal": "qkv", "student_layer": 2},
            r"objective\[0\]\.student_layer is 2, but the student has layers 1 to 1",
        ),
    ],
)
def test_what_a_term_cannot_do_is_said_before_anything_is_loaded(labelled, term, message):
    with pytest.raises(UsageError, match=message):
        open_inputs(recipe_of(labelled, [term]))
