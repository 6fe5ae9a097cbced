"""What is asked of hosts before a job, with a FAKE ssh on PATH: no host is reached here."""

import json
import socket
import sys

import pytest

from launch.jobs import preflight
from launch.jobs.hosts import parse_hosts
from launch.jobs.links import Links, Ports, Ssh
from launch.jobs.preflight import Preflight, is_this_machine

# Names that no machine has (RFC 6761), so that they are never this one.
HOSTS = parse_hosts("one.invalid:2,two.invalid:2")
HERE = {"python": "1.5", "tensorflow": "2.21.0", "horovod": "0.28.1"}  # no real host's
KEY = "Host key verification failed.\r\n"


@pytest.fixture(autouse=True)
def versions_here(monkeypatch):
    monkeypatch.setattr(preflight, "found_here", lambda: HERE)


def answer(**changes):
    found = {"versions": {**HERE, **changes}}
    return {"stdout": f"Welcome to this host!\n{json.dumps(found)}\n"}


def problems(fake_ssh, first, *, links=None, directory="/tmp"):
    fake_ssh({"one.invalid": first, "two.invalid": answer()})
    found = Preflight(hosts=HOSTS, links=links or Links(), directory=directory).problems()
    assert all("\n" not in text for text in found)
    return found


def test_hosts_that_are_like_this_one_have_no_problem(fake_ssh, tmp_path):
    calls = fake_ssh({"one.invalid": answer(), "two.invalid": answer()})
    ssh = Ssh(port=2222, key="/k", known_hosts="/known")
    asked = Preflight(hosts=HOSTS, links=Links(ssh=ssh), directory="/a b")
    assert asked.problems() == []
    line = [*ssh.options(), "-o", "ConnectTimeout=10"]
    assert sorted(calls()) == [[*line, host.name, asked.question()] for host in HOSTS]
    assert "cd '\"'\"'/a b'\"'\"'" in asked.question()


def test_host_that_runs_our_question_answers_it(fake_ssh, tmp_path):
    """The fake runs what it is given here: the question itself works in a shell."""
    (other,) = problems(fake_ssh, {"run": True}, directory=str(tmp_path))
    assert other.startswith("one.invalid: python 3.")
    missing = problems(fake_ssh, {"run": True}, directory="/no/such/place")
    assert missing == [
        "one.invalid: there is no directory /no/such/place; share or copy the checkout there"
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (KEY, "its host key is not known here; compare it once and keep it: ssh-keyscan -p 2222"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n" + KEY, "ssh-keygen -R one.inv"),
        ("ssh: Could not resolve hostname one.invalid: Name unknown\n", "the name is not known"),
        ("ssh: connect to host one.invalid port 22: Connection timed out\n", "within 10 s"),
        ("ssh: connect to host one.invalid port 22: Connection refused\n", "no ssh server"),
        ("ssh: connect to host one.invalid port 22: No route to host\n", "no route to it"),
        ("root@one.invalid: Permission denied (publickey).\n", "see --ssh-key"),
        ("kex_exchange_identification: read: Connection reset\n", "ssh failed: kex_exchange"),
        ("", "ssh failed: it said nothing"),
    ],
)
def test_host_that_ssh_cannot_reach_is_named_with_the_way_out(fake_ssh, said, meant):
    links = Links(ssh=Ssh(port=2222))
    (found,) = problems(fake_ssh, {"code": 255, "stderr": said}, links=links)
    assert found.startswith("one.invalid: ") and meant in found


def test_host_with_other_versions_is_told_all_of_them(fake_ssh):
    (found,) = problems(fake_ssh, answer(tensorflow="2.20.0", horovod="missing"))
    assert found == (
        "one.invalid: tensorflow 2.20.0 there and 2.21.0 here, horovod missing there and 0.28.1 "
        "here; run `make setup` there in the same checkout"
    )


@pytest.mark.parametrize(
    ("first", "meant"),
    [
        ({"code": 92}, f"there is no {sys.executable}; run `make setup` there"),
        (
            {"code": 1, "stderr": "Traceback ...\nNo module named launch\n"},
            "No module named launch",
        ),
        ({"stdout": "Password:"}, "answered 'Password:', which is not what we asked"),
    ],
)
def test_host_with_another_answer_is_named(fake_ssh, first, meant):
    (found,) = problems(fake_ssh, first)
    assert found.startswith("one.invalid: ") and meant in found


def test_host_that_hangs_is_given_up(fake_ssh):
    fake_ssh({"one.invalid": {"sleep_s": 60}})
    asked = Preflight(hosts=HOSTS[:1], links=Links(), directory="/tmp", connect_s=1, answer_s=0.0)
    assert asked.problems() == ["one.invalid: gave no answer within 1 s; is a disk there hanging?"]


def test_all_bad_hosts_are_named(fake_ssh):
    bad = {"code": 255, "stderr": KEY}
    fake_ssh({"one.invalid": bad, "two.invalid": bad})
    found = Preflight(hosts=HOSTS, links=Links(), directory="/tmp").problems()
    assert [text.partition(":")[0] for text in found] == ["one.invalid", "two.invalid"]


def test_ports_in_use_on_a_host_are_named(fake_ssh):
    reply = {"versions": HERE, "taken_ports": [46000, 46001]}
    links = Links(ports=Ports(first=46000, last=46003))
    (found,) = problems(fake_ssh, {"stdout": json.dumps(reply)}, links=links)
    assert found == (
        "one.invalid: 2 of the ports 46000-46003 are free (46000, 46001 in use), but 3 are needed "
        "for 2 ranks and a daemon; give a wider range or another one"
    )


def test_port_in_use_on_this_machine_is_named():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        links = Links(ports=Ports(first=port, last=port))
        here = Preflight(hosts=parse_hosts("localhost:1"), links=links, directory="/tmp")
        (found,) = here.problems()
    assert f"localhost: 0 of the ports {port}-{port} are free ({port} in use)" in found


def test_machine_without_ssh_is_told_so(monkeypatch):
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    (found,) = Preflight(hosts=HOSTS, links=Links(), directory="/tmp").problems()
    assert "no ssh: there is no program `ssh` to reach one.invalid, two.invalid" in found


def test_this_machine_is_known_by_its_names():
    assert is_this_machine("localhost") and is_this_machine(socket.gethostname())
    assert is_this_machine("127.0.0.1") and is_this_machine("ada@localhost")
    assert not is_this_machine("one.invalid") and not is_this_machine("198.51.100.7")
