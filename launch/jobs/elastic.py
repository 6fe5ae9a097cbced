"""`python -m launch elastic ... -- COMMAND`: a command on ranks that may come and go.

`horovodrun` with Gloo starts one process a slot of every host that the discovery lists, asks the
discovery every second, and tells the running processes of changes; what they do about it is
`limbeck.ranks.elastic`. Open MPI cannot do this: there a lost rank ends the job.
"""

import os
import shlex
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from launch.environment import environment_prefix, mpi_environment
from launch.jobs.discover import discovery_of_hostfile, listed
from launch.jobs.hosts import Host, read_hostfile, total_slots
from launch.jobs.knobs import Knobs, load_knobs, replaced
from launch.jobs.run import python_of_environment
from launch.jobs.run_options import File, split_command
from launch.processes.family import run_passing_on
from launch.processes.table import Process
from limbeck.config.command import parse
from limbeck.config.errors import UsageError

__all__ = ["ElasticOptions", "elastic", "horovodrun_command", "ranks_here"]

_Repeated = tyro.conf.UseAppendAction

# horovodrun ends a process by SIGTERM to its children, and freezes the process itself. So the
# command has to be a child of a shell, or it could not save when horovodrun is asked to stop.
_KEEP_SHELL = ("sh", "-c", '"$@"; exit $?', "sh")

_DESCRIPTION = """Run a command on ranks that may come and go: elastic training, over Gloo.

usage: python -m launch elastic --hostfile HOSTS [OPTIONS] -- COMMAND
example: python -m launch elastic --min-np 1 --hostfile hosts -- python -m train run recipe.yaml \
--run-dir runs/x

The exact horovodrun line is printed first. A host whose rank fails is left out, for good unless
--cooldown is given. Ends with 0 when the command ended well, 1 when it did not or no host is left,
143 when it was asked to stop (SIGTERM: all ranks save first; a second one ends them at once), 2
where nothing was started."""


@dataclass(frozen=True, kw_only=True)
class ElasticOptions:
    """Options of `launch elastic`."""

    hostfile: File = ""
    """Hosts, one `name slots=N` a line; read again every second, so replace it as a whole (mv)."""

    discovery: Annotated[str, tyro.conf.arg(metavar="SCRIPT")] = ""
    """In its place a program that prints `name:N` lines; run every second."""

    min_np: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Ranks without which the job does not go on."""

    max_np: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Ranks beyond which no more are started; default: one for every slot."""

    start_np: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Ranks to wait for before the first step; default: --min-np."""

    wait_s: Annotated[int, tyro.conf.arg(metavar="S")] = 600
    """Seconds to wait for --min-np ranks before the job is given up."""

    meet_s: Annotated[int, tyro.conf.arg(metavar="S")] = 60
    """Seconds that ranks wait for one that starts, or that has frozen; more than it takes a process
    to import TensorFlow, or the arrival of a host ends the job."""

    cooldown: Annotated[tuple[int, int] | None, tyro.conf.arg(metavar="MIN MAX")] = None
    """Seconds after which a host whose rank has failed is tried again, longer each time."""

    reset_limit: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Changes of the ranks after which the job is given up; default: any number."""

    interface: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """Network interface that all hosts have, such as eth0. Without it Horovod looks for one, and
    needs two hosts for that before it starts; hosts that are all this machine use lo."""

    ssh_port: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Port of the hosts' ssh servers; default: as in ssh's configuration."""

    ssh_key: File = ""
    """Our private key; default: as in ssh's configuration."""

    knobs: File = ""
    """Horovod's settings, a YAML file, as for `launch run`."""

    set: Annotated[tuple[str, ...], _Repeated, tyro.conf.arg(metavar="KNOB=VALUE")] = ()
    """One of those settings, such as cycle_time_ms=5; may be repeated."""

    dry_run: bool = False
    """Prints the command and stops."""

    def __post_init__(self) -> None:
        """Refuses what contradicts itself."""
        if bool(self.hostfile) == bool(self.discovery):
            raise ValueError("give either --hostfile or --discovery: they say where ranks may be")
        least, most = self.min_np, self.max_np
        if least < 1 or (most is not None and most < least):
            raise ValueError(f"--min-np {least} and --max-np {most}: expected 1 <= min <= max")
        if self.start_np is not None and not least <= self.start_np <= (most or self.start_np):
            raise ValueError(f"--start-np {self.start_np} is not within --min-np and --max-np")
        for name, value in (("--wait-s", self.wait_s), ("--meet-s", self.meet_s)):
            if value < 1:
                raise ValueError(f"{name} {value}: expected at least 1")
        if self.reset_limit is not None and self.reset_limit < 0:
            raise ValueError(f"--reset-limit {self.reset_limit}: expected 0 or more")
        if self.cooldown is not None and not 1 <= self.cooldown[0] <= self.cooldown[1] <= 3600:
            raise ValueError(f"--cooldown {self.cooldown}: expected 1 <= MIN <= MAX <= 3600")

    def discovery_command(self) -> str:
        """What prints the hosts, as a line for the shell.

        Raises:
          UsageError: the script is not there or not executable.
        """
        if self.hostfile:
            return discovery_of_hostfile(self.hostfile)
        path = Path(self.discovery)
        if not path.is_file() or not os.access(path, os.X_OK):
            raise UsageError(f"--discovery {path}: there is no such program; is it executable?")
        return shlex.quote(str(path.absolute()))


