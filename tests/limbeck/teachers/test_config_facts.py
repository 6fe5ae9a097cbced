import pytest

from limbeck.config.errors import UsageError
from limbeck.teachers.config_facts import UNLIMITED, config_facts

PLAIN = {
    "model_type": "deberta-v2",
    "vocab_size": 100,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "type_vocab_size": 0,
}


def facts(**changes):
    config = {**PLAIN, **changes}
    return config_facts({k: v for k, v in config.items() if v != "absent"}, where="c")


def test_plain_names_are_read():
    found = facts()
    assert (found.vocab_size, found.hidden_dim, found.num_layers) == (100, 8, 2)
    assert (found.max_positions, found.pad_id, found.num_segments) == (512, 0, 0)


def test_names_of_single_families_are_read():
    found = config_facts(
        {"model_type": "gpt2", "vocab_size": 9, "n_embd": 4, "n_layer": 3, "n_positions": 7},
        where="c",
    )
    assert (found.hidden_dim, found.num_layers, found.max_positions) == (4, 3, 7)


@pytest.mark.parametrize(
    ("changes", "positions"),
    [
        ({"model_type": "roberta", "pad_token_id": 1}, 510),  # rows 0 and 1 are never used
        ({"model_type": "mpnet", "pad_token_id": 1}, 510),
        ({"model_type": "bert", "pad_token_id": 1}, 512),
        ({"max_position_embeddings": "absent"}, UNLIMITED),
    ],
)
def test_longest_input_leaves_out_rows_that_no_token_uses(changes, positions):
    assert facts(**changes).max_positions == positions


@pytest.mark.parametrize(
    ("changes", "causal"),
    [
        ({}, False),
        ({"architectures": ["GPT2LMHeadModel"]}, True),
        ({"architectures": ["LlamaForCausalLM"]}, True),
        ({"architectures": ["XLMWithLMHeadModel"]}, False),  # a masked LM
        ({"is_decoder": True}, True),
    ],
)
def test_causal_models_are_told_by_their_class(changes, causal):
    assert facts(**changes).is_causal == causal


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": "absent"}, "c: no vocab_size; the config of a text model"),
        ({"hidden_size": 0}, "c: hidden_size is 0"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
        ({"is_encoder_decoder": True}, r"an encoder-decoder \(deberta-v2\)"),
    ],
)
def test_configs_of_something_else_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        facts(**changes)
