import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from train.objective import Asked, Objective, Outputs, bind
from train.recipe import StudentFacts, make_term
from train.recipe.schedules import LinearDecay, LinearGrowth

V, K, D = 7, 2, 3
SHAPE = EncoderArchitecture(
    vocab_size=V, num_layers=1, hidden_dim=4, num_heads=2, intermediate_dim=4, max_positions=4
)
STUDENT = StudentFacts(architecture=SHAPE)


class FakeFamily:
    """All that `bind` looks at."""

    def __init__(self, signal, tensors=None, list_name=None):
        self.signal = signal
        self.fitted = Fitted(signal=signal, tensors=tensors or {})
        self.list_name = list_name or signal.positions


TOP = FakeFamily(SparseSignal(k=K, temperatures=(1.0, 2.0)))


def mlm_batch(valid, true_ids):
    valid = np.array(valid)
    items = {"masked": {"index": np.zeros(len(valid), np.int32), "valid": valid}}
    return {"items": items, "labels": {"masked": np.array(true_ids, np.int32)}, "teacher": {}}


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
    outputs = {"fed": Outputs(logits={"masked": tf.constant(logits)})}
    return objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})


def test_sum_is_that_of_the_valid_entries_in_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, V)).astype(np.float32)
    batch = mlm_batch([True, True, False, True], [1, 2, 3, 4])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(log_p[0, 1] + log_p[1, 2] + log_p[3, 4])
    got = sums(bind([make_term(loss="mlm")], {}), logits, batch)
    np.testing.assert_allclose(got, [expected], rtol=1e-6)


def test_factor_is_weight_and_tau_squared_over_the_global_count():
    terms = [
        make_term(loss="kl", signal="top", temperature=2.0, weight=0.5),
        make_term(loss="kl", signal="top", temperature=2.0, scale_by_temperature_squared=False),
        make_term(loss="mlm", weight=3.0),
    ]
    objective = bind(terms, {"top": TOP})
    factors = objective.factors(np.array([8, 4, 6]))
    np.testing.assert_allclose(factors, [0.5 * 4 / 8, 1 / 4, 3 / 6])
    assert objective.names == ("kl", "kl_2", "mlm")


def test_term_without_any_entry_is_exactly_zero():
    rng = np.random.default_rng(1)
    objective = bind([make_term(loss="mlm"), make_term(loss="kl", signal="top")], {"top": TOP})
    assert objective.factors(np.array([0, 0])).tolist() == [0.0, 0.0]
    batch = top_batch(rng, [False] * 3)
    got = sums(objective, rng.normal(size=(3, V)).astype(np.float32), batch)
    assert got.numpy().tolist() == [0.0, 0.0]


def test_term_reads_the_column_of_its_temperature():
    rng = np.random.default_rng(2)
    batch = top_batch(rng, [True] * 3)
    logits = rng.normal(size=(3, V)).astype(np.float32)
    objective = bind([make_term(loss="kl", signal="top", temperature=2.0)], {"top": TOP})
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
    objective = bind([make_term(loss=loss, signal="top", missing_mass=missing_mass)], {"top": TOP})

    def value_and_gradient(batch):
        z = tf.constant(logits)
        tensors = tf.nest.map_structure(tf.constant, batch)
        with tf.GradientTape() as tape:
            tape.watch(z)
            total = objective.sums({"fed": Outputs(logits={"masked": z})}, tensors, {})
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
    families = {"states": FakeFamily(HiddenSignal(layer=1, positions="first"))}
    terms = [
        make_term(loss=loss, signal="states", student_layer=1)
        for loss in ("hidden_mse", "hidden_cosine")
    ]
    objective = bind(terms, families)
    assert objective.lists == ("first",) and objective.asked("fed", split=False).hidden == (1,)
    assert not objective.asked("fed", split=False).groups
    rng = np.random.default_rng(4)
    teacher = rng.normal(size=(3, D)).astype(np.float16)
    teacher[2] = np.nan
    batch = {
        "ids": np.zeros((2, 2), np.int32),
        "items": {
            "first": {
                "index": np.array([0, 2, 0], np.int32),
                "valid": np.array([True, True, False]),
            }
        },
        "teacher": {"states": {"states": teacher}},
    }
    states = tf.constant(rng.normal(size=(2, 2, D)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(states)
        outputs = {"fed": Outputs(hidden={1: states})}
        total = objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})
    gradient = tf.convert_to_tensor(tape.gradient(total, states)).numpy().reshape(4, D)
    assert np.isfinite(total).all() and np.isfinite(gradient).all()
    assert (gradient[[1, 3]] == 0).all() and (gradient[[0, 2]] != 0).any()


