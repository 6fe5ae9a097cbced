"""Training on while processes come and go: what they agree on, and the way back after a change.

`horovodrun` with host discovery starts the processes and tells them who takes part. When one is
lost, or hosts are added or removed, those that are left meet anew; each then goes on from the state
that it holds in its own memory, so nothing is read from a disk. Horovod's own elastic wrapper does
not fit: where a group of sums fails it returns as if the work were done, its states do not work
with Keras 3, after a removal it does not compare states, and it drops news of hosts that come while
the processes meet.

No collective may run before `run_elastic` calls the function: a process that has just been started
would wait in it for others that are already further.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.ranks import collectives
from limbeck.ranks.world import World, is_elastic, rejoin

__all__ = ["ElasticState", "HostsChanged", "is_failed_collective", "run_elastic"]

T = TypeVar("T")

# A lost rank fails one collective; what fails this often without a commit in between is a mistake.
MAX_FAILURES = 5


class HostsChanged(Exception):
    """Hosts were added or removed; every rank raises it at the same commit."""


class ElasticState:
    """Variables and a record of progress, as of the last commit, in this process's memory.

    A commit is made only where all ranks have reached it, so what a leader wrote to its logs before
    is there when another process takes its place. Ranks may differ by one commit where the failure
    falls between; the later one wins.
    """

    def __init__(self, *, commit_every: int = 1) -> None:
        """Holds nothing yet.

        Args:
          commit_every: steps between two commits.

        Raises:
          ValueError: it is not positive.
        """
        if commit_every < 1:
            raise ValueError(f"commit_every is {commit_every}; expected at least 1")
        self.variables: Sequence[Any] = ()
        """Keras or TensorFlow variables, the same list on every rank."""
        self.step = -1
        """Of what is held; -1 for nothing."""
        self.record = b""
        """Progress that belongs to the variables."""
        self.reason = ""
        """Why the processes met last; empty at the start."""
        self.failures = 0
        """Failed collectives since the last commit."""
        self._commit_every = commit_every
        self._values: list[np.ndarray] = []
        self._told = threading.Event()

    def save(self, *, step: int, record: bytes) -> None:
        """Copies the variables as they are now to the host's memory."""
        # `numpy` of a variable is a copy: neither updates nor broadcasts write to it.
        self._values = [np.asarray(variable.numpy()) for variable in self.variables]
        self.step, self.record, self.failures = step, record, 0

    def restore(self) -> None:
        """Gives the variables the values of the last commit; harmless where there is none."""
        if self._values:
            for variable, value in zip(self.variables, self._values, strict=True):
                variable.assign(value)

    def sync(self) -> None:
        """Gives every rank the values and the record of the latest commit of any; a collective.

        Raises:
          LimbeckError: no rank holds anything.
        """
        steps = [int(text) for text in collectives.gather_bytes(str(self.step).encode())]
        root = steps.index(max(steps))  # Horovod makes the oldest process rank 0, but for this
        if steps[root] < 0:
            raise LimbeckError("no rank has a state to go on from")
        record = collectives.broadcast_bytes(self.record, root=root)
        self.restore()
        collectives.broadcast_variables(self.variables, root=root)
        failures = self.failures
        self.save(step=steps[root], record=record)
        self.failures = failures  # only progress clears it

    def latest(self) -> int:
        """Step of the latest commit of any rank, -1 where there is none; a collective."""
        return max(int(text) for text in collectives.gather_bytes(str(self.step).encode()))

    def commit(self, *, step: int, record: Callable[[], bytes]) -> None:
        """Saves where `step` is due, then leaves if hosts have changed; a collective.

        Args:
          step: steps made.
          record: gives the progress.

        Raises:
          HostsChanged: on all ranks, where any was told so.
        """
        if step % self._commit_every:
            return
        told = np.array([self._told.is_set()], np.int64)
        changed = bool(collectives.sum_vector(told, name="commit")[0])
        self.save(step=step, record=record())
        if changed:
            raise HostsChanged

    def on_hosts_updated(self, timestamp: int, update: Any) -> None:
        """Takes Horovod's news of hosts, in a thread of its own; rank 0 gets them."""
        self._told.set()

    def forget_news(self) -> None:
        """To be called before the processes meet: what is told later is about the next time."""
        self._told.clear()


def run_elastic(
    function: Callable[[World], T],
    state: ElasticState,
    world: World,
    *,
    again: Callable[[], World] | None = None,
) -> T:
    """Calls the function until it returns; after each change with the world as it then is.

    Args:
      function: trains from `state` on; must build anew what holds a collective or the size of the
        world, compiled functions above all, and call `state.sync` before it computes.
      state: what survives.
      world: of the first call, from `limbeck.ranks.init`.
      again: meets the other processes and returns the world that they make; Horovod's when None.

    Returns:
      What the function returned.

    Raises:
      LimbeckError: it returned nothing.
      Exception: whatever else it raised; a failed collective too, where it failed `MAX_FAILURES`
        times without a commit in between.
    """
    with _told_of_hosts(state):
        while True:
            try:
                result = function(world)
            except HostsChanged:
                state.reason = "hosts were added or removed"
            except Exception as error:
                if not is_failed_collective(error):
                    raise
                state.failures += 1
                if state.failures > MAX_FAILURES:
                    raise
                state.reason = "a rank was lost"
            else:
                if result is None:
                    raise LimbeckError("an elastic run must return what it has made")
                return result
            state.forget_news()
            world = (again or rejoin)()


def is_failed_collective(error: BaseException) -> bool:
    """Whether an error may come from a rank that is gone.

    TensorFlow's own errors count whatever they say: the text differs from one collective to the
    next.
    """
    if isinstance(error, LimbeckError):
        return False
    import tensorflow as tf

    return isinstance(error, tf.errors.OpError) or "horovod" in f"{type(error)} {error}".lower()


@contextlib.contextmanager
def _told_of_hosts(state: ElasticState) -> Iterator[None]:
    """Lets `horovodrun` tell the state of hosts, where it started this process."""
    if not is_elastic():
        yield
        return
    from horovod.common.elastic import notification_manager

    notification_manager.init()
    notification_manager.register_listener(state)
    try:
        yield
    finally:
        notification_manager.remove_listener(state)
