"""The hosts of a job: hostfiles and `--hosts`, read strictly, with the line in every complaint."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.config.errors import UsageError

__all__ = ["Host", "check_slots", "parse_hosts", "read_hostfile", "total_slots"]

# What Open MPI takes for a host name, and nothing that a shell or ssh would take for more.
_NAME = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_WORD = re.compile(rf"(?P<name>{_NAME})(?::(?P<slots>.*))?")
_SYNTAX = "expected `name slots=N` or `name:N`, such as `node1 slots=8`"


@dataclass(frozen=True, kw_only=True)
class Host:
    """A host of a job."""

    name: str
    """As ssh and Open MPI get it: a host name or an IPv4 address, with `user@` before it or not."""

    slots: int
    """How many ranks it may hold: its GPUs, or its cores."""

    def __post_init__(self) -> None:
        """Refuses names that are none, and hosts without a slot."""
        if not re.fullmatch(_NAME, self.name):
            raise ValueError(f"{self.name!r} is no host name")
        if self.slots < 1:
            raise ValueError(f"{self.name} has {self.slots} slots; it must have at least 1")

    def __str__(self) -> str:
        return f"{self.name}:{self.slots}"


def read_hostfile(path: str | Path) -> tuple[Host, ...]:
    """Reads a hostfile: one `name slots=N` or `name:N` a line, `#` begins a comment.

    Raises:
      UsageError: it cannot be read, names no host, or has a line that is wrong; with file:line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; --hostfile wants a list of hosts") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; is it a hostfile?") from error
    lines = ((n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1))
    placed = [(f"{path}:{n}", _host_of_line(line, f"{path}:{n}")) for n, line in lines if line]
    if not placed:
        raise UsageError(f"{path}: names no host; {_SYNTAX}")
    return _distinct(placed)


def parse_hosts(text: str, *, option: str = "--hosts") -> tuple[Host, ...]:
    """Reads hosts as the command line gives them: `a:2,b:2`.

    Raises:
      UsageError: something is wrong with them; the message begins with `option`.
    """
    words = [word.strip() for word in text.split(",")]
    if not any(words):
        raise UsageError(f"{option} {text!r}: names no host; expected a:2,b:2")
    placed = []
    for word in words:
        where = f"{option} {text}"
        match = _WORD.fullmatch(word)
        if not match or match["slots"] is None:
            raise UsageError(f"{where}: {word!r} is no host with slots; expected a:2,b:2")
        placed.append((where, _host(match["name"], match["slots"], where)))
    return _distinct(placed)


def total_slots(hosts: Iterable[Host]) -> int:
    """How many ranks the hosts may hold together."""
    return sum(host.slots for host in hosts)


def check_slots(hosts: Sequence[Host], num_ranks: int) -> None:
    """Refuses more ranks than there are slots.

    Raises:
      UsageError: naming both numbers.
    """
    slots = total_slots(hosts)
    if num_ranks > slots:
        have = "the host has" if len(hosts) == 1 else f"the {len(hosts)} hosts together have"
        raise UsageError(
            f"-np {num_ranks}: {have} {slots} slots; give more hosts or slots, or at most "
            f"-np {slots}, or --oversubscribe where ranks shall share cores"
        )


def _host_of_line(line: str, where: str) -> Host:
    name, *settings = line.split()
    match = _WORD.fullmatch(name)
    if not match:
        raise UsageError(f"{where}: {name!r} is no host name; {_SYNTAX}")
    slots = match["slots"]
    for setting in settings:
        key, equals, value = setting.partition("=")
        if key != "slots" or not equals:
            raise UsageError(f"{where}: {setting!r} is not known here; {_SYNTAX}")
        if slots is not None:
            raise UsageError(f"{where}: the slots of {match['name']} are given twice")
        slots = value
    if slots is None:
        raise UsageError(
            f"{where}: {name} has no slots; write `{name} slots=N`, N being its GPUs or its cores"
        )
    return _host(match["name"], slots, where)


def _host(name: str, slots: str, where: str) -> Host:
    if not re.fullmatch(r"[0-9]{1,6}", slots):
        raise UsageError(f"{where}: {name} has {slots!r} slots; expected a whole number from 1 on")
    try:
        return Host(name=name, slots=int(slots))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _distinct(placed: Sequence[tuple[str, Host]]) -> tuple[Host, ...]:
    """The hosts, refusing two of one name: Open MPI would add up their slots in silence."""
    first: dict[str, str] = {}
    for where, host in placed:
        if host.name in first:
            before = f" (first at {first[host.name]})" if first[host.name] != where else ""
            raise UsageError(f"{where}: {host.name} is named twice{before}; add up its slots")
        first[host.name] = where
    return tuple(host for _, host in placed)
