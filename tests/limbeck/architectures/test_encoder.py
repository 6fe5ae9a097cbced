import dataclasses

import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.architectures.hf_config import architecture_from_hf, hf_config_of
from limbeck.config.errors import LimbeckError

BASE = EncoderArchitecture(
    vocab_size=30522, num_layers=12, hidden_dim=768, num_heads=12, intermediate_dim=3072
)
BASE_CONFIG = hf_config_of(BASE, head="masked_lm")
TINY = {"vocab_size": 7, "num_layers": 2, "hidden_dim": 4, "num_heads": 2, "intermediate_dim": 6}


def test_num_parameters_of_bert_base_is_the_published_one():
    # transformers' BertForMaskedLM("bert-base-uncased").num_parameters()
    assert BASE.num_parameters() == 109_514_298


def test_forward_flops_counts_every_product():
    shape = EncoderArchitecture(**TINY, max_positions=5)
    # 10 tokens, each: q, k, v, output 4 * 4*4; feed-forward 2 * 4*6; scores and mix 2 * 5*4
    layer = 10 * (64 + 48 + 40)
    head = 3 * (4 * 4 + 4 * 7)
    flops = shape.forward_flops(num_tokens=10, seq_length=5, num_logit_positions=3)
    assert flops == 2 * (2 * layer + head)


def test_config_round_trip_keeps_every_field():
    shape = EncoderArchitecture(
        **TINY,
        max_positions=9,
        type_vocab_size=3,
        activation="gelu_tanh",
        layer_norm_epsilon=1e-5,
        hidden_dropout=0.2,
        attention_dropout=0.3,
        initializer_range=0.01,
    )
    assert architecture_from_hf(hf_config_of(shape, head="masked_lm")) == shape


def test_config_without_optional_keys_takes_the_defaults_of_bert():
    config = {name: BASE_CONFIG[name] for name in HF_REQUIRED}
    assert architecture_from_hf({"model_type": "bert", **config}) == BASE


HF_REQUIRED = (
    "vocab_size",
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "model_type is 't5'; known families are bert"),
        ({"model_type": None}, "model_type is None"),
        ({"hidden_act": "quick_gelu"}, "hidden_act is 'quick_gelu'; supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"hidden_size": 770}, "hidden_dim 770 is not a multiple of num_heads 12"),
        ({"hidden_size": "768"}, "hidden_dim must be an integer from 1, got '768'"),
    ],
)
def test_config_of_another_model_is_refused(changes, message):
    with pytest.raises(LimbeckError, match=message):
        architecture_from_hf({**BASE_CONFIG, **changes})


@pytest.mark.parametrize("name", HF_REQUIRED)
def test_config_without_a_dimension_is_refused_by_name(name):
    config = dict(BASE_CONFIG)
    del config[name]
    with pytest.raises(LimbeckError, match=f"{name} is missing"):
        architecture_from_hf(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be an integer from 1, got 0"),
        ({"num_layers": -1}, "num_layers must be an integer from 0, got -1"),
        ({"num_heads": True}, "num_heads must be an integer from 1, got True"),
        ({"num_heads": 3}, "hidden_dim 4 is not a multiple of num_heads 3"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout must be in \[0, 1\), got 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout"),
        ({"layer_norm_epsilon": 0.0}, "layer_norm_epsilon must be positive, got 0.0"),
        (
            {"activation": "tanh"},
            "activation must be one of gelu, gelu_tanh, relu, silu, got",
        ),
    ],
)
def test_value_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EncoderArchitecture(**{**TINY, **changes})


def test_differences_name_both_values_and_leave_out_dropout():
    shape = EncoderArchitecture(**TINY)
    other = dataclasses.replace(shape, hidden_dim=8, num_layers=3, hidden_dropout=0.0)
    assert shape.differences(other) == ["num_layers is 2 and not 3", "hidden_dim is 4 and not 8"]
    assert shape.differences(dataclasses.replace(shape, attention_dropout=0.0)) == []


# transformers' *ForMaskedLM of the checkpoints' configurations: `num_parameters()`
PUBLISHED = [
    (
        {
            "vocab_size": 50265,
            "family": "roberta",
            "pad_id": 1,
            "position_offset": 2,
            "type_vocab_size": 1,
        },
        124_697_433,  # roberta-base
    ),
    ({"family": "distilbert", "num_layers": 6, "type_vocab_size": 0}, 66_985_530),
    (
        {
            "vocab_size": 30000,
            "family": "albert",
            "embedding_dim": 128,
            "shared_layers": True,
        },
        11_221_680,  # albert-base-v2
    ),
]


@pytest.mark.parametrize(("changes", "expected"), PUBLISHED)
def test_num_parameters_of_other_families_are_the_published_ones(changes, expected):
    assert dataclasses.replace(BASE, **changes).num_parameters() == expected


def test_shared_layers_cost_flops_and_no_parameters():
    shape = EncoderArchitecture(**TINY, shared_layers=True, embedding_dim=2)
    deeper = dataclasses.replace(shape, num_layers=5)
    assert deeper.num_parameters() == shape.num_parameters()
    counts = {"num_tokens": 10, "seq_length": 5, "num_logit_positions": 3}
    layer = 10 * (64 + 48 + 40)
    head = 10 * 2 * 4 + 3 * (4 * 2 + 2 * 7)  # the projection of embeddings, and the head
    assert deeper.forward_flops(**counts) == 2 * (5 * layer + head)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "t5"}, "family must be one of bert, roberta, .*, got 't5'"),
        ({"norm_position": "mid"}, "norm_position must be post or pre, got 'mid'"),
        ({"position_offset": 3}, r"position_offset must be 0 or pad_id \+ 1 \(1\), got 3"),
        ({"embedding_dim": 0}, "embedding_dim must be an integer from 1, got 0"),
        ({"family": "electra", "embedding_dim": 4}, "embedding_dim is hidden_dim, 4"),
        ({"type_vocab_size": -1}, "type_vocab_size must be an integer from 0, got -1"),
    ],
)
def test_family_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EncoderArchitecture(**{**TINY, **changes})
