"""Weights over the steps of a run, against numbers worked out by hand."""

import pytest

from limbeck.config import UsageError, yaml_file
from train.recipe import make_term
from train.recipe.schedules import CosineWeight, LinearDecay, LinearGrowth, StagedWeight
from train.recipe.term import Term

SHARES = (0.0, 0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (LinearDecay(), (1.0, 0.75, 0.5, 0.0)),
        (LinearDecay(weight=2.0), (2.0, 1.5, 1.0, 0.0)),
        (LinearGrowth(), (0.0, 0.25, 0.5, 1.0)),
        (LinearGrowth(weight=3.0), (0.0, 0.75, 1.5, 3.0)),
        (CosineWeight(), (1.0, (2 + 2**0.5) / 4, 0.5, 0.0)),  # cos 45 degrees is 1 / sqrt(2)
        (CosineWeight(start=1.0, end=3.0), (1.0, (4 - 2**0.5) / 2, 2.0, 3.0)),
        (StagedWeight(weights=(1.0, 0.0, 4.0), until=(0.25, 0.6)), (1.0, 0.0, 0.0, 4.0)),
    ],
)
def test_weight_is_the_one_worked_out_by_hand(schedule, expected):
    assert [schedule.at(x) for x in SHARES] == pytest.approx(expected, abs=1e-15)


def test_linear_schedules_are_those_of_textbrewer():
    """There they are 1 - x and x with x = step / steps; its first step, which comes before the
    scheduler's first call, has the constant weight, and here that of x = 0."""
    decay, growth = LinearDecay(), LinearGrowth()
    for step in range(7):
        assert decay.at(step / 7) == 1 - step / 7
        assert growth.at(step / 7) == step / 7
        assert decay.at(step / 7) + growth.at(step / 7) == 1


def test_next_stage_begins_at_its_share():
    staged = StagedWeight(weights=(1.0, 2.0), until=(0.5,))
    assert [staged.at(step / 4) for step in range(4)] == [1.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearDecay(weight=-1.0), "weight is -1.0"),
        (lambda: LinearGrowth(weight=0.0), "not all 0"),
        (lambda: LinearGrowth(weight=float("nan")), "weight is nan"),
        (lambda: CosineWeight(start=0.0, end=0.0), "not all 0"),
        (lambda: StagedWeight(weights=(0.0, 0.0), until=(0.5,)), "not all 0"),
        (lambda: StagedWeight(weights=(1.0,), until=(0.5,)), "one weight more"),
        (lambda: StagedWeight(weights=(1.0, 2.0, 3.0), until=(0.5, 0.5)), "rising shares"),
        (lambda: StagedWeight(weights=(1.0, 2.0), until=(1.0,)), "rising shares"),
        (lambda: StagedWeight(weights=(1.0, 2.0), until=(0.0,)), "rising shares"),
    ],
)
def test_schedule_that_is_none_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_scale_is_the_scheduled_weight_times_the_square_of_the_temperature():
    decay = LinearDecay(weight=2.0)
    kl = make_term("kl", signal="top", temperature=3.0, weight=decay)
    assert [kl.weight_at(x) for x in SHARES] == [2.0, 1.5, 1.0, 0.0]
    assert [kl.scale_at(x) for x in SHARES] == [18.0, 13.5, 9.0, 0.0]
    constant = make_term("mlm", weight=0.5)
    assert [constant.scale_at(x) for x in SHARES] == [0.5] * 4


def test_schedule_is_read_from_a_recipe_and_written_back():
    text = "loss: mlm\nweight: {schedule: staged, weights: [1, 0.5], until: [0.3]}\n"
    term = yaml_file.loads(text, Term, "term.yaml")
    assert term.weight == StagedWeight(weights=(1.0, 0.5), until=(0.3,))
    assert yaml_file.loads(yaml_file.dump(term), Term) == term
    for weight, message in (
        ("{schedule: linear}", "term.yaml:2: .*'linear'"),
        ("{schedule: linear_decay, start: 1}", "term.yaml:2: unknown key 'start'"),
        ("{weight: 1}", "term.yaml:2: .*lacks 'schedule'"),
        ("{schedule: cosine, start: -1}", "weight is -1"),
    ):
        with pytest.raises(UsageError, match=message):
            yaml_file.loads(f"loss: mlm\nweight: {weight}\n", Term, "term.yaml")
