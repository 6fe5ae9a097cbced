"""Hostfiles and `--hosts`: what is read, and one line for whatever is wrong."""

import re

import pytest

from launch.jobs.hosts import Host, check_slots, parse_hosts, read_hostfile, total_slots
from limbeck.config.errors import UsageError

TWO = (Host(name="node1", slots=8), Host(name="node2", slots=3))


def test_hostfile_in_both_spellings_with_comments_is_read(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# the cluster\n\nnode1 slots=8  # 8 GPUs\r\n  node2:3\n")
    assert read_hostfile(path) == TWO


def test_hosts_of_the_command_line_are_read():
    assert parse_hosts("node1:8, node2:3") == TWO
    assert parse_hosts("ada@10.0.0.7:1") == (Host(name="ada@10.0.0.7", slots=1),)
    assert [str(host) for host in TWO] == ["node1:8", "node2:3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "FILE: names no host; expected `name slots=N`"),
        ("# nobody\n", "FILE: names no host"),
        ("a slots=2\na slots=2\n", "FILE:2: a is named twice (first at FILE:1); add up its slots"),
        ("a slots=2\nb\n", "FILE:2: b has no slots; write `b slots=N`"),
        ("a slots=0\n", "FILE:1: a has 0 slots; it must have at least 1"),
        ("a:0\n", "FILE:1: a has 0 slots"),
        ("a slots=-1\n", "FILE:1: a has '-1' slots; expected a whole number"),
        ("a slots=two\n", "FILE:1: a has 'two' slots"),
        ("a:2 slots=2\n", "FILE:1: the slots of a are given twice"),
        ("a slots=2 max_slots=4\n", "FILE:1: 'max_slots=4' is not known here"),
        ("a slots = 2\n", "FILE:1: 'slots' is not known here"),
        ("-oProxyCommand=x slots=2\n", "FILE:1: '-oProxyCommand=x' is no host name"),
        ("fe80::1 slots=2\n", "FILE:1: the slots of fe80 are given twice"),
    ],
)
def test_wrong_hostfile_is_one_line_with_its_place(tmp_path, text, message):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(UsageError, match=re.escape(message.replace("FILE", str(path)))):
        read_hostfile(path)


def test_hostfile_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere: No such file or directory"):
        read_hostfile(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="Is a directory"):
        read_hostfile(tmp_path)
    (tmp_path / "binary").write_bytes(b"\x80\xff")
    with pytest.raises(UsageError, match="byte 0 is not UTF-8"):
        read_hostfile(tmp_path / "binary")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("a", "'a' is no host with slots"),
        ("a:2,,b:2", "'' is no host with slots"),
        ("a:x", "a has 'x' slots"),
        ("a:2,a:2", "a is named twice; add up its slots"),
        ("a b:2", "'a b:2' is no host with slots"),
    ],
)
def test_wrong_hosts_of_the_command_line_are_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)) as refused:
        parse_hosts(text)
    assert str(refused.value).startswith("--hosts")


def test_too_few_slots_are_refused_with_both_numbers():
    check_slots(TWO, total_slots(TWO))
    with pytest.raises(UsageError, match="-np 12: the 2 hosts together have 11 slots"):
        check_slots(TWO, 12)
    with pytest.raises(UsageError, match="-np 4: the host has 3 slots"):
        check_slots(TWO[1:], 4)
