"""Distributions over tokens against PyTorch in float64, and the term from settings to gradient."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from limbeck.config import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import TaskSignal
from train.losses import span_distribution_values
from train.objective import Outputs, bind
from train.recipe import StudentFacts, make_term
from train.recipe.heads import Head

M, T, C = 3, 6, 2
LENGTHS = np.array([6, 4, 1])
REAL = np.arange(T) < LENGTHS[:, None]
FACTS = StudentFacts(architecture=None, heads={"qa": Head(kind="span", num_labels=C)})


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(M, T, C)).astype(np.float32)


def run(student, teacher, temperature, *, with_entropy=True, real=REAL):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        values = span_distribution_values(
            student,
            tf.constant(teacher),
            tf.constant(real),
            temperature=temperature,
            with_entropy=with_entropy,
        )
    return values.numpy(), tape.gradient(values, student).numpy()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("scale", [3.0, 1e3])
def test_kl_of_each_row_is_that_of_distilberts_question_answering(temperature, scale):
    torch = pytest.importorskip("torch")
    student, teacher = logits(0, scale), logits(1, scale)
    values, gradients = run(student, teacher, temperature)
    loss = torch.nn.KLDivLoss(reduction="batchmean")
    for row, length in enumerate(LENGTHS):
        z = torch.tensor(student[row, :length], dtype=torch.float64, requires_grad=True)
        t = torch.tensor(teacher[row, :length], dtype=torch.float64)
        ends = [
            loss(
                torch.log_softmax(z[None, :, c] / temperature, dim=-1),
                torch.softmax(t[None, :, c] / temperature, dim=-1),
            )
            for c in range(C)
        ]
        (sum(ends) / 2).backward()
        np.testing.assert_allclose(values[row], sum(ends).item() / 2, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradients[row, :length], z.grad.numpy(), rtol=1e-4, atol=1e-6)
        assert (gradients[row, length:] == 0).all()


def test_cross_entropy_has_the_same_gradient():
    _, gradients = run(logits(2), logits(3), 2.0)
    values, found = run(logits(2), logits(3), 2.0, with_entropy=False)
    np.testing.assert_array_equal(found, gradients)
    assert (values[:2] > 0).all() and values[2] == 0  # one token: nothing to choose


def test_row_without_a_token_stays_finite():
    values, gradients = run(logits(4), logits(5), 1.0, real=REAL & [[True], [False], [True]])
    assert np.isfinite(values).all() and np.isfinite(gradients).all()


def family(signal, num_labels=C):
    return SimpleNamespace(
        signal=signal,
        fitted=Fitted(signal=signal),
        num_labels=num_labels,
        list_name=signal.positions,
    )


def test_term_counts_each_row_once_with_its_square():
    term = make_term(loss="span_kl", signal="answers", temperature=2.0)
    objective = bind([term], {"answers": family(TaskSignal(positions="all"))}, FACTS)
    assert objective.terms[0].count == "all rows" and term.scale_at(0.0) == 4.0
    assert objective.asked("fed", split=False).heads == ("qa",)
    student, teacher = logits(6), logits(7)
    rows, tokens = np.nonzero(REAL)
    filled = [[np.nan] * C] * 2  # entries that only fill the list
    batch = {
        "ids": np.zeros((M, T), np.int32),
        "items": {
            "all": {
                "index": np.append(rows * T + tokens, [0, 0]).astype(np.int32),
                "valid": np.append(np.ones(len(rows), bool), [False, False]),
            }
        },
        "teacher": {"answers": {"logits": np.concatenate([teacher[REAL], filled])}},
    }
    batch["teacher"]["answers"]["logits"] = np.float32(batch["teacher"]["answers"]["logits"])
    z = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(z)
        outputs = {"fed": Outputs(heads={"qa": z})}
        total = objective.sums(outputs, tf.nest.map_structure(tf.constant, batch), {})
    values, gradients = run(student, teacher, 2.0)
    np.testing.assert_allclose(total, [values.sum()], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(total, z), gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "heads", "message"),
    [
        (family(TaskSignal()), FACTS.heads, "needs a task family at positions all"),
        (family(TaskSignal(positions="all")), {}, "head: loss span_kl needs a student with a span"),
        (family(TaskSignal(positions="all"), 3), FACTS.heads, "has 3 logits a token"),
    ],
)
def test_families_and_students_without_spans_are_refused(one, heads, message):
    term = make_term(loss="span_kl", signal="answers")
    with pytest.raises(UsageError, match=message):
        term.check([one], StudentFacts(architecture=None, heads=heads))
