"""Fake schedulers: programs on PATH that note what they were given and run the command here.

Nothing here is a scheduler: that a real one takes the files is not shown by these tests.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Notes its arguments, NUL between them, and how many they are.
NOTE = 'printf "%s\\0" "$#" "$@" >> "$FAKES/$(basename "$0").args"\n'

PROGRAMS = {
    # Runs the command behind its options, once, wherever the real one would run it.
    "srun": 'while [[ ${1-} == --* ]]; do shift; done\necho $$ > "$FAKES/step"\nexec "$@"\n',
    "jsrun": 'while [[ ${1-} == --* ]]; do shift; done\necho $$ > "$FAKES/step"\nexec "$@"\n',
    # Ours has options with values: the command begins at the first word that is a program's.
    "mpirun": "while [[ $1 != --hostfile ]]; do shift; done\n"
    'cp "$2" "$FAKES/hosts"\nshift 2\n'
    'while [[ $1 == -x ]]; do shift 2; done\necho $$ > "$FAKES/step"\nexec "$@"\n',
    "scontrol": 'if [[ $1 == show ]]; then printf "%s\\n" node1 node2; fi\n',
    "scancel": 'kill -TERM "$(cat "$FAKES/step")"\n',
    "sbatch": 'exec bash "$1"\n',
    "bsub": "exec bash\n",  # reads the script from standard input
    "python": f'exec "{sys.executable}" "$@"\n',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fakes:
    """The programs and what they noted."""

    directory: Path
    bin: Path

    @property
    def environment(self):
        hosts = self.directory / "lsf-hosts"
        hosts.write_text("node1\nnode1\nnode2\nnode2\n")
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "FAKES": str(self.directory),
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NODELIST": "node[1-2]",
            "LSB_DJOB_HOSTFILE": str(hosts),
            "TMPDIR": str(self.directory),
        }

    def calls(self, program):
        """The arguments of each call."""
        path = self.directory / f"{program}.args"
        words = path.read_bytes().split(b"\0")[:-1] if path.exists() else []
        calls = []
        while words:
            count = int(words[0])
            calls.append([os.fsdecode(word) for word in words[1 : count + 1]])
            words = words[count + 1 :]
        return calls

    def run(self, command, *, text=None, timeout_s=60, **variables):
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            env={**self.environment, **variables},
            timeout=timeout_s,
        )

    def run_and_signal(self, command, *, text=None, started, number=signal.SIGUSR1, **variables):
        """Sends a signal to the script, and to nothing else, once the step has made `started`."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **variables},
        )
        try:
            if text is not None:
                process.stdin.write(text)
            process.stdin.close()
            process.stdin = None
            deadline = time.monotonic() + 30
            while not started.exists():
                assert time.monotonic() < deadline, "the step did not start"
                time.sleep(0.02)
            os.kill(process.pid, number)
            _, errors = process.communicate(timeout=30)
            return process.returncode, errors
        finally:
            process.kill()
            step = self.directory / "step"
            if step.exists():
                with_pid = int(step.read_text())
                if Path(f"/proc/{with_pid}").exists():
                    os.kill(with_pid, signal.SIGKILL)


@pytest.fixture
def fakes(tmp_path):
    return make_fakes(tmp_path)


def make_fakes(directory):
    # As a virtual environment has it: bin/ with python and mpirun.
    programs = directory / "environment" / "bin"
    programs.mkdir(parents=True)
    for name, body in PROGRAMS.items():
        path = programs / name
        path.write_text("#!/bin/bash\n" + (NOTE if name != "python" else "") + body)
        path.chmod(0o755)
    return Fakes(directory=directory, bin=programs)
