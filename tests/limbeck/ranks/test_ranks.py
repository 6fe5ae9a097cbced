import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from limbeck import ranks
from limbeck.config import LimbeckError
from limbeck.ranks import World, launched_under_mpi

CHECKS = str(Path(__file__).with_name("collective_checks.py"))


@pytest.mark.ranks(3)
def test_collectives_give_every_rank_the_same(mpirun):
    done = mpirun(3, [CHECKS, "collectives"])
    assert sorted(line for line in done.stdout.splitlines() if "agrees" in line) == [
        f"rank {rank} of 3 agrees" for rank in range(3)
    ]


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_adasum_is_its_formula(mpirun):
    done = mpirun(2, [CHECKS, "adasum"])
    assert done.stdout.count("of 2 agrees") == 2


@pytest.mark.slow  # tests/train/test_bad_input.py has it in a run
@pytest.mark.ranks(2)
def test_bad_input_of_one_rank_is_one_line_and_exit_code_2(mpirun):
    done = mpirun(2, [CHECKS, "disagreement"], check=False)
    assert done.returncode == 2
    assert done.stderr.count("check: error: rank 1: no such directory here") == 1


@pytest.mark.ranks(2)
@pytest.mark.faults
@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("bug", "[r1] KeyError: 'a bug'"),
        # tests/train/test_step_ranks.py has this one in a run.
        pytest.param("failure", "[r1] check: error: damaged record", marks=pytest.mark.slow),
    ],
)
def test_error_of_one_rank_ends_the_run_and_is_named(mpirun, what, line):
    started = time.monotonic()
    done = mpirun(2, [CHECKS, what], check=False, timeout_s=100)
    assert done.returncode == 1
    assert line in done.stderr
    assert time.monotonic() - started < 90  # the other rank does not hang in its collective


def test_process_of_its_own_never_imports_horovod():
    code = (
        "import sys; from limbeck import ranks; world = ranks.init();"
        "assert world == ranks.World(); assert ranks.gather_bytes(b'x') == [b'x'];"
        "ranks.barrier(); ranks.broadcast_variables([]);"
        "assert not [m for m in sys.modules if m.startswith('horovod')]"
    )
    environment = {
        name: value
        for name, value in __import__("os").environ.items()
        if not name.startswith(("OMPI_", "PMIX_", "HOROVOD_"))
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("environment", "launched"),
    [
        ({}, False),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, True),
        ({"HOROVOD_RANK": "0"}, True),
        ({"PMIX_RANK": "0"}, True),
        ({"SLURM_PROCID": "0"}, False),  # sbatch sets it for plain commands too
    ],
)
def test_launchers_are_known_by_their_variables(environment, launched):
    assert launched_under_mpi(environment) is launched


def test_place_outside_the_run_is_refused():
    for wrong in (
        {"rank": 2, "size": 2},
        {"rank": -1},
        {"rank": 1, "size": 2, "local_rank": 1, "local_size": 1},
    ):
        with pytest.raises(ValueError, match="ranks count from 0"):
            World(**wrong)
    assert World().is_leader and not World(rank=1, size=2).is_leader


def test_alone_collectives_are_the_identity_and_errors_pass():
    assert ranks.sum_group([1, 2], name="x") == [1, 2]
    np.testing.assert_array_equal(ranks.sum_vector(np.array([3, 4]), name="x"), [3, 4])
    assert ranks.broadcast_bytes(b"y") == b"y"
    assert ranks.agree(World(), lambda: 7, prog="p") == 7

    def fail():
        raise LimbeckError("as it is")

    with pytest.raises(LimbeckError, match="as it is"):
        ranks.agree(World(), fail, prog="p")
    with pytest.raises(LimbeckError, match="as it is"), ranks.fail_alone(World(), prog="p"):
        fail()


def test_threads_share_the_cores_of_a_host():
    import os

    cores = len(os.sched_getaffinity(0))
    assert ranks.core_threads(1) == cores
    assert ranks.core_threads(10 * cores) == 1
