"""The process behind `prep.guard`: runs one function on one item after the other.

`python -m prep.guard_worker MODULE:FUNCTION SECONDS MEGABYTES`. Items come in on stdin and results
go out on stdout, one JSON value a line. It ends when stdin does, so it does not outlive its parent.
"""

import importlib
import json
import os
import resource
import signal
import sys
from typing import Any

__all__ = ["main"]

# The parent enforces both limits. These are for the case that it is gone or was too slow: the
# kernel acts even while a C extension holds the interpreter.
_TIME_SLACK = 2.0
_ADDRESS_SPACE_SLACK_MB = 1024  # address space that libraries reserve and do not use


def main(argv: list[str]) -> int:
    """Serves until stdin ends; see the module's docstring."""
    task, seconds, megabytes = argv[0], float(argv[1]), int(argv[2])
    module, _, name = task.partition(":")
    function = getattr(importlib.import_module(module), name)
    limit = (megabytes + _ADDRESS_SPACE_SLACK_MB) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle

    # Nothing but results may reach the parent: what a library prints goes to stderr.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _send(results, {"ready": True})
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_REAL, _TIME_SLACK * seconds)
        answer = _run(function, line)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(results, answer)
    return 0


def _run(function: Any, line: bytes) -> dict[str, Any]:
    try:
        return {"value": function(json.loads(line))}
    except MemoryError:
        return {"reason": "memory", "detail": "MemoryError"}
    except Exception as error:  # reported, counted and written to the dead letters by the parent
        return {"reason": "failed", "detail": f"{type(error).__name__}: {error}"[:500]}


def _send(results: Any, answer: dict[str, Any]) -> None:
    results.write(json.dumps(answer).encode() + b"\n")
    results.flush()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BrokenPipeError:  # the parent is gone
        os._exit(1)
