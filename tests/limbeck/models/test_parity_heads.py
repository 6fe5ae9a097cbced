"""Every head of every family against PyTorch transformers: logits, and all gradients of a scalar.

Tolerances, in float32: 1e-4 on logits of size 1; 1e-3 of the largest component of a variable's
gradient, as sums over tokens in another order cost up to 1e-5 of it.
"""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures.hf_families import FAMILIES
from limbeck.models import named_variables

LOGITS_ATOL = 1e-4
GRADIENT_RTOL = 1e-3
ALONE = ("encoder", "decoder")
DECODERS = ("gpt2", "llama")


def pairs():
    """(family, head) of all that transformers and we have."""
    for family, spec in FAMILIES.items():
        for head in spec.heads:
            if family not in DECODERS or head in ("decoder", "causal_lm"):
                yield family, head


OTHERS = [  # family, head, changes of the configuration
    ("bert", "classifier", {"num_labels": 1}),  # regression
    ("roberta", "classifier", {"num_labels": 7}),  # of several labels at once, say
    ("bert", "token_classifier", {"num_labels": 5}),
    ("electra", "masked_lm", {"embedding_size": 16}),
    ("roberta", "masked_lm", {"hidden_act": "relu"}),  # whose head stays at gelu
    ("electra", "masked_lm", {"hidden_act": "relu"}),
    ("electra", "replaced_token", {"hidden_act": "relu"}),
    ("albert", "masked_lm", {"hidden_act": "gelu"}),
    ("distilbert", "masked_lm", {"activation": "relu"}),
    ("llama", "causal_lm", {"tie_word_embeddings": True}),
    ("llama", "causal_lm", {"num_key_value_heads": 4}),
]


def batch(num_rows, num_tokens, *, pad_id, seed=0):
    """Rows of many lengths, the first one full, the last one a single token, padded with pad_id."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, num_tokens + 1, num_rows)
    lengths[0], lengths[-1] = num_tokens, 1
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(8, 97, mask.shape), pad_id).astype(np.int32)
    segment = (np.arange(num_tokens) >= lengths[:, None] // 2).astype(np.int32) * mask
    return ids, segment, mask


def our_answers(model, head, arrays):
    """Logits, each (B, C) or (B, T, ...); in a model without a head its states."""
    if head in ALONE:
        out = model(*arrays)
        return [out.last] if out.pooled is None else [out.last, out.pooled]
    if head in ("masked_lm", "causal_lm", "pretraining"):
        every = np.broadcast_to(np.arange(arrays[0].shape[1], dtype=np.int32), arrays[0].shape)
        out = model(*arrays, every)
        return [out.masked, out.next_sentence] if head == "pretraining" else [out]
    out = model(*arrays)
    return [out.start, out.end] if head == "question_answering" else [out]


def their_answers(head, out):
    if head in ALONE:
        pooled = getattr(out, "pooler_output", None)
        return [out.last_hidden_state] + ([] if pooled is None else [pooled])
    if head == "question_answering":
        return [out.start_logits, out.end_logits]
    if head == "pretraining":
        second = out.sop_logits if "sop_logits" in out else out.seq_relationship_logits
        return [out.prediction_logits, second]
    return [out.logits]


def torch_inputs(torch, peer, arrays):
    inputs = {"input_ids": arrays[0], "attention_mask": arrays[2]}
    if getattr(peer.ours.architecture, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = arrays[1]
    return {name: torch.tensor(array, dtype=torch.long) for name, array in inputs.items()}


def weights_of(answers, mask):
    """What to multiply answers by before they are added up: random, and 0 at padding."""
    rng = np.random.default_rng(1)
    for answer in answers:
        weights = rng.normal(size=answer.shape).astype(np.float32)
        if answer.shape[:2] == mask.shape:
            weights *= mask.reshape(mask.shape + (1,) * (len(answer.shape) - 2))
        yield weights


def check(torch, peer, head):
    arrays = batch(4, 13, pad_id=peer.pad_id)
    theirs = their_answers(head, peer.theirs(**torch_inputs(torch, peer, arrays)))
    variables = named_variables(peer.ours)
    with tf.GradientTape() as tape:
        ours = our_answers(peer.ours, head, arrays)
        weights = list(weights_of(ours, arrays[2]))
        total = sum(tf.reduce_sum(x * w) for x, w in zip(ours, weights, strict=True))
    gradients = tape.gradient(total, [variable.value for variable in variables.values()])
    for mine, other, weight in zip(ours, theirs, weights, strict=True):
        assert mine.dtype == tf.float32
        difference = np.abs(mine.numpy() - other.detach().numpy())[weight != 0].max()
        assert difference <= LOGITS_ATOL
    sum((x * torch.tensor(w)).sum() for x, w in zip(theirs, weights, strict=True)).backward()
    check_gradients(torch, peer, dict(zip(variables, gradients, strict=True)))


def check_gradients(torch, peer, gradients):
    parameters = dict(peer.theirs.named_parameters(remove_duplicate=False))
    theirs = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()}
    for name, gradient in gradients.items():
        expected = peer.their_value(name, theirs)
        mine = np.zeros_like(expected)
        if gradient is not None:
            mine = tf.convert_to_tensor(gradient).numpy()
        # A key's bias moves all scores of a query alike: its gradient is 0 up to rounding.
        scale = max(np.abs(expected).max(), 1e-2)
        assert np.abs(mine - expected).max() <= GRADIENT_RTOL * scale, name


@pytest.mark.parametrize(("family", "head"), list(pairs()))
def test_head_equals_transformers(torch, make_peer, family, head):
    check(torch, make_peer(family, head, seed=3), head)


@pytest.mark.parametrize(("family", "head", "changes"), OTHERS)
def test_head_of_other_options_equals_transformers(torch, make_peer, family, head, changes):
    check(torch, make_peer(family, head, **changes), head)


def test_all_heads_of_the_issue_are_compared():
    heads = {head for _, head in pairs()}
    assert heads == {
        *ALONE,
        "masked_lm",
        "causal_lm",
        "classifier",
        "token_classifier",
        "question_answering",
        "next_sentence",
        "pretraining",
        "replaced_token",
    }
