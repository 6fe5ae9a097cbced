"""Looks at every host of a job before it starts: one line for each host that would not do."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from launch.jobs.hosts import Host
from launch.jobs.links import Links
from launch.jobs.versions import found_here, taken_ports

__all__ = ["CONNECT_S", "Preflight", "is_this_machine"]

CONNECT_S = 10  # for a host to answer ssh
ANSWER_S = 60  # for what is asked there: an interpreter on a cold network disk takes its time
_AT_ONCE = 64

_NO_DIRECTORY, _NO_PYTHON = 91, 92  # exit codes of our question, which no shell and no ssh uses
_SSH_FAILED = 255

# What ssh says (in lower case) -> what it means for a host, and what to do.
_COMPLAINTS = (
    ("could not resolve", "the name is not known here; correct it, or add it to DNS or /etc/hosts"),
    (
        "host identification has changed",
        "its host key is another one than known_hosts holds; if that is right, take the old one "
        "out: ssh-keygen -R {name}",
    ),
    (
        "host key verification failed",
        "its host key is not known here; compare it once and keep it: {keyscan}",
    ),
    ("permission denied", "ssh lets us in with none of our keys; see --ssh-key, or ssh-copy-id"),
    ("connection refused", "no ssh server answers there; start sshd, or see --ssh-port"),
    ("timed out", "does not answer ssh within {seconds} s; is it up, and on this network?"),
    ("no route to host", "cannot be reached: no route to it"),
    ("network is unreachable", "cannot be reached: its network is not"),
)


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """The questions to every host. Nothing is changed there."""

    hosts: Sequence[Host]
    """All hosts of the job; this machine may be one of them."""

    links: Links
    """How they are reached; of given ports, enough must be free."""

    directory: str
    """Where the ranks will run; must be there on every host."""

    connect_s: int = CONNECT_S
    """Seconds for a host to answer."""

    answer_s: float = ANSWER_S
    """Seconds for the answer to the questions."""

    def problems(self) -> list[str]:
        """Asks all hosts at the same time.

        Returns:
          One line for each host that would not do, in the order of the hosts; empty when all do.
        """
        others = [host for host in self.hosts if not is_this_machine(host.name)]
        here = [
            problem
            for host in self.hosts
            if host not in others
            for problem in self._port_problem(host, self._taken_here())
        ]
        if others and not shutil.which("ssh"):
            names = ", ".join(host.name for host in others)
            return [
                f"no ssh: there is no program `ssh` to reach {names}; install it "
                "(Debian: openssh-client), or run on this machine alone"
            ]
        if not others:
            return here
        expected = found_here()
        with ThreadPoolExecutor(min(_AT_ONCE, len(others))) as pool:
            answers = list(pool.map(lambda host: self._ask(host, expected), others))
        return here + [f"{h.name}: {text}" for h, text in zip(others, answers, strict=True) if text]

    def question(self) -> str:
        """The command that each host runs for us; for any login shell."""
        words = [sys.executable, "-m", "launch", "versions"]
        words += ["--ports", str(self.links.ports)] if self.links.ports else []
        path = os.environ.get("PYTHONPATH")
        setting = f"PYTHONPATH={shlex.quote(path)} " if path else ""
        script = (
            f"cd {shlex.quote(self.directory)} 2>/dev/null || exit {_NO_DIRECTORY}; "
            f"[ -x {shlex.quote(sys.executable)} ] || exit {_NO_PYTHON}; "
            f"{setting}exec {shlex.join(words)}"
        )
        return f"sh -c {shlex.quote(script)}"

    def _ask(self, host: Host, expected: dict[str, str]) -> str:
        """What is wrong with a host; empty where nothing is."""
        line = ["ssh", *self.links.ssh.options(), "-o", f"ConnectTimeout={self.connect_s}"]
        try:
            done = subprocess.run(
                [*line, host.name, self.question()],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.connect_s + self.answer_s,
            )
        except subprocess.TimeoutExpired as error:
            return f"gave no answer within {error.timeout:.0f} s; is a disk there hanging?"
        if done.returncode:
            return self._failure(host, done)
        answer = _answer(done.stdout)
        if answer is None:
            return f"answered {_last_line(done.stdout)!r}, which is not what we asked"
        differences = [
            f"{name} {answer['versions'].get(name, 'missing')} there and {version} here"
            for name, version in expected.items()
            if answer["versions"].get(name, "missing") != version
        ]
        if differences:
            return f"{', '.join(differences)}; run `make setup` there in the same checkout"
        problems = self._port_problem(host, answer.get("taken_ports", []))
        return problems[0].removeprefix(f"{host.name}: ") if problems else ""

    def _failure(self, host: Host, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == _NO_DIRECTORY:
            return f"there is no directory {self.directory}; share or copy the checkout there"
        if done.returncode == _NO_PYTHON:
            return f"there is no {sys.executable}; run `make setup` there, at the same place"
        said = _last_line(done.stderr)
        if done.returncode != _SSH_FAILED:
            return f"`python -m launch versions` ended with {done.returncode} there: {said}"
        ssh, name = self.links.ssh, host.name.rpartition("@")[2]
        port = f"-p {ssh.port} " if ssh.port else ""
        keyscan = f"ssh-keyscan {port}{name} >> {ssh.known_hosts or '~/.ssh/known_hosts'}"
        for words, meaning in _COMPLAINTS:
            if words in done.stderr.lower():
                return meaning.format(name=name, keyscan=keyscan, seconds=self.connect_s)
        return f"ssh failed: {said}"

    def _taken_here(self) -> list[int]:
        return taken_ports(self.links.ports) if self.links.ports else []

    def _port_problem(self, host: Host, taken: Sequence[int]) -> list[str]:
        """Every rank and Open MPI's daemon listen at one port each."""
        ports = self.links.ports
        if ports is None:
            return []
        free, needed = ports.last - ports.first + 1 - len(taken), host.slots + 1
        if free >= needed:
            return []
        names = ", ".join(map(str, taken[:4])) + (", ..." if len(taken) > 4 else "")
        in_use = f" ({names} in use)" if taken else ""
        return [
            f"{host.name}: {free} of the ports {ports} are free{in_use}, but {needed} are needed "
            f"for {host.slots} ranks and a daemon; give a wider range or another one"
        ]


def is_this_machine(name: str) -> bool:
    """Whether a host's name or address is this machine's, to which Open MPI uses no ssh."""
    name = name.rpartition("@")[2]
    if name in ("localhost", socket.gethostname()):
        return True
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(name, None, socket.AF_INET)}
    except OSError:
        return False
    return any(_is_ours(str(address)) for address in addresses)


def _is_ours(address: str) -> bool:
    """Whether this machine has the address: only its own can be listened at."""
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _answer(text: str) -> dict[str, Any] | None:
    """The answer of `launch versions`; a login shell may have printed other lines before it."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("versions"), dict):
            return found
    return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
