"""Slurm's and LSF's scripts, run here by fake schedulers (conftest.py)."""

import signal
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.environment import environment_prefix
from launch.render.lsf import LsfJob, lsf_script
from launch.render.quoting import quote
from launch.render.slurm import SlurmJob, slurm_script

# What a shell, a header or a list of words could take for something else.
NASTY = [
    "plain",
    "",
    "two words",
    "it's",
    '"quoted"',
    "$HOME ${x} $(touch never) `touch never`",
    "a\nb",
    "\n#SBATCH --nodes=9",
    "\r\t\x07\x1b[31m\x7f",
    "back\\slash \\n",
    "*?[a]{b,c}~!#;&|<>",
    "-x",
    "--hostfile",
    "hosts_file",
    "äß→ 中",
    "\x011",
    "\udcff not UTF-8",
]
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)

# Says that it has started, then ends with 143 at the signal, as training does.
UNTIL_ASKED = """
import pathlib, signal, sys, time
signal.signal(getattr(signal, sys.argv[1]), lambda *_: sys.exit(143))
pathlib.Path(sys.argv[2]).write_text("")
time.sleep(60)
"""


def slurm(tmp_path, fakes, command, **fields):
    fields = {"environment": str(fakes.bin.parent), **fields}
    path = tmp_path / "job.sh"
    script = slurm_script(SlurmJob(**fields), command, written_by=["limbeck"])
    path.write_text(script)
    return path


def lsf(fakes, command, **fields):
    job = LsfJob(environment=str(fakes.bin.parent), **fields)
    return lsf_script(job, command, written_by=["limbeck"])


def test_fake_srun_gets_the_ranks_and_the_exact_command(tmp_path, fakes):
    path = slurm(tmp_path, fakes, ["true", *NASTY], nodes=2, ranks_per_node=3, cpus_per_rank=5)
    done = fakes.run(["sbatch", str(path)])
    assert (done.returncode, done.stderr) == (0, "")
    [words] = fakes.calls("srun")
    at = words.index("true")
    assert words[at + 1 :] == NASTY
    assert words[:at] == [
        "--mpi=pmix",
        "--kill-on-bad-exit=1",
        "--label",
        "--nodes=2",
        "--ntasks=6",
        "--ntasks-per-node=3",
        "--cpus-per-task=5",
        "--cpu-bind=none",
    ]
    assert not (tmp_path / "never").exists()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(WORDS, max_size=6), value=WORDS, mount=WORDS)
def test_any_words_reach_the_step_as_they_were(tmp_path, fakes, words, value, mount):
    (tmp_path / "srun.args").unlink(missing_ok=True)
    show = [sys.executable, "-Sc", "import os; print(ascii(os.environ['VALUE']))"]
    path = slurm(
        tmp_path,
        fakes,
        [*show, *words],
        env=(f"VALUE={value}",),
        environment="",
        container_image="image",
        container_mounts=(f"/a{mount}:/b",),
    )
    done = fakes.run(["sbatch", str(path)])
    assert (done.returncode, done.stdout) == (0, f"{value!a}\n")
    [call] = fakes.calls("srun")
    assert call[call.index(show[0]) :] == [*show, *words]
    assert f"--container-mounts=/a{mount}:/b" in call


@pytest.mark.parametrize("word", NASTY)
def test_quoted_word_is_one_line_of_printable_ascii(word):
    assert quote(word).isascii() and quote(word).isprintable()


@pytest.mark.parametrize(
    "given, number, seen",
    [("", "2", "2"), ("4,5,6,7", "2", "6"), ("GPU-a,GPU-b", "1", "GPU-b"), ("3", "0", "3")],
)
def test_rank_sees_the_gpu_of_its_number(tmp_path, fakes, given, number, seen):
    show = ["bash", "-c", 'echo "$CUDA_VISIBLE_DEVICES" "$@"', "bash", "a b", "$x"]
    path = slurm(tmp_path, fakes, show, one_gpu_each=True, ranks_per_node=4, gpus_per_node=4)
    done = fakes.run(["sbatch", str(path)], CUDA_VISIBLE_DEVICES=given, SLURM_LOCALID=number)
    assert (done.returncode, done.stdout) == (0, f"{seen} a b $x\n")


