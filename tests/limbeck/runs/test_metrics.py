"""Metrics: both files from one call, and a resumed file like an uninterrupted one."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.runs import METRICS, MetricsLog, RunDirectory, metric, read_metrics, truncate_metrics


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A taken run directory."""
    directory = RunDirectory(tmp_path)
    directory.take({"name": "a"})
    return directory


def write_steps(run: RunDirectory, first: int, last: int, resumed_step: int | None = None) -> None:
    with MetricsLog(run, resumed_step=resumed_step) as log:
        for step in range(first, last + 1):
            log.write(step=step, **{"train/loss": 1.0 / step, "train/loss_hidden_mse_2": 0.3})
            if step % 2 == 0:
                log.write(step=step, **{"eval/accuracy": step / 100, "eval/cosine_x_layer3": 0.9})
        log.sync()


def without_times(run: RunDirectory) -> list[dict]:
    return [
        {k: v for k, v in m.items() if k != "wall_time"} for m in read_metrics(run.metrics_file)
    ]


def test_line_has_step_time_config_and_values(run: RunDirectory) -> None:
    with MetricsLog(run) as log:
        log.write(step=np.int64(3), **{"train/loss": np.float32(0.5), "train/count_mlm": 7})
    (line,) = read_metrics(run.metrics_file)
    assert list(line) == ["step", "wall_time", "config", "train/loss", "train/count_mlm"]
    assert (line["step"], line["train/loss"], line["train/count_mlm"]) == (3, 0.5, 7.0)
    assert line["config"] == run.config_hash


def test_values_that_are_not_finite_stay_on_record_as_valid_json(run: RunDirectory) -> None:
    with MetricsLog(run) as log:
        log.write(step=1, **{"train/loss": math.nan, "train/gradient_norm": -math.inf})
    text = run.metrics_file.read_text()
    line = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert math.isnan(float(line["train/loss"]))
    assert float(line["train/gradient_norm"]) == -math.inf


def test_name_outside_the_table_is_refused_before_anything_is_written(run: RunDirectory) -> None:
    with MetricsLog(run) as log, pytest.raises(ValueError, match="'train/lsos' is not in"):
        log.write(step=1, **{"train/loss": 1.0, "train/lsos": 1.0})
    assert run.metrics_file.read_bytes() == b""


def test_table_gives_units_and_directions() -> None:
    assert metric("train/loss").higher_is_better is False
    assert metric("eval/accuracy").higher_is_better is True
    assert metric("train/loss_kl").name == "train/loss_*"
    assert metric("speed/tokens_per_s").unit == "tokens/s"
    assert len({entry.name for entry in METRICS}) == len(METRICS)


@pytest.mark.parametrize("killed_at", [4, 5, 9])
def test_resumed_file_equals_an_uninterrupted_one_apart_from_times(
    tmp_path: Path, killed_at: int
) -> None:
    runs = [RunDirectory(tmp_path / name) for name in ("whole", "killed")]
    for run in runs:
        run.take({"name": "a"})
    whole, killed = runs
    write_steps(whole, 1, 10)
    write_steps(killed, 1, killed_at)
    with open(killed.metrics_file, "ab") as file:
        file.write(b'{"step": 99, "wall')  # torn by the kill
    write_steps(killed, 5, 10, resumed_step=4)
    assert without_times(killed) == without_times(whole)


def test_run_that_starts_over_drops_all_lines(run: RunDirectory) -> None:
    write_steps(run, 1, 3)
    write_steps(run, 1, 2)
    assert [m["step"] for m in without_times(run)] == [1, 2, 2]


def test_truncation_touches_the_file_only_if_it_must(run: RunDirectory) -> None:
    write_steps(run, 1, 4)
    before = run.metrics_file.stat().st_ino
    assert truncate_metrics(run.metrics_file, last_step=4) == 0
    assert run.metrics_file.stat().st_ino == before
    assert truncate_metrics(run.metrics_file, last_step=3) == 2
    assert truncate_metrics(run.metrics_file.with_name("none"), last_step=3) == 0


@pytest.mark.parametrize("line", [b"rubbish\n", b"[]\n", b'{"step": "1"}\n', b'{"step": 1.5}\n'])
def test_damage_inside_the_file_is_named_with_its_line(run: RunDirectory, line: bytes) -> None:
    run.metrics_file.write_bytes(b'{"step": 1}\n' + line + b'{"step": 2}\n')
    with pytest.raises(LimbeckError, match=r"metrics.jsonl:2: not"):
        list(read_metrics(run.metrics_file))


READ_WITH_TENSORBOARD = """
import json, sys, types
# How a TensorBoard built without TensorFlow is marked: its reader is the same, and starts at once.
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
reader = EventAccumulator(sys.argv[1], purge_orphaned_data=True)
reader.Reload()
tags = reader.Tags()["scalars"]
values = {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in tags}
assert "tensorflow" not in sys.modules
print(json.dumps(values))
"""


def read_with_tensorboard(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's own reader finds: by tag, (step, value)."""
    command = [sys.executable, "-W", "ignore", "-c", READ_WITH_TENSORBOARD, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    return {tag: [(step, value) for step, value in points] for tag, points in values.items()}


def test_tensorboard_reads_what_the_json_lines_say(run: RunDirectory) -> None:
    write_steps(run, 1, 5)
    values = read_with_tensorboard(run.tensorboard)
    lines = list(read_metrics(run.metrics_file))
    names = ("train/loss", "train/loss_hidden_mse_2", "eval/accuracy", "eval/cosine_x_layer3")
    assert sorted(values) == sorted(names)
    for name in names:
        expected = [(m["step"], float(np.float32(m[name]))) for m in lines if name in m]
        assert values[name] == expected


def test_tensorboard_forgets_the_steps_that_a_resumed_run_does_again(run: RunDirectory) -> None:
    write_steps(run, 1, 7)
    write_steps(run, 5, 9, resumed_step=4)
    points = read_with_tensorboard(run.tensorboard)["train/loss"]
    assert [step for step, _ in points] == list(range(1, 10))


def test_events_equal_those_of_tensorboards_own_classes(run: RunDirectory) -> None:
    from tensorboard.compat.proto import event_pb2, summary_pb2

    from limbeck.runs.events import scalar_event, session_start_event, version_event

    values = {
        "train/loss": 0.25,
        "train/count_x": 1e300,
        "train/loss_nan": math.nan,
        "eval/kl": 0.0,
    }
    event = event_pb2.Event.FromString(scalar_event(12.5, step=2**40, values=values))
    assert (event.wall_time, event.step) == (12.5, 2**40)
    read = {value.tag: value.simple_value for value in event.summary.value}
    assert list(read) == list(values)
    assert read["train/count_x"] == math.inf  # beyond float32
    assert math.isnan(read["train/loss_nan"])
    one = event_pb2.Event(
        wall_time=3.0,
        step=5,
        summary=summary_pb2.Summary(
            value=[summary_pb2.Summary.Value(tag="eval/kl", simple_value=0.5)]
        ),
    )
    assert scalar_event(3.0, step=5, values={"eval/kl": 0.5}) == one.SerializeToString()
    assert event_pb2.Event.FromString(version_event(1.0)).file_version == "brain.Event:2"
    start = event_pb2.Event.FromString(session_start_event(1.0, step=7))
    assert (start.step, start.session_log.status) == (7, event_pb2.SessionLog.START)
