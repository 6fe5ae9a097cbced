"""A run's directory, metrics, progress line and heartbeats. No TensorFlow."""

from limbeck.runs.directory import RunDirectory
from limbeck.runs.heartbeat import Heartbeat, read_heartbeats, still_working
from limbeck.runs.metrics import MetricsLog, read_metrics, truncate_metrics
from limbeck.runs.names import METRICS, Metric, metric
from limbeck.runs.progress import Progress, progress_line
from limbeck.runs.staged import STAGES, stage_runs_of, student_run

__all__ = [
    "METRICS",
    "STAGES",
    "Heartbeat",
    "Metric",
    "MetricsLog",
    "Progress",
    "RunDirectory",
    "metric",
    "progress_line",
    "read_heartbeats",
    "read_metrics",
    "stage_runs_of",
    "still_working",
    "student_run",
    "truncate_metrics",
]
