"""Every model by the names of its family and head: variables, refusals, dropout, compilation."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models import DropoutKeys, empty, named_variables
from limbeck.models.build import build
from tests.decoders import GPT2, LLAMA

SIZES = {
    "vocab_size": 23,
    "num_layers": 2,
    "hidden_dim": 8,
    "num_heads": 2,
    "intermediate_dim": 12,
    "max_positions": 9,
}
RATES = {"hidden_dropout": 0.3, "attention_dropout": 0.3}
SHAPES = {
    "bert": EncoderArchitecture(**SIZES, **RATES),
    "megatron-bert": EncoderArchitecture(
        **SIZES, **RATES, family="megatron-bert", norm_position="pre"
    ),
    "roberta": EncoderArchitecture(
        **SIZES, **RATES, family="roberta", pad_id=1, position_offset=2, type_vocab_size=1
    ),
    "distilbert": EncoderArchitecture(**SIZES, **RATES, family="distilbert", type_vocab_size=0),
    "electra": EncoderArchitecture(**SIZES, **RATES, family="electra", embedding_dim=4),
    "albert": EncoderArchitecture(
        **SIZES, **RATES, family="albert", embedding_dim=4, shared_layers=True
    ),
    "gpt2": DecoderArchitecture(**SIZES, **RATES, **GPT2, num_kv_heads=2),
    "llama": DecoderArchitecture(**SIZES, **RATES, **LLAMA, num_kv_heads=1),
}
# Dropouts that an embedded row of this family meets in two layers, without a head's.
NUM_DROPOUTS = {"distilbert": 1 + 2 * 2, "albert": 1 + 2 * 2}


def language_model(family, **options):
    head = "causal_lm" if isinstance(SHAPES[family], DecoderArchitecture) else "masked_lm"
    return build(SHAPES[family], head=head, seed=1, **options)


def inputs(num_rows=3, num_tokens=9, *, pad_id=0):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, num_tokens + 1, num_rows)
    lengths[0] = num_tokens
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    ids = np.where(mask, rng.integers(2, 23, mask.shape), pad_id).astype(np.int32)
    return ids, np.zeros_like(ids), mask


def keys(rows, *, step=0):
    row_keys = np.arange(40, dtype=np.int32).reshape(10, 4)[rows]
    return DropoutKeys(seed=1, step=step, row_keys=tf.constant(row_keys))


@pytest.mark.parametrize("family", SHAPES)
def test_number_of_parameters_is_what_the_architecture_says(family):
    model = language_model(family)
    count = sum(variable.value.shape.num_elements() for variable in model.variables)
    assert count == SHAPES[family].num_parameters()


EXPECTED = {
    ("megatron-bert", "encoder"): {"encoder/final_norm/gamma", "pooler/kernel"},
    ("distilbert", "classifier"): {"classifier/dense/kernel", "classifier/bias"},
    ("electra", "masked_lm"): {"encoder/embeddings/projection/kernel", "head/output_bias"},
    ("electra", "replaced_token"): {"replaced/dense/kernel", "replaced/output/bias"},
    ("bert", "pretraining"): {"head/norm/beta", "pooler/bias", "next_sentence/kernel"},
    ("bert", "question_answering"): {"span/kernel", "span/bias"},
    ("bert", "token_classifier"): {"classifier/kernel"},
    ("gpt2", "causal_lm"): {
        "decoder/embeddings/position",
        "decoder/layer_1/feed_forward/outer/bias",
    },
    ("llama", "causal_lm"): {"decoder/layer_0/feed_forward/gate/kernel", "head/kernel"},
}
ABSENT = {
    ("megatron-bert", "encoder"): {"encoder/embeddings/norm/gamma"},
    ("distilbert", "classifier"): {"encoder/embeddings/segment", "pooler/kernel"},
    ("albert", "masked_lm"): {"encoder/layer_1/attention/query/kernel"},
    ("llama", "causal_lm"): {
        "decoder/embeddings/position",
        "decoder/final_norm/beta",
        "decoder/layer_0/attention/query/bias",
    },
}


@pytest.mark.parametrize(("family", "head"), sorted({*EXPECTED, *ABSENT}))
def test_variables_have_the_documented_names(family, head):
    names = set(named_variables(build(SHAPES[family], head=head, seed=1)))
    assert EXPECTED.get((family, head), set()) <= names
    assert not ABSENT.get((family, head), set()) & names


def test_encoder_without_its_pooler_has_none():
    model = empty(SHAPES["bert"], head="encoder", pooler=False)
    assert not any(name.startswith("pooler/") for name in named_variables(model))
    with pytest.raises(ValueError, match="pooled output was asked for, but encoder_model has no"):
        model.encode(*inputs(), pooled=True)


@pytest.mark.parametrize(
    ("family", "head", "message"),
    [
        ("bert", "causal_lm", "head 'causal_lm' needs a decoder, and bert is none"),
        ("gpt2", "masked_lm", "head 'masked_lm' needs an encoder, and gpt2 is none"),
        ("electra", "pretraining", "head 'pretraining' needs a pooler, and electra has none"),
        ("bert", "chess", "head is 'chess'; there are encoder, masked_lm, "),
    ],
)
def test_head_that_the_family_cannot_have_is_refused(family, head, message):
    with pytest.raises(UsageError, match=message):
        build(SHAPES[family], head=head, seed=1)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_decoder_refuses_what_it_does_not_have(family):
    model = language_model(family)
    with pytest.raises(LimbeckError, match="input is 10 tokens long but the model has 9"):
        model.encode(*inputs(num_tokens=10))
    for kind in ("hidden", "attention", "score", "qkv"):
        with pytest.raises(ValueError, match=f"{kind} layer 3 was asked for; this model has"):
            model.encode(*inputs(), **{f"{kind}_layers": (3,)})
    with pytest.raises(ValueError, match="attention layer 0 was asked for; this model has 1 to 2"):
        model.encode(*inputs(), attention_layers=(0,))


@pytest.mark.parametrize("family", SHAPES)
def test_dropout_depends_on_the_row_and_the_step_alone(family):
    model = language_model(family)
    arrays = inputs(pad_id=getattr(SHAPES[family], "pad_id", 0))
    whole = model.encode(*arrays, dropout=keys([0, 1, 2])).last.numpy()
    alone = model.encode(*(x[2:] for x in arrays), dropout=keys([2])).last.numpy()
    np.testing.assert_allclose(alone, whole[2:], atol=1e-5)
    other = model.encode(*arrays, dropout=keys([0, 1, 2], step=1)).last.numpy()
    assert np.abs(whole - other).max() > 0.01


@pytest.mark.parametrize("family", SHAPES)
def test_family_drops_where_the_original_drops_and_never_with_one_mask_twice(family, monkeypatch):
    from limbeck.models import dropout

    used = []
    original = dropout.keep_mask

    def recorded(x, keys, *, rate, layer_id):
        used.append(layer_id + keys.first_id)
        return original(x, keys, rate=rate, layer_id=layer_id)

    monkeypatch.setattr(dropout, "keep_mask", recorded)
    language_model(family).encode(*inputs(), dropout=keys([0, 1, 2]))
    assert len(used) == len(set(used)) == NUM_DROPOUTS.get(family, 1 + 2 * 3)


@pytest.mark.parametrize("head", ["classifier", "token_classifier"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_head_drops_row_by_row(family, head):
    model = build(SHAPES[family], head=head, seed=1, num_labels=3, head_dropout=0.5)
    arrays = inputs()
    whole = model(*arrays, dropout=keys([0, 1, 2])).numpy()
    alone = model(*(x[2:] for x in arrays), dropout=keys([2])).numpy()
    np.testing.assert_allclose(alone, whole[2:], atol=1e-6)
    kept = build(SHAPES[family], head=head, seed=1, num_labels=3, head_dropout=0.0)
    assert np.abs(kept(*arrays, dropout=keys([0, 1, 2])).numpy() - whole).max() > 1e-4


@pytest.mark.parametrize("family", SHAPES)
def test_vocabulary_padding_changes_neither_logits_nor_gradients(family):
    answers = []
    for multiple in (1, 8, 128):
        model = language_model(family, vocab_multiple=multiple)
        with tf.GradientTape() as tape:
            states = model.encode(*inputs()).last
            logits = model.logits_at(states, tf.constant([[0, 1], [0, 0], [0, 0]]))
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits([[1, 2], [3, 4], [22, 6]], logits)
            total = tf.reduce_sum(loss)
        gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
        answers.append((logits, total, [tf.convert_to_tensor(g).numpy() for g in gradients]))
        assert logits.shape == (3, 2, 23)  # no column more ever leaves
    for logits, total, gradients in answers[1:]:
        # The same products; only their blocking may differ, so rounding in the last place.
        np.testing.assert_allclose(logits.numpy(), answers[0][0].numpy(), rtol=1e-6, atol=1e-7)
        assert float(total) == pytest.approx(float(answers[0][1]), rel=1e-6)
        top, first = (tf.math.top_k(x, 5).indices.numpy() for x in (logits, answers[0][0]))
        np.testing.assert_array_equal(top, first)
        for mine, plain in zip(gradients, answers[0][2], strict=True):
            np.testing.assert_allclose(mine, plain, rtol=1e-4, atol=1e-6)
