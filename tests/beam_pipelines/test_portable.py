"""A job server and Beam's portable runner: what Flink, Spark and Dataflow speak."""

import re
import subprocess
import sys

import pytest

SERVER = "apache_beam.runners.portability.local_job_service_main"


@pytest.fixture
def job_server():
    """Beam's own job server, in a process of its own; returns its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", SERVER, "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "Listening for beam jobs on port" in line:
            break
    port = re.findall(r"port (\d+)", line)[-1]
    yield f"localhost:{port}"
    process.terminate()
    process.communicate()


def test_dataset_of_a_job_server_is_the_local_one(small_dump, tmp_path, run, tree, job_server):
    command = ["--dump", small_dump, "--num-shards", "3"]
    assert run("beam_pipelines.wikipedia", *command, "--out", tmp_path / "local").code == 0
    options = ["--runner", "PortableRunner", "--beam-options", f"job_endpoint={job_server}"]
    options += ["environment_type=LOOPBACK"]
    done = run("beam_pipelines.wikipedia", *command, "--out", tmp_path / "there", *options)
    assert done.code == 0, done.err
    assert tree(tmp_path / "there") == tree(tmp_path / "local")
