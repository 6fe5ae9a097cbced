"""Horovod's settings: their variables against Horovod's own sources, and what is refused."""

import dataclasses
import re
from pathlib import Path

import pytest

from launch.jobs.knobs import Knobs, load_knobs, replaced, variable_of
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError

ALL = Knobs(
    fusion_threshold_mb=1.5,
    cycle_time_ms=3.5,
    cache_capacity=0,
    hierarchical_allreduce=True,
    hierarchical_allgather=False,
    torus_allreduce=False,
    num_nccl_streams=2,
    autotune=True,
    autotune_log="tried.csv",
    autotune_warmup_samples=0,
    autotune_steps_per_sample=5,
    autotune_max_samples=10,
    autotune_noise=0.5,
    timeline="t.json",
    timeline_mark_cycles=True,
    stall_check=True,
    stall_warning_s=30,
    stall_shutdown_s=31,
    dynamic_process_sets=True,
    log_level="info",
    threads=1,
)

# Read by NCCL builds only, so a CPU build's library does not hold it.
GPU_ONLY = {"HOROVOD_NUM_NCCL_STREAMS"}


def horovod():
    """Horovod's directory, without importing it."""
    import importlib.util

    found = importlib.util.find_spec("horovod")
    if found is None:
        pytest.skip("Horovod is not built; run `make setup`")
    return Path(found.submodule_search_locations[0])


def test_every_setting_has_its_variable_and_is_written_as_horovod_reads_it():
    assert len(ALL.given()) == len(dataclasses.fields(Knobs))
    assert ALL.environment() == {
        "HOROVOD_FUSION_THRESHOLD": "1572864",
        "HOROVOD_CYCLE_TIME": "3.5",
        "HOROVOD_CACHE_CAPACITY": "0",
        "HOROVOD_HIERARCHICAL_ALLREDUCE": "1",
        "HOROVOD_HIERARCHICAL_ALLGATHER": "0",
        "HOROVOD_TORUS_ALLREDUCE": "0",
        "HOROVOD_NUM_NCCL_STREAMS": "2",
        "HOROVOD_AUTOTUNE": "1",
        "HOROVOD_AUTOTUNE_LOG": "tried.csv",
        "HOROVOD_AUTOTUNE_WARMUP_SAMPLES": "0",
        "HOROVOD_AUTOTUNE_STEPS_PER_SAMPLE": "5",
        "HOROVOD_AUTOTUNE_BAYES_OPT_MAX_SAMPLES": "10",
        "HOROVOD_AUTOTUNE_GAUSSIAN_PROCESS_NOISE": "0.5",
        "HOROVOD_TIMELINE": "t.json",
        "HOROVOD_TIMELINE_MARK_CYCLES": "1",
        "HOROVOD_STALL_CHECK_DISABLE": "0",
        "HOROVOD_STALL_CHECK_TIME_SECONDS": "30",
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": "31",
        "HOROVOD_DYNAMIC_PROCESS_SETS": "1",
        "HOROVOD_LOG_LEVEL": "info",
        "TF_NUM_INTRAOP_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def test_settings_are_left_alone_by_default():
    assert Knobs().environment() == {}


def test_horovods_library_reads_every_variable():
    """Its C++ looks names up as text, which its library therefore holds."""
    library = b"".join(path.read_bytes() for path in horovod().glob("tensorflow/mpi_lib*.so"))
    read = {name.decode() for name in re.findall(rb"HOROVOD_[A-Z_]+(?=\0)", library)}
    ours = {name for name in ALL.environment() if name.startswith("HOROVOD_")}
    assert "HOROVOD_CYCLE_TIME" in read
    assert ours - read - GPU_ONLY == set()


def test_horovods_own_launcher_writes_the_same_variables():
    source = (horovod() / "runner/common/util/config_parser.py").read_text()
    written = set(re.findall(r"^(HOROVOD_\w+) = '\1'", source, re.MULTILINE))
    ours = {name for name in ALL.environment() if name.startswith("HOROVOD_")}
    assert ours - written == {"HOROVOD_DYNAMIC_PROCESS_SETS"}  # newer than that file


def test_settings_go_through_a_file(tmp_path):
    path = tmp_path / "knobs.yaml"
    path.write_text(yaml_file.dump(ALL))
    assert load_knobs(str(path)) == ALL
    assert load_knobs(str(path), ["cycle_time_ms=4"]).cycle_time_ms == 4
    assert load_knobs(None, ["log_level=debug"]) == Knobs(log_level="debug")
    assert load_knobs(None) == Knobs()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cycle_time: 1", "knobs.yaml:1: unknown key 'cycle_time'"),
        ("log_level: loud", "'trace', 'debug', 'info', 'warning', 'error', 'fatal'"),
        ("cache_capacity: 0.5", "expected a whole number"),
        ("fusion_threshold_mb: -1", "fusion_threshold_mb is -1.0; it must be at least 0"),
        ("threads: 0", "threads is 0; it must be at least 1"),
        ("autotune_log: a.csv", "autotune_log has no effect without autotune"),
        ("autotune: false\nautotune_noise: 0.1", "knobs.yaml:2: autotune_noise has no effect"),
        ("autotune: true\nautotune_noise: 2", "autotune_noise is 2.0; it must be at most 1"),
        ("timeline_mark_cycles: true", "timeline_mark_cycles has no effect without timeline"),
        ("stall_shutdown_s: 60", "it must be more than stall_warning_s (60)"),
        ("stall_warning_s: 9\nstall_shutdown_s: 5", "more than stall_warning_s (9)"),
        ("stall_check: false\nstall_shutdown_s: 90", "stall_shutdown_s has no effect where"),
    ],
)
def test_wrong_settings_are_refused_with_their_line(tmp_path, text, message):
    path = tmp_path / "knobs.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UsageError, match=re.escape(message)):
        load_knobs(str(path))


def test_environment_with_another_value_is_named():
    settings = Knobs(cycle_time_ms=5, threads=2).environment()
    assert replaced(settings, {"OMP_NUM_THREADS": "2", "HOME": "/"}) == []
    (line,) = replaced(settings, {"HOROVOD_CYCLE_TIME": "1"})
    assert line == (
        "HOROVOD_CYCLE_TIME is '1' in the environment and '5' in the knobs; the knobs count"
    )
    assert variable_of("stall_check") == "HOROVOD_STALL_CHECK_DISABLE"
