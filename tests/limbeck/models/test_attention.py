import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models.attention import SelfAttention, attention_bias, causal_bias
from limbeck.models.layer_shape import encoder_layer_shape

SHAPE = encoder_layer_shape(
    EncoderArchitecture(
        vocab_size=7, num_layers=1, hidden_dim=6, num_heads=2, intermediate_dim=8, max_positions=5
    )
)
VARIABLES = {
    f"{name}/{leaf}": shape
    for name in ("query", "key", "value", "output")
    for leaf, shape in (("kernel", (6, 6)), ("bias", (6,)))
}


@pytest.fixture
def layer():
    return SelfAttention(SHAPE, layer_id=1, name="attention")


def oracle(layer, x, mask):
    """One row, head by head."""

    def dense(part, value):
        return value @ np.asarray(part.kernel) + np.asarray(part.bias)

    query, key, value = (dense(part, x) for part in (layer.query, layer.key, layer.value))
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = query[:, head] @ key[:, head].T / np.sqrt(3)
        weights = np.exp(scores - scores.max()) * mask
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[:, head])
    return dense(layer.output_projection, np.concatenate(heads, -1))


def test_attention_equals_numpy_row_by_row(check_layer, layer):
    x = np.random.default_rng(1).normal(size=(2, 5, 6)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    bias = attention_bias(tf.constant(mask))
    output = check_layer(
        layer, x, bias, output_shape=(2, 5, 6), variables=VARIABLES, read=lambda out: out.states
    )
    for row in range(2):
        np.testing.assert_allclose(output[row], oracle(layer, x[row], mask[row]), atol=1e-5)


def test_padding_does_not_reach_real_tokens(layer):
    layer.build()
    for variable in layer.variables:
        variable.assign(np.random.default_rng(2).normal(size=variable.shape))
    x = np.random.default_rng(1).normal(size=(1, 5, 6)).astype(np.float32)
    other = x.copy()
    other[:, 3:] = 1e4
    bias = attention_bias(tf.constant([[1, 1, 1, 0, 0]]))
    short = layer(x[:, :3], attention_bias(tf.constant([[1, 1, 1]]))).states.numpy()
    for padded in (x, other):
        np.testing.assert_allclose(layer(padded, bias).states[:, :3].numpy(), short, atol=1e-6)


def test_row_of_nothing_but_padding_is_finite(layer):
    layer.build()
    x = tf.random.stateless_normal((1, 5, 6), (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x, attention_bias(tf.zeros((1, 5), tf.int32))).states
    assert np.isfinite(output.numpy()).all()
    assert np.isfinite(tape.gradient(output, x).numpy()).all()


def test_heads_of_a_group_share_keys_and_values(check_layer):
    shape = dataclasses.replace(SHAPE, num_heads=6, num_kv_heads=2, has_bias=False)
    layer = SelfAttention(shape, layer_id=1, name="attention")
    x = np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32)
    kernels = {"query": (6, 6), "key": (6, 2), "value": (6, 2), "output": (6, 6)}
    output = check_layer(
        layer,
        x,
        attention_bias(tf.ones((1, 4), tf.int32)),
        output_shape=(1, 4, 6),
        variables={f"{name}/kernel": size for name, size in kernels.items()},
        read=lambda out: out.states,
    )
    query, key, value = (x[0] @ np.asarray(p.kernel) for p in (layer.query, layer.key, layer.value))
    heads = []
    for head in range(6):  # of one component each; three for every key
        group = slice(head // 3, head // 3 + 1)
        weights = np.exp(query[:, head : head + 1] @ key[:, group].T)
        heads.append(weights / weights.sum(-1, keepdims=True) @ value[:, group])
    expected = np.concatenate(heads, -1) @ np.asarray(layer.output_projection.kernel)
    np.testing.assert_allclose(output[0], expected, atol=1e-5)


def test_causal_bias_lets_a_query_see_itself_and_what_is_before():
    seen = causal_bias(3).numpy() == 0
    np.testing.assert_array_equal(seen, np.tril(np.ones((3, 3), bool)))