def value_and_gradient(objective, batch, logits):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = objective.sums(
            {"fed": Outputs(logits={"masked": logits})},
            tf.nest.map_structure(tf.constant, batch),
            {},
        )
    return total.numpy()[0], tf.convert_to_tensor(tape.gradient(total, logits)).numpy()


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_term_on_a_final_family_is_the_kl_of_the_rebuilt_distribution() -> None:
    rng = np.random.default_rng(5)
    kernel = rng.normal(size=(V, D)).astype(np.float32)
    bias = rng.normal(size=V).astype(np.float32)
    states = np.concatenate([rng.normal(size=(2, D)), np.full((1, D), np.nan)]).astype(np.float32)
    logits = rng.normal(size=(3, V)).astype(np.float32)
    family = FakeFamily(FinalSignal(), {"decoder/kernel": kernel, "decoder/bias": bias})
    objective = bind([make_term(loss="kl", signal="full", temperature=3.0)], {"full": family})
    valid = np.array([True, True, False])
    batch = {
        "items": {"masked": {"index": np.zeros(3, np.int32), "valid": valid}},
        "teacher": {"full": {"states": states}},
    }
    value, gradient = value_and_gradient(objective, batch, logits)
    p = softmax((states[:2] @ kernel.T.astype(np.float64) + bias) / 3.0)
    q = softmax(logits[:2].astype(np.float64) / 3.0)
    np.testing.assert_allclose(value, (p * np.log(p / q)).sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient[:2], (q - p) / 3.0, atol=1e-6)
    assert not gradient[2].any()


def test_term_on_a_lean_sample_is_the_weighted_cross_entropy_and_refuses_kl() -> None:
    signal = SparseSignal(threshold=0.1, sample=True, form="lean", temperatures=(1.0,))
    family = FakeFamily(signal)
    objective = bind([make_term(loss="soft_ce", signal="top")], {"top": family})
    logits = np.random.default_rng(6).normal(size=(2, V)).astype(np.float32)
    batch = {
        "items": {
            "masked": {"index": np.zeros(2, np.int32), "valid": np.array([True, False])},
        },
        "teacher": {
            "top": {
                "ids": np.array([[4, 1, 0], [0, 0, 0]], np.int32),
                "weights": np.array([[0.7, 0.1, 0.0], [np.nan] * 3], np.float32),
            }
        },
    }
    value, gradient = value_and_gradient(objective, batch, logits)
    q = softmax(logits[0].astype(np.float64))
    np.testing.assert_allclose(value, -0.7 * np.log(q[4]) - 0.1 * np.log(q[1]), rtol=1e-5)
    expected = 0.8 * q
    expected[[4, 1]] -= [0.7, 0.1]
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)
    assert not gradient[1].any()
    with pytest.raises(UsageError, match="take soft_ce"):
        make_term(loss="kl", signal="top").check([family], STUDENT)


def test_partial_family_takes_the_logits_of_its_own_entries() -> None:
    family = FakeFamily(SparseSignal(k=K, temperatures=(1.0,)), list_name="masked of top")
    objective = bind([make_term(loss="soft_ce", signal="top")], {"top": family})
    assert objective.lists == ("masked of top", "masked")
    logits = np.random.default_rng(7).normal(size=(3, V)).astype(np.float32)
    head = {
        "ids": np.array([[1, 2], [0, 3]], np.int32),
        "logits": np.zeros((2, K), np.float16),
        "log_tail": np.full((2, 1), -1.0, np.float32),
    }
    index = np.zeros(3, np.int32)
    batch = {
        "items": {
            "masked": {"index": index, "valid": np.ones(3, bool)},
            "masked of top": {
                "index": index[:2],
                "entry": np.array([2, 0], np.int32),
                "valid": np.array([True, False]),
            },
        },
        "teacher": {"top": head},
    }
    value, gradient = value_and_gradient(objective, batch, logits)
    q, p = softmax(logits[2].astype(np.float64)), (1 - np.exp(-1.0)) / 2
    bucket = 1 - q[1] - q[2]
    expected = -p * np.log(q[1] * q[2]) - np.exp(-1.0) * np.log(bucket)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert gradient[2].any() and not gradient[:2].any()


