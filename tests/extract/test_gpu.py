import pytest

from extract import gpu
from extract.gpu import own_gpu, take_own_gpu


@pytest.mark.parametrize(
    ("environment", "num_gpus", "expected"),
    [
        ({}, 8, None),
        ({"SLURM_LOCALID": "3"}, 8, "3"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "9", "SLURM_LOCALID": "0"}, 8, "1"),
        ({"MPI_LOCALRANKID": "1"}, 1, None),
        ({"SLURM_LOCALID": "1"}, 0, None),
        # What the scheduler left visible counts, by whatever names it has.
        ({"SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 8, "GPU-b"),
        ({"SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "5"}, 8, None),
        ({"SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": ""}, 8, None),
        ({"SLURM_LOCALID": "one"}, 8, None),
    ],
)
def test_each_worker_of_a_host_has_a_gpu_of_its_own(environment, num_gpus, expected):
    assert own_gpu(environment, num_gpus=num_gpus) == expected


def test_choice_is_left_in_the_environment(monkeypatch):
    monkeypatch.setattr(gpu, "_num_gpus", lambda: 4)
    environment = {"OMPI_COMM_WORLD_LOCAL_RANK": "2", "HOME": "/home/ada"}
    take_own_gpu(environment)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"
    alone = {"HOME": "/home/ada"}
    take_own_gpu(alone)
    assert alone == {"HOME": "/home/ada"}
