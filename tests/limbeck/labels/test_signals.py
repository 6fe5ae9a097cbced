import pytest

from limbeck.config.errors import LimbeckError
from limbeck.labels.signals import HiddenSignal, SparseSignal, from_dict, to_dict

SHAPE = {"seq_length": 12, "max_predictions": 3, "vocab_size": 40, "hidden_dim": 8}


@pytest.mark.parametrize(
    "signal",
    [
        SparseSignal(k=4),
        SparseSignal(k=1, temperatures=(0.5,)),
        HiddenSignal(layer=0),
        HiddenSignal(layer=3, positions="masked", dtype="float32"),
    ],
)
def test_signal_to_dict_and_back_is_equal(signal):
    assert from_dict(to_dict(signal)) == signal


def test_sparse_temperatures_given_as_integers_become_floats():
    assert SparseSignal(k=1, temperatures=(1, 2)).temperatures == (1.0, 2.0)
    assert to_dict(SparseSignal(k=1, temperatures=(1, 2)))["temperatures"] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"k": 0}, "k must be a positive integer, got 0"),
        ({"k": True}, "k must be a positive integer, got True"),  # a bool is an int in Python
        ({"k": 2, "temperatures": ()}, "temperatures is empty"),
        ({"k": 2, "temperatures": (2.0, 1.0)}, "temperatures must rise"),
        ({"k": 2, "temperatures": (1.0, 1.0)}, "temperatures must rise"),
        ({"k": 2, "temperatures": (0.0,)}, "temperature 0.0 is outside"),
        ({"k": 2, "temperatures": (float("nan"),)}, "temperature nan is outside"),
        ({"k": 2, "temperatures": (501.0,)}, "temperature 501.0 is outside"),
        ({"k": 2, "positions": "all"}, "positions must be one of masked"),
    ],
)
def test_sparse_signal_out_of_range_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SparseSignal(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": -1}, "layer must be an integer from 0"),
        ({"layer": 1, "positions": "last"}, "positions must be one of masked, all, first"),
        ({"layer": 1, "dtype": "int8"}, "dtype must be one of float16, float32"),
    ],
)
def test_hidden_signal_out_of_range_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        HiddenSignal(**values)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"kind": "qkv"}, "signal kind 'qkv' is unknown; known are: sparse, hidden"),
        ({}, "signal kind None is unknown"),
        ({"kind": "sparse", "k": 3, "tau": 1}, r"unknown fields \['tau'\]"),
        ({"kind": "sparse"}, "families.a: .*'k'"),
        ({"kind": "sparse", "k": 0}, "families.a: k must be a positive integer"),
    ],
)
def test_from_dict_of_wrong_values_names_the_place(plain, message):
    with pytest.raises(LimbeckError, match=message):
        from_dict(plain, where="families.a")


def test_sparse_layout_has_the_declared_shapes():
    layout = SparseSignal(k=5, temperatures=(1, 3)).layout(**SHAPE)
    assert [(f.name, f.dtype, tuple(f.shape)) for f in layout.fields] == [
        ("key", "uint8", (16,)),
        ("digest", "uint8", (8,)),
        ("num_positions", "uint16", ()),
        ("zmax", "float32", (3,)),
        ("ids", "uint16", (3, 5)),
        ("logits", "float16", (3, 5)),
        ("log_tail", "float32", (3, 2)),
        ("true_logit", "float32", (3,)),
    ]


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(65536, "uint16"), (65537, "uint32")],  # the last uint16 is 65535
)
def test_sparse_layout_widens_ids_with_the_vocabulary(vocab_size, dtype):
    layout = SparseSignal(k=5).layout(**{**SHAPE, "vocab_size": vocab_size})
    assert layout.field("ids").dtype == dtype


def test_sparse_layout_with_k_above_the_vocabulary_is_refused():
    with pytest.raises(LimbeckError, match="k is 41 but the teacher's vocabulary has 40 ids"):
        SparseSignal(k=41).layout(**SHAPE)


@pytest.mark.parametrize(("positions", "slots"), [("masked", 3), ("all", 12), ("first", 1)])
def test_hidden_layout_has_a_slot_per_position(positions, slots):
    signal = HiddenSignal(layer=1, positions=positions)
    assert tuple(signal.layout(**SHAPE).field("states").shape) == (slots, 8)
    assert signal.digest_covers_positions == (positions == "masked")
