"""The TensorFlow twin against the NumPy one, and both against our models' own attention."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.labels import relations
from limbeck.labels.device import relations as twin
from limbeck.labels.relations import Heads, Projections
from limbeck.models.attention import SelfAttention, attention_bias, causal_bias
from limbeck.models.layer_shape import decoder_layer_shape, encoder_layer_shape
from limbeck.models.rotary import rotary

MASK = np.array([[1] * 7, [1] * 4 + [0] * 3], np.int32)
# float32 scores of up to about 10: a few half ulps, exponentiated.
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def projections(heads, seed=0):
    rng = np.random.default_rng(seed)
    widths = {"queries": heads.num_heads, "keys": heads.num_kv_heads, "values": heads.num_kv_heads}
    return Projections(
        **{
            name: rng.normal(size=(2, 7, count * heads.head_dim)).astype(np.float32)
            for name, count in widths.items()
        }
    )


def on_device(found):
    return Projections(
        queries=tf.constant(found.queries),
        keys=tf.constant(found.keys),
        values=tf.constant(found.values),
    )


PLAIN = Heads(num_heads=4, num_kv_heads=4, head_dim=6, causal=False, theta=None)
SHARED = Heads(num_heads=4, num_kv_heads=2, head_dim=6, causal=True, theta=10000.0)


@pytest.mark.parametrize("heads", [PLAIN, SHARED])
@pytest.mark.parametrize("kind", relations.RELATIONS)
def test_relations_of_both_twins_agree(kind, heads):
    found = projections(heads)
    arguments = {"num_heads": 3, "attention_mask": MASK, "causal": heads.causal}
    expected = relations.relation(*relations.sides(found, kind, heads), **arguments)
    actual = twin.relation(*twin.sides(on_device(found), kind, heads), **arguments)
    np.testing.assert_allclose(actual.numpy(), expected, **CLOSE)


@pytest.mark.parametrize("heads", [PLAIN, SHARED])
def test_attention_maps_of_both_twins_agree(heads):
    found = projections(heads)
    expected = relations.attention_maps(found, heads, attention_mask=MASK)
    actual = twin.attention_maps(on_device(found), heads, attention_mask=MASK)
    np.testing.assert_allclose(actual.numpy(), expected, **CLOSE)


def encoder():
    shape = encoder_layer_shape(
        EncoderArchitecture(
            family="bert",
            vocab_size=50,
            hidden_dim=24,
            num_layers=1,
            num_heads=4,
            intermediate_dim=32,
        )
    )
    return SelfAttention(shape, layer_id=0), attention_bias(MASK), None, PLAIN


def decoder():
    shape = decoder_layer_shape(
        DecoderArchitecture(
            family="llama",
            vocab_size=50,
            hidden_dim=24,
            num_layers=1,
            num_heads=4,
            num_kv_heads=2,
            intermediate_dim=32,
            positions="rotary",
            rope_theta=10000.0,
            max_positions=16,
            norm="rms",
            norm_epsilon=1e-6,
            activation="silu",
            gated=True,
            has_bias=False,
            tied=True,
        )
    )
    bias = tf.minimum(attention_bias(MASK), causal_bias(7))
    return SelfAttention(shape, layer_id=0), bias, rotary(7, 6, theta=10000.0), SHARED


@pytest.mark.parametrize("make", [encoder, decoder])
def test_maps_rebuilt_from_a_layers_input_are_the_layers_own(make):
    attention, bias, rotation, heads = make()
    attention.build()
    rng = np.random.default_rng(1)
    for weight in attention.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    inputs = rng.normal(size=(2, 7, 24)).astype(np.float32)
    own = attention(tf.constant(inputs), bias, rotation=rotation)
    tensors = {
        f"{name}/{part}": np.asarray(getattr(getattr(attention, name), part))
        for name in ("query", "key", "value")
        for part in ("kernel", "bias")
        if getattr(getattr(attention, name), part, None) is not None
    }
    for module, given in ((relations, inputs), (twin, tf.constant(inputs))):
        rebuilt = module.project(given, tensors)
        maps = np.asarray(module.attention_maps(rebuilt, heads, attention_mask=MASK))
        real = MASK.astype(bool)
        np.testing.assert_allclose(
            maps.transpose(0, 2, 1, 3)[real],
            own.probabilities.numpy().transpose(0, 2, 1, 3)[real],
            **CLOSE,
        )


def test_gradients_flow_through_relations():
    found = on_device(projections(PLAIN))
    with tf.GradientTape() as tape:
        tape.watch(found.queries)
        values = twin.relation(found.queries, found.queries, num_heads=2, attention_mask=MASK)
        loss = tf.reduce_sum(tf.square(values))
    gradient = tape.gradient(loss, found.queries).numpy()
    assert np.isfinite(gradient).all() and (gradient[0] != 0).any()
