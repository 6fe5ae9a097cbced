import numpy as np

from limbeck.architectures import DecoderArchitecture
from limbeck.models.feed_forward import GatedFeedForward
from limbeck.models.layer_shape import decoder_layer_shape

SHAPE = decoder_layer_shape(
    DecoderArchitecture(
        family="llama",
        vocab_size=7,
        num_layers=1,
        hidden_dim=4,
        num_heads=2,
        num_kv_heads=2,
        intermediate_dim=6,
        max_positions=5,
        norm="rms",
        norm_epsilon=1e-6,
        positions="rotary",
        activation="silu",
        gated=True,
        has_bias=False,
        tied=True,
    )
)


def test_gated_feed_forward_equals_numpy(check_layer):
    layer = GatedFeedForward(SHAPE, name="feed_forward")
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    variables = {"gate/kernel": (4, 6), "up/kernel": (4, 6), "down/kernel": (6, 4)}
    output = check_layer(layer, x, output_shape=(2, 3, 4), variables=variables)
    gate, up, down = (np.asarray(part.kernel) for part in (layer.gate, layer.up, layer.down))
    linear = x @ gate
    expected = (linear / (1 + np.exp(-linear)) * (x @ up)) @ down
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
