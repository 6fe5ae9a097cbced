"""The container files, read and not built: no image was ever built of them here."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from launch.environment import project_root
from launch.pins import lock_entry, pinned_version

ROOT = project_root()
FILES = sorted((ROOT / "launch" / "containers").glob("Dockerfile.*"))
LOCKS = ROOT / "requirements"


def instructions(path):
    """Each instruction as (its name, the rest), with continued lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def copied(path):
    """The paths of the checkout that a file copies."""
    found = []
    for name, rest in instructions(path):
        words = shlex.split(rest)
        if name == "COPY" and not words[0].startswith("--from="):
            found += words[:-1]
    return found


def ignored(path):
    """Whether .dockerignore keeps a path out, by the rules that ours uses."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    return path.split("/")[0] not in allowed


def ids(path):
    return path.name


def test_there_is_a_file_for_each_kind():
    assert [path.suffix for path in FILES] == [".cpu", ".dataflow", ".gpu"]


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_what_is_copied_is_in_the_checkout_and_not_ignored(path):
    for source in copied(path):
        assert (ROOT / source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_package_of_ours_is_copied(path):
    packages = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    assert packages <= set(copied(path))


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_instructions_are_known_and_versions_are_said(path):
    known = {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "CMD", "ENTRYPOINT"}
    for name, rest in instructions(path):
        assert name in known
        if name == "FROM":
            assert re.match(r"\S+:[\w.-]*\d[\w.-]*( AS build)?$", rest), rest


def test_dataflow_image_is_of_the_locked_beam():
    version = pinned_version(LOCKS / "base.lock", "apache-beam")
    text = (ROOT / "launch" / "containers" / "Dockerfile.dataflow").read_text()
    assert f"_sdk:{version}\n" in text


def test_gpu_image_is_of_the_locked_cuda():
    runtime = pinned_version(LOCKS / "gpu.lock", "nvidia-cuda-runtime-cu12")
    wanted = ".".join(runtime.split(".")[:2])
    text = (ROOT / "launch" / "containers" / "Dockerfile.gpu").read_text()
    found = set(re.findall(r"^FROM nvidia/cuda:(\d+\.\d+)\.", text, re.MULTILINE))
    assert found == {wanted}


def test_gpu_lock_has_the_tensorflow_of_the_base():
    base = pinned_version(LOCKS / "base.lock", "tensorflow-cpu")
    assert pinned_version(LOCKS / "gpu.lock", "tensorflow") == base
    assert "--hash=sha256:" in lock_entry(LOCKS / "gpu.lock", "nvidia-nccl-cu12")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_ranks_do_not_run_as_root_and_no_key_is_left(kind):
    found = instructions(ROOT / "launch" / "containers" / f"Dockerfile.{kind}")
    assert ("USER", "limbeck") in found
    assert any("rm -rf" in rest and "/etc/ssh/ssh_host_*" in rest for _, rest in found)
    assert not any("ssh-keygen" in rest for _, rest in found)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_installer_runs_from_what_is_copied_before_it(kind, tmp_path):
    """Its stage copies a few files, so that a change of ours does not build Horovod again."""
    path = ROOT / "launch" / "containers" / f"Dockerfile.{kind}"
    build = [rest for name, rest in instructions(path)]
    for rest in build[: next(i for i, rest in enumerate(build) if "launch.install" in rest)]:
        words = shlex.split(rest)
        for source in words[:-1] if all((ROOT / word).exists() for word in words[:-1]) else []:
            target = tmp_path / source
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, target)
    assert (tmp_path / "requirements" / "base.lock").exists()
    gpu = kind == "gpu"
    code = (
        "from pathlib import Path; from launch.install import Installer; "
        f"made = Installer(Path.cwd(), Path('env'), runtime_only=True, gpu={gpu}); "
        "print(made.build.key, len(made.requirements()))"
    )
    done = subprocess.run(
        [sys.executable, "-Sc", code], cwd=tmp_path, env={"PATH": "/bin"}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    assert ("-nccl-" in done.stdout.decode()) == gpu
