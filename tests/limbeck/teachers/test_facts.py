"""Which signals a teacher's facts let pass, and what the refusals say."""

import dataclasses

import pytest

from limbeck.config.errors import UsageError
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    QkvSignal,
    RelationsSignal,
    SparseSignal,
    TaskSignal,
)
from limbeck.teachers import TeacherFacts

MASKED = TeacherFacts(
    backend="keras",
    where="models/t",
    folder="models/t",
    fingerprint="0" * 64,
    vocab_size=50,
    num_layers=3,
    hidden_dim=8,
    max_positions=32,
    predicts="masked",
    final_dim=6,
    num_heads=4,
    query_dim=8,
    key_dim=2,
    why_no_task="is a masked LM",
)
NEXT = dataclasses.replace(MASKED, predicts="next")
BARE = dataclasses.replace(
    MASKED,
    predicts=None,
    why_no_logits="is an encoder without one",
    why_no_final="is an encoder without one",
)
TAGGER = dataclasses.replace(BARE, why_no_task=None, task_positions="all", num_labels=5)
GRAPH = dataclasses.replace(
    MASKED,
    why_no_qkv="is a graph",
    why_no_relations="is a graph",
    hidden_layers=frozenset({1}),
    attention_layers=frozenset({2}),
)

GOOD = [
    (MASKED, SparseSignal(k=50)),
    (MASKED, FinalSignal(positions="all")),
    (MASKED, HiddenSignal(layer=0)),
    (MASKED, RelationsSignal(layer=3)),
    (NEXT, SparseSignal(k=2, positions="all")),
    (NEXT, HiddenSignal(layer=1, positions="masked")),  # states are of where they are
    (TAGGER, TaskSignal(positions="all")),
    (GRAPH, HiddenSignal(layer=1)),
    (GRAPH, AttentionSignal(layer=2)),
]
BAD = [
    (MASKED, SparseSignal(k=51), "k is 51, but the teacher's vocabulary has 50 ids"),
    (MASKED, HiddenSignal(layer=4), r"layer is 4, but the teacher has layers 0 \(embeddings\) to"),
    (MASKED, QkvSignal(layer=4), "layer is 4, but the teacher has layers 1 to 3"),
    (MASKED, TaskSignal(), "of kind task needs the head of a task, but models/t is a masked LM"),
    (NEXT, SparseSignal(k=2), "predicts what comes next; take positions: all"),
    (NEXT, FinalSignal(), "positions is masked, but models/t predicts what comes next"),
    (BARE, SparseSignal(k=2), "of kind sparse needs a language-model head, but models/t is an"),
    (BARE, FinalSignal(), "needs a language-model head and its decoder matrix"),
    (TAGGER, TaskSignal(), "answers for every token; take positions: all"),
    (GRAPH, QkvSignal(layer=1), "needs queries, keys and values, but models/t is a graph"),
    (GRAPH, RelationsSignal(layer=1), "needs the Q, K and V projections of a layer"),
    (GRAPH, HiddenSignal(layer=2), "gives the states of these layers only: 1"),
    (GRAPH, AttentionSignal(layer=1), "gives the attention of these layers only: 2"),
]


@pytest.mark.parametrize(("facts", "signal"), GOOD)
def test_signals_that_a_teacher_has_pass(facts, signal):
    facts.check({"a": signal})


@pytest.mark.parametrize(("facts", "signal", "message"), BAD)
def test_signals_that_it_lacks_are_refused_by_family(facts, signal, message):
    with pytest.raises(UsageError, match=f"^families.a: .*{message}"):
        facts.check({"a": signal})


def test_sizes_of_labels_are_those_of_teacher_and_examples():
    dims = MASKED.dims(seq_length=16, max_predictions=None)
    assert (dims.seq_length, dims.max_predictions, dims.vocab_size) == (16, None, 50)
    assert (dims.hidden_dim, dims.final_dim, dims.num_labels) == (8, 6, 0)
    assert (dims.num_heads, dims.query_dim, dims.key_dim) == (4, 8, 2)
