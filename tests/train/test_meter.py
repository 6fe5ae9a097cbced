"""Rates, shares and the time left, with a clock that the test moves."""

import math

import pytest

from limbeck.ranks import World
from train import meter as meter_module
from train.meter import Meter, StepValues


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meter_module.time, "perf_counter", lambda: now[0])
    return now


class Log:
    """Stands for `MetricsLog`."""

    def __init__(self):
        self.lines = []

    def write(self, *, step, **values):
        self.lines.append(values)


def values(step, **changes):
    settings = {
        "loss": 2.0,
        "terms": {"mlm": 2.0},
        "counts": {"mlm": 30},
        "gradient_norm": 1.0,
        "learning_rate": 0.1,
        "rows": 8 * step,
        "tokens": 100 * step,
        "epoch": 0.1 * step,
    }
    return StepValues(step=step, **{**settings, **changes})


def run_step(meter, clock, *, seconds, comm_s, waited_s):
    clock[0] += seconds - comm_s
    with meter.communicating():
        clock[0] += comm_s
    meter.count(rows=8, tokens=100, waited_s=waited_s)


def test_shares_and_rates_are_those_since_the_last_line_without_the_first_step(clock):
    log, said = Log(), []
    meter = Meter(World(rank=0, size=2), num_steps=103, log=log, say=said.append)
    run_step(meter, clock, seconds=60.0, comm_s=50.0, waited_s=9.0)  # compiles
    run_step(meter, clock, seconds=2.0, comm_s=0.5, waited_s=9.2)
    run_step(meter, clock, seconds=2.0, comm_s=0.7, waited_s=9.4)
    meter.report(values(3), waited_s=9.4)
    run_step(meter, clock, seconds=1.0, comm_s=0.0, waited_s=9.4)
    meter.report(values(4, skipped=1), waited_s=9.4)
    first, second = log.lines
    assert first["speed/step_s"] == pytest.approx(2.0)
    assert first["speed/tokens_per_s"] == pytest.approx(50.0)
    assert first["speed/tokens_per_s_per_rank"] == pytest.approx(25.0)
    assert first["speed/data_share"] == pytest.approx(0.1)
    assert first["speed/comm_share"] == pytest.approx(0.3)
    assert "tok/s    50 (   25/rank) data 10% comm 30% eta 3m20" in said[0]
    assert (second["speed/step_s"], second["speed/comm_share"]) == (1.0, 0.0)
    assert (first["train/skipped"], second["train/skipped"]) == (0, 1)


def test_line_of_the_step_that_compiles_has_no_rates_and_no_time_left(clock):
    log, said = Log(), []
    meter = Meter(World(), num_steps=10, log=log, say=said.append)
    run_step(meter, clock, seconds=60.0, comm_s=0.0, waited_s=0.0)
    meter.report(values(1, loss=math.nan), waited_s=0.0)
    assert not [name for name in log.lines[0] if name.startswith("speed/")]
    assert "loss    nan" in said[0] and said[0].endswith("eta ?")
    assert "comm" not in said[0]


def test_only_the_leader_speaks(clock):
    said = []
    meter = Meter(World(rank=1, size=2), num_steps=10, log=None, say=said.append)
    run_step(meter, clock, seconds=1.0, comm_s=0.0, waited_s=0.0)
    meter.report(values(1), waited_s=0.0)
    meter.say("x")
    assert not said
