"""How long ranks take to add up their gradients, by arithmetic.

A ring all-reduce of S bytes over N ranks sends every rank's share round the ring twice, once to add
up and once to hand out, in 2(N-1) steps of S/N bytes each:

    t = 2(N-1)/N * S/B + 2(N-1) * a

B is the bandwidth of the slowest link in one direction and a the time that one message takes
besides its bytes. The first part is the least that any all-reduce needs (Patarasuk and Yuan, 2009,
"Bandwidth optimal all-reduce algorithms for clusters of workstations", J. Parallel Distrib. Comput.
69(2), section 3); with the second it is the ring's cost in Thakur, Rabenseifner and Gropp, 2005
("Optimization of collective communication operations in MPICH", section 4.5). Adding up itself,
their third part, is left out: it is far faster than a network.

With ranks placed host by host the ring enters and leaves each host once, so B is a host's link,
however many ranks share it.

Hierarchical (HOROVOD_HIERARCHICAL_ALLREDUCE): L ranks of a host first reduce-scatter among
themselves, then each all-reduces its L-th of the bytes with its peers on the other H-1 hosts over
the shared link, then they all-gather:

    t = 2(L-1)/L * S/B_inside + 2(H-1)/H * S/B + 2(L-1) * a + 2(H-1) * a
"""

import re
from dataclasses import dataclass

from limbeck.config.errors import UsageError

__all__ = [
    "COMMON_NETWORKS",
    "Cluster",
    "Network",
    "parse_cluster",
    "parse_network",
    "reduce_seconds",
]

_PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_RATE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kKMGT]?)"
    r"(?P<unit>bE|bit/s|b/s|bps|B/s)",
)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Hosts of equal size."""

    hosts: int
    """H."""

    ranks_per_host: int
    """L."""

    @property
    def size(self) -> int:
        """N: ranks of all hosts."""
        return self.hosts * self.ranks_per_host

    def __str__(self) -> str:
        return f"{self.hosts} host(s) x {self.ranks_per_host} rank(s) = {self.size} rank(s)"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A link of every host."""

    name: str
    """As it was named."""

    bytes_per_s: float
    """B: in one direction."""


def parse_cluster(text: str) -> Cluster:
    """Reads `4x8`: hosts x ranks on each.

    Raises:
      UsageError: anything else.
    """
    found = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if found is None or not int(found[1]) or not int(found[2]):
        raise UsageError(
            f"--hosts {text}: expected HOSTSxRANKS, such as 4x8 for 4 hosts of 8 ranks"
        )
    return Cluster(hosts=int(found[1]), ranks_per_host=int(found[2]))


def parse_network(text: str, *, option: str = "--network") -> Network:
    """Reads a rate: `25GbE`, `100Gb/s`, `12.5GB/s`; a small b is bits, a large B bytes.

    Raises:
      UsageError: no rate, or 0.
    """
    found = _RATE.fullmatch(text.strip())
    rate = 0.0
    if found is not None:
        rate = float(found["number"]) * _PREFIXES[found["prefix"]]
        rate /= 1.0 if found["unit"] == "B/s" else 8.0
    if not rate:
        raise UsageError(
            f"{option} {text}: expected a rate such as 25GbE, 100Gb/s (bits) or 12.5GB/s (bytes)"
        )
    return Network(name=text.strip(), bytes_per_s=rate)


COMMON_NETWORKS = tuple(parse_network(name) for name in ("10GbE", "25GbE", "100Gb/s", "400Gb/s"))
"""What is compared where no network is named."""


def reduce_seconds(
    num_bytes: float,
    cluster: Cluster,
    network: Network,
    *,
    inside: Network | None = None,
    latency_s: float = 0.0,
    collectives: int = 1,
) -> float:
    """Seconds of one update's sums over all ranks; see the module for the formulas.

    Args:
      num_bytes: S, what each rank hands in, of all collectives together.
      cluster: the hosts.
      network: between them.
      inside: between the ranks of a host, for a hierarchical reduction, or where there is one host;
        None for one flat ring.
      latency_s: a, of one message.
      collectives: how many sums there are; each waits 2(N-1) times for a message.
    """
    if cluster.hosts == 1:
        network = inside or network
        return _ring(num_bytes, cluster.size, network, latency_s, collectives)
    if inside is None:
        return _ring(num_bytes, cluster.size, network, latency_s, collectives)
    within = _ring(num_bytes, cluster.ranks_per_host, inside, latency_s, collectives)
    return within + _ring(num_bytes, cluster.hosts, network, latency_s, collectives)


def _ring(
    num_bytes: float, num_ranks: int, network: Network, latency_s: float, collectives: int
) -> float:
    rounds = 2 * (num_ranks - 1)
    return rounds / num_ranks * num_bytes / network.bytes_per_s + rounds * latency_s * collectives
