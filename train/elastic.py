"""A run whose ranks come and go, under `horovodrun` with host discovery.

The order of the data does not depend on the number of ranks and each step's batch stays the global
one, so a run that loses ranks, or gets some, feeds the same batches as one that never does. After a
change the steps made since the last commit are made again; their lines are dropped from metrics and
ledger first, as when a run goes on from a checkpoint.

A process that comes later answers for itself: where it cannot read the data, or differs from the
others, it says so and leaves, and they go on without its host.
"""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

from limbeck import ranks
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.ranks import World
from limbeck.runs import RunDirectory
from train.checkpoints.checkpoint import Progressed, progressed_from_bytes, progressed_to_bytes
from train.inputs import Inputs
from train.job import Job, in_world, resume
from train.loop import PROG, Result, build, run_steps, say_complete
from train.recipe import Recipe
from train.starting.across import different, prepare_alike, traits
from train.starting.opening import announce, lock, silent
from train.starting.preflight import is_complete, preflight
from train.stopping import StopRequest

__all__ = ["COMMIT_EVERY", "Member", "train_elastically"]

# Steps that may have to be made again, against a copy of all variables.
COMMIT_EVERY = 10

# The leader before may still be closing its files, or a network file system its lock.
LOCKED_WITHIN_S = 60.0


def train_elastically(
    read: Callable[[], Recipe],
    run_dir: str | Path,
    world: World,
    *,
    commit_every: int = COMMIT_EVERY,
    say: Callable[[str], None] = print,
) -> Result:
    """Trains as `train.loop.train`, through losses and gains of ranks.

    Args:
      read: gives the recipe; called once the ranks have met.
      run_dir: new or empty, or of an earlier call; on a disk that all hosts share.
      world: from `limbeck.ranks.init`; no collective has run yet.
      commit_every: updates that a change of ranks may cost.
      say: takes the lines that the leader prints.

    Raises:
      UsageError: as `train.loop.train`; the recipe has stages.
      LimbeckError: as `train.loop.train`; the run says it has ended and lacks steps.
    """
    with StopRequest() as stop:
        member = Member(read, Path(run_dir), stop, commit_every=commit_every, say=say)
        result = ranks.run_elastic(member.train, member.state, world)
    member.check(result)
    return result


