"""Against the published TextBrewer 0.2.1, in float64: values, temperatures and gradients.

Ours are float32 inside; a tolerance of 1e-5 of the largest number is a few ulps of sums of 40.
"""

import numpy as np
import pytest
import tensorflow as tf

from train.losses.full import full_soft_cross_entropy_values
from train.losses.logit_values import logit_mse_values
from train.losses.teachers import mean_logits, shift_to_labels
from train.losses.temperatures import cwsm_weights, entry_temperatures, flsw_weights
from train.recipe.temperatures import CwsmTemperature, FlswTemperature

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
losses = pytest.importorskip("textbrewer.losses")
schedulers = pytest.importorskip("textbrewer.schedulers")
utils = pytest.importorskip("textbrewer.distiller_utils")
distillers = pytest.importorskip("textbrewer.distiller_multiteacher")

N, V = 9, 40


def logits(seed, scale=3.0):
    return np.random.default_rng(seed).normal(scale=scale, size=(N, V)).astype(np.float32)


def ours(function, student, teacher, **settings):
    """Mean over the entries, as TextBrewer has it, and its gradient."""
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = tf.reduce_mean(function(student, tf.constant(teacher), **settings))
    return value.numpy(), tape.gradient(value, student).numpy()


def theirs(function, student, teacher, temperature):
    student = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    value = function(student, torch.tensor(teacher, dtype=torch.float64), temperature)
    value.backward()
    return value.item(), student.grad.numpy()


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    largest = np.abs(expected[1]).max()
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6 * largest)


PAIRS = [
    (full_soft_cross_entropy_values, losses.kd_ce_loss),
    (logit_mse_values, losses.kd_mse_loss),
]


@pytest.mark.parametrize(("our_loss", "their_loss"), PAIRS)
@pytest.mark.parametrize("temperature", [1.0, 4.0, 8.0])
@pytest.mark.parametrize("scale", [3.0, 1e3])
def test_losses_at_one_temperature_are_those_of_textbrewer(
    our_loss, their_loss, temperature, scale
):
    student, teacher = logits(0, scale), logits(1, scale)
    found = ours(our_loss, student, teacher, temperature=temperature)
    assert_same(found, theirs(their_loss, student, teacher, temperature))


@pytest.mark.parametrize(("our_loss", "their_loss"), PAIRS)
def test_losses_with_a_temperature_for_each_entry_are_those_of_textbrewer(our_loss, their_loss):
    student, teacher = logits(2), logits(3)
    temperatures = np.random.default_rng(4).uniform(0.5, 8.0, N).astype(np.float32)
    found = ours(our_loss, student, teacher, temperature=tf.constant(temperatures))
    each = torch.tensor(temperatures, dtype=torch.float64)
    assert_same(found, theirs(their_loss, student, teacher, each))


def our_temperatures(schedule, student, teacher):
    if isinstance(schedule, FlswTemperature):
        weights = flsw_weights(student, teacher, gamma=schedule.gamma)
    else:
        weights = cwsm_weights(student)
    return entry_temperatures(schedule, weights, mean=tf.reduce_mean(weights))


@pytest.mark.parametrize(
    ("schedule", "builder", "arguments"),
    [
        (FlswTemperature(temperature=8, beta=1, gamma=1), "flsw", (1, 1)),
        (FlswTemperature(temperature=8, beta=2, gamma=2.5), "flsw", (2, 2.5)),
        (CwsmTemperature(temperature=8, beta=1, floor=1e-3), "cwsm", (1,)),
    ],
)
@pytest.mark.parametrize(("our_loss", "their_loss"), PAIRS)
def test_schedules_and_losses_under_them_are_those_of_textbrewer(
    our_loss, their_loss, schedule, builder, arguments
):
    student, teacher = logits(5), logits(6) + 0.5 * logits(5)
    scheduler = getattr(schedulers, f"{builder}_temperature_scheduler_builder")(*arguments)

    def scheduled(z_student, z_teacher, _):
        return their_loss(z_student, z_teacher, scheduler(z_student, z_teacher, 8.0))

    expected = scheduler(torch.tensor(student), torch.tensor(teacher), 8.0)
    found = our_temperatures(schedule, student, teacher)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(found) > 0.1  # they do differ

    def loss(z_student, z_teacher):
        temperatures = our_temperatures(schedule, z_student, z_teacher)
        return our_loss(z_student, z_teacher, temperature=temperatures)

    assert_same(ours(loss, student, teacher), theirs(scheduled, student, teacher, None))


def test_shifted_logits_are_those_of_textbrewer():
    teacher, labels = logits(7), np.random.default_rng(8).integers(0, V, N)
    labels[2] = teacher[2].argmax()  # the teacher is right
    expected = utils.probability_shift_(torch.tensor(teacher), torch.tensor(labels))
    found = shift_to_labels(tf.constant(teacher), tf.constant(labels, tf.int32))
    np.testing.assert_array_equal(found, expected)


def test_entries_without_a_label_are_left_alone_as_in_textbrewer():
    teacher, labels = logits(9), np.array([3, -100, 5, -1, 0, 1, 2, 3, 4])
    expected = utils.probability_shift_(torch.tensor(teacher)[None], torch.tensor(labels)[None])
    found = shift_to_labels(tf.constant(teacher), tf.constant(labels, tf.int32))
    np.testing.assert_array_equal(found, expected[0])


def test_mean_of_several_teachers_is_that_of_textbrewer():
    """Its MultiTeacherDistiller: the mean of the logits, then one loss."""
    student, teachers = logits(10), [logits(11), logits(12), logits(13)]
    config = type("Config", (), {"temperature": 4.0, "temperature_scheduler": None})
    config.probability_shift, config.kd_loss_weight = False, 1.0
    distiller = object.__new__(distillers.MultiTeacherDistiller)
    distiller.t_config = type("Training", (), {"device": "cpu"})
    distiller.d_config, distiller.kd_loss = config, losses.kd_ce_loss
    z = torch.tensor(student, requires_grad=True)
    answers = [torch.tensor(each) for each in teachers]
    distiller.model_T = [lambda x, z=answer: z for answer in answers]
    distiller.model_S = lambda x: z
    distiller.adaptor_S = lambda batch, outputs: {"logits": outputs}
    distiller.adaptor_T = lambda batch, outputs: {"logits": outputs}
    distiller.d_config.is_caching_logits, distiller.logits_cache = False, []
    value, _ = distiller.train_on_batch((torch.zeros(N),), {})
    value.backward()

    def loss(z_student, z_teachers):
        mean = mean_logits(tf.unstack(z_teachers), (1 / 3, 1 / 3, 1 / 3))
        return full_soft_cross_entropy_values(z_student, mean, temperature=4.0)

    found = ours(loss, student, np.stack(teachers))
    assert_same(found, (value.item(), z.grad.numpy()))
