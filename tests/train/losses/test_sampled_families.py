"""Terms that learn from the sample of a family with a grid: from stored arrays to gradients."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels import sparse
from limbeck.labels.draws import draws
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import SparseSignal
from train.losses.logit_formulas import clean_head
from train.objective import Outputs, bind
from train.reading.families import decoded
from train.recipe import make_term

V = 40
SIGNAL = SparseSignal(threshold=0.1, sample=True, temperatures=(1, 2, 4))
FITTED = Fitted(signal=SIGNAL)


class FakeFamily:
    """All that `bind` looks at."""

    def __init__(self, signal):
        self.signal, self.fitted, self.list_name = signal, Fitted(signal=signal), "masked"


def random_logits(seed, num_rows):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=2.0, size=(num_rows, V)).astype(np.float32)


def stored(logits, seed=0):
    """Encoded arrays of positions, each with draws of its own."""
    num_rows = len(logits)
    words = draws(seed, np.zeros((1, 16), np.uint8), np.zeros(num_rows, int), np.arange(num_rows))
    zeros = np.zeros(num_rows, int)
    return sparse.encode(FITTED, {"logits": logits}, true_ids=zeros, draws=words)


def run(terms, fields, logits, valid=None):
    """(J,) sums of the terms, and the gradient of their sum, without weights and tau^2."""
    valid = np.ones(len(logits), bool) if valid is None else valid
    batch = {
        "items": {"masked": {"index": np.zeros(len(logits), np.int32), "valid": valid}},
        "teacher": {"drawn": fields},
    }
    objective = bind(
        [make_term(signal="drawn", **term) for term in terms], {"drawn": FakeFamily(SIGNAL)}
    )
    z = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(z)
        outputs = {"fed": Outputs(logits={"masked": z})}
        sums = objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})
        total = tf.reduce_sum(sums)
    return sums.numpy(), tape.gradient(total, z).numpy()


def sampled(temperature):
    return {"loss": "soft_ce", "temperature": temperature, "missing_mass": "sampled"}


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def oracle(arrays, logits, temperature):
    """Float64 loss and gradient from the definition, entry by entry."""
    ids, weights = sparse.sampled_target(FITTED, arrays, temperature=temperature)
    q = softmax(logits.astype(np.float64) / temperature)
    t = np.zeros_like(q)
    for row, (own, w) in enumerate(zip(ids, weights.astype(np.float64), strict=True)):
        np.add.at(t[row], own, w)
    return -(t * np.log(q)).sum(), (t.sum(-1, keepdims=True) * q - t) / temperature


@pytest.mark.parametrize("temperature", SIGNAL.temperatures)
def test_gradient_is_that_of_the_weighted_cross_entropy(temperature):
    arrays, logits = stored(random_logits(1, 6)), random_logits(2, 6)
    assert arrays["num_sampled"].any()
    value, gradient = run([sampled(temperature)], decoded(FITTED, arrays), logits)
    expected, expected_gradient = oracle(arrays, logits, temperature)
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)


def test_one_family_serves_terms_at_two_temperatures_and_one_on_its_head():
    arrays, logits = stored(random_logits(3, 6)), random_logits(4, 6)
    bucket = {"loss": "kl", "temperature": 2.0, "missing_mass": "bucket"}
    fields = decoded(FITTED, arrays)
    sums, gradient = run([sampled(1.0), bucket, sampled(4.0)], fields, logits)
    alone = [run([term], fields, logits) for term in (sampled(1.0), bucket, sampled(4.0))]
    np.testing.assert_allclose(sums, [value for (value,), _ in alone], rtol=1e-6)
    np.testing.assert_allclose(gradient, sum(g for _, g in alone), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", SIGNAL.temperatures)
def test_mean_over_draws_is_the_full_gradient_within_four_sigma(temperature):
    num_draws, teacher, student = 3000, random_logits(5, 1), random_logits(6, 1)
    arrays = stored(np.repeat(teacher, num_draws, axis=0), seed=7)
    logits = np.repeat(student, num_draws, axis=0)
    _, gradients = run([sampled(temperature)], decoded(FITTED, arrays), logits)
    p, q = (softmax(z[0].astype(np.float64) / temperature) for z in (teacher, student))
    exact = (q - p) / temperature
    error = gradients.mean(axis=0, dtype=np.float64) - exact
    sigma = gradients.std(axis=0, dtype=np.float64) / np.sqrt(num_draws)
    # Logits are stored in fp16: up to 2^-10 of each probability.
    assert (np.abs(error) <= 4 * sigma + 1e-3 * np.maximum(np.abs(exact), p.max())).all()
    # What the head alone teaches is another gradient.
    bucket = {"loss": "soft_ce", "temperature": temperature, "missing_mass": "bucket"}
    _, biased = run([bucket], decoded(FITTED, stored(teacher)), student)
    assert np.linalg.norm(biased[0] - exact) > 5 * np.linalg.norm(error)


@pytest.mark.parametrize("missing_mass", ["bucket", "truncated", "renormalised"])
def test_head_is_that_of_the_family_as_it_is_decoded(missing_mass):
    arrays, logits = stored(random_logits(8, 6)), random_logits(9, 6)
    fields, plain = decoded(FITTED, arrays), sparse.decode(FITTED, arrays)
    assert np.isneginf(fields["logits"]).any() and fields["logits"].dtype == np.float16
    term = {"loss": "kl", "temperature": 2.0, "missing_mass": missing_mass}
    found = run([term], fields, logits)
    head = {name: getattr(plain, name) for name in ("ids", "logits", "log_tail")}
    expected = run([term], head, logits)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-7)


def test_nan_in_entries_that_do_not_count_reaches_neither_value_nor_gradient():
    arrays, logits = stored(random_logits(10, 4)), random_logits(11, 4)
    valid, fields = np.array([True, False, True, False]), decoded(FITTED, arrays)
    kept = {name: values[valid] for name, values in fields.items()}
    expected = run([sampled(2.0)], kept, logits[valid])
    fields["weights"][~valid], fields["ids"][~valid] = np.nan, V + 100
    value, gradient = run([sampled(2.0)], fields, logits, valid)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_array_equal(gradient[valid], expected[1])
    assert not gradient[~valid].any()


@pytest.mark.parametrize("loss", ["kl", "soft_ce"])
@pytest.mark.parametrize("missing_mass", ["bucket", "truncated", "renormalised"])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_entries_that_only_fill_have_finite_values_and_gradients(loss, missing_mass, k):
    """Also where a head has the whole vocabulary, so that nothing is outside it."""
    from train.losses import kl_values, soft_cross_entropy_values

    vocab_size, valid = 5, tf.constant([True, False])
    teacher = {
        "ids": tf.constant([np.arange(k), np.full(k, vocab_size + 9)], tf.int32),
        "logits": tf.constant([-np.arange(k, dtype=np.float32), np.full(k, np.nan)], tf.float32),
        "log_tail": tf.constant([[-np.inf if k == vocab_size else -1.0], [np.nan]], tf.float32),
    }
    z = tf.constant(np.random.default_rng(12).normal(size=(2, vocab_size)).astype(np.float32))
    against = kl_values if loss == "kl" else soft_cross_entropy_values
    with tf.GradientTape() as tape:
        tape.watch(z)
        values = against(
            z, *clean_head(teacher, valid, 0), temperature=2.0, missing_mass=missing_mass
        )
    assert np.isfinite(values).all() and np.isfinite(tape.gradient(values, z)).all()
