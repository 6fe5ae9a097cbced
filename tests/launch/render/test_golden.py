"""The rendered files, word for word. Each carries the command that wrote it: run that to renew."""

import contextlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launch.render.command import render

GOLDEN = sorted(Path(__file__).with_name("golden").iterdir())
SCRIPTS = [path for path in GOLDEN if path.suffix == ".sh"]


def written_by(path):
    """The arguments of `launch render` that a file says it was written by."""
    [line] = [line for line in path.read_text().splitlines() if line.startswith("# Written by: ")]
    words = line.removeprefix("# Written by: python -m launch render ")
    done = subprocess.run(
        ["bash", "-c", f'printf "%s\\0" {words}'], capture_output=True, check=True
    )
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_file_is_what_its_own_command_writes(path):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert render(written_by(path)) == 0
    assert out.getvalue() == path.read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script_is_bash(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_shellcheck_finds_nothing():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not on this machine")
    # A `$` in single quotes is one that the command was given.
    command = ["shellcheck", "--exclude=SC2016", *map(str, SCRIPTS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_head_says_how_to_submit_and_what_wrote_it(path):
    head = path.read_text().splitlines()[:4]
    assert any("Submit it with: " in line for line in head)
    assert sum(line.startswith("# Written by: ") for line in head) == 1


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scheduler_lines_are_before_the_first_command(path):
    """Slurm reads no further; a line of the command that looks like one must not count."""
    lines = path.read_text().splitlines()
    marked = [i for i, line in enumerate(lines) if line.startswith(("#SBATCH", "#BSUB"))]
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert marked and marked[-1] < first
