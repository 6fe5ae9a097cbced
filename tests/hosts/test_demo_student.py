"""The demonstration's student once more, this time with a host for each of its two ranks."""

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.hosts.conftest import Job, launch_line
from train.checkpoints import checkpoint

STUDENT = ROOT / "runs" / "demo" / "runs" / "student"


@pytest.mark.slow
@pytest.mark.ranks(2)
@pytest.mark.timeout(1200)
def test_demo_student_has_the_same_weights_when_its_ranks_are_on_two_hosts(net, tmp_path):
    if not checkpoint.list_checkpoints(STUDENT / "checkpoints"):
        pytest.skip("no demo in this checkout: run `make demo` first")
    run_dir = tmp_path / "student"
    command = ["python", "-m", "train", "run", STUDENT / "config.json", "--run-dir", run_dir]
    with Job(next(iter(net.hosts.values())), launch_line(net, 2, *command)) as job:
        assert job.wait() == 0, job.log
    across, alone = (checkpoint.load_newest(path / "checkpoints") for path in (run_dir, STUDENT))
    assert across.progressed.step == alone.progressed.step
    for name, tensor in alone.tensors.items():
        np.testing.assert_array_equal(across.tensors[name], tensor, err_msg=name)
