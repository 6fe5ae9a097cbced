"""Hosts made of network namespaces: each with its address, host name and sshd, on one bridge.

Processes and files are those of this machine; what differs is what a host has of its own: network,
name, mounts, keys. The bridge lies in a namespace too, so this machine's network is not touched.

Names carry the process that made them. What such a process left behind when it was killed is swept
by the next one, and nobody else's.
"""

import contextlib
import glob
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}
OURS = re.compile(r"lbk-(\d+)-(\d+)-\w+")
START_TIME = 19  # of the fields behind the command's name in /proc/PID/stat
PATIENCE_S = 20


def why_not() -> str | None:
    """Why this machine cannot have such hosts; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=SEARCH) is None:
            return f"no {program}; as root: apt-get install {package}"
    tried = _run("unshare", "--net", "--uts", "--mount", "true", check=False)
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else None


@dataclass(frozen=True, kw_only=True)
class Host:
    """One host."""

    name: str
    """As its system calls it, and as the others know it."""

    address: str
    """Of its only interface, eth0."""

    namespace: str
    """Of `ip netns`."""

    sshd: subprocess.Popen[bytes]
    """Keeps its other namespaces too."""

    def line(self, *command: str, cwd: Path) -> list[str]:
        """The command line, on this machine, of a command on the host."""
        enter = ["nsenter", f"--target={self.sshd.pid}", "--net", "--uts", "--mount", "--"]
        return [*enter, "env", f"--chdir={cwd}", *command]

    def run(self, *command: str) -> None:
        """Runs a short command on the host."""
        _run(*self.line(*command, cwd=Path("/")))

    def pids(self) -> set[int]:
        """Every process of the host but its sshd."""
        return _pids(self.namespace) - {self.sshd.pid}

    def is_empty(self, *, within_s: float) -> bool:
        """Whether all processes but the sshd are gone, or go within so many seconds."""
        deadline = time.monotonic() + within_s
        while self.pids() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.pids()

    def cut(self) -> None:
        """Takes its link down: no packet comes or goes, and nobody is told."""
        _run("ip", "-n", self.namespace, "link", "set", "eth0", "down")

    def slow_down(self, rate: str) -> str | None:
        """Lets no more out than `rate`, such as 1mbit; returns why that cannot be."""
        if shutil.which("tc", path=SEARCH) is None:
            return "no tc; as root: apt-get install iproute2"
        limit = ["root", "tbf", "rate", rate, "burst", "4kb", "latency", "2s"]
        add = ["tc", "-n", self.namespace, "qdisc", "add", "dev", "eth0", *limit]
        done = _run(*add, check=False)
        return f"the kernel limits no bandwidth: {done.stderr.strip()}" if done.returncode else None


@dataclass(kw_only=True)
class Network:
    """Hosts that reach each other and nothing else."""

    directory: Path
    """Keys of the user and the hosts, and settings of the sshds."""

    hosts: dict[str, Host] = field(default_factory=dict)
    """By the short names that they were asked for by."""

    @property
    def key(self) -> Path:
        """The private key that every host lets in."""
        return self.directory / "user"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys."""
        return self.directory / "known_hosts"

    def hostfile(self, slots: int) -> Path:
        """A file that names all hosts, with so many slots each."""
        path = self.directory / "hostfile"
        path.write_text("".join(f"{h.name} slots={slots}\n" for h in self.hosts.values()))
        return path


@contextlib.contextmanager
def network(directory: Path, names: Sequence[str]) -> Iterator[Network]:
    """Makes hosts of these short names; takes them and all their processes down at the end."""
    _sweep()
    prefix = f"lbk-{os.getpid()}-{_started(os.getpid())}-{secrets.token_hex(2)}"
    subnet = f"10.{secrets.randbelow(254) + 1}.{secrets.randbelow(256)}"
    made = Network(directory=directory)
    full = {name: f"{name}-{secrets.token_hex(3)}" for name in names}
    addresses = {full[name]: f"{subnet}.{i}" for i, name in enumerate(names, 1)}
    try:
        _add_namespaces(prefix, list(addresses.values()))
        _write_keys(directory, addresses)
        for index, name in enumerate(names, 1):
            made.hosts[name] = _start(
                directory, full[name], addresses[full[name]], namespace=f"{prefix}n{index}"
            )
        yield made
    finally:
        _remove([name for name in namespaces() if name.startswith(prefix)])
        for host in made.hosts.values():
            host.sshd.wait(PATIENCE_S)
        for name in addresses:  # what Open MPI leaves of a host that was cut off
            shutil.rmtree(f"/tmp/ompi.{name}.{os.geteuid()}", ignore_errors=True)
            for path in glob.glob(f"/dev/shm/*.{name}.*"):
                os.unlink(path)


