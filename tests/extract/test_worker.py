"""Which worker a process is, as launchers tell it."""

import pytest

from extract.worker import Worker, parse_worker
from limbeck.config.errors import UsageError

ARRAY = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_STEP": "2"}


@pytest.mark.parametrize(
    "text, environment, expected",
    [
        ("0/1", {}, (0, 1)),
        ("2/8", {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (2, 8)),  # said wins
        ("auto", {}, (0, 1)),
        ("auto", {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, (3, 4)),
        ("auto", {"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
        ("auto", {"PMIX_RANK": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
        ("auto", {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6"}, (5, 6)),
        ("auto", {"SLURM_PROCID": "0", "SLURM_NTASKS": "6"}, (0, 1)),  # sbatch's script: one
        ("auto", {**ARRAY, "SLURM_ARRAY_TASK_COUNT": "4"}, (3, 4)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "3"}, (0, 3)),  # a list
        (
            "auto",  # mpirun -np 2 inside each of 4 tasks: 8 workers
            {
                **ARRAY,
                "SLURM_ARRAY_TASK_COUNT": "4",
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "2",
            },
            (7, 8),
        ),
        ("auto", {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "5"}, (2, 5)),
    ],
)
def test_worker_is_what_was_said_or_what_the_launcher_says(text, environment, expected):
    worker = parse_worker(text, environment)
    assert (worker.index, worker.count) == expected
    assert worker.is_alone == (expected[1] == 1)


@pytest.mark.parametrize(
    "text, environment, reason",
    [
        ("", {}, "expected i/n"),
        ("3", {}, "expected i/n"),
        ("-1/4", {}, "expected i/n"),
        ("4/4", {}, "numbered from 0 to 3"),
        ("0/0", {}, "numbered from 0"),
        ("auto", {"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETIONS"),
        ("auto", {"PMI_RANK": "x", "PMI_SIZE": "2"}, "PMI_RANK is 'x'"),
        ("auto", {"PMI_RANK": "2", "PMI_SIZE": "2"}, "PMI_RANK and PMI_SIZE"),
        ("auto", {"SLURM_ARRAY_TASK_ID": ""}, "SLURM_ARRAY_TASK_ID"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, environment, reason):
    with pytest.raises(UsageError, match=f"^--worker .*{reason}"):
        parse_worker(text, environment)


def test_index_must_be_below_the_count():
    with pytest.raises(ValueError, match="worker 3 of 3"):
        Worker(index=3, count=3)
