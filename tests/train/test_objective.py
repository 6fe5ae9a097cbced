import numpy as np
import pytest
import tensorflow as tf

from limbeck.labels import SparseSignal
from train.objective import Objective, Outputs, bind
from train.recipe import Term

V, K, D = 7, 2, 3


class FakeFamily:
    """All that `bind` looks at."""

    def __init__(self, signal):
        self.signal = signal


TOP = FakeFamily(SparseSignal(k=K, temperatures=(1.0, 2.0)))


def mlm_batch(valid, true_ids):
    valid = np.array(valid)
    items = {"masked": {"index": np.zeros(len(valid), np.int32), "valid": valid}}
    return {"items": items, "true_ids": np.array(true_ids, np.int32), "teacher": {}}


def top_batch(rng, valid):
    size = len(valid)
    batch = mlm_batch(valid, rng.integers(0, V, size))
    batch["teacher"]["top"] = {
        "ids": np.stack([rng.permutation(V)[:K] for _ in range(size)]).astype(np.int32),
        "logits": np.sort(-rng.random((size, K)), axis=1)[:, ::-1].astype(np.float16),
        "log_tail": np.log(np.full((size, 2), 0.3, np.float32)),
    }
    return batch


def sums(objective: Objective, logits, batch):
    outputs = Outputs(logits=tf.constant(logits), states={})
    return objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})


def test_sum_is_that_of_the_valid_entries_in_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, V)).astype(np.float32)
    batch = mlm_batch([True, True, False, True], [1, 2, 3, 4])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(log_p[0, 1] + log_p[1, 2] + log_p[3, 4])
    got = sums(bind([Term(loss="mlm")], {}), logits, batch)
    np.testing.assert_allclose(got, [expected], rtol=1e-6)


def test_factor_is_weight_and_tau_squared_over_the_global_count():
    terms = [
        Term(loss="kl", signal="top", temperature=2.0, weight=0.5),
        Term(loss="kl", signal="top", temperature=2.0, scale_by_temperature_squared=False),
        Term(loss="mlm", weight=3.0),
    ]
    objective = bind(terms, {"top": TOP})
    factors = objective.factors(np.array([8, 4, 6]))
    np.testing.assert_allclose(factors, [0.5 * 4 / 8, 1 / 4, 3 / 6])
    assert objective.names == ("kl", "kl_2", "mlm")


def test_term_without_any_entry_is_exactly_zero():
    rng = np.random.default_rng(1)
    objective = bind([Term(loss="mlm"), Term(loss="kl", signal="top")], {"top": TOP})
    assert objective.factors(np.array([0, 0])).tolist() == [0.0, 0.0]
    batch = top_batch(rng, [False] * 3)
    got = sums(objective, rng.normal(size=(3, V)).astype(np.float32), batch)
    assert got.numpy().tolist() == [0.0, 0.0]


def test_term_reads_the_column_of_its_temperature():
    rng = np.random.default_rng(2)
    batch = top_batch(rng, [True] * 3)
    logits = rng.normal(size=(3, V)).astype(np.float32)
    objective = bind([Term(loss="kl", signal="top", temperature=2.0)], {"top": TOP})
    before = sums(objective, logits, batch).numpy()
    batch["teacher"]["top"]["log_tail"][:, 0] = np.nan  # T = 1 is not asked for
    np.testing.assert_array_equal(sums(objective, logits, batch), before)
    batch["teacher"]["top"]["log_tail"][:, 1] -= 0.1
    assert sums(objective, logits, batch).numpy() != before


@pytest.mark.parametrize("loss", ["kl", "soft_ce"])
@pytest.mark.parametrize("missing_mass", ["bucket", "truncated", "renormalised"])
def test_nan_in_entries_that_do_not_count_reaches_neither_value_nor_gradient(loss, missing_mass):
    rng = np.random.default_rng(3)
    valid = [True, False, True, False]
    batch = top_batch(rng, valid)
    logits = rng.normal(size=(4, V)).astype(np.float32)
    objective = bind([Term(loss=loss, signal="top", missing_mass=missing_mass)], {"top": TOP})

    def value_and_gradient(batch):
        z = tf.constant(logits)
        tensors = tf.nest.map_structure(tf.constant, batch)
        with tf.GradientTape() as tape:
            tape.watch(z)
            total = objective.sums(Outputs(logits=z, states={}), tensors, {})
        return total.numpy(), tape.gradient(total, z).numpy()

    clean = value_and_gradient(batch)
    for name, spoiled in (("logits", np.nan), ("log_tail", np.nan), ("ids", V + 100)):
        batch["teacher"]["top"][name][~np.array(valid)] = spoiled
    value, gradient = value_and_gradient(batch)
    np.testing.assert_array_equal(value, clean[0])
    np.testing.assert_array_equal(gradient, clean[1])
    assert np.isfinite(gradient).all()
    assert (gradient[[1, 3]] == 0).all()


def test_nan_states_at_padding_stay_out_of_hidden_losses():
    from limbeck.labels import HiddenSignal

    families = {"states": FakeFamily(HiddenSignal(layer=1, positions="first"))}
    terms = [
        Term(loss=loss, signal="states", student_layer=1)
        for loss in ("hidden_mse", "hidden_cosine")
    ]
    objective = bind(terms, families)
    assert objective.groups == ("first",) and objective.hidden_layers == (1,)
    assert not objective.needs_logits
    rng = np.random.default_rng(4)
    teacher = rng.normal(size=(3, D)).astype(np.float16)
    teacher[2] = np.nan
    batch = {
        "items": {
            "first": {
                "index": np.array([0, 2, 0], np.int32),
                "valid": np.array([True, True, False]),
            }
        },
        "teacher": {"states": {"states": teacher}},
    }
    states = tf.constant(rng.normal(size=(4, D)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(states)
        outputs = Outputs(logits=None, states={1: states})
        total = objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})
    gradient = tf.convert_to_tensor(tape.gradient(total, states)).numpy()
    assert np.isfinite(total).all() and np.isfinite(gradient).all()
    assert (gradient[[1, 3]] == 0).all() and (gradient[[0, 2]] != 0).any()
