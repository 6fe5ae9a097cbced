"""`launch versions`, which hosts answer before a job."""

import json

import pytest

from launch.jobs import versions
from launch.jobs.links import Ports
from launch.jobs.versions import found_here, print_versions, taken_ports
from limbeck.config.errors import UsageError


def test_versions_are_one_line_of_json(capsys):
    print_versions(["--ports", "46000-46001"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["versions"] == found_here()
    assert found["taken_ports"] == taken_ports(Ports(first=46000, last=46001))
    assert {"python", "limbeck", "tensorflow", "horovod", "Open MPI"} <= set(found["versions"])


def test_package_that_is_not_there_is_missing(monkeypatch):
    monkeypatch.setattr(versions, "_PACKAGES", {"tensorflow": ("no-such-package-here", "numpy")})
    assert found_here()["tensorflow"][0].isdigit()
    monkeypatch.setattr(versions, "_PACKAGES", {"tensorflow": ("no-such-package-here",)})
    assert found_here()["tensorflow"] == "missing"


def test_wrong_ports_are_refused():
    with pytest.raises(UsageError, match="--ports: ports 'x': expected FIRST-LAST"):
        print_versions(["--ports", "x"])
