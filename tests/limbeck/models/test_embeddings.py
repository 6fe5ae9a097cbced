import dataclasses

import numpy as np
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models.embeddings import Embeddings, positions_of_real_tokens

SHAPE = EncoderArchitecture(
    vocab_size=7, num_layers=1, hidden_dim=4, num_heads=2, intermediate_dim=8, max_positions=5
)
VARIABLES = {
    "token": (7, 4),
    "position": (5, 4),
    "segment": (2, 4),
    "norm/gamma": (4,),
    "norm/beta": (4,),
}


def test_embeddings_are_the_norm_of_three_sums(check_layer):
    layer = Embeddings(SHAPE, layer_id=0, name="embeddings")
    ids = np.array([[1, 6, 0], [2, 2, 5]], np.int32)
    segments = np.array([[0, 0, 1], [0, 1, 1]], np.int32)
    output = check_layer(layer, ids, segments, output_shape=(2, 3, 4), variables=VARIABLES)
    token, position, segment = (np.asarray(v) for v in (layer.token, layer.position, layer.segment))
    total = token[ids] + position[:3] + segment[segments]
    np.testing.assert_allclose(output, layer.norm(total).numpy(), rtol=1e-5, atol=1e-6)


def test_positions_count_real_tokens_only():
    ids = tf.constant([[5, 1, 6, 1, 1], [1, 1, 2, 3, 1]])
    rows = positions_of_real_tokens(ids, pad_id=1).numpy()
    np.testing.assert_array_equal(rows, [[2, 1, 3, 1, 1], [1, 1, 2, 3, 1]])


def test_narrow_embeddings_are_projected_after_the_norm(check_layer):
    shape = dataclasses.replace(SHAPE, family="electra", embedding_dim=2)
    layer = Embeddings(shape, layer_id=0, name="embeddings")
    ids = np.array([[1, 6, 0], [2, 2, 5]], np.int32)
    narrow = {name: (*size[:-1], 2) for name, size in VARIABLES.items()}
    variables = {**narrow, "projection/kernel": (2, 4), "projection/bias": (4,)}
    output = check_layer(layer, ids, 0 * ids, output_shape=(2, 3, 4), variables=variables)
    token, position, segment = (np.asarray(v) for v in (layer.token, layer.position, layer.segment))
    total = token[ids] + position[:3] + segment[0]
    np.testing.assert_allclose(
        output, layer.projection(layer.norm(total)).numpy(), rtol=1e-5, atol=1e-5
    )
