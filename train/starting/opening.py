"""What ranks do once before the first step: take the directory, and say what will be done."""

import contextlib
from collections.abc import Callable

from limbeck.ranks import World
from limbeck.runs import RunDirectory
from train.checkpoints import checkpoint
from train.checkpoints.checkpoint import Progressed
from train.job import Job
from train.starting.plan import plan_lines
from train.starting.surroundings import promise

__all__ = ["announce", "lock", "silent"]


def lock(run: RunDirectory, world: World, stack: contextlib.ExitStack) -> None:
    """Keeps other processes out of the directory, on the leader, until the stack unwinds."""
    if world.is_leader:
        stack.enter_context(run.lock())
        checkpoint.clean(run.checkpoints)


def announce(job: Job, start: Progressed | None, speak: Callable[[str], None]) -> None:
    """Prints the plan."""
    text = promise(job.surroundings, None if start is None else start.surroundings)
    for line in plan_lines(
        job.inputs, job.source, job.world, student=job.step.student, promise=text
    ):
        speak(line)
    if start is not None:
        speak(f"resumed   after step {start.step}, at position {start.stream.position}")


def silent(line: str) -> None:
    """What ranks other than the leader say."""
