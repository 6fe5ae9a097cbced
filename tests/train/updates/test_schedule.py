import math

import pytest

from train.recipe import Optimizer
from train.updates.schedule import learning_rate


def rates(num_steps, **settings):
    optimizer = Optimizer(learning_rate=0.1, **settings)
    return [learning_rate(optimizer, step=s, num_steps=num_steps) for s in range(num_steps)]


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (0, 0.0),  # the rise starts at 0
        (2, 0.05),
        (4, 0.1),  # the peak
        (7, 0.05),
        (9, 0.1 / 6),  # the last update; 0 would be reached one later
    ],
)
def test_linear_rises_from_zero_and_falls_to_zero(step, rate):
    assert rates(10, warmup_steps=4)[step] == pytest.approx(rate)


def test_constant_stays_at_the_peak():
    assert rates(5, warmup_steps=2, decay="constant") == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.1])


def test_cosine_falls_by_half_in_the_middle_and_by_a_known_amount_at_a_third():
    got = rates(9, warmup_steps=3, decay="cosine")
    assert got[3] == 0.1
    assert got[5] == pytest.approx(0.1 * (1 + 0.5) / 2)  # cos(pi / 3) = 1/2
    assert got[6] == pytest.approx(0.05)
    assert got[8] == pytest.approx(0.05 * (1 - math.cos(math.pi / 6)))


def test_polynomial_is_the_power_of_what_is_left():
    got = rates(6, warmup_steps=2, decay="polynomial", decay_power=2.0)
    assert got[2:] == pytest.approx([0.1, 0.1 * 9 / 16, 0.1 / 4, 0.1 / 16])
    assert rates(6, decay="polynomial") == pytest.approx(rates(6))  # power 1 is linear


@pytest.mark.parametrize("decay", ["linear", "cosine", "polynomial"])
def test_falls_end_at_the_final_rate(decay):
    optimizer = Optimizer(learning_rate=0.1, warmup_steps=1, decay=decay, final_rate=0.2)
    got = [learning_rate(optimizer, step=s, num_steps=8) for s in range(9)]  # one beyond the last
    assert got[1] == pytest.approx(0.1)
    assert got[8] == pytest.approx(0.02)
    assert got[1:] == sorted(got[1:], reverse=True)


def test_schedules_are_those_of_transformers():
    """An independent reference, where the parity extras are installed."""
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")
    for decay, function, extra in (
        ("linear", optimization.get_linear_schedule_with_warmup, {}),
        ("cosine", optimization.get_cosine_schedule_with_warmup, {}),
        (
            "polynomial",
            optimization.get_polynomial_decay_schedule_with_warmup,
            {"power": 2.0, "lr_end": 0.01},
        ),
    ):
        theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        schedule = function(theirs, num_warmup_steps=4, num_training_steps=20, **extra)
        expected = []
        for _ in range(20):
            expected.append(theirs.param_groups[0]["lr"])
            theirs.step()
            schedule.step()
        ours = {"decay_power": 2.0, "final_rate": 0.1} if extra else {}
        assert rates(20, warmup_steps=4, decay=decay, **ours) == pytest.approx(expected)


def test_without_rise_the_first_step_has_the_peak():
    assert rates(3)[0] == 0.1


def test_rise_as_long_as_the_run_never_divides_by_zero():
    assert rates(3, warmup_steps=3) == pytest.approx([0.0, 0.1 / 3, 0.2 / 3])
