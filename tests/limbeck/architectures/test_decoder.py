import dataclasses

import pytest

from limbeck.architectures import DecoderArchitecture

GPT2 = DecoderArchitecture(
    family="gpt2",
    vocab_size=50257,
    num_layers=12,
    hidden_dim=768,
    num_heads=12,
    num_kv_heads=12,
    intermediate_dim=3072,
    max_positions=1024,
    norm="layer",
    norm_epsilon=1e-5,
    positions="learned",
    activation="gelu_tanh",
    gated=False,
    has_bias=True,
    tied=True,
)
LLAMA = DecoderArchitecture(
    family="llama",
    vocab_size=32000,
    num_layers=22,
    hidden_dim=2048,
    num_heads=32,
    num_kv_heads=4,
    intermediate_dim=5632,
    max_positions=2048,
    norm="rms",
    norm_epsilon=1e-5,
    positions="rotary",
    activation="silu",
    gated=True,
    has_bias=False,
    tied=False,
)


def test_num_parameters_are_the_published_ones():
    assert GPT2.num_parameters() == 124_439_808  # transformers' GPT2LMHeadModel("gpt2")
    assert LLAMA.num_parameters() == 1_100_048_384  # TinyLlama-1.1B


def test_forward_flops_counts_every_product():
    shape = dataclasses.replace(
        LLAMA,
        vocab_size=7,
        num_layers=2,
        hidden_dim=8,
        num_heads=4,
        num_kv_heads=2,
        intermediate_dim=6,
    )
    # 10 tokens, each: query and output 2 * 8*8, key and value 2 * 8*4, three of 8*6, mix 2 * 5*8
    layer = 10 * (128 + 64 + 144 + 80)
    flops = shape.forward_flops(num_tokens=10, seq_length=5, num_logit_positions=3)
    assert flops == 2 * (2 * layer + 3 * 8 * 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kv_heads": 5}, "num_heads 32 is not a multiple of num_kv_heads 5"),
        ({"hidden_dim": 2050}, "hidden_dim 2050 is not a multiple of num_heads 32"),
        ({"hidden_dim": 96}, "rotary positions need heads of even width, got 3"),
        ({"norm": "batch"}, "norm must be one of layer, rms, got 'batch'"),
        ({"positions": "none"}, "positions must be one of learned, rotary, got 'none'"),
        ({"family": "bert"}, "family must be one of gpt2, llama, got 'bert'"),
        ({"rope_theta": 0.0}, "rope_theta must be positive"),
        ({"activation": "tanh"}, "activation must be one of"),
        ({"hidden_dropout": 1.0}, "hidden_dropout must be in"),
    ],
)
def test_value_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LLAMA, **changes)


def test_differences_leave_out_dropout():
    other = dataclasses.replace(LLAMA, tied=True, attention_dropout=0.5)
    assert LLAMA.differences(other) == ["tied is False and not True"]