class Member:
    """One process of the run.

    Args:
      read: gives the recipe.
      run_dir: of the run.
      stop: whether this process was asked to stop.
      commit_every: updates between two commits.
      say: takes the lines of the leader.
    """

    def __init__(
        self,
        read: Callable[[], Recipe],
        run_dir: Path,
        stop: StopRequest,
        *,
        commit_every: int,
        say: Callable[[str], None],
    ) -> None:
        self.state = ranks.ElasticState(commit_every=commit_every)
        self._read = read
        self._run = RunDirectory(run_dir)
        self._stop = stop
        self._say = say
        self._inputs: Inputs | None = None
        self._job: Job | None = None

    def train(self, world: World) -> Result:
        """Makes the steps that are left among these ranks; what `ranks.run_elastic` calls."""
        speak = self._say if world.is_leader else silent
        first = self.state.latest() < 0
        inputs = self._inputs = self._opened(world, first=first)
        if _is_complete(inputs.recipe, self._run, world):
            return say_complete(inputs.recipe, self._run, world, speak)
        with contextlib.ExitStack() as stack:
            within_s = 0.0 if first else LOCKED_WITHIN_S
            ranks.agree(world, lambda: _lock(self._run, world, stack, within_s=within_s), prog=PROG)
            job = self._job = self._job_in(world, inputs, first=first)
            start = self._start(job, speak, first=first)
            with ranks.fail_alone(world, prog=PROG):
                return run_steps(job, start, self._stop, speak, commit=self._commit)

    def check(self, result: Result) -> None:
        """Refuses an end that lacks steps: that of a run that only seems to have been trained.

        Raises:
          LimbeckError: the optimiser has counted other updates, or a step is missing.
        """
        if self._job is None or result.student is None:
            return  # it was complete before
        training, optimizer = self._job.inputs.recipe.training, self._job.step.optimizer
        made = optimizer.num_applied + optimizer.num_skipped
        short = result.finished and not training.patience and result.step != training.steps
        if made != result.step or short:
            raise LimbeckError(
                f"{self._run.path}: ended after step {result.step} with {made} updates, and "
                f"{training.steps} were asked for; go on from its last checkpoint"
            )

    def _opened(self, world: World, *, first: bool) -> Inputs:
        """What the run reads. All ranks open it together at the start, and one alone later."""
        if first:
            recipe = ranks.agree(world, self._recipe, prog=PROG)
            return prepare_alike(
                world,
                recipe,
                self._run.path,
                lambda: preflight(recipe, self._run.path, world),
                opened=lambda inputs: [inputs],
                prog=PROG,
            )
        inputs = self._inputs
        with ranks.fail_alone(world, prog=PROG):
            if inputs is None:
                if not self._run.config_file.exists():
                    raise UsageError(
                        f"{self._run.path}: this host does not see what the others write there; "
                        "mount the disk that they share"
                    )
                inputs = preflight(self._recipe(), self._run.path, world)
            self._compare(inputs)
        return inputs

    def _recipe(self) -> Recipe:
        recipe = self._read()
        if recipe.stages:
            raise UsageError(
                f"{recipe.name}: a recipe with stages is not trained elastically; train it with "
                "`launch run` or `launch supervise`"
            )
        return recipe

    def _compare(self, inputs: Inputs) -> None:
        """Refuses a process that has come later and is not like the leader; a collective."""
        mine = json.dumps([socket.gethostname(), traits(inputs.recipe, inputs)])
        answers = [json.loads(text) for text in ranks.gather_bytes(mine.encode())]
        if self.state.step >= 0:
            return
        changes = different([host for host, _ in answers], [values for _, values in answers])
        if changes:
            raise UsageError(f"this host is left out, since the ranks differ: {'; '.join(changes)}")

    def _job_in(self, world: World, inputs: Inputs, *, first: bool) -> Job:
        """The job among these ranks, built where this process has none yet."""
        if first:
            return ranks.agree(world, lambda: build(inputs, self._run, world), prog=PROG)
        with ranks.fail_alone(world, prog=PROG):
            if self._job is None:
                return build(inputs, self._run, world)
            return in_world(self._job, world)

    def _start(self, job: Job, speak: Callable[[str], None], *, first: bool) -> Progressed:
        """Where the run stands, with the variables of that step on all ranks; a collective."""
        self.state.variables = list(job.variables.values())
        if first:
            found = resume(job, prog=PROG)
            announce(job, found, speak)
            if job.world.is_leader:
                begun = found or job.at_start()
                self.state.save(step=begun.step, record=progressed_to_bytes(begun))
        self.state.sync()
        if not first:
            who = f"{job.world.size} rank(s) now, as {self.state.reason}"
            speak(f"elastic   {who}; goes on after step {self.state.step}")
        if job.world.is_leader:
            _forget_ranks(self._run.heartbeat, job.world.size)
        return progressed_from_bytes(self.state.record)

    def _commit(self, progressed: Progressed) -> None:
        self.state.commit(step=progressed.step, record=lambda: progressed_to_bytes(progressed))


def _is_complete(recipe: Recipe, run: RunDirectory, world: World) -> bool:
    """Whether nothing is left to do, as the leader sees it; a collective."""
    done = ranks.agree(world, lambda: world.is_leader and is_complete(recipe, run.path), prog=PROG)
    return bool(ranks.broadcast_bytes(b"complete" if done else b""))


def _lock(run: RunDirectory, world: World, stack: contextlib.ExitStack, *, within_s: float) -> None:
    """As `train.starting.opening.lock`, with patience for the leader before."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            return lock(run, world, stack)
        except UsageError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


def _forget_ranks(directory: Path, size: int) -> None:
    """Removes the heartbeats of ranks that are no more: they would seem to stand still."""
    for path in directory.glob("rank-*.json"):
        if int(path.stem.removeprefix("rank-")) >= size:
            path.unlink(missing_ok=True)
