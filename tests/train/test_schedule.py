import pytest

from train.recipe import Optimizer
from train.schedule import learning_rate


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
    optimizer = Optimizer(learning_rate=0.1, warmup_steps=4)
    assert learning_rate(optimizer, step=step, num_steps=10) == pytest.approx(rate)


def test_constant_stays_at_the_peak():
    optimizer = Optimizer(learning_rate=0.1, warmup_steps=2, decay="constant")
    rates = [learning_rate(optimizer, step=s, num_steps=5) for s in range(5)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.1, 0.1])


def test_without_rise_the_first_step_has_the_peak():
    optimizer = Optimizer(learning_rate=0.1)
    assert learning_rate(optimizer, step=0, num_steps=3) == 0.1


def test_rise_as_long_as_the_run_never_divides_by_zero():
    optimizer = Optimizer(learning_rate=0.1, warmup_steps=3)
    rates = [learning_rate(optimizer, step=s, num_steps=3) for s in range(3)]
    assert rates == pytest.approx([0.0, 0.1 / 3, 0.2 / 3])
