"""What tests of the launcher share."""

import json
import sys
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_ssh.py")


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    """Puts a FAKE ssh first on PATH; call with host -> answer (see fake_ssh.py).

    Returns a function that returns the arguments of all calls so far.
    """
    programs = tmp_path / "fake-bin"
    programs.mkdir()
    script = programs / "ssh"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{FAKE}" "$@"\n')
    script.chmod(0o755)
    log = tmp_path / "fake-ssh.log"
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("FAKE_SSH_LOG", str(log))

    def install(answers):
        monkeypatch.setenv("FAKE_SSH", json.dumps(answers))
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return install
