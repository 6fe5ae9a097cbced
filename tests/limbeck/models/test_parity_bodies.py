"""Encoders and decoders against PyTorch transformers with the same weights.

Tolerances: 1e-4 on states of size 1 and on probabilities, in float32. Both sides add up the same
numbers in another order, which costs about 1e-6 a layer.
"""

import numpy as np
import pytest
import tensorflow as tf

ATOL = 1e-4
ENCODERS = ("bert", "megatron-bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert")
DECODERS = ("gpt2", "llama")
SHAPES = ((4, 12), (2, 40), (3, 1))  # rows and tokens; 40 is the longest input, 1 the shortest
CHANGES = [  # what the sizes in conftest leave out
    ("bert", {"type_vocab_size": 3, "layer_norm_eps": 1e-5, "hidden_act": "gelu_new"}),
    ("bert", {"hidden_size": 36, "num_attention_heads": 3, "hidden_act": "relu"}),
    ("bert", {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_act": "silu"}),
    ("bert", {"hidden_act": "gelu_fast"}),
    ("roberta", {"pad_token_id": 0, "max_position_embeddings": 41}),
    ("distilbert", {"activation": "relu", "n_heads": 4}),
    ("electra", {"embedding_size": 16}),  # not projected
    ("albert", {"hidden_act": "gelu", "embedding_size": 16, "num_hidden_layers": 1}),
    ("gpt2", {"n_inner": 20, "activation_function": "relu"}),
    ("llama", {"num_key_value_heads": 1, "rms_norm_eps": 1e-3, "rope_theta": 500.0}),
    ("llama", {"num_key_value_heads": 4, "hidden_act": "gelu_pytorch_tanh"}),
]


def batch(num_rows, num_tokens, *, pad_id, segments=True, seed=0):
    """Rows of many lengths, the first one full, the last one a single token, padded with pad_id."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, num_tokens + 1, num_rows)
    lengths[0], lengths[-1] = num_tokens, 1
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(8, 97, mask.shape), pad_id).astype(np.int32)
    segment = (np.arange(num_tokens) >= lengths[:, None] // 2).astype(np.int32) * mask
    return ids, segment if segments else np.zeros_like(segment), mask


def takes_segments(peer):
    return getattr(peer.ours.architecture, "type_vocab_size", 0) > 1


def torch_inputs(torch, peer, arrays):
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if takes_segments(peer) else [])
    arrays = dict(zip(("input_ids", "token_type_ids", "attention_mask"), arrays, strict=True))
    return {name: torch.tensor(arrays[name], dtype=torch.long) for name in names}


def assert_near(ours, theirs, real, *, atol=ATOL):
    difference = np.abs(ours.numpy() - theirs.detach().numpy())[real.astype(bool)].max()
    assert difference <= atol


def check_body(torch, peer, num_rows, num_tokens):
    arrays = batch(num_rows, num_tokens, pad_id=peer.pad_id)
    numbers = tuple(range(1, peer.ours.architecture.num_layers + 1))
    pooled = getattr(peer.ours, "pooler", None) is not None
    asked = {"pooled": True} if pooled else {}
    encoded = peer.ours.encode(
        *arrays, hidden_layers=(0, *numbers), attention_layers=numbers, **asked
    )
    with torch.no_grad():
        expected = peer.theirs(
            **torch_inputs(torch, peer, arrays), output_hidden_states=True, output_attentions=True
        )
    for number, hidden in encoded.hidden.items():
        assert_near(hidden, expected.hidden_states[number], arrays[2])
    for number, probabilities in encoded.attentions.items():
        queries = np.broadcast_to(arrays[2][:, None], probabilities.shape[:3])
        assert_near(probabilities, expected.attentions[number - 1], queries)
    if pooled:
        assert_near(encoded.pooled, expected.pooler_output, np.ones(num_rows))
    assert_near(encoded.last, expected.last_hidden_state, arrays[2])


@pytest.mark.parametrize(("num_rows", "num_tokens"), SHAPES)
@pytest.mark.parametrize("family", [*ENCODERS, *DECODERS])
def test_body_equals_transformers(torch, make_peer, family, num_rows, num_tokens):
    peer = make_peer(family, "decoder" if family in DECODERS else "encoder", seed=num_tokens)
    check_body(torch, peer, num_rows, num_tokens)


@pytest.mark.parametrize(("family", "changes"), CHANGES)
def test_body_of_other_sizes_equals_transformers(torch, make_peer, family, changes):
    if "rope_theta" in changes:
        changes = {**changes, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
        del changes["rope_theta"]
    peer = make_peer(family, "decoder" if family in DECODERS else "encoder", **changes)
    check_body(torch, peer, 3, 17)


@pytest.mark.parametrize(("num_rows", "num_tokens"), [(3, 48), (1, 256)])
def test_pretrained_encoder_equals_transformers(torch, pretrained_peer, num_rows, num_tokens):
    check_body(torch, pretrained_peer, num_rows, num_tokens)


def test_positions_of_roberta_follow_the_ids_and_not_the_mask(torch, make_peer):
    peer = make_peer("roberta", "encoder")
    ids, segments, mask = batch(3, 12, pad_id=1)
    ids[0, 3] = ids[0, 7] = 1  # padding in the middle, which the mask calls real
    with torch.no_grad():
        inputs = {"input_ids": torch.tensor(ids).long(), "attention_mask": torch.tensor(mask)}
        expected = peer.theirs(**inputs).last_hidden_state
    assert_near(peer.ours.encode(ids, segments, mask).last, expected, mask)


def test_model_of_one_segment_does_not_look_at_segment_ids(make_peer):
    ours = make_peer("roberta", "encoder").ours
    ids, segments, mask = batch(3, 12, pad_id=1)
    with_ids = ours.encode(ids, segments, mask).last.numpy()
    np.testing.assert_array_equal(with_ids, ours.encode(ids, 0 * segments, mask).last.numpy())


@pytest.mark.parametrize("family", ["bert", "megatron-bert", "albert", "gpt2", "llama"])
def test_scores_and_qkv_explain_the_probabilities(make_peer, family):
    peer = make_peer(family, "decoder" if family in DECODERS else "encoder")
    arrays = batch(3, 12, pad_id=peer.pad_id)
    out = peer.ours.encode(*arrays, score_layers=(2,), qkv_layers=(2,), attention_layers=(2,))
    seen = np.broadcast_to(arrays[2][:, None, None, :], out.scores[2].shape) == 1
    if family in DECODERS:
        seen = seen & np.tril(np.ones((12, 12), bool))
    softmax = tf.nn.softmax(np.where(seen, out.scores[2].numpy(), -np.inf)).numpy()
    np.testing.assert_allclose(out.attentions[2].numpy(), softmax, atol=1e-6)
    if family == "llama":  # rotated in between; 2 of 4 heads
        assert out.qkv[2][0].shape == (3, 4, 12, 4) and out.qkv[2][1].shape == (3, 2, 12, 4)
        return
    query, key, _ = (x.numpy() for x in out.qkv[2])
    products = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    np.testing.assert_allclose(out.scores[2].numpy(), products, atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_decoder_does_not_see_what_comes_later(make_peer, family):
    ours = make_peer(family, "decoder").ours
    ids, segments, mask = batch(2, 12, pad_id=0)
    mask[:] = 1
    changed = ids.copy()
    changed[:, 7:] = 11
    first, second = (ours.encode(x, segments, mask).last.numpy() for x in (ids, changed))
    np.testing.assert_allclose(first[:, :7], second[:, :7], atol=1e-6)
    assert np.abs(first[:, 7:] - second[:, 7:]).max() > 0.1
