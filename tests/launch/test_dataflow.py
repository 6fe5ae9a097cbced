import re
import shlex
import subprocess
from pathlib import Path

import pytest

from beam_pipelines.options import beam_flags
from beam_pipelines.runner import _options

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("--project", "p", "--region", "r", "--temp", "gs://b/tmp")
VERB = ("wikipedia", "--dump", "gs://b/a dump.bz2", "--out", "gs://b/documents")


def dataflow(*arguments):
    return subprocess.run(
        [str(ROOT / "launch" / "dataflow.sh"), *arguments], capture_output=True, text=True
    )


def command_of(*arguments):
    done = dataflow("--dry-run", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return shlex.split(done.stdout)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--image", "registry/limbeck:1"),
        ("--service-account", "x@y", "--subnetwork", "s", "--no-public-ips", "--name", "n"),
    ],
)
def test_command_has_options_that_beam_knows(more):
    command = command_of(*NEEDED, *more, *VERB)
    assert command[:3] == ["python", "-m", "beam_pipelines.wikipedia"]
    assert "gs://b/a dump.bz2" in command
    at = command.index("--beam-options")
    assert command[at - 2 : at] == ["--runner", "DataflowRunner"]
    options = _options("DataflowRunner", beam_flags(command[at + 1 :])).get_all_options()
    assert (options["project"], options["region"], options["temp_location"]) == (
        "p",
        "r",
        "gs://b/tmp",
    )
    assert options["save_main_session"] is False
    if "--image" in more:
        assert options["sdk_container_image"] == "registry/limbeck:1"
        assert options["setup_file"] is None
    else:
        assert Path(options["setup_file"]) == ROOT / "pyproject.toml"
    assert options["use_public_ips"] is (False if "--no-public-ips" in more else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--project is missing"),
        (("--project", "p"), "--region is missing"),
        (("--project", "p", "--region", "r", "--temp", "/tmp"), "--temp must be a gs:// path"),
        (NEEDED, "the verb is missing"),
        ((*NEEDED, "--zone", "a"), "--zone: no such option"),
        ((*NEEDED, "--name"), "--name: give it a value"),
        ((*NEEDED, "--no-public-ips", "wikipedia"), "needs a --subnetwork"),
    ],
)
def test_what_is_missing_is_one_line(arguments, message):
    done = dataflow(*arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert message in line


def test_help_tells_every_option():
    text = dataflow("--help").stdout
    script = (ROOT / "launch" / "dataflow.sh").read_text()
    for option in re.findall(r"^ +(--[a-z-]+)\)", script, re.MULTILINE):
        assert f"  {option}" in text
    assert "set -euo" not in text


def test_image_is_of_the_locked_beam():
    lock = (ROOT / "requirements" / "base.lock").read_text()
    [version] = re.findall(r"^apache-beam==([0-9.]+)", lock, re.MULTILINE)
    assert f"_sdk:{version}\n" in (ROOT / "launch" / "dataflow.Dockerfile").read_text()
