"""Hosts for a test, and jobs across them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT, process_environment
from tests.hosts.network import Host, Network, network, why_not

LIMIT_S = 300  # of a job, whatever becomes of it


class Job:
    """A command on a host; ended with the `with` block.

    Args:
      host: where it runs.
      command: what.
    """

    def __init__(self, host: Host, command: Sequence[str]) -> None:
        limited = ["timeout", "--kill-after=5", str(LIMIT_S), *command]
        self._process = subprocess.Popen(
            host.line(*limited, cwd=ROOT),
            env=process_environment(threads=1),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.lines: list[str] = []

    @property
    def log(self) -> str:
        """What it has said so far."""
        return "\n".join(self.lines)

    def read_until(self, is_it: Callable[[str], bool]) -> None:
        """Reads on up to a line; fails where it ends before."""
        for line in self._lines():
            if is_it(line):
                return
        pytest.fail(f"ended with {self._process.wait()}:\n{self.log}")

    def ask_to_stop(self) -> None:
        """Sends SIGTERM to the command itself; `timeout` would not let it take its time."""
        timeout = self._process.pid
        (child,) = Path(f"/proc/{timeout}/task/{timeout}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)

    def wait(self) -> int:
        """Reads to the end and returns the exit code."""
        for _ in self._lines():
            pass
        return self._process.wait(LIMIT_S + 10)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            yield self.lines[-1]


def launch_line(
    net: Network, num_ranks: int, *command: str | Path, slots: int = 1, options: Sequence[str] = ()
) -> list[str]:
    """The line for `python -m launch run` of a command as ranks on all hosts.

    Keys of hosts are checked, and known by a file of the network's own.
    """
    ssh = ["--ssh-key", str(net.key), "--ssh-known-hosts", str(net.known_hosts)]
    hosts = ["--hostfile", str(net.hostfile(slots)), *ssh, *options]
    line = [sys.executable, "-m", "launch", "run", "-np", str(num_ranks), *hosts, "--"]
    return [*line, *map(str, command)]


Make = Callable[..., Network]


@pytest.fixture
def make_network(tmp_path: Path) -> Iterator[Make]:
    """Makes hosts of these names; they go with the test."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        import horovod  # noqa: F401
    except ImportError:
        pytest.skip("Horovod is not built; run `make setup`")
    directory = tmp_path / "ssh"
    directory.mkdir()
    with contextlib.ExitStack() as stack:
        yield lambda *names: stack.enter_context(network(directory, names))


@pytest.fixture
def net(make_network: Make) -> Network:
    """Hosts `one` and `two`."""
    return make_network("one", "two")


def kill(pid: int) -> float:
    """Sends SIGKILL and returns the time."""
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()
