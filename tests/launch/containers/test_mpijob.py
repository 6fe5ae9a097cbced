"""What the pods of an MPIJob run, with this machine's ssh and sshd on the loopback."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from launch.environment import project_root

SCRIPT = project_root() / "launch" / "containers" / "mpijob.sh"


def make_keys(directory):
    """A job's key pair as the operator mounts it: ECDSA, under the names of RSA."""
    directory.mkdir()
    key = directory / "id_rsa"
    line = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-N", "", "-C", "", "-f", str(key)]
    subprocess.run(line, check=True)
    shutil.copy(directory / "id_rsa.pub", directory / "authorized_keys")
    return directory


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_script_is_bash_without_findings():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "say worker, or launcher COMMAND"),
        (("workers",), 2, "say worker, or launcher COMMAND"),
        (("launcher",), 2, "launcher: give it the command"),
        (("worker",), 1, "id_rsa: not there; the MPI operator mounts it"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path, arguments, code, message):
    environment = {**os.environ, "LIMBECK_SSH_KEYS": str(tmp_path)}
    done = subprocess.run(
        [str(SCRIPT), *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == code
    [line] = done.stderr.splitlines()
    assert line.startswith("mpijob.sh: error: ") and message in line


@pytest.fixture
def job(tmp_path):
    """A worker that listens on the loopback, and the environment of its launcher."""
    for program in ("ssh", "ssh-keygen", "/usr/sbin/sshd"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")
    command = [str(SCRIPT), "worker"]
    if os.geteuid() == 0:
        # sshd of root wants this directory; a mount of its own leaves the machine's /run alone.
        inner = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
        command = ["unshare", "--mount", "bash", "-c", inner, "bash", *command]
        probe = subprocess.run([*command[:2], "mount", "-t", "tmpfs", "tmpfs", "/run"])
        if probe.returncode:
            pytest.skip("sshd runs as root here, and this machine does not allow mounts")
    hostfile = tmp_path / "hostfile"
    hostfile.write_text("127.0.0.1 slots=2\n")
    environment = {
        **os.environ,
        "LIMBECK_SSH_KEYS": str(make_keys(tmp_path / "keys")),
        "LIMBECK_SSH_PORT": str(free_port()),
        "LIMBECK_KNOWN_HOSTS": str(tmp_path / "known_hosts"),
        "LIMBECK_HOSTFILE": str(hostfile),
        "LIMBECK_WAIT_S": "10",
    }
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=10)


def launch(environment, *command):
    line = [str(SCRIPT), "launcher", *command]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)


def test_launcher_waits_for_workers_then_runs_the_command(job):
    code = 'ssh -p "$LIMBECK_SSH_PORT" -i "$LIMBECK_SSH_KEYS/id_rsa" -o StrictHostKeyChecking=yes '
    code += '-o UserKnownHostsFile="$LIMBECK_KNOWN_HOSTS" 127.0.0.1 echo reached; exit 7'
    done = launch(job, "bash", "-c", code)
    assert (done.returncode, done.stdout) == (7, "reached\n"), done.stderr


def test_worker_with_another_host_key_is_refused_by_name(job, tmp_path):
    other = make_keys(tmp_path / "other")
    done = launch({**job, "LIMBECK_SSH_KEYS": str(other), "LIMBECK_WAIT_S": "2"}, "true")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("mpijob.sh: error: 127.0.0.1: no answer on port ")
    assert "Host key verification failed" in line


def test_sigterm_asks_the_command_to_stop_and_waits_for_it(job, tmp_path):
    started, asked = tmp_path / "started", tmp_path / "asked"
    code = f"trap 'touch {asked}; exit 143' USR1; touch {started}; while :; do sleep 0.05; done"
    line = [str(SCRIPT), "launcher", "bash", "-c", code]
    process = subprocess.Popen(line, env=job, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        assert process.wait(timeout=10) == 143
        assert asked.exists()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def test_names_of_the_rendered_file_are_the_scripts_own():
    from launch.render import kubernetes

    text = SCRIPT.read_text()
    for value in (kubernetes.KNOWN_HOSTS, kubernetes.HOSTFILE, str(kubernetes.SSH_PORT)):
        assert f":-{value}}}" in text
    dockerfile = Path(SCRIPT).with_name("Dockerfile.cpu").read_text()
    assert f"COPY launch/containers/{SCRIPT.name} containers/{SCRIPT.name}" in dockerfile
    assert f"/opt/limbeck/containers/{SCRIPT.name}" == kubernetes.ENTRY
    assert f"-m 700 {kubernetes.SSH_DIRECTORY}" in dockerfile
