"""The benchmark of several ranks runs and prints what it promises."""

import json

import pytest


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_two_ranks_measure_every_kind(mpirun):
    sizes = {
        "rows-per-rank": 4,
        "micro-batches": 2,
        "length": 16,
        "masked": 2,
        "vocab-size": 100,
        "num-layers": 1,
        "hidden-dim": 32,
        "steps-per-block": 1,
        "rounds": 2,
    }
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    done = mpirun(2, ["-m", "bench.scaling", *options])
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result["step_s"]) == {"alone", "local", "group", "flat", "float16"}
    assert result["ranks"] == 2 and result["efficiency"] > 0
