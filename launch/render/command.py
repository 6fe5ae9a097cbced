"""`python -m launch render slurm|kubernetes|lsf [OPTIONS] -- COMMAND`: the command line."""

import dataclasses
import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch.environment import environment_prefix
from launch.files import write_text_atomically
from launch.jobs.run_options import split_command
from launch.render.kubernetes import KubernetesJob, kubernetes_file
from launch.render.lsf import LsfJob, lsf_script
from launch.render.slurm import SlurmJob, slurm_script
from limbeck.config.command import before_work, parse
from limbeck.config.errors import UsageError

__all__ = ["render"]

# Scheduler -> what its file says, what writes it, one line of help.
_SCHEDULERS: dict[str, tuple[type, Callable[..., str], str]] = {
    "slurm": (SlurmJob, slurm_script, "a batch script for `sbatch FILE`"),
    "kubernetes": (KubernetesJob, kubernetes_file, "an MPIJob or Indexed Job for `kubectl apply`"),
    "lsf": (LsfJob, lsf_script, "a batch script for `bsub < FILE`"),
}

_EXAMPLE = (
    "example: python -m launch render slurm --nodes 4 --ranks-per-node 8 --gpus-per-node 8 "
    "--out job.sh -- python -m train run recipe.yaml --run-dir /shared/runs/one"
)


def render(argv: Sequence[str]) -> int:
    """Writes the file that a scheduler takes; submits nothing.

    Raises:
      UsageError: no such scheduler, no command, or a setting that the scheduler would not take.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    scheduler = argv[0]
    if scheduler not in _SCHEDULERS:
        close = difflib.get_close_matches(scheduler, _SCHEDULERS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(_SCHEDULERS)}"
        raise UsageError(f"no scheduler {scheduler!r}; {hint}")
    settings, write, text = _SCHEDULERS[scheduler]
    options, command = split_command(argv[1:], verb=f"render {scheduler}")
    prog = f"python -m launch render {scheduler}"
    job: Any = parse(settings, options, prog=prog, description=f"Writes {text}. {_EXAMPLE}")
    content = write(
        _with_environment(job), command, written_by=["python", "-m", "launch", "render", *argv]
    )
    _put(content, job.out)
    return 0


def _with_environment(job: Any) -> Any:
    """The settings with this process's virtual environment where none was said."""
    in_container = getattr(job, "container_image", "")
    if getattr(job, "environment", None) == "" and not in_container:
        return dataclasses.replace(job, environment=str(environment_prefix()))
    return job


def _put(content: str, out: str) -> None:
    if not out:
        sys.stdout.write(content)
        return
    path = Path(out)
    if not path.parent.is_dir():
        raise UsageError(f"--out {out}: there is no directory {path.parent}")
    with before_work():
        write_text_atomically(path, content)
    print(f"wrote {out}", file=sys.stderr)


def _usage() -> str:
    lines = ["usage: python -m launch render SCHEDULER [OPTIONS] -- COMMAND", ""]
    lines += [f"  {name:<12}{text}" for name, (_, _, text) in _SCHEDULERS.items()]
    return "\n".join([*lines, "", _EXAMPLE])
