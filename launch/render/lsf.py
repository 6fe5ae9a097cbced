"""A batch script for LSF: `bsub < FILE`.

Options are those of LSF 10.1; jsrun's are those of IBM's Job Step Manager, where that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launch.render.around import check_positive, stage_words, supervise_words
from launch.render.batch import BatchJob, setting_lines, wait_lines
from launch.render.mpirun_line import (
    ASK_MPIRUN,
    MPIRUN_LINES,
    WHY_USR1,
    mpirun_in_script,
    mpirun_of_job,
)
from launch.render.quoting import check_name, comment_block, join
from launch.render.times import lsf_minutes
from limbeck.config.errors import UsageError

__all__ = ["LsfJob", "lsf_script"]

# LSF puts a job that exits with this back into the queue (bsub -Q).
REQUEUE_CODE = 99

ASK_JSRUN = 'kill -TERM "$step"'


@dataclass(frozen=True, kw_only=True)
class LsfJob(BatchJob):
    """Options of `render lsf`."""

    time: str = "12:00"
    """How long the job may take: minutes, or hours:minutes."""
    queue: str = ""
    """Queue; default: the cluster's."""
    cpus_per_rank: int = 0
    """CPUs of each rank's resource set, with jsrun, which gives one if not told."""
    launcher: Literal["mpirun", "jsrun"] = "mpirun"
    """What starts the ranks: our mpirun over ssh; or jsrun, where the cluster has it and Horovod
    was built with its MPI."""

    def check(self) -> None:
        """Refuses what bsub would not take."""
        super().check()
        if lsf_minutes(self.time) * 60 <= self.save_s:
            raise UsageError(f"--time {self.time}: not more than the {self.save_s} s of --save-s")
        for option in ("queue", "account"):
            if value := getattr(self, option):
                check_name(f"--{option}", value)
        check_positive("cpus_per_rank", self.cpus_per_rank, least=0)
        if self.save_s % 60:
            raise UsageError(f"--save-s {self.save_s}: LSF counts minutes; give a multiple of 60")
        if self.launcher == "jsrun":
            self._check_jsrun()
        elif self.cpus_per_rank:
            raise UsageError("--cpus-per-rank has no effect with --launcher mpirun")

    def _check_jsrun(self) -> None:
        check_positive("cpus_per_rank", self.cpus_per_rank)
        if self.interface:
            raise UsageError("--interface has no effect with --launcher jsrun")
        if self.one_gpu_each:
            raise UsageError("--one-gpu-each has no effect with --launcher jsrun, which does so")
        if self.gpus_per_node % self.ranks_per_node:
            raise UsageError(
                f"--gpus-per-node {self.gpus_per_node}: jsrun gives each of a node's "
                f"{self.ranks_per_node} ranks as many GPUs; give a multiple of --ranks-per-node"
            )


def lsf_script(job: LsfJob, command: Sequence[str], *, written_by: Sequence[str]) -> str:
    """Returns the script.

    Args:
      job: what it says.
      command: what each rank runs.
      written_by: our own command line, for the script's head.

    Raises:
      UsageError: a setting that LSF would not take.
    """
    job.check()
    lines = ["#!/bin/bash", *comment_block(written_by, ["Submit it with: bsub < FILE"])]
    lines += [*_header(job), *setting_lines(job), ""]
    lines += _by_jsrun(job, command) if job.launcher == "jsrun" else _by_mpirun(job, command)
    return "\n".join(lines) + "\n"


def _header(job: LsfJob) -> list[str]:
    lines = [f"-J {job.name}", f"-W {_clock(lsf_minutes(job.time))}"]
    lines += [f"-q {job.queue}"] if job.queue else []
    lines += [f"-P {job.account}"] if job.account else []
    if job.launcher == "jsrun":
        lines += [f"-nnodes {job.nodes}"]
    else:
        slots = job.nodes * job.ranks_per_node
        lines += [f"-n {slots}", f'-R "span[ptile={job.ranks_per_node}]"', "-x"]
        if job.gpus_per_node:
            lines.append(f'-gpu "num={job.gpus_per_node}:mode=shared:j_exclusive=yes"')
    lines += [f"-wa USR1 -wt {job.save_s // 60}", f'-Q "{REQUEUE_CODE}"', "-r"]
    return [f"#BSUB {line}" for line in [*lines, f"-o {job.name}-%J.log"]]


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"


def _by_jsrun(job: LsfJob, command: Sequence[str]) -> list[str]:
    ranks = job.nodes * job.ranks_per_node
    per_host = ["jsrun", f"--nrs={job.nodes}", "--rs_per_host=1", "--tasks_per_rs=1"]
    stage = [join([*per_host, "--cpu_per_rs=ALL_CPUS", *words]) for words in stage_words(job.stage)]
    line = ["jsrun", f"--nrs={ranks}", f"--rs_per_host={job.ranks_per_node}", "--tasks_per_rs=1"]
    line += [f"--cpu_per_rs={job.cpus_per_rank}"]
    if job.gpus_per_node:
        line.append(f"--gpu_per_rs={job.gpus_per_node // job.ranks_per_node}")
    line += ["--bind=none", "--stdio_mode=prepended", *command]
    line = [*supervise_words(job), *line]
    return [*_staged(stage), *wait_lines(join(line), request=ASK_JSRUN, why=(), again=_again())]


def _by_mpirun(job: LsfJob, command: Sequence[str]) -> list[str]:
    line = mpirun_of_job(job, command)
    return [
        *MPIRUN_LINES,
        "# LSF lists a node once for each of its slots.",
        'sort "$LSB_DJOB_HOSTFILE" | uniq -c |',
        "    sed -E 's/^ *([0-9]+) +(.*)$/\\2 slots=\\1/' > \"$hosts_file\"",
        "",
        *_staged_by_mpirun(job),
        *wait_lines(line, request=ASK_MPIRUN, why=WHY_USR1, again=_again()),
    ]


def _staged_by_mpirun(job: LsfJob) -> list[str]:
    """Returns lines that run each staging command once on each node."""
    lines = [
        mpirun_in_script(
            job.nodes,
            words,
            num_hosts=job.nodes,
            exported=job.variables(),
            links=job.links(),
            hosts_variable="once_file",
        )
        for words in stage_words(job.stage)
    ]
    once = 'once_file=$hosts_file.once\nsed "s/slots=.*/slots=1/" "$hosts_file" > "$once_file"'
    return _staged([*once.splitlines(), *lines] if lines else [])


def _staged(lines: list[str]) -> list[str]:
    return ["# Data on the nodes' own disks, once on each.", *lines, ""] if lines else []


def _again() -> list[str]:
    return [f"exit {REQUEUE_CODE}  # LSF puts the job back into the queue"]
