"""Golden command lines: what is printed before a run is exactly what runs."""

import shlex
from pathlib import Path

import pytest

from launch.jobs import mpirun
from launch.jobs.hosts import Host
from launch.jobs.links import Links, Ports, Ssh
from launch.jobs.mpirun import mpirun_command
from launch.mpi import Mpi

COMMON_4 = (
    "-mca pml ob1 -mca btl ^openib -mca mpi_yield_when_idle 1 -mca oob_tcp_keepalive_time 5 "
    "-mca oob_tcp_keepalive_intvl 2 -mca oob_tcp_keepalive_probes 3"
)
COMMON_5 = (
    "--mca pml ob1 --mca mpi_yield_when_idle 1 --prtemca oob_tcp_keepalive_time 5 "
    "--prtemca oob_tcp_keepalive_intvl 2 --prtemca oob_tcp_keepalive_probes 3"
)
CHECKED = "-o BatchMode=yes -o StrictHostKeyChecking=yes"


def put_mpi(monkeypatch, version):
    mpi = Mpi(
        version=version,
        prefix=Path("/mpi"),
        mpirun=Path("/mpi/bin/mpirun"),
        library_dirs=(),
        from_wheel=False,
    )
    monkeypatch.setattr(mpirun, "find_mpi", lambda: mpi)


