"""The package as it is built and installed elsewhere: everything is in it, and pipelines run."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("limbeck", "prep", "beam_pipelines", "extract", "train", "launch")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]

# Says from where the driver and its workers have our packages.
WHERE = """
import sys
import apache_beam as beam
import prep
from beam_pipelines.outcomes import WriteReport, read_report
from beam_pipelines.runner import run_pipeline

def where(number):
    return "worker " + prep.__file__, 1, ""

def build(pipeline):
    places = pipeline | beam.Create(range(8)) | beam.Reshuffle() | beam.Map(where)
    (places,) | WriteReport(sys.argv[1])

def main():
    run_pipeline(build, workers=2)
    for name in read_report(sys.argv[1]).counts:
        print(name)
    print("driver " + prep.__file__)
"""


FROM_A_CHECKOUT = ("*.sh", "Dockerfile.*")  # what is used there only


def source_files(root):
    """Returns the files of our packages, below `root`."""
    return sorted(
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if not any(path.match(pattern) for pattern in FROM_A_CHECKOUT)
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the sources: building leaves files beside them."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    """Built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*PIP, "wheel", *options, "-w", str(out), str(source)], check=True)
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A directory with nothing but our packages; what they need is in the environment."""
    target = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*PIP, "install", *options, str(wheel)], check=True)
    return target


def run(installed, directory, *command, path=""):
    """Runs Python elsewhere, with the installed packages first on its path."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(installed), *([path] if path else [])]),
        "PYTHONSAFEPATH": "1",
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_packages_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert [name for name in source_files(ROOT) if name not in names] == []


def test_every_file_is_in_what_beam_stages_for_setup_file(source, tmp_path):
    pytest.importorskip("build", reason="needs the package build")
    from apache_beam.runners.portability.stager import Stager

    path = Stager._build_setup_package(str(source / "pyproject.toml"), str(tmp_path))
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert [name for name in source_files(ROOT) if name not in names] == []


def test_driver_and_workers_take_the_installed_package(installed, tmp_path):
    (tmp_path / "main.py").write_text(WHERE)
    command = ("-c", "import main; main.main()", str(tmp_path))
    lines = run(installed, "/", *command, path=str(tmp_path)).splitlines()
    place = installed / "prep" / "__init__.py"
    assert sorted(lines) == [f"driver {place}", f"worker {place}"]


def test_pipelines_of_the_installed_package_write_the_same_dataset(
    installed, small_dump, tmp_path, tree
):
    (tmp_path / "elsewhere").mkdir()
    command = ["-m", "beam_pipelines.wikipedia", "--dump", str(small_dump), "--num-shards", "2"]
    run(installed, tmp_path / "elsewhere", *command, "--workers", "2", "--out", "there")
    here = [*command, "--out", str(tmp_path / "here")]
    subprocess.run([sys.executable, *here], check=True, stdout=subprocess.DEVNULL)
    assert tree(tmp_path / "elsewhere" / "there") == tree(tmp_path / "here")
