"""Stages datasets in a process of its own: slowly, saying each step, or until it kills itself.

    python staging_killer.py TO BUDGET KILL_AT SOURCE...

KILL_AT: which call of a function that changes the disk is the last, from 1; 0 for none: then every
piece of a few bytes is told on stdout and the next one waits for a line on stdin.
"""

import os
import signal
import sys

from limbeck.records import staging_copy, staging_source
from limbeck.records.staging import stage

CHANGES = ("replace", "rename", "unlink", "fsync", "makedirs")


def die_at(number: int) -> None:
    calls = 0

    def dying(function):
        def call(*args, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for name in CHANGES:
        setattr(os, name, dying(getattr(os, name)))


def tell(num_bytes: int, total: int) -> None:
    print(f"{num_bytes} of {total}", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    to, budget, kill_at, *sources = sys.argv[1:]
    staging_source.PIECE_BYTES = 256
    if int(kill_at):
        staging_copy.FILES_AT_ONCE = 1  # one order of the calls
        die_at(int(kill_at))
    done = stage(
        sources,
        to,
        budget=int(budget),
        progress=(lambda num_bytes, total: None) if int(kill_at) else tell,
        say=lambda line: print(line, flush=True),
    )
    for staged in done:
        print(f"staged {staged.path} {staged.copied_bytes}", flush=True)