def elastic(argv: Sequence[str]) -> int:
    """Runs a command under horovodrun with host discovery, printing the exact line first.

    Returns:
      The exit code of horovodrun: 0 when the ranks that were left ended well.

    Raises:
      UsageError: options or hosts are wrong; nothing was started.
    """
    arguments, command = split_command(argv, verb="elastic")
    options = parse(
        ElasticOptions, arguments, prog="python -m launch elastic", description=_DESCRIPTION
    )
    discovery, environment = options.discovery_command(), mpi_environment()
    hosts = read_hostfile(options.hostfile) if options.hostfile else listed(discovery)
    knobs = load_knobs(options.knobs or None, options.set)
    command = python_of_environment(command)
    if not shutil.which(command[0], path=environment.get("PATH")):
        raise UsageError(f"{command[0]}: there is no such program")
    line = horovodrun_command(options, command, discovery=discovery, hosts=hosts)
    for text in _notes(options, hosts, knobs):
        print(f"launch elastic: note: {text}", file=sys.stderr)
    print(shlex.join(line), file=sys.stderr, flush=True)
    if options.dry_run:
        return 0
    if not Path(line[0]).is_file():
        raise UsageError(f"{line[0]}: there is no such program; build Horovod with `make setup`")
    settings = {**environment, **knobs.environment()}
    return run_passing_on(line, environment=settings, ranks_of=ranks_here)


def ranks_here(processes: Sequence[Process]) -> list[int]:
    """Numbers of the commands that horovodrun has started here, among its processes.

    Asked by us they may take their time to save; horovodrun gives them 5 s. Where `train run` is
    asked on one host, its ranks on all hosts stop.
    """
    shells = {p.pid for p in processes if _words_of(p.pid)[: len(_KEEP_SHELL)] == _KEEP_SHELL}
    return [process.pid for process in processes if process.parent in shells]


def horovodrun_command(
    options: ElasticOptions, command: Sequence[str], *, discovery: str, hosts: Sequence[Host]
) -> list[str]:
    """The command line, as a list.

    Args:
      options: of the command line.
      command: the program of every rank, and its arguments.
      discovery: prints the hosts; a line for the shell.
      hosts: those that there are now.

    Raises:
      UsageError: a file of ssh is not there.
    """
    if options.ssh_key and not os.path.isfile(options.ssh_key):
        raise UsageError(f"--ssh-key {options.ssh_key}: there is no such file")
    interface = options.interface or ("lo" if hosts and all(map(_is_here, hosts)) else "")
    given: dict[str, object] = {
        "-np": options.start_np or options.min_np,
        "--min-np": options.min_np,
        "--max-np": options.max_np,
        "--host-discovery-script": discovery,
        "--network-interfaces": interface or None,
        "--elastic-timeout": options.wait_s,
        "--gloo-timeout-seconds": options.meet_s,
        "--reset-limit": options.reset_limit,
        "--ssh-port": options.ssh_port,
        "--ssh-identity-file": options.ssh_key or None,
    }
    words = [w for name, value in given.items() if value is not None for w in (name, str(value))]
    if options.cooldown is not None:
        words += ["--blacklist-cooldown-range", *map(str, options.cooldown)]
    program = environment_prefix() / "bin" / "horovodrun"
    return [str(program), "--gloo", *words, *_KEEP_SHELL, *command]


def _notes(options: ElasticOptions, hosts: Sequence[Host], knobs: Knobs) -> list[str]:
    """What somebody may not expect."""
    notes = replaced(knobs.environment(), os.environ)
    needed = options.start_np or options.min_np
    if total_slots(hosts) < needed:
        notes.append(
            f"there are {total_slots(hosts)} slots now and {needed} ranks are to start; waits "
            f"{options.wait_s} s for more"
        )
    if not all(map(_is_here, hosts)):
        notes.append("horovodrun starts ranks on other hosts by ssh without checking host keys")
    return notes


def _words_of(pid: int) -> tuple[str, ...]:
    """A process's command line; nothing where it has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in text.split(b"\0"))


def _is_here(host: Host) -> bool:
    """Whether a name means this machine: only its own addresses can be listened at."""
    try:
        with socket.create_server((socket.gethostbyname(host.name), 0)):
            return True
    except OSError:
        return False
