"""Every process of a command is found and ended, and no other."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launch.processes.asked import Asked
from launch.processes.family import exit_code_of

ROOT = Path(__file__).resolve().parents[3]
CHECKS = str(Path(__file__).with_name("family_checks.py"))


def test_all_of_a_command_is_found_and_ended_and_nothing_else():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, CHECKS]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "deaf_orphan": {"seen": True, "gone": True, "left": []},
        "stopped": {"code": 137, "soon": True, "left": []},
        "codes": [0, 7, 137],
        "others": True,
        "same_number": [False, False, True, False],
        "no_program": "no-such-program-here: No such file or directory",
    }


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (7, 7), (-9, 137), (-15, 143)])
def test_death_by_signal_is_counted_as_shells_do(returncode, code):
    assert exit_code_of(returncode) == code


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_requests_are_counted_and_the_first_decides_the_code():
    before = signal.getsignal(signal.SIGTERM)
    with Asked() as asked:
        os.kill(os.getpid(), signal.SIGUSR1)
        asked.wait(60)  # came before, and is heard all the same
        os.kill(os.getpid(), signal.SIGINT)
        asked.wait(60)
    assert (asked.times, asked.first, asked.exit_code) == (2, signal.SIGUSR1, 143)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("interruptible")
def test_keyboard_interrupt_has_its_own_code():
    with Asked() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        asked.wait(60)
    assert asked.exit_code == 130
