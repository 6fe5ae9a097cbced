"""The hosts that a supervised job is left with, and its command for them."""

import re
from collections.abc import Sequence
from pathlib import Path

from launch.jobs.hosts import Host, read_hostfile, total_slots
from limbeck.config.errors import UsageError
from limbeck.records.files import atomic_write

__all__ = ["HostList"]

NUM_RANKS = ("-np", "-n", "--np", "-c", "--num-ranks")


class HostList:
    """A hostfile that shrinks. The given file stays as it is; a copy is written where it shrinks.

    Args:
      path: the hostfile that stands in the command too.
      command: what is started.
      copy: where the shorter list goes.

    Raises:
      UsageError: the file cannot be used, or the command does not name it.
    """

    def __init__(self, path: str, command: Sequence[str], *, copy: Path) -> None:
        self.hosts: tuple[Host, ...] = read_hostfile(path)
        self._path = path
        self._command = list(command)
        self._copy = copy
        if self._replaced(path, path) == self._replaced(path, ""):
            raise UsageError(
                f"--hostfile {path}: the command does not name this file, so leaving a host out "
                f"would change nothing; give the command `--hostfile {path}` too"
            )

    def drop(self, name: str) -> str:
        """Leaves a host out; returns a line that says so, or nothing where it is none of these."""
        left = tuple(host for host in self.hosts if not _same(host.name, name))
        if not left or left == self.hosts:
            return ""
        self.hosts = left
        text = "".join(f"{host.name} slots={host.slots}\n" for host in left)
        atomic_write(self._copy, text.encode())
        num_hosts = f"{len(left)} host{'s' if len(left) > 1 else ''}"
        return f"{name} is left out: {num_hosts} with {total_slots(left)} slots in {self._copy}"

    @property
    def command(self) -> list[str]:
        """The command for the hosts that are left, with no more ranks than they have slots."""
        if not self._copy.exists() or self.hosts == read_hostfile(self._path):
            return self._command
        return _at_most(self._replaced(self._path, str(self._copy)), total_slots(self.hosts))

    def _replaced(self, old: str, new: str) -> list[str]:
        pattern = re.compile(rf"(--?[\w-]+=)?{re.escape(old)}")
        matches = ((part, pattern.fullmatch(part)) for part in self._command)
        return [(match[1] or "") + new if match else part for part, match in matches]


def _at_most(command: list[str], num_ranks: int) -> list[str]:
    """The command with the first number of ranks cut down."""
    for i, part in enumerate(command[:-1]):
        if part in NUM_RANKS and command[i + 1].isdecimal():
            fewer = str(min(num_ranks, int(command[i + 1])))
            return [*command[: i + 1], fewer, *command[i + 2 :]]
    return command


def _same(listed: str, said: str) -> bool:
    """Whether a name of the list is the one that Open MPI says, which may be longer or shorter."""
    listed = listed.rpartition("@")[2].lower()
    said = said.lower()
    if listed == said:
        return True
    is_address = re.fullmatch(r"[\d.]+", listed) or re.fullmatch(r"[\d.]+", said)
    return not is_address and listed.split(".")[0] == said.split(".")[0]
