"""The mpirun line of a rendered file: `launch.jobs.mpirun`'s, for programs and hosts elsewhere."""

from collections.abc import Iterable, Sequence

from launch.jobs.links import Links
from launch.jobs.mpirun import mpirun_command
from launch.render.around import Supervised, supervise_words
from launch.render.batch import BatchJob, rank_words
from launch.render.quoting import join

__all__ = [
    "ASK_MPIRUN",
    "MPIRUN_LINES",
    "WHY_USR1",
    "mpirun_in_script",
    "mpirun_of_job",
    "mpirun_words",
]

# Of the pinned Open MPI, which images and environments bring along.
MAJOR = 4

# Exported where it is set: an Open MPI of the package index finds its parts by it.
_PREFIX = "${OPAL_PREFIX:+-x OPAL_PREFIX}"

# What a script does before `mpirun_in_script`'s line.
MPIRUN_LINES = (
    "mpirun=$(command -v mpirun)",
    "hosts_file=$(mktemp)",
    "trap 'rm -f \"$hosts_file\"*' EXIT",
)

# How a script asks the ranks of `$step`, an mpirun, to stop.
ASK_MPIRUN = 'kill -USR1 "$step"'
WHY_USR1 = ("# mpirun passes SIGUSR1 on to every rank; at SIGTERM it would kill them.",)


def mpirun_words(
    num_ranks: int,
    command: Sequence[str],
    *,
    program: str,
    hostfile: str,
    num_hosts: int,
    exported: Iterable[str],
    links: Links,
) -> list[str]:
    """Returns mpirun's words for ranks on other hosts; nothing of this machine goes into them.

    Args:
      num_ranks: over all hosts.
      command: what each rank runs.
      program: mpirun, as the machine that runs it has it.
      hostfile: as that machine has it.
      num_hosts: how many hosts it lists.
      exported: variables that ranks on other hosts get, beside PATH.
      links: how hosts reach each other.
    """
    return mpirun_command(
        num_ranks,
        list(command),
        hostfile=hostfile,
        num_hosts=num_hosts,
        exports=sorted({"PATH", *exported}),
        links=links,
        oversubscribe=False,
        tag_output=True,
        allow_root=False,
        mpirun=program,
        major=MAJOR,
    )


def mpirun_in_script(
    num_ranks: int,
    command: Sequence[str],
    *,
    num_hosts: int,
    exported: Iterable[str],
    links: Links,
    hosts_variable: str = "hosts_file",
    supervised: Supervised | None = None,
) -> str:
    """Returns the line of Bash that starts the ranks, by variables of the script's own.

    Those are `$mpirun`, the program's absolute path, by which Open MPI finds itself on other
    hosts, and the one that names the file of hosts. `supervised` says whether `launch
    supervise` is to run the line.
    """
    words = mpirun_words(
        num_ranks,
        command,
        program="mpirun",
        hostfile=hosts_variable,
        num_hosts=num_hosts,
        exported=exported,
        links=links,
    )
    at = words.index("--hostfile") + 1
    hosts = f'"${hosts_variable}"'
    line = ['"$mpirun"', join(words[1:at]), hosts, _PREFIX, join(words[at + 1 :])]
    if supervised and supervised.supervise:
        before = supervise_words(supervised, hostfile=hosts_variable)
        # The file's name stands before the last word, `--`.
        line = [join(before[:-2]), hosts, before[-1], *line]
    return " ".join(line)


def mpirun_of_job(job: BatchJob, command: Sequence[str]) -> str:
    """Returns the line of `mpirun_in_script` that runs a job's command on all of its ranks."""
    return mpirun_in_script(
        job.nodes * job.ranks_per_node,
        rank_words(job, command),
        num_hosts=job.nodes,
        exported=job.variables(),
        links=job.links(),
        supervised=job,
    )
