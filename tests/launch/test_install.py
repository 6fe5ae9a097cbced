"""`make setup` as a newcomer meets it: what it skips, and what it says when it cannot go on."""

import os
import re
import subprocess
import sys

import pytest

from launch.environment import project_root
from launch.install import Installer, SetupError


def run_install(tmp_path, **variables):
    """Runs the installer on an empty machine: no cache, no environment."""
    environment = {"HOME": str(tmp_path), "PATH": str(tmp_path), **variables}
    return subprocess.run(
        [sys.executable, "-m", "launch.install", "--environment", str(tmp_path / "venv")],
        cwd=project_root(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_compiler_stops_at_once_with_one_line(tmp_path):
    done = run_install(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: make setup needs a C++ compiler (g++) to build Horovod; install one and run again\n"
    )
    assert not (tmp_path / "venv").exists()


def test_unwritable_cache_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_install(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_step_is_done_once_for_each_key(tmp_path):
    installer = Installer(project_root(), tmp_path)
    calls = []
    for key in ("one", "one", "two"):
        installer.step("some packages", key, lambda key=key: calls.append(key))
    assert calls == ["one", "two"]


def test_failed_step_is_done_again(tmp_path):
    installer = Installer(project_root(), tmp_path)
    calls = []

    def fail_first():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        installer.step("packages", "key", fail_first)
    installer.step("packages", "key", fail_first)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "chosen, wanted, unwanted",
    [
        ({}, ("pytest", "tensorflow-cpu"), ("tensorflow",)),
        ({"runtime_only": True}, ("cmake", "tensorflow-cpu"), ("pytest", "tensorflow")),
        (
            {"runtime_only": True, "gpu": True},
            ("cmake", "tensorflow", "nvidia-nccl-cu12"),
            ("pytest", "tensorflow-cpu"),
        ),
    ],
)
def test_requirements_are_those_of_what_was_chosen(tmp_path, monkeypatch, chosen, wanted, unwanted):
    monkeypatch.delenv("HOROVOD_GPU_OPERATIONS", raising=False)
    installer = Installer(project_root(), tmp_path, **chosen)
    pinned = re.findall(r"^([\w.-]+)==", "\n".join(installer.requirements()), re.MULTILINE)
    assert set(wanted) <= set(pinned) and not set(unwanted) & set(pinned)
    assert installer.build.gpu_operations == ("NCCL" if "gpu" in chosen else "")


def test_without_venv_module_says_what_to_install(tmp_path, monkeypatch):
    fake = put_python(tmp_path, "echo No module named ensurepip >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(SetupError, match=r"install its venv and ensurepip modules"):
        Installer(project_root(), tmp_path / "venv").make_environment()


def test_environment_that_was_moved_is_made_again(tmp_path, monkeypatch):
    """Its programs still start the interpreter of the place that it was made in."""
    (tmp_path / "venv" / "limbeck-setup").mkdir(parents=True)
    (tmp_path / "venv" / "limbeck-setup" / "location").write_text("/elsewhere/venv")
    (tmp_path / "venv" / "bin").mkdir()
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    fake = put_python(tmp_path, 'mkdir -p "$3/made"')  # called as: python -m venv DIRECTORY
    monkeypatch.setattr(sys, "executable", str(fake))
    Installer(project_root(), tmp_path / "venv").make_environment()
    names = sorted(path.name for path in (tmp_path / "venv").iterdir())
    assert names == ["limbeck-setup", "made"]


def put_python(directory, script):
    path = directory / "python-fake"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_python_of_another_version_is_refused(tmp_path):
    fake = put_python(tmp_path, '[ "$1" = -V ] && echo Python 3.9.18\nexit 1')
    done = make("setup", f"PYTHON={fake}")
    assert done.returncode != 0
    assert "needs Python 3.11 or 3.12" in done.stderr
    assert "Python 3.9.18" in done.stderr


def test_bare_make_prints_every_target():
    done = make()
    makefile = (project_root() / "Makefile").read_text()
    phony = makefile.split(".PHONY:")[1].split("\n\n")[0].replace("\\\n", " ").split()
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe", "NAME=nothing"], "no recipe 'nothing'"),
        (["train", "RECIPE="], "say which recipe"),
    ],
)
def test_missing_argument_is_a_usage_error(arguments, message):
    done = make(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def make(*arguments):
    """Runs make in the checkout, as from a plain shell rather than from `make test`."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=project_root(),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