def test_directory_with_odd_name_is_where_the_command_runs(tmp_path, fakes):
    odd = tmp_path / "it's $HOME\nand more"
    odd.mkdir()
    path = slurm(tmp_path, fakes, ["touch", "here"], directory=str(odd))
    assert fakes.run(["sbatch", str(path)]).returncode == 0
    assert (odd / "here").exists()


def test_staging_comes_first_and_its_failure_ends_the_job(tmp_path, fakes):
    (fakes.bin / "python").write_text("#!/bin/bash\nexec false\n")
    path = slurm(tmp_path, fakes, ["true"], nodes=2, stage=("'/a b' --to /c",))
    assert fakes.run(["sbatch", str(path)]).returncode == 1
    [words] = fakes.calls("srun")  # the command was not started
    assert words[-6:] == ["-m", "launch", "stage", "/a b", "--to", "/c"]
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1"} < set(words)


@pytest.mark.parametrize("code", [0, 1, 143])
def test_exit_code_is_the_steps_and_nothing_is_requeued(tmp_path, fakes, code):
    path = slurm(tmp_path, fakes, ["bash", "-c", f"exit {code}"])
    assert fakes.run(["sbatch", str(path)]).returncode == code
    assert fakes.calls("scontrol") == []


@pytest.mark.parametrize("launcher, sent", [("srun", "SIGTERM"), ("mpirun", "SIGUSR1")])
def test_before_the_time_is_up_ranks_are_asked_and_the_job_requeued(
    tmp_path, fakes, launcher, sent
):
    started = tmp_path / "started"
    command = [sys.executable, "-Sc", UNTIL_ASKED, sent, str(started)]
    path = slurm(tmp_path, fakes, command, launcher=launcher, nodes=2)
    code, errors = fakes.run_and_signal(["bash", str(path)], started=started)
    assert (code, errors) == (143, "")
    assert fakes.calls("scontrol")[-1] == ["requeue", "77"]
    if launcher == "srun":
        assert fakes.calls("scancel") == [["--signal=TERM", "77"]]


@pytest.mark.parametrize("launcher, sent", [("srun", "SIGTERM"), ("mpirun", "SIGUSR1")])
def test_who_ends_the_job_gets_a_checkpoint_and_no_requeue(tmp_path, fakes, launcher, sent):
    started = tmp_path / "started"
    command = [sys.executable, "-Sc", UNTIL_ASKED, sent, str(started)]
    path = slurm(tmp_path, fakes, command, launcher=launcher)
    ended = fakes.run_and_signal(["bash", str(path)], started=started, number=signal.SIGTERM)
    assert ended == (143, "")
    assert [words for words in fakes.calls("scontrol") if words[0] == "requeue"] == []


def test_job_is_not_requeued_for_ever(tmp_path, fakes):
    started = tmp_path / "started"
    command = [sys.executable, "-Sc", UNTIL_ASKED, "SIGTERM", str(started)]
    path = slurm(tmp_path, fakes, command, requeues=3)
    code, errors = fakes.run_and_signal(
        ["bash", str(path)], started=started, SLURM_RESTART_COUNT="3"
    )
    assert (code, errors) == (143, "stopped before the end after 3 requeues; submit again\n")
    assert fakes.calls("scontrol") == []


def test_mpirun_gets_a_file_of_the_allocations_hosts(tmp_path, fakes):
    path = slurm(tmp_path, fakes, ["true", *NASTY], launcher="mpirun", nodes=2, ranks_per_node=4)
    done = fakes.run(["sbatch", str(path)])
    assert (done.returncode, done.stderr) == (0, "")
    [words] = fakes.calls("mpirun")
    assert words[:2] == ["-np", "8"]
    assert words[words.index("true") + 1 :] == NASTY
    assert (tmp_path / "hosts").read_text() == "node1 slots=4\nnode2 slots=4\n"
    assert not list(tmp_path.glob("tmp.*"))  # the script's own copy is gone


def test_environment_that_is_not_there_is_said_in_one_line(tmp_path, fakes):
    path = slurm(tmp_path, fakes, ["true"], environment=str(tmp_path / "nowhere"))
    done = fakes.run(["sbatch", str(path)])
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/nowhere: no Python here on ")


