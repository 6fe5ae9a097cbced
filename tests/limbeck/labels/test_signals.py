import pytest

from limbeck.config.errors import LimbeckError
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    HiddenSignal,
    LabelDims,
    QkvSignal,
    RelationsSignal,
    Source,
    SparseSignal,
    TaskSignal,
    from_dict,
    num_slots,
    to_dict,
)

DIMS = LabelDims(
    seq_length=12,
    max_predictions=3,
    vocab_size=40,
    hidden_dim=8,
    final_dim=6,
    num_heads=2,
    query_dim=8,
    key_dim=4,
    num_labels=5,
)


@pytest.mark.parametrize(
    "signal",
    [
        SparseSignal(k=4),
        HiddenSignal(layer=0),
        HiddenSignal(layer=3, positions="masked", codec="auto", basis=4, records=0.1),
        FinalSignal(),
        RelationsSignal(layer=2, codec="auto"),
        QkvSignal(layer=2, codec="float16"),
        AttentionSignal(layer=2, records=0.25),
        TaskSignal(positions="all"),
    ],
)
def test_signal_to_dict_and_back_is_equal(signal):
    assert from_dict(to_dict(signal)) == signal


@pytest.mark.parametrize(
    ("signal", "source", "arrays"),
    [
        (HiddenSignal(layer=0), Source(kind="hidden", layer=0), ("states",)),
        (FinalSignal(), Source(kind="final"), ("states",)),
        (RelationsSignal(layer=1), Source(kind="relations", layer=1), ("states",)),
        (QkvSignal(layer=1), Source(kind="qkv", layer=1), ("queries", "keys", "values")),
        (AttentionSignal(layer=1), Source(kind="attention", layer=1), ("probabilities",)),
        (TaskSignal(), Source(kind="task"), ("logits",)),
    ],
)
def test_source_says_where_in_the_teacher_a_signal_is(signal, source, arrays):
    assert signal.source == source and signal.source.arrays == arrays


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiddenSignal(layer=-1), "layer must be an integer from 0"),
        (lambda: HiddenSignal(layer=True), "layer must be an integer from 0"),
        (lambda: HiddenSignal(layer=1, positions="last"), "positions must be one of masked, all"),
        (lambda: HiddenSignal(layer=1, codec="int4"), "codec must be one of auto, int8, bfloat16"),
        (lambda: HiddenSignal(layer=1, basis=0), "basis must be a positive integer or null"),
        (lambda: HiddenSignal(layer=1, basis=True), "basis must be a positive integer or null"),
        (lambda: HiddenSignal(layer=1, records=0.0), r"records must be a fraction in \(0, 1\]"),
        (lambda: HiddenSignal(layer=1, records=float("nan")), "records must be a fraction"),
        (lambda: FinalSignal(records=1.5), "records must be a fraction"),
        (lambda: FinalSignal(positions="some"), "positions must be one of masked, all, first"),
        (lambda: RelationsSignal(layer=0), "layer must be an integer from 1, got 0"),
        (lambda: RelationsSignal(layer=1, positions="masked"), "positions must be one of all"),
        (lambda: QkvSignal(layer=1, codec="auto"), "codec must be one of int8, float16, float32"),
        (lambda: AttentionSignal(layer=1, codec="int8"), "codec must be one of float16, float32"),
        (lambda: TaskSignal(positions="masked"), "positions must be one of first, all"),
    ],
)
def test_signal_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "dense"}, "signal kind 'dense' is unknown; known are: sparse, final, hidden"),
        ({}, "signal kind None is unknown"),
        ({"kind": "hidden", "layer": 3, "tau": 1}, r"unknown fields \['tau'\]"),
        ({"kind": "hidden"}, "families.a: .*'layer'"),
        ({"kind": "hidden", "layer": -1}, "families.a: layer must be an integer from 0"),
    ],
)
def test_from_dict_of_wrong_values_names_the_place(plain, message):
    with pytest.raises(LimbeckError, match=message):
        from_dict(plain, where="families.a")


def fields(signal, chosen=None):
    layout = signal.layout(DIMS, chosen)
    assert [f.name for f in layout.fields[:3]] == ["key", "digest", "num_positions"]
    return [(f.name, f.dtype, tuple(f.shape)) for f in layout.fields[3:]]


@pytest.mark.parametrize(("positions", "slots"), [("masked", 3), ("all", 12), ("first", 1)])
def test_hidden_layout_has_a_slot_per_position(positions, slots):
    signal = HiddenSignal(layer=1, positions=positions)
    assert fields(signal) == [("states", "float16", (slots, 8))]


@pytest.mark.parametrize(
    ("signal", "chosen", "expected"),
    [
        (
            HiddenSignal(layer=1, codec="int8"),
            None,
            [("states", "int8", (12, 8)), ("scales", "float32", (12,))],
        ),
        (
            FinalSignal(),
            {"codec": "int8", "outliers": [2, 5]},
            [
                ("states", "int8", (3, 6)),
                ("scales", "float32", (3,)),
                ("outliers", "float16", (3, 2)),
            ],
        ),
        (FinalSignal(), {"codec": "bfloat16"}, [("states", "uint16", (3, 6))]),
        (
            HiddenSignal(layer=1, codec="float32", basis=4),
            None,
            [("states", "float32", (12, 4))],
        ),
        (
            RelationsSignal(layer=1),
            {"num_heads": 2},
            [("states", "int8", (12, 8)), ("scales", "float32", (12,))],
        ),
        (
            QkvSignal(layer=1),
            None,
            [
                ("queries", "int8", (12, 8)),
                ("keys", "int8", (12, 4)),
                ("values", "int8", (12, 4)),
                ("queries_scales", "float32", (12,)),
                ("keys_scales", "float32", (12,)),
                ("values_scales", "float32", (12,)),
            ],
        ),
        (AttentionSignal(layer=1), None, [("probabilities", "float16", (12, 2, 12))]),
        (TaskSignal(), None, [("logits", "float32", (1, 5))]),
        (TaskSignal(positions="all"), None, [("logits", "float32", (12, 5))]),
    ],
)
def test_layout_has_what_the_codec_stores(signal, chosen, expected):
    assert fields(signal, chosen) == expected


def test_layout_of_an_open_codec_is_refused():
    with pytest.raises(ValueError, match="codec is auto; the layout is known once"):
        FinalSignal().layout(DIMS)


def test_masked_positions_of_unmasked_examples_are_refused():
    dims = LabelDims(seq_length=12, max_predictions=None, vocab_size=40, hidden_dim=8)
    assert num_slots("all", dims) == 12
    with pytest.raises(ValueError, match="the examples have no masked positions"):
        num_slots("masked", dims)
