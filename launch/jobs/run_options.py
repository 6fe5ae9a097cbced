"""The options of `python -m launch run`, and what they mean together."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from launch.jobs.hosts import Host, check_slots, parse_hosts, read_hostfile
from launch.jobs.knobs import Knobs, load_knobs
from launch.jobs.links import Links, Ports, Ssh
from limbeck.config.errors import UsageError

__all__ = ["RunOptions", "split_command"]

_Repeated = tyro.conf.UseAppendAction
File = Annotated[str, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `launch run`."""

    num_ranks: Annotated[int, tyro.conf.arg(aliases=["-np"], metavar="N")]
    """How many ranks to start."""

    hostfile: File = ""
    """Hosts to start them on, one `name slots=N` a line; without hosts, this machine."""

    hosts: Annotated[str, tyro.conf.arg(metavar="A:N,B:N")] = ""
    """The same on the command line."""

    interface: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="NAME")] = ()
    """Network interface (eth0) or network (10.0.0.0/24) to use, and no other; may be repeated."""

    exclude_interface: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="NAME")] = ()
    """Network interface or network to leave out, such as docker0; may be repeated."""

    ports: Annotated[str, tyro.conf.arg(metavar="FIRST-LAST")] = ""
    """TCP ports at which Open MPI listens, for firewalls: one for each rank of a host and one for
    its daemon; default: any that is free."""

    ssh_port: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Port of the hosts' ssh servers; default: as in ssh's configuration."""

    ssh_key: File = ""
    """Our private key; default: as in ssh's configuration."""

    ssh_known_hosts: File = ""
    """The hosts' keys, which are always checked; default: ssh's own known_hosts."""

    knobs: File = ""
    """Horovod's settings, a YAML file: fusion_threshold_mb, cycle_time_ms, timeline, ..."""

    set: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="KNOB=VALUE")] = ()
    """One of those settings, such as cycle_time_ms=5; may be repeated."""

    export: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="VARIABLE")] = ()
    """An environment variable that ranks on other hosts get too, beside PATH, LD_LIBRARY_PATH,
    PYTHONPATH and all of HOROVOD_, LIMBECK_, NCCL_, OMP_, TF_; may be repeated."""

    mca: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="NAME=VALUE")] = ()
    """A parameter of Open MPI (the name that version 4 has for it) that replaces or adds to ours,
    such as pml=ucx; may be repeated."""

    oversubscribe: bool = False
    """Lets hosts have more ranks than slots. On this machine alone that is always so."""

    tag_output: bool = False
    """Begins every line of output with its rank."""

    skip_checks: bool = False
    """Does not ask the hosts for ssh, versions, directory and ports before starting."""

    dry_run: bool = False
    """Prints the command and stops."""

    def __post_init__(self) -> None:
        """Refuses what contradicts itself."""
        if self.num_ranks < 1:
            raise ValueError(f"-np {self.num_ranks}: the number of ranks must be at least 1")
        if self.hostfile and self.hosts:
            raise ValueError("--hostfile and --hosts both name the hosts; give one of them")
        needs_hosts = {
            "--interface": self.interface,
            "--exclude-interface": self.exclude_interface,
            "--ports": self.ports,
            "--ssh-port": self.ssh_port,
            "--ssh-key": self.ssh_key,
            "--ssh-known-hosts": self.ssh_known_hosts,
            "--export": self.export,
            "--oversubscribe": self.oversubscribe,
            "--skip-checks": self.skip_checks,
        }
        unused = [name for name, value in needs_hosts.items() if value]
        if unused and not (self.hostfile or self.hosts):
            raise ValueError(f"{unused[0]} has no effect without --hostfile or --hosts")

    def read_hosts(self) -> tuple[Host, ...] | None:
        """The hosts, None for this machine.

        Raises:
          UsageError: they cannot be read, or have too few slots.
        """
        if not self.hostfile and not self.hosts:
            return None
        hosts = read_hostfile(self.hostfile) if self.hostfile else parse_hosts(self.hosts)
        if not self.oversubscribe:
            check_slots(hosts, self.num_ranks)
        return hosts

    def links(self) -> Links:
        """How the hosts reach each other.

        Raises:
          UsageError: a setting is wrong, or a file of ssh is not there.
        """
        for option, path in (("key", self.ssh_key), ("known-hosts", self.ssh_known_hosts)):
            if path and not os.path.isfile(path):
                raise UsageError(f"--ssh-{option} {path}: there is no such file")
        try:
            return Links(
                ssh=Ssh(
                    port=self.ssh_port,
                    key=self.ssh_key or None,
                    known_hosts=self.ssh_known_hosts or None,
                ),
                include=self.interface,
                exclude=self.exclude_interface,
                ports=Ports.parse(self.ports) if self.ports else None,
            )
        except ValueError as error:
            raise UsageError(str(error)) from error

    def read_knobs(self) -> Knobs:
        """Horovod's settings, of the file and of the assignments."""
        return load_knobs(self.knobs or None, self.set)

    def parameters(self) -> dict[str, str]:
        """The parameters of Open MPI that replace or add to ours.

        Raises:
          UsageError: one is no NAME=VALUE.
        """
        pairs = [text.partition("=") for text in self.mca]
        for (name, equals, _), text in zip(pairs, self.mca, strict=True):
            if not name or not equals:
                raise UsageError(f"--mca {text}: expected NAME=VALUE, such as pml=ucx")
        return {name: value for name, _, value in pairs}


def split_command(argv: Sequence[str], *, verb: str) -> tuple[list[str], list[str]]:
    """Splits arguments at the first `--` into our options and the command.

    Raises:
      UsageError: there is no command; a call for help passes without one.
    """
    options = list(argv)
    if "--" in options:
        at = options.index("--")
        options, command = options[:at], options[at + 1 :]
    else:
        command = []
    if not command and not {"-h", "--help"} & set(options):
        raise UsageError(f"no command: python -m launch {verb} OPTIONS -- COMMAND")
    return options, command
