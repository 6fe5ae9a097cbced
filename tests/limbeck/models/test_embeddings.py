import numpy as np

from limbeck.architectures import BertArchitecture
from limbeck.models.embeddings import Embeddings

SHAPE = BertArchitecture(
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
