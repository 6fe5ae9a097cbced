"""`python -m limbeck.records` as users run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "limbeck.records", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def expect_error(done, code: int, *parts: str) -> None:
    """Asserts the exit code and a single line on stderr."""
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("limbeck.records")
    for part in ("error: ", *parts):
        assert part in line, line


@pytest.mark.parametrize("kind", ["examples", "labels", "documents"])
@pytest.mark.parametrize("options", [(), ("--quick",)])
def test_verify_of_good_data_exits_0(masters, kind, options):
    done = run("verify", masters / kind, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r": good \((every byte|quick check)\): \d+ records, .* id [0-9a-f]{64}\n$", done.stdout
    )


def test_verify_of_damaged_data_exits_1_and_lists_all(copies):
    for number in (0, 1):
        path = copies / "examples" / f"train-0000{number}-of-00002.tfrecord"
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    done = run("verify", copies / "examples")
    expect_error(done, 1, "verify", "2 problems, first: ", "row ", "byte ", "restore the file")
    assert len(done.stdout.splitlines()) == 2
    assert run("verify", copies / "examples", "--quick").returncode == 0


def test_verify_of_labels_against_examples(masters):
    done = run("verify", masters / "labels", "--examples", masters / "examples")
    assert done.returncode == 0, done.stderr
    done = run("verify", masters / "labels", "--examples", masters / "other")
    expect_error(done, 2, "labels does not go with")


@pytest.mark.parametrize("verb", ["verify", "show", "stats"])
def test_missing_directory_exits_2(tmp_path, verb):
    expect_error(run(verb, tmp_path / "nowhere"), 2, f"{tmp_path}/nowhere: no such directory")


@pytest.mark.parametrize("verb", ["verify", "show", "stats"])
def test_unfinished_dataset_exits_1(copies, verb):
    (copies / "examples" / "manifest.json").unlink()
    expect_error(run(verb, copies / "examples"), 1, "no manifest.json", "run its command again")


@pytest.mark.parametrize("verb", ["verify", "show", "stats"])
def test_foreign_file_exits_1(copies, verb):
    (copies / "examples" / "x.txt").touch()
    expect_error(run(verb, copies / "examples"), 1, "does not list: x.txt")


def test_show_prints_the_manifest(masters):
    done = run("show", masters / "examples")
    assert done.returncode == 0
    for part in (
        "train: examples, 12 records, ",
        "ids uint16[8]",
        'settings     {"grid": [1, 2, 4], "rate": 0.15}',
        'tokenizer    {"fingerprint"',
        "seed         7",
        'accounting   {"in": 12, "kept": 12}',
        "written      limbeck test on here",
    ):
        assert part in done.stdout, done.stdout


def test_show_prints_one_record(masters):
    done = run("show", masters / "examples", "--record", 7)
    assert done.returncode == 0
    assert "record       7 of 12" in done.stdout
    assert re.search(r"place +row \d+ of the shard, byte \d+, 225 bytes", done.stdout)
    assert re.search(r"key +[0-9a-f]{32} \(corpus 9f86d081, page \d+, duplicate 0", done.stdout)
    assert "num_masked uint16:\n  " in done.stdout


def test_show_prints_text_on_any_terminal(masters):
    done = run("show", masters / "documents", "--record", 3, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "sentences utf8[*]:" in done.stdout
    assert r"\xe9\u4e2d" in done.stdout


@pytest.mark.parametrize("record", [12, -1])
def test_show_of_a_record_that_is_not_there_exits_2(masters, record):
    done = run("show", masters / "examples", "--record", record)
    expect_error(done, 2, f"record {record}: ", "has 12 records, from 0")


def test_stats_prints_counts(masters):
    done = run("stats", masters / "examples")
    assert done.returncode == 0
    assert re.search(r"records +12\n", done.stdout)
    assert re.search(r"bytes/record +225.00\n", done.stdout)
    assert "tokens a record        min 3" in done.stdout
    assert "accounting             kept: 12" in done.stdout
    assert run("stats", masters / "documents").returncode == 0


def test_usage_errors_exit_2():
    assert run().returncode == 2
    assert run("verify").returncode == 2
    expect_error(run("verfy"), 2, "did you mean 'verify'?")
    assert run("verify", "x", "--no-such-option").returncode == 2


def test_help_and_version_exit_0():
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, "limbeck.records (limbeck 0.1.0)\n")
    assert "verify" in run("--help").stdout
    done = run("verify", "--help")
    assert done.returncode == 0 and "--quick" in done.stdout


def test_package_does_not_import_tensorflow():
    program = (
        "import sys, limbeck.records, limbeck.records.__main__; print('tensorflow' in sys.modules)"
    )
    line = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"