def _add_namespaces(prefix: str, addresses: Sequence[str]) -> None:
    """A bridge in `PREFIXb`, and for each address a `PREFIXn1`, ... with an eth0 on it."""
    bridge = f"{prefix}b"
    _run("ip", "netns", "add", bridge)
    _ip(bridge, "link add br0 type bridge")
    _ip(bridge, "link set br0 up")
    for index, address in enumerate(addresses, 1):
        host = f"{prefix}n{index}"
        _run("ip", "netns", "add", host)
        _ip(host, f"link add eth0 type veth peer name port{index} netns {bridge}")
        _ip(bridge, f"link set port{index} master br0 up")
        _ip(host, f"addr add {address}/24 dev eth0")
        _ip(host, "link set eth0 up")
        _ip(host, "link set lo up")


def _write_keys(directory: Path, addresses: Mapping[str, str]) -> None:
    """Keys of the user and of every host, and what a client and an sshd need to know."""
    for name in ("user", *addresses):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
    shutil.copy(directory / "user.pub", directory / "authorized_keys")
    known = [
        f"{name},{address} {(directory / f'{name}.pub').read_text()}"
        for name, address in addresses.items()
    ]
    (directory / "known_hosts").write_text("".join(known))
    hosts = [f"{address} {name}\n" for name, address in addresses.items()]
    (directory / "hosts").write_text("127.0.0.1 localhost\n" + "".join(hosts))


def _start(directory: Path, name: str, address: str, *, namespace: str) -> Host:
    """Starts a host's sshd, with the host's name, /etc/hosts and /run."""
    settings = directory / f"{name}.conf"
    settings.write_text(
        f"ListenAddress {address}\n"
        f"HostKey {directory}/{name}\n"
        f"AuthorizedKeysFile {directory}/authorized_keys\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPrintMotd no\nPrintLastLog no\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    script = (
        'hostname "$1" && mount -t tmpfs none /run && mkdir /run/sshd && '
        'mount --bind "$2" /etc/hosts && exec "$3" -D -e -f "$4"'
    )
    sshd = str(shutil.which("sshd", path=SEARCH))
    arguments = [name, str(directory / "hosts"), sshd, str(settings)]
    log = directory / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace]
            + ["unshare", "--uts", "--mount", "sh", "-c", script, "sh", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "PATH": SEARCH},
        )
    deadline = time.monotonic() + PATIENCE_S
    while "listening on" not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return Host(name=name, address=address, namespace=namespace, sshd=process)


def _sweep() -> None:
    """Removes what processes that have ended left behind."""
    for name in namespaces():
        found = OURS.fullmatch(name)
        if found and _started(int(found[1])) != int(found[2]):
            _remove([name])


def _remove(names: Sequence[str]) -> None:
    """Ends every process of these namespaces, by its number, and takes them away."""
    for name in names:
        for pid in _pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for name in names:
        _run("ip", "netns", "del", name)


def namespaces() -> list[str]:
    return [line.split()[0] for line in _run("ip", "netns", "list").stdout.splitlines()]


def _pids(namespace: str) -> set[int]:
    return {int(pid) for pid in _run("ip", "netns", "pids", namespace).stdout.split()}


def _started(pid: int) -> int | None:
    """When a process was started, in ticks since boot; None if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[START_TIME])
    except OSError:
        return None


def _ip(namespace: str, words: str) -> None:
    _run("ip", "-n", namespace, *words.split())


def _run(*command: str, check: bool = True) -> Any:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "PATH": SEARCH},
    )
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done
