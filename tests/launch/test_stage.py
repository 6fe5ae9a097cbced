"""`launch stage`: the command around `limbeck.records.staging`."""

import os
import subprocess
import sys

import pytest

from launch.stage import parse_size, stage
from limbeck.config import UsageError
from limbeck.records.dataset import open_dataset
from tests.train.conftest import Toy


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    toy = Toy(tmp_path_factory.mktemp("sets"))
    examples = toy.examples()
    return examples, toy.sparse(examples)


def test_summary_says_what_was_copied(sets, tmp_path, capsys):
    examples, family = sets
    arguments = [str(examples), str(family), "--to", str(tmp_path), "--budget", "1GB"]
    stage(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{examples} -> {tmp_path}/examples-")
    size = sum(path.stat().st_size for path in examples.iterdir())
    assert lines[0].endswith(f": copied {size:,} of {size:,} bytes")
    assert lines[2].startswith("staged 2 dataset(s) in ")
    stage([*arguments, "--verify", "full"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f": {size:,} bytes, there already")
    assert lines[2].startswith("staged 2 dataset(s), all hashed, in ")


def test_paths_alone_are_printed_for_scripts(sets, tmp_path, capsys):
    examples, family = sets
    stage([str(family), str(examples), "--to", str(tmp_path), "--budget", "1e9", "--print-paths"])
    out, error = capsys.readouterr()
    assert [os.path.basename(line).partition("-")[0] for line in out.split()] == ["top", "examples"]
    assert "staged 2 dataset(s)" in error
    for line, original in zip(out.split(), (family, examples), strict=True):
        with open_dataset(line) as local, open_dataset(original) as there:
            assert local.id == there.id


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200GB", 200 * 10**9),
        ("1.5TB", 15 * 10**11),
        ("500MiB", 500 * 2**20),
        ("2 GiB", 2**31),
        ("12345", 12345),
        ("7B", 7),
        ("3kB", 3000),
        ("1e9", 10**9),
    ],
)
def test_sizes_are_decimal_or_binary_as_they_say(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0GB", "GB", "-1GB", "5GBit", "5Gb", "iB", "3iB", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="expected a number of bytes such as 200GB"):
        parse_size(text)


def test_nothing_to_stage_is_refused(tmp_path):
    with pytest.raises(UsageError, match="name at least one dataset"):
        stage(["--to", str(tmp_path), "--budget", "1GB"])


def test_command_says_what_is_wrong_in_one_line(sets, tmp_path):
    examples, _ = sets
    to = str(tmp_path / "local")
    done = subprocess.run(
        [sys.executable, "-m", "launch", "stage", str(examples), "--to", to, "--budget", "10kB"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"launch stage: error: {to}: --budget is 10,000 bytes; 0 are taken and ")
