"""The command for Dataflow; its options are checked against Beam's own. Nothing is submitted."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from beam_pipelines.options import beam_flags
from beam_pipelines.runner import _options
from launch.dataflow import DataflowOptions, dataflow
from launch.environment import project_root
from limbeck.config.errors import UsageError

NEEDED = ("--project", "p", "--region", "r", "--temp", "gs://b/tmp")
VERB = ("--", "wikipedia", "--dump", "gs://b/a dump.bz2", "--out", "gs://b/documents")


def command_of(capsys, *arguments):
    assert dataflow(["--dry-run", *arguments]) == 0
    out, errors = capsys.readouterr()
    assert errors == ""
    return shlex.split(out)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--image", "registry/limbeck:1"),
        ("--service-account", "x@y", "--subnetwork", "s", "--no-public-ips", "--name", "n"),
        ("--max-workers", "7", "--machine-type", "e2-standard-2", "--disk-gb", "33"),
    ],
)
def test_command_has_options_that_beam_knows(more, capsys):
    command = command_of(capsys, *NEEDED, *more, *VERB)
    assert Path(command[0]).name.startswith("python")
    assert command[1:3] == ["-m", "beam_pipelines.wikipedia"]
    assert "gs://b/a dump.bz2" in command
    at = command.index("--beam-options")
    assert command[at - 2 : at] == ["--runner", "DataflowRunner"]
    options = _options("DataflowRunner", beam_flags(command[at + 1 :])).get_all_options()
    assert (options["project"], options["region"], options["temp_location"]) == (
        "p",
        "r",
        "gs://b/tmp",
    )
    assert options["staging_location"] == "gs://b/tmp/staging"
    assert options["save_main_session"] is False
    if "--image" in more:
        assert options["sdk_container_image"] == "registry/limbeck:1"
        assert options["setup_file"] is None
    else:
        assert Path(options["setup_file"]) == project_root() / "pyproject.toml"
    assert options["use_public_ips"] is (False if "--no-public-ips" in more else None)
    assert options["job_name"] == ("n" if "--name" in more else "limbeck-wikipedia")
    assert options["max_num_workers"] == (7 if "--max-workers" in more else 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*NEEDED,), "no command: python -m launch dataflow OPTIONS -- COMMAND"),
        ((*NEEDED[:4], "--temp", "/tmp", *VERB), "--temp must be a gs:// path, not '/tmp'"),
        ((*NEEDED[:4], "--temp", "gs://", *VERB), "--temp must be a gs:// path"),
        (("--project", "", *NEEDED[2:], *VERB), "--project: give it a value"),
        ((*NEEDED, "--no-public-ips", *VERB), "--no-public-ips needs a --subnetwork"),
        ((*NEEDED, "--max-workers", "0", *VERB), "--max-workers 0: must be at least 1"),
        ((*NEEDED, "--disk-gb", "-1", *VERB), "--disk-gb -1: must be at least 1"),
        ((*NEEDED, "--name", "A_b", *VERB), "--name 'A_b': Dataflow takes small letters"),
        ((*NEEDED, "--", "wikipedai"), "'wikipedai': no pipeline"),
        ((*NEEDED, "--", "--dump", "x"), "'--dump': no pipeline; the verb comes first"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message):
    with pytest.raises(UsageError) as caught:
        dataflow(arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (VERB, "--project"),
        (("--project", "p", *VERB), "--region"),
        ((*NEEDED, "--zone", "a", *VERB), "--zone"),
        ((*NEEDED, "--name", *VERB), "--name"),
    ],
)
def test_missing_or_unknown_option_is_named_and_exits_with_2(arguments, option, capsys):
    with pytest.raises(SystemExit) as ended:
        dataflow(arguments)
    assert ended.value.code == 2
    assert option in capsys.readouterr().err


def test_help_tells_every_option(capsys):
    with pytest.raises(SystemExit):
        dataflow(["--help"])
    text = capsys.readouterr().out
    for field in dataclasses.fields(DataflowOptions):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "gcloud auth application-default login" in " ".join(text.split())
