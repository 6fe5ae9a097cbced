"""What a batch script says whatever the scheduler: settings, staging, saving before the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from launch.jobs.knobs import load_knobs
from launch.jobs.links import Links
from launch.render.around import (
    Repeated,
    check_positive,
    check_supervision,
    environment_of,
    stage_words,
)
from launch.render.quoting import check_name, exports, quote
from limbeck.config.errors import UsageError

__all__ = ["BatchJob", "rank_words", "setting_lines", "wait_lines"]

# Of the GPUs that the scheduler gave this job on the node, the one of this rank's number there.
_ONE_GPU = (
    "n=${OMPI_COMM_WORLD_LOCAL_RANK:-${SLURM_LOCALID:-0}}; "
    'IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES:-}"; '
    'CUDA_VISIBLE_DEVICES=${gpus[n]:-$n} exec "$@"'
)


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """What Slurm's and LSF's scripts have in common."""

    out: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Where the script goes; default: standard output."""
    name: str = "limbeck"
    """The job's name, and the beginning of its log's."""
    nodes: int = 1
    """Nodes of the job."""
    ranks_per_node: int = 1
    """Ranks on each node; with GPUs usually as many as the node has."""
    gpus_per_node: int = 0
    """GPUs of each node that the job asks for."""
    one_gpu_each: bool = False
    """Each rank sees one GPU, that of its number on the node: for programs that take the first GPU
    that they see. Extraction and training choose by themselves."""
    time: str = "12:00:00"
    """How long the job may take."""
    account: str = ""
    """Who pays."""
    save_s: int = 120
    """Seconds before the end at which training is asked to stop with a checkpoint."""
    interface: Annotated[Repeated, tyro.conf.arg(metavar="NAME")] = ()
    """With mpirun, a network interface (ib0) or network (10.0.0.0/24) that Open MPI uses, and no
    other; may be repeated."""
    environment: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Virtual environment that `make setup` made, as the nodes see it; default: the one that
    writes the script."""
    directory: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Where the command runs, as the nodes see it; default: where the job is submitted."""
    stage: Annotated[Repeated, tyro.conf.arg(metavar="ARGUMENTS")] = ()
    """Before the command, once on each node: `python -m launch stage ARGUMENTS`, one string that
    is split as a shell does; may be repeated."""
    supervise: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """Runs the command under `python -m launch supervise --run-dir RUN`: its ranks' heartbeats are
    watched, and it is started again inside the job where that helps."""
    progress_timeout: int = 0
    """Of that, seconds without progress that count as frozen; 0 for `launch supervise`'s own."""
    env: Annotated[Repeated, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """A variable that every rank gets, such as NCCL_SOCKET_IFNAME=ib0; may be repeated."""
    knobs: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """YAML file of Horovod's settings, as `launch run` takes it."""
    set: Annotated[Repeated, tyro.conf.arg(metavar="KNOB=VALUE")] = ()
    """One of those settings, such as cycle_time_ms=5; may be repeated."""

    def check(self) -> None:
        """Refuses what no scheduler would take.

        Raises:
          UsageError: a number that must be positive is not, or a name needs quoting.
        """
        for option in ("nodes", "ranks_per_node", "save_s"):
            check_positive(option, getattr(self, option))
        check_positive("gpus_per_node", self.gpus_per_node, least=0)
        check_name("--name", self.name)
        if self.one_gpu_each and not self.gpus_per_node:
            raise UsageError("--one-gpu-each has no effect without --gpus-per-node")
        exports(self.variables())
        self.links()
        stage_words(self.stage)
        check_supervision(self)

    def links(self) -> Links:
        """Returns how mpirun reaches the nodes."""
        try:
            return Links(include=self.interface)
        except ValueError as error:
            raise UsageError(f"--interface: {error}") from error

    def variables(self) -> dict[str, str]:
        """Returns the variables that every rank gets."""
        return environment_of(self.env, load_knobs(self.knobs or None, self.set))


def rank_words(job: BatchJob, command: Sequence[str]) -> list[str]:
    """Returns what each rank runs: the command, with one GPU in sight where that was asked for."""
    return ["bash", "-c", _ONE_GPU, "bash", *command] if job.one_gpu_each else list(command)


def setting_lines(job: BatchJob) -> list[str]:
    """Returns the lines behind the header: strictness, programs, variables and directory."""
    lines = ["set -euo pipefail", ""]
    if job.environment:  # a container brings its own
        lines += [
            f"environment={quote(job.environment)}",
            "if [[ ! -x $environment/bin/python ]]; then",
            '    echo "$environment: no Python here on $(hostname); give --environment" >&2',
            "    exit 2",
            "fi",
            'export PATH="$environment/bin:$PATH"',
            "# The package index's Open MPI finds its parts by this.",
            'if [[ -x $environment/bin/mpirun ]]; then export OPAL_PREFIX="$environment"; fi',
        ]
    lines += exports(job.variables())
    if job.directory:
        lines.append(f"cd {quote(job.directory)}")
    return lines


def wait_lines(start: str, *, request: str, why: Sequence[str], again: Sequence[str]) -> list[str]:
    """Returns the lines that start the command, and on SIGUSR1 ask it to stop and wait for it.

    Args:
      start: the command as a line of Bash, to be run in the background.
      request: a line without `'` that asks the ranks to stop; `$step` is the process started.
      why: comments on it.
      again: lines that send the job back to the queue and leave; run when the command was asked to
        stop and had more to do.
    """
    return [
        "# Shortly before the time is up the scheduler sends SIGUSR1 to this script. The ranks are",
        "# then asked to stop; training writes a checkpoint first and goes on from it next time.",
        *why,
        "stopping=",
        "woken=",
        f"trap 'stopping=1 woken=1; {request} || true' USR1",
        "# Whoever ends the job before may ask for the same, and does not want it back.",
        f"trap 'woken=1; {request} || true' TERM",
        "",
        f"{start} &",
        "step=$!",
        "# A signal ends `wait` before the step has ended.",
        "while :; do",
        "    woken=",
        "    code=0",
        '    wait "$step" || code=$?',
        "    [[ -n $woken ]] || break",
        "done",
        "if [[ -n $stopping && $code -ne 0 ]]; then",
        *(f"    {line}" for line in again),
        "fi",
        'exit "$code"',
    ]
