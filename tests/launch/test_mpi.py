"""Which MPI is chosen, tried with programs that only print what the real ones would."""

from pathlib import Path

import pytest

from launch import environment
from launch.mpi import Mpi, installed_mpi, record_mpi, system_mpi, wheel_mpi

DEBIAN = "mpirun (Open MPI) 4.1.4\n\nReport bugs to ..."


def put_program(directory: Path, name: str, output: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\nprintf '%s' '{output}'\n")
    path.chmod(0o755)


def test_system_open_mpi_is_taken(tmp_path, monkeypatch):
    put_program(tmp_path / "usr" / "bin", "mpirun", DEBIAN)
    put_program(tmp_path / "usr" / "bin", "mpicxx", "/usr/lib/openmpi")
    monkeypatch.setenv("PATH", str(tmp_path / "usr" / "bin"))
    assert system_mpi(without=tmp_path / "venv") == Mpi(
        version="4.1.4",
        prefix=tmp_path / "usr",
        mpirun=tmp_path / "usr" / "bin" / "mpirun",
        library_dirs=("/usr/lib/openmpi",),
        from_wheel=False,
    )


def test_system_open_mpi_5_is_taken(tmp_path, monkeypatch):
    for name, output in (("mpirun", "mpirun (Open MPI) 5.0.11"), ("mpicxx", "/usr/lib")):
        put_program(tmp_path / "bin", name, output)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = system_mpi(without=tmp_path / "venv")
    assert found is not None and (found.version, found.major) == ("5.0.11", 5)


@pytest.mark.parametrize(
    ("mpirun", "wrapper", "reason"),
    [
        (None, "", "no mpirun"),
        (DEBIAN, None, "mpirun, but nothing to compile against"),
        ("HYDRA build details:\n    Version: 4.0.2", "", "MPICH has other options"),
        ("mpirun (Open MPI) 3.1.6", "", "Open MPI 3 has other options"),
    ],
)
def test_unusable_system_mpi_is_left_alone(tmp_path, monkeypatch, mpirun, wrapper, reason):
    for name, output in (("mpirun", mpirun), ("mpicxx", wrapper)):
        if output is not None:
            put_program(tmp_path / "bin", name, output)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert system_mpi(without=tmp_path / "venv") is None, reason


def test_environments_own_mpi_is_not_the_systems(tmp_path, monkeypatch):
    put_program(tmp_path / "venv" / "bin", "mpirun", DEBIAN)
    put_program(tmp_path / "venv" / "bin", "mpicxx", "/lib")
    monkeypatch.setenv("PATH", str(tmp_path / "venv" / "bin"))
    assert system_mpi(without=tmp_path / "venv") is None


def test_record_round_trip(tmp_path):
    mpi = wheel_mpi(tmp_path, version="4.1.8")
    record_mpi(mpi, tmp_path)
    assert installed_mpi(tmp_path) == mpi


def test_environment_without_record_says_make_setup(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make setup`"):
        installed_mpi(tmp_path)


def test_caches_of_different_installations_have_different_keys(tmp_path):
    wheel = wheel_mpi(tmp_path, version="4.1.8")
    assert wheel.key == wheel_mpi(tmp_path / "other", version="4.1.8").key
    system = Mpi(
        version="4.1.8",
        prefix=Path("/opt/open mpi"),
        mpirun=Path("/opt/open mpi/bin/mpirun"),
        library_dirs=(),
        from_wheel=False,
    )
    assert system.key == "openmpi4.1.8-opt-open-mpi"


def test_mpi_environment_finds_programs_and_open_mpi(tmp_path, monkeypatch):
    record_mpi(wheel_mpi(tmp_path, version="4.1.8"), tmp_path)
    monkeypatch.setattr(environment, "environment_prefix", lambda: tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    variables = environment.mpi_environment()
    assert variables["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert variables["OPAL_PREFIX"] == str(tmp_path)
    assert environment.mpirun_path() == tmp_path / "bin" / "mpirun"


def test_mpi_environment_leaves_system_open_mpi_alone(tmp_path, monkeypatch):
    mpi = Mpi(
        version="4.1.4",
        prefix=Path("/usr"),
        mpirun=Path("/usr/bin/mpirun"),
        library_dirs=("/usr/lib",),
        from_wheel=False,
    )
    record_mpi(mpi, tmp_path)
    monkeypatch.setattr(environment, "environment_prefix", lambda: tmp_path)
    monkeypatch.delenv("OPAL_PREFIX", raising=False)
    assert "OPAL_PREFIX" not in environment.mpi_environment()
