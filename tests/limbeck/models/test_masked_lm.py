import hashlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.models import Encoder, MaskedLM, build_masked_lm, named_variables

SHAPE = EncoderArchitecture(
    vocab_size=11, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=12, max_positions=6
)
LAYER = [
    *(
        f"attention/{part}/{leaf}"
        for part in ("query", "key", "value", "output")
        for leaf in ("kernel", "bias")
    ),
    "attention_norm/gamma",
    "attention_norm/beta",
    "feed_forward/inner/kernel",
    "feed_forward/inner/bias",
    "feed_forward/outer/kernel",
    "feed_forward/outer/bias",
    "feed_forward_norm/gamma",
    "feed_forward_norm/beta",
]
NAMES = [
    *(f"encoder/embeddings/{name}" for name in ("token", "position", "segment")),
    "encoder/embeddings/norm/gamma",
    "encoder/embeddings/norm/beta",
    *(f"encoder/layer_{index}/{name}" for index in range(2) for name in LAYER),
    "head/output_bias",
    "head/transform/kernel",
    "head/transform/bias",
    "head/norm/gamma",
    "head/norm/beta",
]


@pytest.fixture(scope="module")
def model():
    return build_masked_lm(SHAPE, seed=1)


def digest(model):
    values = [np.asarray(v).astype("<f4").tobytes() for v in named_variables(model).values()]
    return hashlib.sha256(b"".join(values)).hexdigest()


def test_variables_have_the_documented_names_and_order(model):
    assert list(named_variables(model)) == NAMES
    assert [v.path for v in model.trainable_variables] == [f"masked_lm/{n}" for n in NAMES]
    assert model.non_trainable_variables == []


def test_names_do_not_depend_on_what_was_built_before(model):
    assert list(named_variables(build_masked_lm(SHAPE, seed=1))) == NAMES


def test_number_of_parameters_is_what_the_architecture_says(model):
    assert sum(v.value.shape.num_elements() for v in model.variables) == SHAPE.num_parameters()


def test_start_values_depend_on_the_seed_alone(model):
    tf.random.set_seed(5)
    keras.utils.set_random_seed(6)
    assert digest(build_masked_lm(SHAPE, seed=1)) == digest(model)
    assert digest(build_masked_lm(SHAPE, seed=2)) != digest(model)


def test_building_leaves_the_global_random_state_alone():
    tf.random.set_seed(5)
    expected = tf.random.uniform(()).numpy()
    tf.random.set_seed(5)
    build_masked_lm(SHAPE, seed=1)
    assert tf.random.uniform(()).numpy() == expected


def test_start_values_are_the_same_in_another_process(model):
    code = (
        "from limbeck.architectures import EncoderArchitecture\n"
        "from limbeck.models import build_masked_lm, named_variables\n"
        "import hashlib, numpy as np\n"
        f"model = build_masked_lm({SHAPE!r}, seed=1)\n"
        "values = [np.asarray(v).tobytes() for v in named_variables(model).values()]\n"
        "print(hashlib.sha256(b''.join(values)).hexdigest())\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.stdout.strip() == digest(model), done.stderr[-2000:]


def test_start_values_are_a_cut_normal_distribution():
    shape = EncoderArchitecture(
        vocab_size=4000, num_layers=1, hidden_dim=48, num_heads=2, intermediate_dim=64
    )
    named = named_variables(build_masked_lm(shape, seed=3))
    table = np.asarray(named["encoder/embeddings/token"])
    assert np.abs(table).max() <= 0.04  # cut at two deviations
    assert table.mean() == pytest.approx(0, abs=2e-4)
    assert table.std() == pytest.approx(0.02 * 0.8796, rel=0.01)  # what the cut leaves
    query = np.asarray(named["encoder/layer_0/attention/query/kernel"])
    key = np.asarray(named["encoder/layer_0/attention/key/kernel"])
    assert abs(np.corrcoef(query.ravel(), key.ravel())[0, 1]) < 0.1
    assert (np.asarray(named["head/norm/gamma"]) == 1).all()
    assert not np.asarray(named["head/output_bias"]).any()


def test_logits_at_positions_are_rows_of_all_logits(model):
    states = tf.random.stateless_normal((3, 6, 8), (1, 2))
    positions = np.array([[0, 5], [3, 3], [1, 0]], np.int32)
    every = model.logits(states).numpy()
    assert every.shape == (3, 6, 11)
    chosen = model.logits_at(states, tf.constant(positions)).numpy()
    np.testing.assert_allclose(
        chosen, np.take_along_axis(every, positions[..., None], 1), rtol=1e-6, atol=1e-6
    )


def test_call_compiles_with_unknown_sizes_and_under_xla(model):
    rows = tf.TensorSpec([None, None], tf.int32)
    ids = np.arange(12, dtype=np.int32).reshape(2, 6) % 11
    arguments = (ids, np.zeros_like(ids), np.ones_like(ids), np.array([[1], [4]], np.int32))
    expected = model(*arguments).numpy()
    for options in ({"input_signature": [rows] * 4}, {"jit_compile": True}):
        compiled = tf.function(lambda *a: model(*a), autograph=False, **options)
        np.testing.assert_allclose(compiled(*arguments).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_decoder_is_tied_to_the_token_embeddings(model):
    with tf.GradientTape() as tape:
        logits = model.logits(tf.ones((2, 8)))
    gradient = tape.gradient(logits, model.encoder.embeddings.token.value)
    assert gradient.shape == (11, 8) and np.abs(gradient.numpy()).max() > 0


def test_encoder_that_stands_alone_can_get_a_head_later():
    encoder = Encoder(SHAPE)
    model = MaskedLM(encoder)
    model.build()
    assert model.architecture is SHAPE and encoder.built