@pytest.fixture
def as_user(monkeypatch):
    """An ordinary user on a machine whose mpirun is /mpi/bin/mpirun, with a clean environment."""
    put_mpi(monkeypatch, "4.1.8")
    monkeypatch.setattr(mpirun.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(mpirun.os, "environ", {"PATH": "/bin", "HOME": "/home/ada"})
    return monkeypatch


@pytest.fixture
def as_user_of_5(as_user):
    put_mpi(as_user, "5.0.11")
    return as_user


def test_ranks_on_this_machine(as_user):
    line = mpirun_command(2, ["python", "-m", "train", "run", "a b.yaml"])
    assert shlex.join(line) == (
        "/mpi/bin/mpirun -np 2 --oversubscribe --bind-to none --map-by slot "
        + COMMON_4.replace("^openib", "'^openib'")
        + " python -m train run 'a b.yaml'"
    )


def test_ranks_on_this_machine_with_open_mpi_5(as_user_of_5):
    line = mpirun_command(2, ["true"])
    placed = "--bind-to none --map-by slot:OVERSUBSCRIBE"
    assert line == f"/mpi/bin/mpirun -np 2 {placed} {COMMON_5} true".split()


@pytest.mark.parametrize(("version", "common"), [("4.1.4", COMMON_4), ("5.0.0", COMMON_5)])
def test_root_is_allowed_and_no_more_ranks_than_cores(as_user, version, common):
    put_mpi(as_user, version)
    as_user.setattr(mpirun.os, "geteuid", lambda: 0)
    line = mpirun_command(1, ["true"], oversubscribe=False)
    start = "/mpi/bin/mpirun -np 1 --allow-run-as-root --bind-to none --map-by slot"
    assert line == f"{start} {common} true".split()


def test_two_hosts_with_odd_slots_get_our_settings(as_user):
    as_user.setitem(mpirun.os.environ, "HOROVOD_CYCLE_TIME", "5")
    as_user.setitem(mpirun.os.environ, "OPAL_PREFIX", "/mpi")
    hosts = (Host(name="one", slots=3), Host(name="two", slots=1))
    line = mpirun_command(4, ["true"], hosts=hosts, directory="/srv/a b")
    assert line == [
        *"/mpi/bin/mpirun -np 4 --bind-to none --map-by slot --wdir".split(),
        "/srv/a b",
        *COMMON_4.split(),
        *"-mca orte_keep_fqdn_hostnames 1".split(),
        *("-mca", "plm_rsh_args", CHECKED),
        *"--host one:3,two:1 -x HOROVOD_CYCLE_TIME -x OPAL_PREFIX -x PATH true".split(),
    ]


def test_two_hosts_with_open_mpi_5_start_every_daemon_from_here(as_user_of_5):
    line = mpirun_command(4, ["true"], hosts=["one:3", "two:1"], tag_output=True)
    assert line == [
        *"/mpi/bin/mpirun -np 4 --bind-to none --map-by slot --output tag".split(),
        *COMMON_5.split(),
        *("--prtemca", "plm_ssh_args", CHECKED, "--prtemca", "plm_ssh_no_tree_spawn", "1"),
        *"--host one:3,two:1 -x PATH true".split(),
    ]


LINKS = Links(
    ssh=Ssh(port=2222, key="/k/id", known_hosts="/k/known", attempts=10),
    include=("eth0", "eth1"),
    ports=Ports(first=46000, last=46099),
)
SSH = (
    "-p 2222 -i /k/id -o BatchMode=yes -o StrictHostKeyChecking=yes "
    "-o UserKnownHostsFile=/k/known -o ConnectionAttempts=10"
)


def parameters(line):
    """MCA parameters on a line -> (the option that gives it, its value)."""
    options = ("-mca", "--mca", "--prtemca")
    return {line[i + 1]: (word, line[i + 2]) for i, word in enumerate(line) if word in options}


def test_65_hosts_with_ssh_interfaces_and_ports(as_user):
    hosts = [f"node{n:02d}:8" for n in range(65)]
    line = mpirun_command(520, ["true"], hosts=hosts, links=LINKS)
    at = line.index("--host")
    assert line[at + 1] == ",".join(hosts)
    assert line[at + 2 :] == ["-x", "PATH", "-x", "NCCL_SOCKET_IFNAME=eth0,eth1", "true"]
    assert line[line.index("btl_tcp_if_include") - 1 : at] == [
        *"-mca btl_tcp_if_include eth0,eth1 -mca oob_tcp_if_include eth0,eth1".split(),
        *"-mca oob_tcp_dynamic_ipv4_ports 46000-46099 -mca btl_tcp_port_min_v4 46000".split(),
        *"-mca btl_tcp_port_range_v4 100 -mca orte_keep_fqdn_hostnames 1".split(),
        *("-mca", "plm_rsh_args", SSH),
        *"-mca plm_rsh_no_tree_spawn 1 -mca plm_rsh_num_concurrent 65".split(),
    ]


def test_65_hosts_with_open_mpi_5_uses_its_names(as_user_of_5):
    hosts = [f"node{n:02d}:8" for n in range(65)]
    found = parameters(mpirun_command(520, ["true"], hosts=hosts, links=LINKS))
    assert found["plm_ssh_args"] == ("--prtemca", SSH)
    assert found["plm_ssh_num_concurrent"] == ("--prtemca", "65")
    assert found["btl_tcp_if_include"] == ("--mca", "eth0,eth1")
    assert found["prte_if_include"] == ("--prtemca", "eth0")  # several would crash it
    assert found["oob_tcp_dynamic_ipv4_ports"] == ("--prtemca", "46000-46099")
    assert not [
        name for name in found if name.startswith(("plm_rsh_", "oob_tcp_if_", "btl_openib"))
    ]
    assert "btl" not in found


@pytest.mark.parametrize(("count", "tree"), [(63, True), (64, False)])
def test_daemons_are_started_in_a_tree_below_64_hosts(as_user, count, tree):
    found = parameters(mpirun_command(8, ["true"], hosts=[f"n{n}:1" for n in range(count)]))
    assert ("plm_rsh_no_tree_spawn" not in found) == tree


def test_excluded_interfaces_keep_the_loopback_out(as_user):
    links = Links(exclude=("docker0", "virbr0"))
    line = mpirun_command(2, ["true"], hosts=["a:1", "b:1"], links=links)
    excluded = ("-mca", "127.0.0.1/8,docker0,virbr0")
    assert parameters(line)["btl_tcp_if_exclude"] == excluded
    assert parameters(line)["oob_tcp_if_exclude"] == excluded
    assert "NCCL_SOCKET_IFNAME" not in " ".join(line)


def test_several_excluded_interfaces_are_refused_with_open_mpi_5(as_user_of_5):
    one = Links(exclude=("docker0",))
    line = mpirun_command(2, ["true"], hosts=["a:1", "b:1"], links=one)
    assert parameters(line)["prte_if_exclude"] == ("--prtemca", "docker0")
    with pytest.raises(ValueError, match="docker0, virbr0"):
        two = Links(exclude=("docker0", "virbr0"))
        mpirun_command(2, ["true"], hosts=["a:1", "b:1"], links=two)


def test_settings_stand_on_the_line_with_their_values(as_user):
    as_user.setitem(mpirun.os.environ, "HOROVOD_CYCLE_TIME", "3")
    settings = {"HOROVOD_TIMELINE": "/t/a b.json", "HOROVOD_CYCLE_TIME": "5"}
    expected = ["-x", "HOROVOD_CYCLE_TIME=5", "-x", "HOROVOD_TIMELINE=/t/a b.json", "true"]
    assert mpirun_command(2, ["true"], settings=settings)[-5:] == expected
    remote = mpirun_command(2, ["true"], hosts=["a:2"], settings=settings)
    assert remote[-9:] == ["--host", "a:2", "-x", "PATH", *expected]


def test_network_given_as_addresses_is_nothing_for_nccl(as_user):
    links = Links(include=("10.0.0.0/24",))
    line = mpirun_command(2, ["true"], hosts=["a:1", "b:1"], links=links)
    assert parameters(line)["btl_tcp_if_include"] == ("-mca", "10.0.0.0/24")
    assert "NCCL_SOCKET_IFNAME" not in " ".join(line)


def test_nccl_setting_of_the_environment_stays(as_user):
    as_user.setitem(mpirun.os.environ, "NCCL_SOCKET_IFNAME", "ib0")
    line = mpirun_command(2, ["true"], hosts=["a:1"], links=Links(include=("eth0",)))
    assert line[-5:] == ["-x", "NCCL_SOCKET_IFNAME", "-x", "PATH", "true"]


def test_parameters_of_the_user_replace_ours(as_user):
    line = mpirun_command(2, ["true"], parameters={"pml": "ucx", "odls_base_verbose": "5"})
    assert parameters(line)["pml"] == ("-mca", "ucx") and line.count("pml") == 1
    put_mpi(as_user, "5.0.11")
    line = mpirun_command(2, ["true"], parameters={"odls_base_verbose": "5"})
    assert parameters(line)["odls_base_verbose"] == ("--prtemca", "5")


def test_line_for_another_machine_reads_nothing_of_this_one(monkeypatch):
    monkeypatch.setattr(mpirun, "find_mpi", lambda: pytest.fail("looked for our own MPI"))
    line = mpirun_command(
        4,
        ["true"],
        hostfile="/etc/mpi/hostfile",
        num_hosts=2,
        exports=["PATH", "NCCL_DEBUG"],
        allow_root=False,
        mpirun="mpirun",
        major=4,
    )
    start = "mpirun -np 4 --bind-to none --map-by slot"
    end = "--hostfile /etc/mpi/hostfile -x PATH -x NCCL_DEBUG true"
    assert line[:7] == start.split()
    assert line[-7:] == end.split()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, ["true"]), {}, "num_ranks is 0"),
        ((2, []), {}, "command is empty"),
        ((2, ["true"]), {"hosts": ["a:2"], "hostfile": "hosts"}, "not as both"),
        ((2, ["true"]), {"mpirun": "mpirun", "major": 3}, "Open MPI 3"),
    ],
)
def test_lines_that_make_no_sense_are_refused(as_user, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        mpirun_command(*arguments, **options)