def test_scheduled_weight_changes_the_factor_and_no_entry_makes_it_zero() -> None:
    terms = [
        make_term("kl", signal="top", temperature=2.0, weight=LinearDecay(weight=3.0)),
        make_term("mlm", weight=LinearGrowth()),
    ]
    objective = bind(terms, {"top": TOP})
    counts = np.array([6, 4])
    np.testing.assert_allclose(objective.factors(counts), [3 * 4 / 6, 0.0])
    np.testing.assert_allclose(objective.factors(counts, x=0.25), [2.25 * 4 / 6, 0.25 / 4])
    assert objective.factors(np.array([0, 4]), x=0.25).tolist() == [0.0, 0.0625]
    assert objective.factors(np.array([0, 4]), x=0.25).dtype == np.float32


def test_counts_are_those_of_each_terms_list_and_unit() -> None:
    class PairTerm(type(make_term("mlm"))):
        unit = "pairs"

    first = FakeFamily(HiddenSignal(layer=1, positions="first"))
    terms = [
        make_term("mlm"),
        PairTerm(),
        make_term("hidden_mse", signal="states", student_layer=1),
        make_term("kl", signal="top"),
    ]
    partial = FakeFamily(TOP.signal, list_name="masked of top")
    objective = bind(terms, {"states": first, "top": partial})
    items = {
        "masked": 5,
        "masked pairs": 31,
        "first": 2,
        "first pairs": 14,
        "masked of top": 3,
        "masked of top pairs": 20,
    }
    assert objective.counts(items).tolist() == [5, 31, 2, 3]
    assert objective.lists == ("masked", "first", "masked of top")


VIEWS = [
    make_term("mlm"),
    make_term("kl", signal="top"),
    make_term("hidden_mse", signal="states", student_layer=1),
    make_term("hidden_cosine", signal="states", student_layer=0),
    make_term("hidden_mse", signal="states", student_layer=1),
]


def test_each_view_is_asked_for_what_its_terms_look_at() -> None:
    families = {"top": TOP, "states": FakeFamily(HiddenSignal(layer=1, positions="first"))}
    objective = bind(VIEWS, families)
    assert objective.asked("fed") == Asked(groups=("masked",))
    assert objective.asked("unmasked") == Asked(groups=("masked",), hidden=(0, 1))
    assert objective.asked("fed", split=False) == Asked(groups=("masked",), hidden=(0, 1))
    assert objective.asked("unmasked", split=False).nothing
    alone = bind(VIEWS[2:], families)
    assert alone.asked("fed").nothing and not alone.asked("unmasked").nothing


@pytest.mark.parametrize("split", [True, False])
def test_terms_on_families_look_at_the_unmasked_view_and_others_at_the_fed_one(split: bool) -> None:
    rng = np.random.default_rng(8)
    objective = bind(VIEWS[:2], {"top": TOP})
    batch = top_batch(rng, [True, True, False])
    fed, unmasked = (rng.normal(size=(3, V)).astype(np.float32) for _ in range(2))
    outputs = {"fed": Outputs(logits={"masked": tf.constant(fed)})}
    if split:
        outputs["unmasked"] = Outputs(logits={"masked": tf.constant(unmasked)})
    got = objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {}).numpy()
    np.testing.assert_array_equal(got[0], sums(objective, fed, batch)[0])
    np.testing.assert_array_equal(got[1], sums(objective, unmasked if split else fed, batch)[1])
    assert got[1] != sums(objective, fed if split else unmasked, batch)[1]
