"""Communication by arithmetic: against a reference table and by hand."""

import pytest

from launch.planning.network import Cluster, parse_cluster, parse_network, reduce_seconds
from limbeck.config import UsageError

# Milliseconds of one sum in float32 and float16, for very many ranks: parameters, then
# 10 GbE, 25 GbE and 100 Gb/s. Whole milliseconds; the figures of 25 GbE are up to 1.2 % high.
REFERENCE = [
    (14.5e6, (93, 46), (37, 19), (9, 5)),  # TinyBERT of 4 layers
    (22e6, (141, 70), (57, 28), (14, 7)),
    (66e6, (422, 211), (170, 85), (42, 21)),  # DistilBERT
    (110e6, (704, 352), (284, 142), (70, 35)),  # BERT-base
]
MANY = Cluster(hosts=100_000, ranks_per_host=1)


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: f"{row[0] / 1e6:g} M")
def test_times_are_those_of_the_reference_table(row):
    parameters, *columns = row
    for name, expected in zip(("10GbE", "25GbE", "100Gb/s"), columns, strict=True):
        for size, milliseconds in zip((4, 2), expected, strict=True):
            found = 1e3 * reduce_seconds(size * parameters, MANY, parse_network(name))
            assert found == pytest.approx(milliseconds, rel=0.012, abs=0.5)


@pytest.mark.parametrize(
    ("hosts", "ranks", "seconds"),
    [
        (1, 1, 0.0),  # nothing travels
        (2, 1, 1.0),  # each rank sends and gets its half twice
        (4, 1, 1.5),
        (2, 2, 1.5),  # the same ring: it crosses each host's link once
        (5, 1, 1.6),
    ],
)
def test_ring_sends_every_share_twice(hosts, ranks, seconds):
    cluster = Cluster(hosts=hosts, ranks_per_host=ranks)
    assert reduce_seconds(1e9, cluster, parse_network("1GB/s")) == pytest.approx(seconds)


def test_hierarchical_reduction_crosses_hosts_once_for_all_their_ranks():
    cluster, network = Cluster(hosts=4, ranks_per_host=8), parse_network("1GB/s")
    flat = reduce_seconds(1e9, cluster, network)
    assert flat == pytest.approx(2 * 31 / 32)
    tiered = reduce_seconds(1e9, cluster, network, inside=parse_network("100GB/s"))
    assert tiered == pytest.approx(2 * 3 / 4 + 2 * 7 / 8 / 100)


def test_ranks_of_one_host_never_meet_the_network():
    one = Cluster(hosts=1, ranks_per_host=4)
    fast = reduce_seconds(1e9, one, parse_network("1Mb/s"), inside=parse_network("10GB/s"))
    assert fast == pytest.approx(1.5 / 10)


def test_latency_counts_for_every_message_of_every_collective():
    cluster, network = Cluster(hosts=3, ranks_per_host=2), parse_network("1GB/s")
    options = {"latency_s": 1e-3, "collectives": 2}
    plain = reduce_seconds(6e6, cluster, network)
    slow = reduce_seconds(6e6, cluster, network, **options)
    assert slow - plain == pytest.approx(2 * 5 * 2 * 1e-3)
    inside = parse_network("1GB/s")
    plain = reduce_seconds(6e6, cluster, network, inside=inside)
    slow = reduce_seconds(6e6, cluster, network, inside=inside, **options)
    assert slow - plain == pytest.approx((2 * 1 + 2 * 2) * 2 * 1e-3)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("25GbE", 25e9 / 8),
        ("100Gb/s", 12.5e9),
        ("400 Gbit/s", 50e9),
        ("12.5GB/s", 12.5e9),
        ("900MB/s", 9e8),
        ("1.5 Tbps", 1.5e12 / 8),
    ],
)
def test_rates_in_bits_and_bytes(text, rate):
    assert parse_network(text).bytes_per_s == pytest.approx(rate)


@pytest.mark.parametrize("text", ["25", "fast", "GbE", "0GbE", "-1GB/s", "25 GbE fast", "1e3Gb/s"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(UsageError, match="expected a rate such as 25GbE"):
        parse_network(text)


@pytest.mark.parametrize("text", ["4", "4x", "x8", "0x8", "4x0", "4*8", "-1x2", "4x8x2"])
def test_what_is_no_cluster_is_refused(text):
    with pytest.raises(UsageError, match="expected HOSTSxRANKS, such as 4x8"):
        parse_cluster(text)


def test_cluster_is_hosts_times_ranks():
    cluster = parse_cluster("4x8")
    assert (cluster.hosts, cluster.ranks_per_host, cluster.size) == (4, 8, 32)
