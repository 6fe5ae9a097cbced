"""How hosts reach each other: what is refused before anything is started."""

import pytest

from launch.jobs.links import Links, Ports, Ssh


def test_host_keys_are_checked_whatever_else_is_asked():
    assert Ssh().options() == ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    assert Ssh(port=22, key="k").options()[:4] == ["-p", "22", "-i", "k"]


def test_range_of_ports_is_read():
    assert Ports.parse("46000-46099") == Ports(first=46000, last=46099)
    assert str(Ports.parse("46000-46099")) == "46000-46099"


@pytest.mark.parametrize("text", ["", "46000", "46099-46000", "80-90", "1024-70000", "a-b"])
def test_range_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="ports"):
        Ports.parse(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ssh(port=0), "ssh port 0"),
        (lambda: Ssh(attempts=0), "attempts is 0"),
        (lambda: Ssh(key="my key"), "'my key': Open MPI takes no blanks"),
        (lambda: Links(include=("eth0",), exclude=("lo",)), "not both"),
        (lambda: Links(include=("eth0,eth1",)), "'eth0,eth1': expected a name"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
