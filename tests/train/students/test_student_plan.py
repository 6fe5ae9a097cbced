"""What a student is to be: heads, how many outputs, and what is refused."""

import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from tests.decoders import GPT2
from tests.train.conftest import ARCHITECTURE
from tests.train.kinds import LABELS, write_kind
from train.inputs import open_inputs
from train.recipe import Recipe
from train.recipe.heads import Head
from train.students.student_plan import StudentPlan

DECODER = {
    **GPT2,
    "vocab_size": 50,
    "num_layers": 1,
    "hidden_dim": 8,
    "num_heads": 2,
    "num_kv_heads": 2,
    "intermediate_dim": 32,
    "max_positions": 16,
}
KINDS = ("classification", "multi-label", "regression", "tagging", "qa", "clm")


@pytest.fixture(scope="module")
def tasks(shared_toy):
    """Examples of every kind."""
    for kind in KINDS:
        write_kind(shared_toy, kind)
    write_kind(shared_toy, "classification", "two", num_labels=2, num_rows=4)
    return shared_toy


def plan_of(toy, where, model, *terms, **data):
    """The plan of a recipe on examples of a kind."""
    plain = toy.recipe(objective=[{"loss": t} if isinstance(t, str) else t for t in terms])
    shape = {"decoder": DECODER} if model.get("head") == "causal_lm" else {}
    plain["model"] = {**(shape or {"architecture": dict(ARCHITECTURE)}), **model}
    plain["data"] = {"examples": str(toy.root / where)} if where else data
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe")).plan


def corpora(toy, *names):
    return {"corpora": [{"name": name, "examples": str(toy.root / name)} for name in names]}


@pytest.mark.parametrize(
    ("examples", "head", "loss", "size", "labels"),
    [
        ("classification", "classification", "class", 3, LABELS),
        ("multi-label", "classification", "multi_label", 3, LABELS),
        ("regression", "classification", "regression", 1, []),
        ("tagging", "tagging", "tag", 3, LABELS),
        ("qa", "span", "span", 2, []),
    ],
)
def test_outputs_are_as_many_as_the_examples_have_labels(tasks, examples, head, loss, size, labels):
    plan = plan_of(tasks, examples, {"head": head}, loss)
    assert plan.heads == {head: Head(kind=head, num_labels=size, labels=tuple(labels))}
    assert (plan.language, plan.facts.predicts) == (None, False)
    assert plan.has_pooler == (head == "classification")
    again = StudentPlan.from_plain(plan.to_plain(), where="checkpoint")
    assert again == plan


def test_masked_lm_is_kept_as_its_architecture_alone(tasks):
    plan = plan_of(tasks, "examples", {}, "mlm")
    assert plan.to_plain() == yaml_file.to_plain(EncoderArchitecture(**ARCHITECTURE))
    assert StudentPlan.from_plain(plan.to_plain(), where="x") == plan
    assert plan.facts.language == "masked"


def test_causal_lm_is_a_decoder(tasks):
    plan = plan_of(tasks, "clm", {"head": "causal_lm"}, "clm")
    assert plan.facts.language == "next" and not plan.has_pooler
    assert StudentPlan.from_plain(plan.to_plain(), where="x") == plan


def test_masks_for_a_causal_lm_are_refused(tasks):
    data = {"examples": str(tasks.root / "clm"), "masking": {"tokenizer": str(tasks.tokenizer())}}
    with pytest.raises(UsageError, match="data.masking has no effect on a causal LM"):
        plan_of(tasks, None, {"head": "causal_lm"}, "clm", **data)


def test_several_heads_stand_in_one_order_beside_a_masked_lm(tasks):
    heads = {
        "words": {"kind": "tagging"},
        "masked_lm": {"kind": "masked_lm"},
        "topic": {"kind": "classification"},
    }
    terms = [{"loss": "mlm", "corpus": "examples"}, "tag", {"loss": "class", "head": "topic"}]
    data = corpora(tasks, "examples", "classification", "tagging")
    plan = plan_of(tasks, None, {"heads": heads}, *terms, **data)
    assert list(plan.heads) == ["topic", "words"] and plan.facts.language == "masked"
    assert StudentPlan.from_plain(plan.to_plain(), where="x") == plan


def test_each_head_is_numbered_by_the_corpora_of_its_terms(tasks):
    heads = {"a": {"kind": "classification"}, "b": {"kind": "classification"}}
    terms = [
        {"loss": "class", "head": "a", "corpus": "two"},
        {"loss": "class", "head": "b", "corpus": "classification"},
    ]
    data = corpora(tasks, "two", "classification")
    plan = plan_of(tasks, None, {"heads": heads}, *terms, **data)
    assert {name: head.num_labels for name, head in plan.heads.items()} == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    ("examples", "model", "terms", "message"),
    [
        ("classification", {}, ["class"], r"objective\[0\].head: loss class needs a student"),
        ("classification", {"head": "tagging"}, ["class"], "say how many"),
        ("classification", {"head": "classification", "num_labels": 4}, ["class"], "has 3 labels"),
        ("classification", {"head": "classification"}, ["regression"], "the field target"),
        ("clm", {}, ["clm"], "clm needs a decoder"),
        ("clm", {"head": "none"}, ["mlm"], "mlm needs a student with a masked-LM head"),
        (
            "classification",
            {"heads": {"a": {"kind": "classification"}, "b": {"kind": "classification"}}},
            [{"loss": "class", "head": "c"}],
            "say how many",
        ),
    ],
)
def test_heads_that_do_not_fit_are_refused(tasks, examples, model, terms, message):
    with pytest.raises(UsageError, match=message):
        plan_of(tasks, examples, model, *terms)


def test_one_head_for_two_sets_of_labels_is_refused(tasks):
    data = corpora(tasks, "two", "classification")
    with pytest.raises(UsageError, match=r"has 2 labels \(no, yes\) and .* has 3|one head has one"):
        plan_of(tasks, None, {"head": "classification"}, "class", **data)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"head": "causal_lm"}, "needs decoder"),
        ({"head": "tagging", "heads": {"a": {"kind": "tagging"}}}, "stands in place of head"),
        ({"heads": {"A b": {"kind": "tagging"}}}, "is no name"),
        ({"heads": {"lm": {"kind": "masked_lm"}}}, "is named masked_lm"),
        ({"heads": {"masked_lm": {"kind": "masked_lm"}}}, "set head: masked_lm instead"),
        ({"num_labels": 3}, "no effect on a masked_lm head"),
        ({"heads": {"a": {"kind": "span", "num_labels": 3}}}, "no effect on a span head"),
        ({"head": "tagging", "num_labels": 0}, "at least 1"),
        ({"decoder": DECODER}, "both given"),
        ({"architecture": None, "decoder": DECODER}, "needs head: causal_lm"),
    ],
)
def test_model_blocks_that_contradict_themselves_are_refused(toy, model, message):
    plain = toy.recipe()
    plain["model"] |= model
    with pytest.raises(UsageError, match=message):
        yaml_file.from_plain(Recipe, plain, "recipe")


def test_checkpoint_of_a_later_version_is_refused():
    plain = {**yaml_file.to_plain(EncoderArchitecture(**ARCHITECTURE)), "head": "chess"}
    with pytest.raises(UsageError, match="'chess' is unknown to this version"):
        StudentPlan.from_plain(plain, where="x")
