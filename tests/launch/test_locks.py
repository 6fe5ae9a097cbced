"""The lock files work anywhere and agree with one another and with pyproject.toml."""

import importlib.metadata
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from launch import locks
from launch.environment import project_root
from launch.pins import lock_entry, pinned_version

DIRECTORY = project_root() / "requirements"
LOCKS = sorted(path.stem for path in DIRECTORY.glob("*.lock"))


def pins(name: str) -> dict[str, set[str]]:
    """The versions that a lock gives each package; more than one where Python versions differ."""
    found: dict[str, set[str]] = {}
    text = (DIRECTORY / f"{name}.lock").read_text()
    for package, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_portable_and_hashed(name):
    text = (DIRECTORY / f"{name}.lock").read_text()
    locks.check_text(name, text)
    for package in pins(name):
        assert "--hash=sha256:" in lock_entry(DIRECTORY / f"{name}.lock", package), package


def test_lock_with_a_host_or_a_local_version_is_refused():
    for line in ("--index-url https://example.org/simple", "torch==2.13.0+cpu \\"):
        with pytest.raises(SystemExit, match="a host or a local version"):
            locks.check_text("base", f"numpy==2.4.6 \\\n{line}\n")


def test_package_in_two_locks_has_one_version():
    installed = [name for name in LOCKS if name != "data"]
    for first in installed:
        for second in installed:
            shared = pins(first).keys() & pins(second).keys()
            assert {p: pins(first)[p] for p in shared} == {p: pins(second)[p] for p in shared}


def test_dependencies_of_the_project_are_in_base_lock():
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"]:
        requirement = Requirement(text)
        versions = pins("base")[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), text


def test_parity_lock_is_complete_but_for_cuda():
    """`make setup` installs it with --no-deps, so nothing else would notice a missing package."""
    held = pins("parity").keys() | pins("base").keys()
    missing = set()
    for package in pins("parity"):
        if locks.is_cuda(package):
            continue
        for text in importlib.metadata.requires(package) or []:
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and canonicalize_name(requirement.name) not in held:
                missing.add(canonicalize_name(requirement.name))
    assert {name for name in missing if not locks.is_cuda(name)} == set()


def test_cuda_packages_are_in_a_lock_of_their_own():
    assert all(locks.is_cuda(package) for package in pins("parity-cuda"))
    assert not any(locks.is_cuda(package) for package in pins("parity"))


def test_installed_torch_has_the_locked_version():
    torch = importlib.metadata.version("torch").split("+")[0]
    assert torch == pinned_version(DIRECTORY / "parity.lock", "torch")


def test_missing_pin_names_lock_and_package():
    with pytest.raises(ValueError, match=r"base\.lock: does not pin torch"):
        pinned_version(DIRECTORY / "base.lock", "torch")
