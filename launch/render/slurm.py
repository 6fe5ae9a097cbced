"""A batch script for Slurm: `sbatch FILE`.

Options are those of Slurm 22.05 and later, and pyxis' for containers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from launch.render.around import Repeated, check_positive, stage_words, supervise_words
from launch.render.batch import BatchJob, rank_words, setting_lines, wait_lines
from launch.render.mpirun_line import ASK_MPIRUN, MPIRUN_LINES, WHY_USR1, mpirun_of_job
from launch.render.quoting import check_name, comment_block, join
from launch.render.times import check_slurm_time
from limbeck.config.errors import UsageError

__all__ = ["SlurmJob", "slurm_script"]


@dataclass(frozen=True, kw_only=True)
class SlurmJob(BatchJob):
    """Options of `render slurm`."""

    partition: str = ""
    """Partition; default: the cluster's."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features that the nodes must have."""
    cpus_per_rank: int = 0
    """CPUs that Slurm counts for each rank; 0 leaves that to Slurm: the nodes are ours anyway."""
    launcher: Literal["srun", "mpirun"] = "srun"
    """What starts the ranks: srun with PMIx; or our mpirun, which goes to the nodes by itself and
    needs no PMIx in Slurm. The latter's script also runs inside salloc: `bash FILE`."""
    mpi: str = "pmix"
    """srun's --mpi; `srun --mpi=list` shows what a cluster has."""
    container_image: str = ""
    """Image that srun runs the command in (pyxis), such as registry#name:tag or FILE.sqsh."""
    container_mounts: Annotated[Repeated, tyro.conf.arg(metavar="FROM:TO[:FLAGS]")] = ()
    """Directory of the node that the container sees; may be repeated."""
    array: int = 0
    """Number of tasks of a job array, for `extract run`, whose workers find their number
    themselves; 0 for none. Each task is a job of --nodes nodes."""
    array_at_once: int = 0
    """Of the array, how many tasks may run at once; 0 for as many as there is room for."""
    requeues: int = 20
    """How often a job that was asked to stop goes back to the queue; 0 for never."""

    def check(self) -> None:
        """Refuses what sbatch would not take."""
        super().check()
        if check_slurm_time(self.time) <= self.save_s:
            raise UsageError(f"--time {self.time}: not more than the {self.save_s} s of --save-s")
        for option in ("partition", "qos", "constraint", "account", "mpi"):
            if value := getattr(self, option):
                check_name(f"--{option}", value)
        for option in ("cpus_per_rank", "array", "array_at_once", "requeues"):
            check_positive(option, getattr(self, option), least=0)
        if self.interface and self.launcher == "srun":
            raise UsageError("--interface has no effect without --launcher mpirun")
        if self.array_at_once and not self.array:
            raise UsageError("--array-at-once has no effect without --array")
        if self.container_mounts and not self.container_image:
            raise UsageError("--container-mounts has no effect without --container-image")
        if self.container_image and self.environment:
            raise UsageError("--environment has no effect with --container-image")
        if self.container_image and self.supervise:
            raise UsageError(
                "--supervise watches from outside the container, where nothing of it is"
            )
        if self.container_image and self.launcher == "mpirun":
            raise UsageError("--container-image: srun starts containers; leave --launcher mpirun")


def slurm_script(job: SlurmJob, command: Sequence[str], *, written_by: Sequence[str]) -> str:
    """Returns the script.

    Args:
      job: what it says.
      command: what each rank runs.
      written_by: our own command line, for the script's head.

    Raises:
      UsageError: a setting that Slurm would not take.
    """
    job.check()
    lines = ["#!/bin/bash", *comment_block(written_by, _how_to_submit(job)), *_header(job)]
    lines += setting_lines(job)
    lines += _stage_lines(job)
    by_launcher = _by_mpirun if job.launcher == "mpirun" else _by_srun
    return "\n".join([*lines, "", *by_launcher(job, command)]) + "\n"


def _how_to_submit(job: SlurmJob) -> list[str]:
    lines = ["Submit it with: sbatch FILE"]
    if job.launcher == "mpirun":
        lines.append("or inside an allocation of salloc: bash FILE")
    return lines


def _header(job: SlurmJob) -> list[str]:
    number = "%A_%a" if job.array else "%j"
    at_once = f"%{job.array_at_once}" if job.array_at_once else ""
    options = {
        "job-name": job.name,
        "nodes": job.nodes,
        "ntasks-per-node": job.ranks_per_node,
        "cpus-per-task": job.cpus_per_rank,
        "gpus-per-node": job.gpus_per_node,
        "time": job.time,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
        "array": f"0-{job.array - 1}{at_once}" if job.array else "",
        "output": f"{job.name}-{number}.log",
        "open-mode": "append",
        "mem": "0",
        "signal": f"B:USR1@{job.save_s}",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value]
    return [*lines, "#SBATCH --exclusive", "#SBATCH --requeue"]


def _stage_lines(job: SlurmJob) -> list[str]:
    """Returns srun lines that bring data to each node, before the ranks start."""
    once = ["srun", f"--nodes={job.nodes}", f"--ntasks={job.nodes}", "--ntasks-per-node=1"]
    once += ["--kill-on-bad-exit=1", "--label", *_container(job)]
    lines = [join([*once, *command]) for command in stage_words(job.stage)]
    return ["", "# Data on the nodes' own disks, once on each.", *lines] if lines else []


def _by_srun(job: SlurmJob, command: Sequence[str]) -> list[str]:
    ranks = job.nodes * job.ranks_per_node
    line = ["srun", f"--mpi={job.mpi}", "--kill-on-bad-exit=1", "--label"]
    line += [f"--nodes={job.nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={job.ranks_per_node}"]
    if job.cpus_per_rank:
        line.append(f"--cpus-per-task={job.cpus_per_rank}")  # srun no longer takes it from sbatch
    # Bound to one core each, ranks were up to three times slower on CPU.
    line += ["--cpu-bind=none", *_container(job), *rank_words(job, command)]
    return wait_lines(
        join([*supervise_words(job), *line]),
        request='scancel --signal=TERM "$SLURM_JOB_ID"',
        why=["# scancel asks the job's steps; srun would answer a SIGTERM by killing its tasks."],
        again=_again(job),
    )


def _by_mpirun(job: SlurmJob, command: Sequence[str]) -> list[str]:
    line = mpirun_of_job(job, command)
    return [
        *MPIRUN_LINES,
        "# One line for each node: its name and how many ranks it takes.",
        'scontrol show hostnames "$SLURM_JOB_NODELIST" |',
        f"    sed 's/$/ slots={job.ranks_per_node}/' > \"$hosts_file\"",
        "",
        *wait_lines(line, request=ASK_MPIRUN, why=WHY_USR1, again=_again(job)),
    ]


def _container(job: SlurmJob) -> list[str]:
    if not job.container_image:
        return []
    options = [f"--container-image={job.container_image}"]
    if job.container_mounts:
        options.append(f"--container-mounts={','.join(job.container_mounts)}")
    if job.directory:
        options.append(f"--container-workdir={job.directory}")
    return options


def _again(job: SlurmJob) -> list[str]:
    if not job.requeues:
        return ['echo "stopped before the end; submit this script again to go on" >&2']
    return [
        f"if [[ ${{SLURM_RESTART_COUNT:-0}} -lt {job.requeues} ]]; then",
        '    scontrol requeue "$SLURM_JOB_ID"',
        "else",
        f'    echo "stopped before the end after {job.requeues} requeues; submit again" >&2',
        "fi",
    ]
