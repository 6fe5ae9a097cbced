"""Horovod's settings: what each is for, and the environment variable that carries it.

Horovod reads them in every rank from the environment, once, when it starts, and ignores names it
does not know. Here they have types and a meaning, and unknown or useless ones are errors. The type
of gradients between ranks changes the result, so it belongs to the recipe: `training.wire`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config import yaml_file

__all__ = ["Knobs", "load_knobs", "replaced", "variable_of"]

STALL_WARNING_S = 60  # Horovod's own


def _knob(*variables: str, write: Callable[[Any], str] = str) -> Any:
    """A field that is left alone by default, the variables it sets, and how it is written."""
    return dataclasses.field(default=None, metadata={"variables": variables, "write": write})


def _switch(value: bool) -> str:
    return str(int(value))


def _inverted(value: bool) -> str:
    return str(int(not value))


def _bytes(mebibytes: float) -> str:
    return str(round(mebibytes * 2**20))


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Settings of Horovod and of the ranks' threads. None leaves a setting alone."""

    fusion_threshold_mb: float | None = _knob("HOROVOD_FUSION_THRESHOLD", write=_bytes)
    """MiB of gradients that are sent as one message; Horovod's own: 128. More makes fewer and
    larger messages, 0 sends every tensor by itself."""

    cycle_time_ms: float | None = _knob("HOROVOD_CYCLE_TIME")
    """Milliseconds between Horovod's looks for tensors that all ranks have ready; Horovod's own: 1.
    5 helps where ranks share cores with TensorFlow's threads."""

    cache_capacity: int | None = _knob("HOROVOD_CACHE_CAPACITY")
    """Names of tensors whose negotiation is remembered; Horovod's own: 1024, 0 for none. Give more
    than the student has variables."""

    hierarchical_allreduce: bool | None = _knob("HOROVOD_HIERARCHICAL_ALLREDUCE", write=_switch)
    """Sums inside each host first, then between hosts: with several GPUs a host and a slow network.
    Needs NCCL, and as many ranks on every host; without effect on one host."""

    hierarchical_allgather: bool | None = _knob("HOROVOD_HIERARCHICAL_ALLGATHER", write=_switch)
    """The same for gathering, through memory that the ranks of a host share."""

    torus_allreduce: bool | None = _knob("HOROVOD_TORUS_ALLREDUCE", write=_switch)
    """Sums inside hosts and between them in parts at the same time. Needs NCCL."""

    num_nccl_streams: int | None = _knob("HOROVOD_NUM_NCCL_STREAMS")
    """CUDA streams for NCCL; Horovod's own: 1. GPUs only."""

    autotune: bool | None = _knob("HOROVOD_AUTOTUNE", write=_switch)
    """Tries values of fusion, cycle time, cache and hierarchy while the job runs, and keeps the
    best; the first hundreds of steps are slower. Values that are set here stay as they are.
    `python -m bench.autotune` does this once and writes down what it found."""

    autotune_log: str | None = _knob("HOROVOD_AUTOTUNE_LOG")
    """CSV file of what was tried and how fast it was; rank 0 writes it."""

    autotune_warmup_samples: int | None = _knob("HOROVOD_AUTOTUNE_WARMUP_SAMPLES")
    """Samples thrown away at first; Horovod's own: 3."""

    autotune_steps_per_sample: int | None = _knob("HOROVOD_AUTOTUNE_STEPS_PER_SAMPLE")
    """Steps that make one measurement; Horovod's own: 10. A sample is the median of five."""

    autotune_max_samples: int | None = _knob("HOROVOD_AUTOTUNE_BAYES_OPT_MAX_SAMPLES")
    """Samples in the search for fusion and cycle time; Horovod's own: 20."""

    autotune_noise: float | None = _knob("HOROVOD_AUTOTUNE_GAUSSIAN_PROCESS_NOISE")
    """How noisy measurements are taken to be, 0 to 1; Horovod's own: 0.8."""

    timeline: str | None = _knob("HOROVOD_TIMELINE")
    """JSON file of what Horovod does when, for chrome://tracing; rank 0 writes it, tens of KB a
    step, so for short runs."""

    timeline_mark_cycles: bool | None = _knob("HOROVOD_TIMELINE_MARK_CYCLES", write=_switch)
    """Marks every cycle in the timeline."""

    stall_check: bool | None = _knob("HOROVOD_STALL_CHECK_DISABLE", write=_inverted)
    """false: says nothing when some ranks wait for others."""

    stall_warning_s: int | None = _knob("HOROVOD_STALL_CHECK_TIME_SECONDS")
    """Seconds that ranks wait for others before Horovod names those; Horovod's own: 60."""

    stall_shutdown_s: int | None = _knob("HOROVOD_STALL_SHUTDOWN_TIME_SECONDS")
    """Seconds of waiting after which the job is ended; Horovod's own: never. Must be more than
    `stall_warning_s`: Horovod would switch a smaller one off. Does not see a frozen process;
    `launch supervise` does."""

    dynamic_process_sets: bool | None = _knob("HOROVOD_DYNAMIC_PROCESS_SETS", write=_switch)
    """Lets programs form groups of ranks while they run. For programs of your own: our trainer
    forms none."""

    log_level: Literal["trace", "debug", "info", "warning", "error", "fatal"] | None = _knob(
        "HOROVOD_LOG_LEVEL"
    )
    """From which level on Horovod writes to standard error; Horovod's own: warning."""

    threads: int | None = _knob("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
    """Threads of TensorFlow, and of OpenMP, in every rank; our trainer's own: its host's cores
    divided by the ranks there. It decides the last bits of sums."""

    def __post_init__(self) -> None:
        """Refuses values out of range and settings that would have no effect."""
        for name in ("num_nccl_streams", "autotune_steps_per_sample", "threads"):
            _at_least(self, name, 1)
        for name in ("autotune_max_samples", "stall_warning_s", "stall_shutdown_s"):
            _at_least(self, name, 1)
        for name in ("fusion_threshold_mb", "cycle_time_ms", "cache_capacity"):
            _at_least(self, name, 0)
        for name in ("autotune_warmup_samples", "autotune_noise"):
            _at_least(self, name, 0)
        if self.autotune_noise is not None and self.autotune_noise > 1:
            raise ValueError(f"autotune_noise is {self.autotune_noise}; it must be at most 1")
        for name in self.given():
            for switch in ("autotune", "timeline"):
                if name.startswith(f"{switch}_") and not getattr(self, switch):
                    raise ValueError(f"{name} has no effect without {switch}")
        self._check_stalls()

    def _check_stalls(self) -> None:
        limits = [name for name in ("stall_warning_s", "stall_shutdown_s") if name in self.given()]
        if self.stall_check is False and limits:
            raise ValueError(f"{limits[0]} has no effect where stall_check is false")
        warning = self.stall_warning_s or STALL_WARNING_S
        if self.stall_shutdown_s is not None and self.stall_shutdown_s <= warning:
            raise ValueError(
                f"stall_shutdown_s is {self.stall_shutdown_s}; it must be more than stall_warning_s"
                f" ({warning}), else Horovod never ends the job"
            )

    def given(self) -> dict[str, Any]:
        """The settings that are not left alone, by name."""
        fields = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}

    def environment(self) -> dict[str, str]:
        """The environment variables of the settings that are not left alone."""
        return {
            variable: field.metadata["write"](getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.name in self.given()
            for variable in field.metadata["variables"]
        }


def load_knobs(path: str | None, overrides: Sequence[str] = ()) -> Knobs:
    """Reads settings from a YAML file, if there is one, and `name=value` assignments.

    Raises:
      UsageError: unreadable file, or anything wrong in it or in an assignment.
    """
    if path is None:
        return yaml_file.loads("{}", Knobs, "knobs", overrides=overrides)
    return yaml_file.load(path, Knobs, overrides=overrides)


def replaced(settings: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    """One line for each setting whose variable the environment holds with another value."""
    return [
        f"{name} is {environment[name]!r} in the environment and {value!r} in the knobs; "
        "the knobs count"
        for name, value in settings.items()
        if environment.get(name, value) != value
    ]


def variable_of(name: str) -> str:
    """The first environment variable that a setting writes."""
    fields = {field.name: field for field in dataclasses.fields(Knobs)}
    variable: str = fields[name].metadata["variables"][0]
    return variable


def _at_least(knobs: Knobs, name: str, least: int) -> None:
    value = getattr(knobs, name)
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")
