"""The exact `mpirun` command line of a run, as a list: the one place that writes it.

Open MPI 4 and 5. All MCA parameters are kept here under the names of version 4; version 5 calls
some by others, and gives those of its runtime (PRRTE) an option of their own.
"""

import os
from collections.abc import Mapping, Sequence

from launch.environment import find_mpi
from launch.jobs.hosts import Host
from launch.jobs.links import Links

__all__ = ["MANY_HOSTS", "mpirun_command", "usual_exports"]

# With Open MPI's own values a vanished host is noticed after more than ten minutes; with these
# it took 12 s.
_KEEP_ALIVE = {
    "oob_tcp_keepalive_time": "5",
    "oob_tcp_keepalive_intvl": "2",
    "oob_tcp_keepalive_probes": "3",
}

# Horovod's progress thread polls: where it shares a core with TensorFlow's threads it has to yield.
_YIELD = {"mpi_yield_when_idle": "1"}

# MPI carries control traffic, and on CPUs the gradients, over TCP and shared memory: what works on
# every network. NCCL finds InfiniBand by itself.
_TRANSPORT = {"pml": "ob1"}
_TRANSPORT_OF_4 = {"btl": "^openib"}  # version 5 has no openib, and complains of names it lacks

# From so many hosts on, mpirun starts every daemon itself rather than in a tree through others.
MANY_HOSTS = 64

# What every rank on another host needs from here.
_EXPORTED = ("LD_LIBRARY_PATH", "OPAL_PREFIX", "PATH", "PYTHONPATH", "XLA_FLAGS")
_EXPORTED_PREFIXES = ("HOROVOD_", "LIMBECK_", "NCCL_", "OMP_", "TF_")

_NAMES_IN_5 = {"plm_rsh_": "plm_ssh_", "oob_tcp_if_": "prte_if_"}
# Frameworks of Open MPI 5's runtime.
_RUNTIME_OF_5 = (
    *("errmgr_", "ess_", "filem_", "grpcomm_", "iof_", "odls_", "oob_", "plm_", "prte_", "ras_"),
    *("rmaps_", "rml_", "routed_", "state_"),
)


def mpirun_command(
    num_ranks: int,
    command: Sequence[str],
    *,
    hosts: Sequence[Host | str] | None = None,
    hostfile: str | None = None,
    num_hosts: int | None = None,
    links: Links | None = None,
    settings: Mapping[str, str] | None = None,
    exports: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    parameters: Mapping[str, str] | None = None,
    oversubscribe: bool | None = None,
    tag_output: bool = False,
    directory: str | None = None,
    allow_root: bool | None = None,
    mpirun: str | None = None,
    major: int | None = None,
) -> list[str]:
    """Returns the command line that runs `command` as `num_ranks` ranks.

    Without `hosts` and `hostfile` all ranks run on this machine.

    Args:
      num_ranks: how many processes to start, at least 1.
      command: the program and its arguments.
      hosts: hosts and their slots, or `name:slots`; ranks fill them in this order.
      hostfile: the file of Open MPI that names them instead; it is not opened here.
      num_hosts: how many hosts `hostfile` names, where that is known.
      links: ssh, interfaces and ports; matters with other hosts only.
      settings: environment variables of the ranks, written on the line with their values.
      exports: names of variables handed to other hosts; None for the usual ones of `environment`.
      environment: where those are looked up; None for this process's.
      parameters: MCA parameters, under the names of Open MPI 4, that replace or add to ours.
      oversubscribe: whether there may be more ranks than cores or slots; None for only on this
        machine.
      tag_output: whether each line of output begins with its rank.
      directory: where the ranks run; None for where mpirun does.
      allow_root: whether root may run it; None for whether we are root.
      mpirun: the program; None for the one that Horovod was built with.
      major: its major version, 4 or 5; None for the version of that one.

    Raises:
      ValueError: there is nothing to run, or no rank to run it; or the version is another one.
    """
    if num_ranks < 1:
        raise ValueError(f"num_ranks is {num_ranks}; it must be at least 1")
    if not command:
        raise ValueError("command is empty; give the program that each rank runs")
    if hosts is not None and hostfile is not None:
        raise ValueError("hosts are given as a list or as a hostfile, not as both")
    mpirun, major = _program(mpirun, major)
    is_local = hosts is None and hostfile is None
    line = [mpirun, "-np", str(num_ranks)]
    if os.geteuid() == 0 if allow_root is None else allow_root:
        line.append("--allow-run-as-root")  # usual in containers; Open MPI refuses root otherwise
    line += _placement(major, oversubscribe=is_local if oversubscribe is None else oversubscribe)
    line += [] if not tag_output else ["--tag-output"] if major == 4 else ["--output", "tag"]
    line += [] if directory is None else ["--wdir", directory]
    ours = {**_TRANSPORT, **(_TRANSPORT_OF_4 if major == 4 else {}), **_YIELD, **_KEEP_ALIVE}
    variables, links = dict(settings or {}), links or Links()
    if not is_local:
        ours |= _remote(links, (num_hosts if hosts is None else len(hosts)) or 0, major=major)
    line += _mca({**ours, **(parameters or {})}, major=major)
    if not is_local:
        found = os.environ if environment is None else environment
        line += (
            ["--hostfile", hostfile] if hostfile else ["--host", ",".join(map(str, hosts or ()))]
        )
        if links.names and "NCCL_SOCKET_IFNAME" not in found:
            variables.setdefault("NCCL_SOCKET_IFNAME", ",".join(links.names))
        names = usual_exports(found) if exports is None else exports
        line += [word for name in names if name not in variables for word in ("-x", name)]
    line += [word for name in sorted(variables) for word in ("-x", f"{name}={variables[name]}")]
    return line + list(command)


