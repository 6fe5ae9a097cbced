"""Mixed precision by Keras policy, XLA, and how often a model is compiled."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import DecoderArchitecture, EncoderArchitecture
from limbeck.models import DropoutKeys, named_variables
from limbeck.models.build import build

SIZES = {
    "vocab_size": 23,
    "num_layers": 2,
    "hidden_dim": 16,
    "num_heads": 2,
    "intermediate_dim": 24,
    "max_positions": 16,
    "initializer_range": 0.3,  # states and gradients of size 1
}
SHAPES = {
    "bert": EncoderArchitecture(**SIZES),
    "megatron-bert": EncoderArchitecture(**SIZES, family="megatron-bert", norm_position="pre"),
    "albert": EncoderArchitecture(**SIZES, family="albert", embedding_dim=6, shared_layers=True),
    "llama": DecoderArchitecture(
        **SIZES,
        family="llama",
        num_kv_heads=1,
        norm="rms",
        norm_epsilon=1e-6,
        positions="rotary",
        activation="silu",
        gated=True,
        has_bias=False,
        tied=False,
    ),
}
# Share of the largest logit. Half a unit in the last place is 2^-9 in bfloat16 and 2^-12 in
# float16; a dozen roundings in a row add up to a few of them.
TOLERANCES = {"mixed_bfloat16": 0.05, "mixed_float16": 0.006}
XLA_ATOL = 2e-5  # on logits of size 1: XLA adds up in another order


def language_model(family, **options):
    head = "causal_lm" if family == "llama" else "masked_lm"
    return build(SHAPES[family], head=head, seed=1, **options)


def inputs(num_rows=3, num_tokens=12):
    rng = np.random.default_rng(0)
    lengths = np.array([num_tokens, *rng.integers(1, num_tokens + 1, num_rows - 1)])
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    ids = (rng.integers(1, 23, mask.shape) * mask).astype(np.int32)
    return ids, np.zeros_like(ids), mask


def gradients_of(model, arrays):
    with tf.GradientTape() as tape:
        logits = model.logits(model.encode(*arrays).last)
        loss = tf.reduce_sum(tf.nn.log_softmax(logits)[..., 5] * arrays[2].astype(np.float32))
    return logits, tape.gradient(loss, [v.value for v in model.trainable_variables])


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("family", SHAPES)
def test_mixed_precision_is_near_float32_and_keeps_float32_where_it_matters(family, precision):
    arrays = inputs()
    exact, _ = gradients_of(language_model(family), arrays)
    model = language_model(family, precision=precision)
    assert {v.dtype for v in model.variables} == {"float32"}
    logits, gradients = gradients_of(model, arrays)
    assert logits.dtype == tf.float32
    real = arrays[2].astype(bool)
    difference = np.abs(logits.numpy() - exact.numpy())[real].max()
    assert 0 < difference <= TOLERANCES[precision] * np.abs(exact.numpy()[real]).max()
    for gradient in gradients:
        gradient = tf.convert_to_tensor(gradient)
        assert gradient.dtype == tf.float32 and np.isfinite(gradient.numpy()).all()


@pytest.mark.parametrize("precision", TOLERANCES)
def test_types_inside_are_those_of_the_policy(precision):
    model = language_model("bert", precision=precision)
    everything = {f"{kind}_layers": (1,) for kind in ("hidden", "attention", "score", "qkv")}
    out = model.encode(*inputs(), **everything)
    short = precision.removeprefix("mixed_")
    assert {out.last.dtype.name, out.hidden[1].dtype.name, out.qkv[1][0].dtype.name} == {short}
    assert out.scores[1].dtype == out.attentions[1].dtype == tf.float32


@pytest.mark.parametrize("precision", TOLERANCES)
def test_row_of_nothing_but_padding_is_finite(precision):
    ids, segments, _ = inputs()
    out = language_model("bert", precision=precision).encode(ids, segments, np.zeros_like(ids))
    assert np.isfinite(tf.cast(out.last, tf.float32).numpy()).all()


@pytest.mark.parametrize("head", ["classifier", "token_classifier", "replaced_token"])
def test_logits_of_tasks_are_float32(head):
    model = build(SHAPES["bert"], head=head, seed=1, precision="mixed_bfloat16")
    assert model(*inputs()).dtype == tf.float32


@pytest.mark.parametrize("family", SHAPES)
def test_calling_the_model_is_encoding_and_reading_logits(family):
    # Keras opens a scope that casts variables around the outermost call: ours must not care.
    model = language_model(family, precision="mixed_bfloat16")
    positions = tf.constant([[0, 1], [0, 0], [0, 0]])
    logits = model(*inputs(), positions)
    assert logits.dtype == tf.float32
    expected = model.logits_at(model.encode(*inputs()).last, positions)
    np.testing.assert_array_equal(logits.numpy(), expected.numpy())


def test_global_policy_is_honoured_and_a_given_one_leaves_it_alone():
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = build(SHAPES["bert"], seed=1)
        assert model.encode(*inputs()).last.dtype == tf.bfloat16
        build(SHAPES["bert"], seed=1, precision="float32")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy(before)


def test_dropout_masks_are_the_same_in_every_precision():
    rows = DropoutKeys(seed=1, step=0, row_keys=tf.reshape(tf.range(12), (3, 4)))
    exact, mixed = (
        language_model("bert", precision=p).encode(*inputs(), dropout=rows, hidden_layers=(0,))
        for p in ("float32", "mixed_bfloat16")
    )
    zeros = exact.hidden[0].numpy() == 0
    assert 0.05 < zeros.mean() < 0.15
    np.testing.assert_array_equal(tf.cast(mixed.hidden[0], tf.float32).numpy() == 0, zeros)


@pytest.mark.parametrize("family", SHAPES)
def test_xla_gives_the_same_results(family):
    model = language_model(family)
    arrays = inputs()
    rows = DropoutKeys(seed=1, step=0, row_keys=tf.reshape(tf.range(12), (3, 4)))

    def forward(*arrays):
        out = model.encode(*arrays, dropout=rows, attention_layers=(2,))
        return model.logits(out.last), out.attentions[2]

    plain, compiled = (
        tf.function(forward, autograph=False, jit_compile=jit)(*arrays) for jit in (False, True)
    )
    for one, other in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=XLA_ATOL)


@pytest.mark.parametrize("family", SHAPES)
def test_unknown_sizes_are_compiled_once_and_buckets_once_each(family):
    model = language_model(family)

    def forward(*arrays):
        return model.logits(model.encode(*arrays).last)

    unknown = [tf.TensorSpec([None, None], tf.int32)] * 3
    once = tf.function(forward, autograph=False, input_signature=unknown)
    for num_rows, num_tokens in ((3, 12), (3, 8), (5, 12), (2, 1), (3, 12)):
        arrays = inputs(num_rows, num_tokens)
        np.testing.assert_allclose(once(*arrays).numpy(), forward(*arrays).numpy(), atol=1e-5)
    assert once.experimental_get_tracing_count() == 1
    buckets = tf.function(forward, autograph=False)
    for num_tokens in (8, 12, 8, 12, 8):  # padded to two declared lengths
        buckets(*(tf.constant(x) for x in inputs(3, num_tokens)))
    assert buckets.experimental_get_tracing_count() == 2


def test_what_is_not_asked_for_is_not_computed():
    model = language_model("bert")

    def operations(**asked):
        function = tf.function(lambda *a: model.encode(*a, **asked).last, autograph=False)
        concrete = function.get_concrete_function(*(tf.constant(x) for x in inputs()))
        return len(concrete.graph.get_operations())

    everything = {f"{kind}_layers": (1, 2) for kind in ("hidden", "attention", "score", "qkv")}
    # Asking only names tensors that the forward pass makes anyway.
    assert operations() == operations(**everything)


def test_names_are_the_same_under_every_policy():
    names = [
        list(named_variables(language_model("bert", precision=p))) for p in (None, *TOLERANCES)
    ]
    assert names[0] == names[1] == names[2]
