"""What is said of variables without TensorFlow, against the models that TensorFlow builds."""

import dataclasses

import pytest

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.architectures.variables import (
    body_shapes,
    classifier_shapes,
    dense_shapes,
    language_head_shapes,
    pooler_shapes,
)
from limbeck.models.build import empty
from limbeck.models.names import named_variables

ENCODER = EncoderArchitecture(
    vocab_size=11,
    num_layers=2,
    hidden_dim=8,
    num_heads=2,
    intermediate_dim=12,
    max_positions=9,
)
DECODER = DecoderArchitecture(
    family="gpt2",
    vocab_size=11,
    num_layers=2,
    hidden_dim=8,
    num_heads=4,
    num_kv_heads=4,
    intermediate_dim=12,
    max_positions=9,
    norm="layer",
    norm_epsilon=1e-5,
    positions="learned",
    gated=False,
    activation="gelu_tanh",
    has_bias=True,
    tied=True,
)
LLAMA = {
    "family": "llama",
    "norm": "rms",
    "positions": "rotary",
    "gated": True,
    "has_bias": False,
    "num_kv_heads": 2,
}
ENCODERS = {
    "bert": {},
    "one segment": {"type_vocab_size": 1},
    "roberta": {"family": "roberta", "position_offset": 2, "pad_id": 1},
    "distilbert": {"family": "distilbert", "type_vocab_size": 0},
    "electra": {"family": "electra", "embedding_dim": 4},
    "albert": {"family": "albert", "embedding_dim": 4, "shared_layers": True},
    "megatron": {"family": "megatron-bert", "norm_position": "pre"},
    "no layers": {"num_layers": 0},
}
DECODERS = {"gpt2": {}, "llama": LLAMA, "llama, tied no more": {**LLAMA, "tied": False}}


def built(architecture, head, **options):
    model = empty(architecture, head=head, **options)
    return {name: tuple(v.shape) for name, v in named_variables(model).items()}


@pytest.mark.parametrize("changes", ENCODERS.values(), ids=ENCODERS)
def test_variables_of_encoders_are_those_of_the_built_model(changes):
    shape = dataclasses.replace(ENCODER, **changes)
    body = body_shapes(shape)
    assert built(shape, "encoder", pooler=False) == body
    assert built(shape, "masked_lm") == body | language_head_shapes(shape)
    pooler = pooler_shapes(shape) if shape.classifies_pooled else {}
    classifier = classifier_shapes(shape, "classifier", 3)
    assert built(shape, "classifier", num_labels=3) == body | pooler | classifier
    assert built(shape, "question_answering") == body | dense_shapes("span", 8, 2)


@pytest.mark.parametrize("changes", DECODERS.values(), ids=DECODERS)
def test_variables_of_decoders_are_those_of_the_built_model(changes):
    shape = dataclasses.replace(DECODER, **changes)
    assert built(shape, "decoder") == body_shapes(shape)
    assert built(shape, "causal_lm") == body_shapes(shape) | language_head_shapes(shape)


@pytest.mark.parametrize(
    "shape",
    [
        *(dataclasses.replace(ENCODER, **changes) for changes in ENCODERS.values()),
        *(dataclasses.replace(DECODER, **changes) for changes in DECODERS.values()),
    ],
    ids=lambda shape: shape.family,
)
def test_their_numbers_add_up_to_the_published_arithmetic(shape):
    shapes = body_shapes(shape) | language_head_shapes(shape)
    total = 0
    for size in shapes.values():
        number = 1
        for dimension in size:
            number *= dimension
        total += number
    assert total == shape.num_parameters()