def usual_exports(environment: Mapping[str, str]) -> list[str]:
    """Returns the names of the variables that ranks on other hosts need from `environment`."""
    return [
        name
        for name in sorted(environment)
        if name in _EXPORTED or name.startswith(_EXPORTED_PREFIXES)
    ]


def _program(mpirun: str | None, major: int | None) -> tuple[str, int]:
    """The program and its major version: what is given, else of the one that Horovod has."""
    if mpirun is None or major is None:
        mpi = find_mpi()
        mpirun, major = mpirun or str(mpi.mpirun), major or mpi.major
    if major not in (4, 5):
        raise ValueError(f"{mpirun} is Open MPI {major}; only 4 and 5 are known here")
    return mpirun, major


def _placement(major: int, *, oversubscribe: bool) -> list[str]:
    """Where ranks go. Bound to one core each, they were up to three times slower on CPU."""
    if major == 4:
        flags = ["--oversubscribe"] if oversubscribe else []
        return [*flags, "--bind-to", "none", "--map-by", "slot"]
    return ["--bind-to", "none", "--map-by", "slot:OVERSUBSCRIBE" if oversubscribe else "slot"]


def _remote(links: Links, num_hosts: int, *, major: int) -> dict[str, str]:
    """The parameters that matter with other hosts only."""
    found = links.parameters()
    if major == 5:
        # Its runtime (5.0.11) crashes on most lists of several interfaces; one network will do for
        # the little that daemons say to each other.
        if len(links.exclude) > 1:
            raise ValueError(
                f"Open MPI 5 crashes where several interfaces are excluded "
                f"({', '.join(links.exclude)}); name the one to use instead"
            )
        if links.include:
            found["oob_tcp_if_include"] = links.include[0]
        if links.exclude:
            found["oob_tcp_if_exclude"] = links.exclude[0]
    if major == 4:
        # It would cut names at the first dot, and ssh to a name whose key is not known.
        found["orte_keep_fqdn_hostnames"] = "1"
    found["plm_rsh_args"] = " ".join(links.ssh.options())
    # A daemon of version 5 that starts others gets the arguments of ssh cut at the second `=`.
    if num_hosts >= MANY_HOSTS or major == 5:
        found["plm_rsh_no_tree_spawn"] = "1"
    if num_hosts >= MANY_HOSTS:
        found["plm_rsh_num_concurrent"] = str(num_hosts)
    return found


def _mca(parameters: Mapping[str, str], *, major: int) -> list[str]:
    """The options that set MCA parameters, given under the names of version 4."""
    words = []
    for name, value in parameters.items():
        if major == 4:
            words += ["-mca", name, value]
            continue
        for old, new in _NAMES_IN_5.items():
            name = new + name.removeprefix(old) if name.startswith(old) else name
        words += ["--prtemca" if name.startswith(_RUNTIME_OF_5) else "--mca", name, value]
    return words