def test_fake_bsub_runs_mpirun_on_the_hosts_that_lsf_gave(tmp_path, fakes):
    script = lsf(fakes, ["true", *NASTY], nodes=2, ranks_per_node=2, stage=("a --to b",))
    (fakes.bin / "python").write_text('#!/bin/bash\necho "staged $*"\n')
    done = fakes.run(["bsub"], text=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "staged -m launch stage a --to b\n"
    stage, words = fakes.calls("mpirun")
    assert stage[:2] == ["-np", "2"]  # once on each node
    assert words[:2] == ["-np", "4"]
    assert words[words.index("true") + 1 :] == NASTY
    assert (tmp_path / "hosts").read_text() == "node1 slots=2\nnode2 slots=2\n"
    assert not list(tmp_path.glob("tmp.*"))


@pytest.mark.parametrize("launcher, sent", [("mpirun", "SIGUSR1"), ("jsrun", "SIGTERM")])
def test_before_lsf_ends_the_job_it_asks_for_the_queue(tmp_path, fakes, launcher, sent):
    started = tmp_path / "started"
    more = {"cpus_per_rank": 1} if launcher == "jsrun" else {}
    command = [sys.executable, "-Sc", UNTIL_ASKED, sent, str(started)]
    script = lsf(fakes, command, launcher=launcher, **more)
    code, errors = fakes.run_and_signal(["bsub"], text=script, started=started)
    assert (code, errors) == (99, "")
    assert '#BSUB -Q "99"' in script


def test_jsrun_gets_resource_sets(tmp_path, fakes):
    script = lsf(
        fakes,
        ["true", *NASTY],
        launcher="jsrun",
        nodes=2,
        ranks_per_node=3,
        gpus_per_node=6,
        cpus_per_rank=7,
    )
    assert fakes.run(["bsub"], text=script).returncode == 0
    [words] = fakes.calls("jsrun")
    at = words.index("true")
    assert words[at + 1 :] == NASTY
    assert words[:at] == [
        "--nrs=6",
        "--rs_per_host=3",
        "--tasks_per_rs=1",
        "--cpu_per_rs=7",
        "--gpu_per_rs=2",
        "--bind=none",
        "--stdio_mode=prepended",
    ]


@pytest.fixture
def real_mpirun(fakes):
    """The one program of the scripts that this machine has, for ranks without TensorFlow."""
    (fakes.bin / "scontrol").write_text(
        (fakes.bin / "scontrol").read_text().replace("node1 node2", "localhost")
    )
    # The line itself never allows root; a container that is root's says so by these.
    return {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def real_job(tmp_path, fakes, command, **fields):
    environment = str(environment_prefix())
    return slurm(
        tmp_path,
        fakes,
        command,
        launcher="mpirun",
        ranks_per_node=2,
        environment=environment,
        **fields,
    )


@pytest.mark.ranks(2)
def test_real_mpirun_takes_the_line(tmp_path, fakes, real_mpirun):
    show = "import os; print('rank', os.environ['OMPI_COMM_WORLD_RANK'], os.environ['VALUE'])"
    path = real_job(tmp_path, fakes, ["python", "-Sc", show], env=("VALUE=two words",))
    done = fakes.run(["bash", str(path)], **real_mpirun)
    assert done.returncode == 0, done.stderr
    lines = sorted(line.partition(":")[2] for line in done.stdout.splitlines())
    assert lines == ["rank 0 two words", "rank 1 two words"]


@pytest.mark.slow
@pytest.mark.ranks(2)
def test_supervised_job_saves_and_is_requeued(tmp_path, fakes, real_mpirun):
    """Script, `launch supervise`, mpirun and two ranks, all real but for the scheduler."""
    run, started = tmp_path / "the run", tmp_path / "started"
    run.mkdir()
    command = ["python", "-Sc", UNTIL_ASKED, "SIGUSR1", str(started)]
    path = real_job(tmp_path, fakes, command, supervise=str(run))
    code, errors = fakes.run_and_signal(["bash", str(path)], started=started, **real_mpirun)
    assert code == 143, errors
    assert fakes.calls("scontrol")[-1] == ["requeue", "77"]
    assert (run / "supervise.jsonl").exists()
