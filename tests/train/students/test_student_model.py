"""Students of every kind from folders: which variables are taken, which start fresh."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights.hf import export_hf
from tests.train.conftest import ARCHITECTURE
from tests.train.students.test_student_plan import DECODER
from train.recipe import ModelInit
from train.recipe.heads import Head
from train.students.student_model import (
    empty_model,
    fresh_model,
    load_model,
    reads_pooled_output,
    standard_model,
    task_logits,
)
from train.students.student_plan import StudentPlan

SHAPE = EncoderArchitecture(**{**ARCHITECTURE, "num_layers": 2})
TASKS = {
    "answer": Head(kind="span", num_labels=2),
    "order": Head(kind="next_sentence", num_labels=2),
    "topic": Head(kind="classification", num_labels=3),
    "words": Head(kind="tagging", num_labels=5),
}


def several(shape=SHAPE, **options):
    return StudentPlan(architecture=shape, kind="several", heads=TASKS, **options)


def single(kind, num_labels=2):
    head = Head(kind=kind, num_labels=num_labels)
    return StudentPlan(architecture=SHAPE, kind=kind, heads={kind: head})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Model folders of a masked LM, an encoder with its pooler, a classifier and a GPT-2."""
    root = tmp_path_factory.mktemp("folders")
    for head in ("masked_lm", "encoder", "classifier"):
        export_hf(build(SHAPE, head=head, num_labels=3, seed=7), root / head, tokenizer=None)
    decoder = DecoderArchitecture(**{**DECODER, "num_layers": 2})
    export_hf(build(decoder, head="causal_lm", seed=7), root / "causal_lm", tokenizer=None)
    return root


def load(folder, plan, **options):
    settings = ModelInit(start="checkpoint", checkpoint=str(folder), **options)
    model, _, frozen = load_model(settings, plan, seed=1)
    return {name: v.numpy() for name, v in named_variables(model).items()}, frozen


def values(model):
    return {name: v.numpy() for name, v in named_variables(model).items()}


def same(here, there, *names):
    for name in names:
        np.testing.assert_array_equal(here[name], there[name])


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_one_task_of_several_alone_says_the_same(family):
    offset = {"roberta": {"position_offset": 1}, "distilbert": {"type_vocab_size": 0}}
    shape = dataclasses.replace(SHAPE, family=family, **offset.get(family, {}))
    heads = {n: h for n, h in TASKS.items() if n != "order" or family != "distilbert"}
    plan = dataclasses.replace(several(shape, beside_language=True), heads=heads)
    model = fresh_model(plan, seed=3)
    ids = tf.constant([[2, 7, 8, 3], [2, 9, 3, 0]])
    segments, mask = tf.zeros_like(ids), tf.constant([[1, 1, 1, 1], [1, 1, 1, 0]])
    encoded = model.encode(ids, segments, mask, pooled=model.pooler is not None)
    for name, head in heads.items():
        alone = standard_model(model, name, head)
        ours = task_logits(model, name, head.kind, encoded, dropout=None)
        pooled = reads_pooled_output(plan, name)
        there = alone.encode(ids, segments, mask, **({"pooled": True} if pooled else {}))
        theirs = task_logits(alone, name, head.kind, there, dropout=None)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape[-1] == head.num_labels
    language = standard_model(model, "masked_lm", None)
    same(values(language), values(model), "head/transform/kernel", "encoder/embeddings/token")


def test_names_of_several_heads_begin_with_their_own(folders):
    names = {name.split("/")[0] for name in named_variables(empty_model(several()))}
    assert names == {"encoder", "pooler", *(f"task_{name}" for name in TASKS)}


def test_several_heads_start_fresh_on_a_checkpoints_encoder(folders):
    there = values(build(SHAPE, head="encoder", seed=7))
    plan = several()
    with pytest.raises(UsageError, match="does not give heads answer, order, topic, words"):
        load(folders / "encoder", plan)
    found, _ = load(folders / "encoder", plan, missing_head="initialise")
    same(found, there, "encoder/embeddings/token", "pooler/kernel")
    fresh = values(fresh_model(plan, seed=1))
    same(found, fresh, "task_topic/kernel", "task_words/kernel")


def test_several_heads_take_the_masked_lm_of_a_checkpoint(folders):
    there = values(build(SHAPE, head="masked_lm", seed=7))
    plan = several(beside_language=True)
    found, _ = load(folders / "masked_lm", plan, missing_head="initialise")
    same(found, there, "head/transform/kernel", "encoder/layer_1/attention/query/kernel")


def test_head_of_a_checkpoint_is_taken_and_a_missing_one_refused(folders):
    there = values(build(SHAPE, head="classifier", num_labels=3, seed=7))
    found, _ = load(folders / "classifier", single("classification", 3))
    same(found, there, "classifier/kernel", "pooler/kernel")
    with pytest.raises(UsageError, match="has 3 outputs and num_labels says 4"):
        load(folders / "classifier", single("classification", 4))
    with pytest.raises(UsageError, match="without a question-answerer head"):
        load(folders / "classifier", single("span"))
    found, _ = load(folders / "masked_lm", single("tagging", 4), missing_head="initialise")
    assert found["classifier/kernel"].shape == (8, 4)


def test_encoder_alone_keeps_its_pooler_or_gets_a_fresh_one(folders):
    plan = StudentPlan(architecture=SHAPE, kind="none")
    there = values(build(SHAPE, head="encoder", seed=7))
    found, _ = load(folders / "encoder", plan)
    assert set(found) == set(there)
    same(found, there, *there)
    with pytest.raises(UsageError, match="does not give a pooler"):
        load(folders / "masked_lm", plan)
    found, _ = load(folders / "masked_lm", plan, missing_head="initialise")
    assert set(found) == set(there)


def test_causal_lm_takes_chosen_layers(folders):
    there = values(
        build(DecoderArchitecture(**{**DECODER, "num_layers": 2}), head="causal_lm", seed=7)
    )
    shape = DecoderArchitecture(**DECODER)
    plan = StudentPlan(architecture=shape, kind="causal_lm")
    found, _ = load(folders / "causal_lm", plan, head="causal_lm", layers=(2,))
    name = "attention/query/kernel"
    np.testing.assert_array_equal(
        found[f"decoder/layer_0/{name}"], there[f"decoder/layer_1/{name}"]
    )


def test_constructed_encoder_gets_a_fresh_head(folders):
    plain = {
        "start": "checkpoint",
        "checkpoint": str(folders / "masked_lm"),
        "head": "tagging",
        "missing_head": "initialise",
        "construct": [{"embedding_pca": {"dim": 4, "num_heads": 2, "intermediate_dim": 8}}],
    }
    settings = yaml_file.from_plain(ModelInit, plain, "recipe")
    shape = dataclasses.replace(SHAPE, hidden_dim=4, intermediate_dim=8)
    plan = dataclasses.replace(single("tagging", 3), architecture=shape)
    model, origin, _ = load_model(settings, plan, seed=1)
    plain.pop("head")
    language, _, _ = load_model(
        yaml_file.from_plain(ModelInit, plain, "recipe"), StudentPlan(architecture=shape), seed=1
    )
    same(values(model), values(language), "encoder/embeddings/token")
    assert values(model)["classifier/kernel"].shape == (4, 3) and origin
