"""What is known of a layer's attention before any model is loaded."""

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.labels import codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import (
    AttentionSignal,
    HiddenSignal,
    LabelDims,
    QkvSignal,
    RelationsSignal,
)
from limbeck.teachers import TeacherFacts
from train.reading.families import Family
from train.starting.attention_facts import AttentionFacts, live_facts, stored_facts, student_facts

DIMS = LabelDims(
    seq_length=16,
    max_predictions=None,
    vocab_size=50,
    hidden_dim=12,
    num_heads=4,
    query_dim=12,
    key_dim=6,
)
SHARED = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 3, "mask": "causal", "rotary": None}
WHOLE = AttentionFacts(
    query_dim=12, key_dim=6, num_heads=4, num_kv_heads=2, causal=True, gives_scores=True
)
KERNELS = {
    "query/kernel": np.zeros((12, 12), np.float32),
    "key/kernel": np.zeros((12, 6), np.float32),
    "value/kernel": np.zeros((12, 6), np.float32),
}


def facts_of(signal, side):
    sample = {"states": np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)}
    fitted, _ = codecs.fit(signal, sample, side=side)
    return stored_facts(fitted, signal.layout(DIMS, fitted.chosen))


@pytest.mark.parametrize(
    ("signal", "side", "expected"),
    [
        (RelationsSignal(layer=1), Side(tensors=KERNELS, facts=SHARED), WHOLE),
        (QkvSignal(layer=1), Side(facts=SHARED), WHOLE),
        # Of a family whose positions nobody knows.
        (
            QkvSignal(layer=1),
            Side(facts={"mask": "padding"}),
            AttentionFacts(query_dim=12, key_dim=6, causal=False),
        ),
        # As such families were written once: nothing but their widths.
        (QkvSignal(layer=1), Side(), AttentionFacts(query_dim=12, key_dim=6)),
        (
            AttentionSignal(layer=1),
            Side(facts={"mask": "padding"}),
            AttentionFacts(num_heads=4, num_kv_heads=4, causal=False),
        ),
        (HiddenSignal(layer=1, codec="float32"), Side(), AttentionFacts()),
    ],
)
def test_stored_family_says_what_its_manifest_does(signal, side, expected):
    assert facts_of(signal, side) == expected


def test_live_teacher_says_the_same():
    known = {
        "backend": "keras",
        "where": "t",
        "folder": "t",
        "fingerprint": "0",
        "vocab_size": 50,
        "num_layers": 2,
        "hidden_dim": 12,
        "max_positions": 16,
    }
    widths = {"num_heads": 4, "query_dim": 12, "key_dim": 6, "causal": True}
    assert live_facts(TeacherFacts(**known, **widths)) == WHOLE
    graph = TeacherFacts(**known, num_heads=4, causal=False, why_no_relations="is a graph")
    assert live_facts(graph) == AttentionFacts(num_heads=4, num_kv_heads=4, causal=False)


def test_student_is_known_by_its_shape():
    shape = EncoderArchitecture(
        vocab_size=9, num_layers=1, hidden_dim=12, num_heads=3, intermediate_dim=8
    )
    facts = student_facts(shape)
    assert facts == AttentionFacts(
        query_dim=12, key_dim=12, num_heads=3, num_kv_heads=3, causal=False, gives_scores=True
    )
    assert facts.head_dim == 4 and facts.width("q") == facts.width("v") == 12


def test_family_with_a_basis_is_as_wide_as_what_it_decodes_to():
    tensors = {"basis": np.zeros((4, 12), np.float32), "mean": np.zeros(12, np.float32)}
    fitted = Fitted(signal=HiddenSignal(layer=1, basis=4), tensors=tensors)
    assert Family(name="states", dataset=None, fitted=fitted).hidden_dim == 12
