"""Values and gradients against float64 NumPy written from the definitions."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.labels import SparseSignal, sparse
from limbeck.labels.fitted import Fitted
from train.losses import kl_values, soft_cross_entropy_values

GRID = (0.5, 1.0, 2.0, 4.0)
MISSING = ("bucket", "truncated", "renormalised")
# Losses are float32 sums of at most K + 1 terms p * log q: a few ulps of the largest term.
VALUE = {"rtol": 2e-6, "atol": 2e-6}
# Gradients are differences of probabilities, over T.
GRADIENT = {"rtol": 1e-5, "atol": 1e-6}


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def logsumexp(z):
    return z.max() + np.log(np.exp(z - z.max()).sum())


def oracle_target(arrays, column, temperature, missing_mass):
    """Float64 p over K ids and the bucket, or over K ids."""
    head = log_softmax(arrays["logits"].astype(np.float64) / temperature)
    tail = arrays["log_tail"][:, column].astype(np.float64)
    if missing_mass == "renormalised":
        return np.exp(head)
    p_tail = np.exp(tail)
    p_head = np.exp(head) * -np.expm1(tail)[:, None]
    if missing_mass == "truncated":
        return p_head
    return np.concatenate([p_head, p_tail[:, None]], axis=-1)


def oracle_row(z, ids, p, temperature, with_entropy):
    """Loss and gradient of one position: float64, outcome by outcome."""
    log_q = log_softmax(z.astype(np.float64) / temperature)
    outside = np.ones(len(z), bool)
    outside[ids] = False
    loss, gradient = 0.0, np.zeros(len(z))
    for j, p_j in enumerate(p):
        if p_j == 0.0:
            continue  # 0 log 0 = 0
        if j < len(ids):
            log_q_j, onto = log_q[ids[j]], np.eye(len(z))[ids[j]]
        else:  # the bucket: d log q_b / d z_v = q_v / q_b outside the head, less q_v
            log_q_j = logsumexp(log_q[outside])
            onto = np.exp(np.where(outside, log_q - log_q_j, -np.inf))
        loss += p_j * ((np.log(p_j) if with_entropy else 0.0) - log_q_j)
        gradient -= p_j * (onto - np.exp(log_q)) / temperature
    return loss, gradient


def oracle(student, arrays, column, temperature, missing_mass, *, with_entropy):
    p = oracle_target(arrays, column, temperature, missing_mass)
    rows = [
        oracle_row(z, ids, p_row, temperature, with_entropy)
        for z, ids, p_row in zip(student, arrays["ids"].astype(int), p, strict=True)
    ]
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows])


def teacher_arrays(logits, k, temperatures=GRID):
    fitted = Fitted(signal=SparseSignal(k=k, temperatures=temperatures))
    true_ids = np.zeros(len(logits), int)
    return sparse.encode(fitted, {"logits": logits}, true_ids=true_ids, draws=None)


def run(function, student, arrays, column, temperature, missing_mass="bucket"):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = function(
            student,
            tf.constant(arrays["ids"].astype(np.int32)),
            tf.constant(arrays["logits"]),
            tf.constant(arrays["log_tail"][:, column]),
            temperature=temperature,
            missing_mass=missing_mass,
        )
    return values.numpy(), tape.gradient(values, student).numpy()


def random_logits(seed, num_rows=5, vocab_size=40, scale=3.0):
    rng = np.random.default_rng(seed)
    return rng.normal(scale=scale, size=(num_rows, vocab_size)).astype(np.float32)


def assert_matches_oracle(student, arrays, temperature, missing_mass, value=None, gradient=None):
    column = GRID.index(temperature)
    for function, with_entropy in ((kl_values, True), (soft_cross_entropy_values, False)):
        values, gradients = run(function, student, arrays, column, temperature, missing_mass)
        expected, expected_gradients = oracle(
            student, arrays, column, temperature, missing_mass, with_entropy=with_entropy
        )
        np.testing.assert_allclose(values, expected, **(value or VALUE))
        np.testing.assert_allclose(gradients, expected_gradients, **(gradient or GRADIENT))


@pytest.mark.parametrize("missing_mass", MISSING)
@pytest.mark.parametrize("temperature", GRID)
@pytest.mark.parametrize("k", [1, 6, 39, 40])  # one below V, and V itself
def test_random_logits_match_the_definition(k, temperature, missing_mass):
    arrays = teacher_arrays(random_logits(1), k)
    # The log-sum-exps reach 20 / T here, so a value carries ulps of 40: 4e-6 at T = 0.5.
    tolerance = {"rtol": 2e-6, "atol": 4e-6}
    assert_matches_oracle(random_logits(2), arrays, temperature, missing_mass, value=tolerance)


@pytest.mark.parametrize("missing_mass", MISSING)
@pytest.mark.parametrize("temperature", GRID)
def test_extreme_logits_match_the_definition(temperature, missing_mass):
    rng = np.random.default_rng(3)
    teacher = rng.choice([-1e4, 0.0, 1e4], size=(6, 30)).astype(np.float32)
    student = rng.choice([-1e4, -5.0, 1e4], size=(6, 30)).astype(np.float32)
    arrays = teacher_arrays(teacher, 4)
    assert_matches_oracle(student, arrays, temperature, missing_mass)


@pytest.mark.parametrize("gap", [16.0, 60.0])  # tails of 1e-7 and e^-60
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_tiny_tails_match_the_definition(temperature, gap):
    teacher, student = random_logits(4, scale=1.0), random_logits(5, scale=1.0)
    teacher[:, 3] += np.float32(gap * temperature)
    student[:, 3] += np.float32(gap * temperature)
    arrays = teacher_arrays(teacher, 1)
    column = GRID.index(temperature)
    # A log-mass of -60 has ulps of 4e-6, so has the mass, and the gradient is a difference of two.
    tolerance = {"rtol": 1e-4, "atol": 1e-33}
    gradients = run(kl_values, student, arrays, column, temperature)[1]
    expected = oracle(student, arrays, column, temperature, "bucket", with_entropy=True)[1]
    outside = np.arange(student.shape[1]) != 3
    np.testing.assert_allclose(gradients[:, outside], expected[:, outside], **tolerance)
    assert (np.abs(expected[:, outside]).max(axis=-1) > 1e-30).all()  # not vacuous


def test_student_certain_where_the_teacher_is_not_has_a_large_finite_loss():
    arrays = teacher_arrays(np.zeros((1, 10), np.float32), 2)
    student = np.full((1, 10), -1e4, np.float32)
    student[0, 0] = 1e4
    values, gradients = run(kl_values, student, arrays, GRID.index(1.0), 1.0)
    # 0.1 on the first id, 0.1 on the second, 0.8 in the bucket of 8; the last two 20,000 nats off.
    entropy = -(0.2 * np.log(0.1) + 0.8 * np.log(0.8))
    np.testing.assert_allclose(values, 0.1 * 2e4 + 0.8 * (2e4 - np.log(8)) - entropy, rtol=1e-6)
    np.testing.assert_allclose(gradients[0, :2], [0.9, -0.1], rtol=1e-5)
    np.testing.assert_allclose(gradients[0, 2:], -0.1, rtol=1e-5)  # 0.8 over 8 equal ids


@pytest.mark.parametrize("temperature", GRID)
@pytest.mark.parametrize("k", [1, 6, 39, 40])
def test_teacher_as_student_gives_zero_and_no_gradient(k, temperature):
    # On a grid of 1/64 within +-8 the stored fp16 logits are the exact ones.
    logits = np.clip(np.round(random_logits(6, scale=2.0) * 64) / 64, -4, 4).astype(np.float32)
    arrays = teacher_arrays(logits, k)
    values, gradients = run(kl_values, logits, arrays, GRID.index(temperature), temperature)
    np.testing.assert_allclose(values, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradients, 0.0, atol=2e-7 / temperature)


@pytest.mark.parametrize("temperature", GRID)
def test_all_ids_kept_equals_the_full_kl(temperature):
    teacher = np.round(random_logits(7) * 64) / np.float32(64)
    student = random_logits(8)
    arrays = teacher_arrays(teacher.astype(np.float32), 40)
    log_p = log_softmax(teacher.astype(np.float64) / temperature)
    log_q = log_softmax(student.astype(np.float64) / temperature)
    full = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    values, gradients = run(kl_values, student, arrays, GRID.index(temperature), temperature)
    # Logits on a grid of 1/64 up to 16 apart are off by at most 2^-8 / 2 in fp16.
    np.testing.assert_allclose(values, full, rtol=2e-3, atol=2e-3)
    expected = (np.exp(log_q) - np.exp(log_p)) / temperature
    np.testing.assert_allclose(gradients, expected, atol=4e-3 / temperature)


def test_bucket_loss_is_never_above_the_full_kl():
    teacher, student = random_logits(9, num_rows=50), random_logits(10, num_rows=50)
    column = GRID.index(1.0)
    full = run(kl_values, student, teacher_arrays(teacher, 40), column, 1.0)[0]
    last = -1.0
    for k in (1, 2, 5, 20, 39):  # keeping more ids can only tell more
        values = run(kl_values, student, teacher_arrays(teacher, k), column, 1.0)[0]
        # Two encodings of one teacher differ by fp16's rounding of up to 16: 2^-11 * 16.
        assert (values <= full + 8e-3).all() and values.sum() >= last - 0.1
        last = values.sum()


def test_ties_across_the_edge_of_the_head_match_the_definition():
    teacher = np.zeros((2, 20), np.float32)
    arrays = teacher_arrays(teacher, 5)
    np.testing.assert_array_equal(arrays["ids"], [[0, 1, 2, 3, 4]] * 2)
    assert_matches_oracle(random_logits(11, 2, 20), arrays, 1.0, "bucket")


def test_first_seeds_truncated_loss_is_minus_p_log_q_over_the_head():
    teacher, student = random_logits(12), random_logits(13)
    arrays = teacher_arrays(teacher, 10)
    p = np.exp(log_softmax(teacher.astype(np.float64)))
    log_q = log_softmax(student.astype(np.float64))
    ids = arrays["ids"].astype(int)
    expected = -(np.take_along_axis(p, ids, -1) * np.take_along_axis(log_q, ids, -1)).sum(-1)
    values, _ = run(soft_cross_entropy_values, student, arrays, GRID.index(1.0), 1.0, "truncated")
    np.testing.assert_allclose(values, expected, rtol=2e-3)  # p through fp16 logits


@pytest.mark.parametrize("missing_mass", MISSING)
def test_rows_of_a_subset_equal_rows_of_the_whole(missing_mass):
    student = random_logits(14)
    arrays = teacher_arrays(random_logits(15), 6)
    keep = np.array([4, 1])
    subset = {name: a[keep] for name, a in arrays.items()}
    whole = run(kl_values, student, arrays, 1, 1.0, missing_mass)
    part = run(kl_values, student[keep], subset, 1, 1.0, missing_mass)
    for of_whole, of_part in zip(whole, part, strict=True):
        np.testing.assert_allclose(of_whole[keep], of_part, rtol=1e-6, atol=1e-7)


def test_masked_out_rows_leave_exactly_no_trace():
    student = tf.constant(random_logits(16))
    arrays = teacher_arrays(random_logits(17), 6)
    weights = tf.constant([1.0, 0.0, 1.0, 0.0, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = kl_values(
            student,
            arrays["ids"].astype(np.int32),
            arrays["logits"],
            arrays["log_tail"][:, 1],
            temperature=1.0,
        )
        total = tf.reduce_sum(tf.where(weights > 0.0, values, 0.0))
    gradient = tape.gradient(total, student).numpy()
    assert (gradient[[1, 3]] == 0.0).all() and (gradient[[0, 2, 4]] != 0.0).any(axis=-1).all()
    np.testing.assert_allclose(total, values.numpy()[[0, 2, 4]].sum(), rtol=1e-6)


def test_empty_slots_of_zeros_have_finite_values_and_gradients():
    # Padding as it is stored: ids all 0, logits 0, log_tail 0. It is masked out afterwards.
    arrays = {
        "ids": np.zeros((2, 4), np.uint16),
        "logits": np.zeros((2, 4), np.float16),
        "log_tail": np.zeros((2, 1), np.float32),
    }
    for missing_mass in MISSING:
        values, gradients = run(
            kl_values, random_logits(18, 2), arrays, 0, 1.0, missing_mass=missing_mass
        )
        assert np.isfinite(values).all() and np.isfinite(gradients).all()


def test_half_precision_student_is_computed_in_float32():
    arrays = teacher_arrays(random_logits(19), 6)
    student = random_logits(20).astype(np.float16)
    values, gradients = run(kl_values, student, arrays, 1, 1.0)
    expected, _ = run(kl_values, student.astype(np.float32), arrays, 1, 1.0)
    np.testing.assert_array_equal(values, expected)
    assert values.dtype == np.float32 and gradients.dtype == np.float16


def test_loss_inside_a_graph_equals_the_eager_one():
    arrays = teacher_arrays(random_logits(21), 6)
    student = random_logits(22)
    column = GRID.index(2.0)
    eager = run(kl_values, student, arrays, column, 2.0)

    @tf.function
    def step(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            values = kl_values(
                logits,
                arrays["ids"].astype(np.int32),
                arrays["logits"],
                arrays["log_tail"][:, column],
                temperature=2.0,
            )
        return values, tape.gradient(values, logits)

    graph = step(tf.constant(student))
    for a, b in zip(eager, graph, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("function", [kl_values, soft_cross_entropy_values])
@pytest.mark.parametrize("temperature", [4.0, 20.0])
@pytest.mark.parametrize(("noise", "error"), [(1.0, 3e-3), (0.1, 1e-2)])
def test_tail_of_most_of_the_mass_keeps_its_digits(function, temperature, noise, error):
    # What is taken as q_bucket - p_bucket here, of numbers near 1, is off by up to a quarter.
    num_rows, vocab_size, k = 8, 30522, 8
    teacher = random_logits(25, num_rows, vocab_size, scale=2.5)
    teacher[:, :30] += 9.0
    student = teacher + random_logits(26, num_rows, vocab_size, scale=noise)
    arrays = teacher_arrays(teacher, k, (temperature,))
    assert (arrays["log_tail"] > np.log(0.9)).all()
    _, gradients = run(function, student, arrays, 0, temperature)
    gradients = gradients.astype(np.float64)
    total, size = gradients.sum(axis=-1), np.abs(gradients).sum(axis=-1)
    assert (np.abs(total) < 1e-6 * size).all()
    p = oracle_target(arrays, 0, temperature, "bucket")
    q = np.exp(log_softmax(student.astype(np.float64) / temperature))
    ids = arrays["ids"].astype(int)
    head = np.take_along_axis(q, ids, -1).sum(axis=-1)
    exact = (p[:, :k].sum(axis=-1) - head) / temperature
    found = total - np.take_along_axis(gradients, ids, -1).sum(axis=-1)
    np.testing.assert_allclose(found, exact, rtol=error)


def test_unknown_missing_mass_is_refused():
    arrays = teacher_arrays(random_logits(23), 6)
    with pytest.raises(ValueError, match="missing_mass must be .* got 'uniform'"):
        run(kl_values, random_logits(24), arrays, 1, 1.0, missing_mass="uniform")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 1e-3, 3.0, 100.0, 1e4]),
    student_scale=st.sampled_from([0.0, 3.0, 1e4]),
    k=st.integers(1, 12),
    temperature=st.sampled_from(GRID),
    missing_mass=st.sampled_from(MISSING),
)
def test_any_logits_match_the_definition(seed, scale, student_scale, k, temperature, missing_mass):
    arrays = teacher_arrays(random_logits(seed, 3, 12, scale), k)
    student = random_logits(seed + 1, 3, 12, student_scale)
    # z/T up to 1e5 is itself rounded to 4e-3; at small scales VALUE holds (tests above).
    largest = max(student_scale, 1.0) * 8 / temperature
    tolerance = {"rtol": 4e-6, "atol": 4e-6 + largest * 2e-7}
    gradient = {"rtol": 1e-4, "atol": 1e-6 + largest * 4e-7 / temperature}
    assert_matches_oracle(student, arrays, temperature, missing_mass, tolerance, gradient)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.sampled_from([-4096.0, 512.0]),  # exact on the grid of 1/64 below
    missing_mass=st.sampled_from(MISSING),
)
def test_shifting_the_students_logits_changes_nothing(seed, shift, missing_mass):
    arrays = teacher_arrays(random_logits(seed, 3, 20), 5)
    student = (np.round(random_logits(seed + 1, 3, 20) * 64) / 64).astype(np.float32)
    values, gradients = run(kl_values, student, arrays, 1, 1.0, missing_mass)
    moved, moved_gradients = run(
        kl_values, (student + np.float32(shift)).astype(np.float32), arrays, 1, 1.0, missing_mass
    )
    # A log-sum-exp of 4096 has ulps of 5e-4: the shift costs the float32 accuracy at its size.
    np.testing.assert_allclose(moved, values, atol=abs(shift) * 3e-7)
    np.testing.assert_allclose(moved_gradients, gradients, atol=abs(shift) * 3e-7)


@pytest.mark.parametrize("missing_mass", MISSING)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_heads_of_unlike_lengths_equal_each_row_with_its_own(temperature, missing_mass):
    signal = SparseSignal(threshold=0.06, temperatures=GRID)
    fitted, teacher = Fitted(signal=signal), random_logits(25, num_rows=6, scale=1.5)
    raw = {"logits": teacher}
    arrays = sparse.encode(fitted, raw, true_ids=np.zeros(6, int), draws=None)
    assert len(set(arrays["num_head"].tolist())) > 1
    decoded = sparse.decode(fitted, arrays)
    padded = {"ids": decoded.ids, "logits": decoded.logits, "log_tail": decoded.log_tail}
    student, column = random_logits(26, num_rows=6), GRID.index(temperature)
    values, gradients = run(kl_values, student, padded, column, temperature, missing_mass)
    for row, k in enumerate(arrays["num_head"].tolist()):
        own = {name: values[row : row + 1] for name, values in padded.items()}
        own |= {name: own[name][:, :k] for name in ("ids", "logits")}
        expected = run(kl_values, student[row : row + 1], own, column, temperature, missing_mass)
        np.testing.assert_allclose(values[row : row + 1], expected[0], **VALUE)
        np.testing.assert_allclose(gradients[row : row + 1], expected[1], **GRADIENT)


@pytest.mark.parametrize("missing_mass", MISSING)
@pytest.mark.parametrize("function", [kl_values, soft_cross_entropy_values])
def test_temperature_of_each_entry_gives_what_it_alone_would(function, missing_mass):
    arrays, student = (
        teacher_arrays(random_logits(30, num_rows=4), 6),
        random_logits(31, num_rows=4),
    )
    tails = np.diagonal(arrays["log_tail"])[:, None]  # row i at temperature i of the grid
    each = {**arrays, "log_tail": np.ascontiguousarray(tails)}
    grid = tf.constant(GRID, tf.float32)
    values, gradients = run(function, student, each, 0, grid, missing_mass)
    for row, temperature in enumerate(GRID):
        one = {name: array[row : row + 1] for name, array in each.items()}
        alone = run(function, student[row : row + 1], one, 0, temperature, missing_mass)
        np.testing.assert_allclose(values[row], alone[0][0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradients[row], alone[1][0], rtol=1e-5, atol=1e-7)
