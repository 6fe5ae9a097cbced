"""How the hosts of a job reach each other: ssh, network interfaces, ports."""

import re
from dataclasses import dataclass

__all__ = ["Links", "Ports", "Ssh"]


@dataclass(frozen=True, kw_only=True)
class Ssh:
    """How ssh is called. It asks nothing, and a host whose key is not known is refused."""

    port: int | None = None
    """Of the hosts' ssh servers; None leaves it to ssh's own configuration."""

    key: str | None = None
    """File of our private key; None leaves it to ssh's own configuration."""

    known_hosts: str | None = None
    """File of the hosts' keys; None for ssh's own, ~/.ssh/known_hosts."""

    attempts: int = 1
    """Tries to connect, a second apart: for hosts that are still starting."""

    def __post_init__(self) -> None:
        """Refuses what cannot be."""
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError(f"ssh port {self.port}: ports are 1 to 65535")
        if self.attempts < 1:
            raise ValueError(f"ssh attempts is {self.attempts}; it must be at least 1")
        for path in (self.key, self.known_hosts):
            # Open MPI splits its ssh arguments at blanks and knows no quotes.
            if path is not None and not re.fullmatch(r"\S+", path):
                raise ValueError(f"{path!r}: Open MPI takes no blanks in names of ssh's files")

    def options(self) -> list[str]:
        """The options of `ssh`, before the host."""
        words = [] if self.port is None else ["-p", str(self.port)]
        words += [] if self.key is None else ["-i", self.key]
        settings = {"BatchMode": "yes", "StrictHostKeyChecking": "yes"}
        if self.known_hosts is not None:
            settings["UserKnownHostsFile"] = self.known_hosts
        if self.attempts > 1:
            settings["ConnectionAttempts"] = str(self.attempts)
        return words + [word for name in settings for word in ("-o", f"{name}={settings[name]}")]


@dataclass(frozen=True, kw_only=True)
class Ports:
    """TCP ports for Open MPI to listen at, both ends included."""

    first: int
    """The lowest."""

    last: int
    """The highest."""

    def __post_init__(self) -> None:
        """Refuses ranges that are none."""
        if not 1024 <= self.first <= self.last <= 65535:
            raise ValueError(f"ports {self.first}-{self.last}: expected a range within 1024-65535")

    @classmethod
    def parse(cls, text: str) -> "Ports":
        """Reads `FIRST-LAST`."""
        match = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text)
        if not match:
            raise ValueError(f"ports {text!r}: expected FIRST-LAST, such as 46000-46099")
        return cls(first=int(match[1]), last=int(match[2]))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, kw_only=True)
class Links:
    """How the hosts of a job reach each other. The defaults leave the choice to Open MPI."""

    ssh: Ssh = Ssh()
    """How daemons are started on other hosts."""

    include: tuple[str, ...] = ()
    """Network interfaces (eth0) or networks (10.0.0.0/24) to use, and no others."""

    exclude: tuple[str, ...] = ()
    """Network interfaces or networks to leave out, such as docker0."""

    ports: Ports | None = None
    """Where Open MPI listens; None for any port that is free."""

    def __post_init__(self) -> None:
        """Refuses settings of which Open MPI would take one and ignore the other."""
        if self.include and self.exclude:
            raise ValueError("interfaces are either included or excluded, not both")
        for name in (*self.include, *self.exclude):
            if not re.fullmatch(r"[A-Za-z0-9][\w.:/@-]*", name):
                raise ValueError(f"interface {name!r}: expected a name, or a network a.b.c.d/bits")

    @property
    def names(self) -> tuple[str, ...]:
        """The included interfaces, where all are given by name: NCCL takes no networks."""
        return () if any("/" in name for name in self.include) else self.include

    def parameters(self) -> dict[str, str]:
        """Open MPI's parameters for interfaces and ports, in the names of Open MPI 4."""
        found = {}
        if self.include:
            chosen = ",".join(self.include)
            found = {"btl_tcp_if_include": chosen, "oob_tcp_if_include": chosen}
        if self.exclude:
            # A list given here replaces Open MPI's own, which keeps ranks off the loopback.
            left_out = ",".join(("127.0.0.1/8", *self.exclude))
            found = {"btl_tcp_if_exclude": left_out, "oob_tcp_if_exclude": left_out}
        if self.ports is not None:
            found["oob_tcp_dynamic_ipv4_ports"] = str(self.ports)
            found["btl_tcp_port_min_v4"] = str(self.ports.first)
            found["btl_tcp_port_range_v4"] = str(self.ports.last - self.ports.first + 1)
        return found
