"""The encoder against PyTorch transformers, and its options."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError
from limbeck.models import DropoutKeys, Encoder, build_masked_lm

SHAPE = EncoderArchitecture(
    vocab_size=11, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=12, max_positions=6
)


@pytest.fixture(scope="module")
def model():
    return build_masked_lm(SHAPE, seed=1)


def inputs(num_rows=3, num_tokens=6, *, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, shape.vocab_size, (num_rows, num_tokens)).astype(np.int32)
    lengths = rng.integers(1, num_tokens + 1, num_rows)
    lengths[0] = num_tokens
    mask = (np.arange(num_tokens) < lengths[:, None]).astype(np.int32)
    segments = (np.arange(num_tokens) >= lengths[:, None] // 2).astype(np.int32) * mask
    return ids, segments, mask


def keys(num_rows, *, step=0):
    rows = np.arange(4 * num_rows, dtype=np.int32).reshape(num_rows, 4)
    return DropoutKeys(seed=1, step=step, row_keys=tf.constant(rows))


def test_hidden_states_are_returned_where_asked_for(model):
    ids, segments, mask = inputs()
    output = model.encode(ids, segments, mask, hidden_layers=(0, 2))
    assert set(output.hidden) == {0, 2}
    np.testing.assert_array_equal(output.hidden[2].numpy(), output.last.numpy())
    embedded = model.encoder.embeddings(ids, segments)
    np.testing.assert_array_equal(output.hidden[0].numpy(), embedded.numpy())


@pytest.mark.parametrize("layer", [-1, 3])
def test_hidden_layer_that_is_not_there_is_refused(model, layer):
    with pytest.raises(ValueError, match=f"hidden layer {layer} was asked for; this model has 0"):
        model.encode(*inputs(), hidden_layers=(layer,))


def test_input_longer_than_the_positions_is_refused_in_one_line(model):
    with pytest.raises(LimbeckError, match="input is 7 tokens long but the model has 6") as error:
        model.encode(*inputs(num_tokens=7))
    assert "\n" not in str(error.value)


def test_encoder_without_layers_gives_its_embeddings():
    shape = EncoderArchitecture(
        vocab_size=11, num_layers=0, hidden_dim=8, num_heads=2, intermediate_dim=12
    )
    encoder = Encoder(shape)
    encoder.build()
    ids, segments, mask = inputs()
    output = encoder(ids, segments, mask, hidden_layers=(0,))
    np.testing.assert_array_equal(output.last.numpy(), output.hidden[0].numpy())


def test_padding_to_another_length_changes_nothing_but_rounding(model):
    ids, segments, mask = (x[:, :4] for x in inputs(num_tokens=4))
    short = model.encode(ids, segments, mask, dropout=keys(3)).last.numpy()
    padded = [np.pad(x, [(0, 0), (0, 2)]) for x in (ids, segments, mask)]
    padded[0][:, 4:] = 9  # whatever stands there
    long = model.encode(*padded, dropout=keys(3)).last.numpy()
    real = mask.astype(bool)
    np.testing.assert_allclose(long[:, :4][real], short[real], atol=1e-5)


def test_row_of_nothing_but_padding_is_finite(model):
    ids, segments, _ = inputs()
    assert np.isfinite(model.encode(ids, segments, np.zeros_like(ids)).last.numpy()).all()


def test_dropout_of_a_row_does_not_depend_on_its_batch(model):
    ids, segments, mask = inputs()
    whole = model.encode(ids, segments, mask, dropout=keys(3)).last.numpy()
    one = DropoutKeys(seed=1, step=0, row_keys=keys(3).row_keys[2:])
    alone = model.encode(ids[2:], segments[2:], mask[2:], dropout=one).last.numpy()
    np.testing.assert_allclose(alone, whole[2:], atol=1e-5)


def test_dropout_changes_with_the_step_and_is_off_without_keys(model):
    batch = inputs()
    first, second, off, again = (
        model.encode(*batch, dropout=k).last.numpy() for k in (keys(3), keys(3, step=1), None, None)
    )
    assert np.abs(first - second).max() > 0.01
    assert np.abs(first - off).max() > 0.01
    np.testing.assert_array_equal(off, again)


def test_every_dropout_of_the_model_has_its_own_layer_id(model):
    layers = model._flatten_layers()
    ids = [layer.layer_id for layer in layers if hasattr(layer, "layer_id")]
    assert len(ids) == 1 + 3 * 2 and len(set(ids)) == len(ids)
