"""The Horovod that `make setup` built, and the pieces that built it."""

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch.environment import find_mpi, mpi_environment
from launch.horovod import build, patch
from launch.horovod.build import Build, BuildError, cached_wheel
from launch.jobs.mpirun import mpirun_command


@pytest.mark.slow  # every fast test of several ranks sums so as well
@pytest.mark.ranks(2)
def test_named_grouped_allreduce_sums_over_ranks():
    script = Path(__file__).with_name("allreduce_ranks.py")
    done = subprocess.run(
        mpirun_command(2, [sys.executable, str(script)]),
        env=mpi_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.splitlines()) == ["rank 0 of 2 agrees", "rank 1 of 2 agrees"]


def test_patch_changes_the_known_lines(tmp_path):
    cmake = put_cmake_lists(tmp_path, "".join(f"before\n{edit.old}" for edit in patch.EDITS))
    patch.apply_edits(tmp_path)
    text = cmake.read_text()
    assert "xla_mpi_ops.cc" not in text
    assert text.count("before") == len(patch.EDITS)
    assert 'INSTALL_RPATH "$ENV{LIMBECK_HOROVOD_RPATH}"' in text


@pytest.mark.parametrize("copies", [0, 2])
def test_patch_refuses_another_horovod(tmp_path, copies):
    put_cmake_lists(tmp_path, patch.EDITS[0].old * copies)
    with pytest.raises(ValueError, match=rf"once, found it {copies} times.*xla_mpi_ops"):
        patch.apply_edits(tmp_path)


def put_cmake_lists(root: Path, text: str) -> Path:
    path = root / patch.EDITS[0].file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_every_ingredient_is_in_the_cache_key(monkeypatch):
    first = Build(tensorflow="2.21.0", mpi=find_mpi())
    newer_mpi = dataclasses.replace(first.mpi, version="4.1.9")
    keys = {
        first.key,
        dataclasses.replace(first, tensorflow="2.22.0").key,
        dataclasses.replace(first, mpi=newer_mpi).key,
        dataclasses.replace(first, gpu_operations="NCCL").key,
    }
    monkeypatch.setattr(patch, "EDITS", patch.EDITS[:1])
    keys.add(first.key)
    monkeypatch.setattr(build.sysconfig, "get_config_var", lambda name: "cpython-312")
    keys.add(first.key)
    assert len(keys) == 6


def test_damaged_cached_wheel_is_not_used(tmp_path):
    wanted = Build(tensorflow="2.21.0", mpi=find_mpi())
    assert cached_wheel(wanted, tmp_path) is None
    wheel = tmp_path / wanted.key / "horovod-0.28.1-cp311-cp311-linux_x86_64.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("horovod/__init__.py", "x = 1\n" * 1000)
    assert cached_wheel(wanted, tmp_path) == wheel
    wheel.write_bytes(wheel.read_bytes()[:-100])
    assert cached_wheel(wanted, tmp_path) is None


def test_no_compiler_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"needs a C\+\+ compiler \(g\+\+\)"):
        build.find_compiler()


def test_failed_compilation_keeps_its_log_and_quotes_it(tmp_path, monkeypatch):
    fake_python = tmp_path / "python"
    fake_python.write_text("#!/bin/sh\necho 'mpi_ops.cc:7: error: no such header'\nexit 1\n")
    fake_python.chmod(0o755)
    wanted = Build(tensorflow="2.21.0", mpi=find_mpi())

    def unpack_known_sources(python: Path, scratch: Path) -> Path:
        put_cmake_lists(scratch, "".join(edit.old for edit in patch.EDITS))
        return scratch

    monkeypatch.setattr(build, "_fetch_source", unpack_known_sources)
    with pytest.raises(BuildError, match=r"mpi_ops\.cc:7: error: no such header"):
        build.build_wheel(wanted, python=fake_python, cache=tmp_path / "wheels")
    assert [path.name for path in (tmp_path / "wheels").iterdir()] == [f"{wanted.key}.failed.log"]
