"""A worker process of `--workers N`: Beam's own harness, quiet, and gone when its driver is.

Beam's harness writes its start-up to stderr and lives on when the driver is killed. The driver
starts this module instead.
"""

import contextlib
import logging
import os
import sys
import threading
import time

__all__ = ["main"]

_POLL_S = 0.5


def _leave_with(parent: int) -> None:
    """Ends this process as soon as `parent` is no longer its parent."""
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


def main() -> None:
    """Runs the harness until the driver says that it is done."""
    # A handler on the root logger keeps Beam from printing: its log goes to the driver anyway.
    logging.getLogger().addHandler(logging.NullHandler())
    parent = int(sys.argv[1])
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    from apache_beam.runners.worker import sdk_worker_main

    # The harness prints the traceback of every failed step, which the driver gets and reports.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main([])


if __name__ == "__main__":
    main()
