"""Our models against PyTorch transformers with the same weights: states, logits, gradients."""

import numpy as np
import pytest
import tensorflow as tf

from launch.data import data_dir
from limbeck.models import named_variables
from limbeck.weights.hf import load_masked_lm
from limbeck.weights.names import table_of

STATES_ATOL = LOGITS_ATOL = 1e-4
GRADIENT_RTOL = 1e-3  # of the largest component of a variable's gradient


def batch(num_rows, num_tokens, vocab_size, *, seed=0, segments=True):
    """Rows of many lengths, the first one full, the last one a single token."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, vocab_size, (num_rows, num_tokens)).astype(np.int32)
    lengths = rng.integers(1, num_tokens + 1, num_rows)
    lengths[0], lengths[-1] = num_tokens, 1
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    segment = (np.arange(num_tokens) >= lengths[:, None] // 2).astype(np.int32) * mask
    return ids, segment if segments else np.zeros_like(segment), mask


def torch_inputs(torch, arrays):
    names = ("input_ids", "token_type_ids", "attention_mask")
    return {n: torch.tensor(a, dtype=torch.long) for n, a in zip(names, arrays, strict=True)}


def greatest_difference(ours, theirs, mask):
    return float(np.abs(ours.numpy() - theirs.detach().numpy())[mask.astype(bool)].max())


CONFIGS = [  # config changes, rows, tokens, segments
    ({}, 4, 12, True),
    ({}, 3, 40, False),  # the longest input
    ({}, 2, 1, True),  # the shortest
    ({"num_hidden_layers": 1, "num_attention_heads": 4}, 5, 7, True),
    ({"hidden_size": 36, "num_attention_heads": 3, "intermediate_size": 50}, 3, 17, True),
    ({"layer_norm_eps": 1e-5, "type_vocab_size": 3}, 4, 12, True),
    ({"hidden_act": "gelu_pytorch_tanh"}, 4, 12, True),
    ({"hidden_act": "relu"}, 4, 12, True),
]


@pytest.mark.parametrize(("config", "num_rows", "num_tokens", "segments"), CONFIGS)
def test_states_and_logits_equal_transformers(
    torch, make_bert, tmp_path, config, num_rows, num_tokens, segments
):
    theirs = make_bert("BertForMaskedLM", seed=num_tokens, **config)
    theirs.save_pretrained(tmp_path)
    ours, _ = load_masked_lm(tmp_path)
    arrays = batch(num_rows, num_tokens, 97, segments=segments)
    layers = tuple(range(ours.architecture.num_layers + 1))
    encoded = ours.encode(*arrays, hidden_layers=layers)
    with torch.no_grad():
        expected = theirs(**torch_inputs(torch, arrays), output_hidden_states=True)
    for layer in layers:
        difference = greatest_difference(
            encoded.hidden[layer], expected.hidden_states[layer], arrays[2]
        )
        assert difference <= STATES_ATOL, layer
    logits = ours.logits(encoded.last)
    assert greatest_difference(logits, expected.logits, arrays[2]) <= LOGITS_ATOL


@pytest.mark.parametrize("config", [CONFIGS[0][0], CONFIGS[4][0]])
def test_gradients_of_every_variable_equal_transformers(torch, make_bert, tmp_path, config):
    theirs = make_bert("BertForMaskedLM", **config)
    theirs.save_pretrained(tmp_path)
    ours, _ = load_masked_lm(tmp_path)
    arrays = batch(4, 12, 97)
    positions = np.array([[0, 5], [3, 1], [0, 0], [0, 0]], np.int32) % arrays[2].sum(1)[:, None]
    true_ids = np.arange(8).reshape(4, 2)

    variables = named_variables(ours)
    with tf.GradientTape() as tape:
        logits = ours.logits_at(ours.encode(*arrays).last, tf.constant(positions, tf.int32))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(true_ids, logits)
        total = tf.reduce_sum(loss)
    gradients = tape.gradient(total, [v.value for v in variables.values()])

    expected = theirs(**torch_inputs(torch, arrays)).logits[torch.arange(4)[:, None], positions]
    torch.nn.functional.cross_entropy(
        expected.reshape(8, -1), torch.tensor(true_ids.reshape(8)), reduction="sum"
    ).backward()
    parameters = dict(theirs.named_parameters())
    for (name, _), gradient in zip(variables.items(), gradients, strict=True):
        place = table_of("bert").place(name, head="masked_lm")
        prefix = "" if table_of("bert").is_head(name) else "bert."
        theirs_gradient = parameters[prefix + place.tensor].grad.numpy()
        theirs_gradient = theirs_gradient.T if place.transposed else theirs_gradient
        difference = np.abs(tf.convert_to_tensor(gradient).numpy() - theirs_gradient).max()
        # A key's bias moves all scores of a query alike: its gradient is 0 up to rounding.
        scale = max(np.abs(theirs_gradient).max(), 1e-3)
        assert difference <= GRADIENT_RTOL * scale, name


@pytest.fixture(scope="module")
def minilm():
    directory = data_dir() / "all-minilm-l6-v2"
    if not directory.is_dir():
        pytest.skip("the pretrained encoder is not there; run `make setup`")
    return directory


@pytest.mark.parametrize(("num_rows", "num_tokens"), [(4, 64), (2, 256)])
def test_pretrained_encoder_equals_transformers(torch, transformers, minilm, num_rows, num_tokens):
    ours, report = load_masked_lm(minilm, missing_head="initialise")
    assert len(report.taken) == 101 and len(report.initialised) == 5
    assert {name for name, _ in report.unused} == {
        "embeddings.position_ids",
        "pooler.dense.bias",
        "pooler.dense.weight",
    }
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    arrays = batch(num_rows, num_tokens, 30522)
    encoded = ours.encode(*arrays, hidden_layers=tuple(range(7)))
    with torch.no_grad():
        expected = theirs(**torch_inputs(torch, arrays), output_hidden_states=True).hidden_states
    for layer in range(7):
        difference = greatest_difference(encoded.hidden[layer], expected[layer], arrays[2])
        assert difference <= STATES_ATOL, layer
