"""`python -m launch render`: where the file goes, and what is refused in one line."""

import os
import subprocess
import sys

import pytest

from launch.render.command import render
from limbeck.config.errors import UsageError

IMAGE = ("--image", "registry.example/limbeck:1")


def refused(*argv):
    with pytest.raises(UsageError) as caught:
        render(list(argv))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("slrum", "--", "x"), "no scheduler 'slrum'; did you mean 'slurm'?"),
        (("slurm",), "no command"),
        (("slurm", "--"), "no command"),
        (("slurm", "--nodes", "0", "--", "x"), "--nodes 0: must be at least 1"),
        (("slurm", "--ranks-per-node", "-1", "--", "x"), "--ranks-per-node -1: must be"),
        (("slurm", "--gpus-per-node", "-1", "--", "x"), "--gpus-per-node -1: must be at least 0"),
        (("slurm", "--array", "-1", "--", "x"), "--array -1: must be"),
        (("slurm", "--array-at-once", "2", "--", "x"), "has no effect without --array"),
        (("slurm", "--time", "tomorrow", "--", "x"), "--time 'tomorrow': not a time that Slurm"),
        (("slurm", "--time", "1:00:60", "--", "x"), "--time '1:00:60': not a time"),
        (("slurm", "--time", "1:30", "--", "x"), "--time 1:30: not more than the 120 s of --save"),
        (("slurm", "--partition", "a b", "--", "x"), "--partition 'a b': this goes into a header"),
        (("slurm", "--name", "a\n#SBATCH --x", "--", "x"), "--name $'a"),
        (("slurm", "--container-mounts", "a:b", "--", "x"), "without --container-image"),
        (
            ("slurm", "--container-image", "a", "--launcher", "mpirun", "--", "x"),
            "leave --launcher mpirun",
        ),
        (
            ("slurm", "--container-image", "a", "--environment", "b", "--", "x"),
            "--environment has no effect with --container-image",
        ),
        (
            ("slurm", "--container-image", "a", "--supervise", "b", "--", "x"),
            "--supervise watches from outside the container",
        ),
        (("slurm", "--one-gpu-each", "--", "x"), "no effect without --gpus-per-node"),
        (("slurm", "--progress-timeout", "9", "--", "x"), "no effect without --supervise"),
        (("slurm", "--interface", "ib0", "--", "x"), "no effect without --launcher mpirun"),
        (("slurm", "--stage", "'", "--", "x"), '--stage "\'": No closing quotation'),
        (("slurm", "--stage", "", "--", "x"), "--stage: give it the arguments"),
        (("slurm", "--env", "A", "--", "x"), "--env A: expected NAME=VALUE"),
        (("slurm", "--env", "A=1", "--env", "A=2", "--", "x"), "A is set twice"),
        (("slurm", "--env", "A B=1", "--", "x"), "--env A B: not the name of an environment"),
        (("slurm", "--set", "cycle_tim_ms=5", "--", "x"), "did you mean 'cycle_time_ms'?"),
        (("slurm", "--set", "cycle_time_ms=-5", "--", "x"), "cycle_time_ms is -5"),
        (("slurm", "--out", "/no/such/file", "--", "x"), "there is no directory /no/such"),
        (("slurm", "--", "a\0b"), "NUL"),
        (("lsf", "--time", "1:60", "--", "x"), "--time '1:60': not a time that LSF takes"),
        (("lsf", "--save-s", "90", "--", "x"), "--save-s 90: LSF counts minutes"),
        (("lsf", "--cpus-per-rank", "2", "--", "x"), "no effect with --launcher mpirun"),
        (("lsf", "--launcher", "jsrun", "--", "x"), "--cpus-per-rank 0: must be at least 1"),
        (("kubernetes", "--", "x"), "--image '': give the container image"),
        (("kubernetes", "--image", "a b", "--", "x"), "--image 'a b': give the container image"),
        (("kubernetes", *IMAGE, "--name", "A", "--", "x"), "--name A: Kubernetes takes"),
        (("kubernetes", *IMAGE, "--workers", "0", "--", "x"), "--workers 0: must be"),
        (("kubernetes", *IMAGE, "--memory", "16GB", "--", "x"), "--memory 16GB: not a quantity"),
        (("kubernetes", *IMAGE, "--cpu", "0", "--", "x"), "--cpu 0: not a quantity"),
        (("kubernetes", *IMAGE, "--claim", "data", "--", "x"), "--claim data: expected NAME:DIR"),
        (("kubernetes", *IMAGE, "--claim", "A_b:/a", "--", "x"), "a claim's name has small"),
        (("kubernetes", *IMAGE, "--scratch", "5Gi:a", "--", "x"), "expected SIZE:DIR"),
        (
            ("kubernetes", *IMAGE, "--claim", "a:/a", "--scratch", "5Gi:/a", "--", "x"),
            "/a: two volumes cannot be at one directory",
        ),
        (("kubernetes", *IMAGE, "--at-once", "2", "--", "x"), "no effect with --kind mpijob"),
        (("kubernetes", *IMAGE, "--directory", "a", "--", "x"), "expected an absolute path"),
        (("kubernetes", *IMAGE, "--node-selector", "a", "--", "x"), "expected LABEL=VALUE"),
        (
            ("kubernetes", *IMAGE, "--kind", "indexed", "--ranks-per-worker", "2", "--", "x"),
            "no effect with --kind indexed",
        ),
    ],
)
def test_wrong_setting_is_one_line(argv, reason):
    assert reason in refused(*argv)


@pytest.mark.parametrize("scheduler", ["slurm", "kubernetes", "lsf"])
def test_unknown_option_exits_with_2(scheduler, capsys):
    with pytest.raises(SystemExit) as ended:
        render([scheduler, "--no-such-option", "--", "x"])
    assert ended.value.code == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize("scheduler", ["slurm", "kubernetes", "lsf"])
def test_help_tells_every_option_and_what_it_is_for(scheduler, capsys):
    with pytest.raises(SystemExit) as ended:
        render([scheduler, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example: python -m launch render" in text
    assert "--stage ARGUMENTS" in text and "--out FILE" in text


def test_without_scheduler_the_schedulers_are_listed(capsys):
    assert render([]) == 2
    assert render(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(out.count(f"\n  {name} ") == 2 for name in ("slurm", "kubernetes", "lsf"))


def test_out_is_written_whole_and_said(tmp_path, capsys):
    out = tmp_path / "a job.sh"
    assert render(["slurm", "--out", str(out), "--", "x"]) == 0
    assert out.read_text().endswith('exit "$code"\n')
    assert capsys.readouterr() == ("", f"wrote {out}\n")


def test_verb_of_launch_exits_with_2_and_one_line():
    command = [sys.executable, "-m", "launch", "render", "slurm", "--nodes", "0", "--", "x"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "launch render: error: --nodes 0: must be at least 1\n"
