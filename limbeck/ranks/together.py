"""Ending a run of several ranks with one message and one exit code."""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

from limbeck.config.command import error_line
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.ranks.collectives import barrier, gather_bytes
from limbeck.ranks.world import World

__all__ = ["agree", "fail_alone"]

T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2


def agree(world: World, prepare: Callable[[], T], *, prog: str) -> T:
    """Runs `prepare` on every rank; goes on only where it succeeded on all of them.

    With one rank an error is simply raised. With several, every rank learns of every error, the
    leader prints the first one (with the rank, and its host of several, where not all fail), and
    all ranks leave in order with one exit code, so that one bad option gives one line.

    Args:
      world: this process's place.
      prepare: what may fail with a LimbeckError or OSError; must use no collective.
      prog: name before the message.
    """
    if world.size == 1:
        return prepare()
    failure: dict[str, object] = {}
    result: T | None = None
    try:
        result = prepare()
    except (LimbeckError, OSError) as error:
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
        # Several hosts: paths and free disks are a host's.
        host = f" on {socket.gethostname()}" if world.size > world.local_size else ""
        failure = {"message": error_line(error), "code": code, "host": host}
    answers = [json.loads(text) for text in gather_bytes(json.dumps(failure).encode())]
    failed = [(rank, answer) for rank, answer in enumerate(answers) if answer]
    if not failed:
        return result  # type: ignore[return-value]  # set: this rank did not fail either
    rank, first = failed[0]
    if world.is_leader:
        where = f"rank {rank}{first['host']}: " if len(failed) < world.size else ""
        print(f"{prog}: error: {where}{first['message']}", file=sys.stderr, flush=True)
    barrier()  # a rank that left now would take the leader down before it has spoken
    sys.exit(first["code"])


@contextlib.contextmanager
def fail_alone(world: World, *, prog: str) -> Iterator[None]:
    """Ends the whole run when this rank fails with an error the others do not know of.

    With one rank the error passes through. With several, it is printed with the rank and the
    process leaves without waiting for the others, which may be inside a collective.
    """
    try:
        yield
    except (LimbeckError, OSError) as error:
        if world.size == 1:
            raise
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
        line = f"[r{world.rank}] {prog}: error: {error_line(error)}\n"
        sys.stderr.write(line)
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(code)
