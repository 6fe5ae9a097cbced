"""`python -m launch.jobs.discover HOSTFILE`: prints its hosts as `name:slots`, for horovodrun.

An error, such as a file that is being written, ends it with 2: horovodrun then keeps the hosts that
it had.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.jobs.hosts import Host, parse_hosts, read_hostfile
from limbeck.config.errors import UsageError

__all__ = ["discovery_of_hostfile", "listed"]

FIRST_ANSWER_S = 30.0  # of a script; later ones have as long as they like


def discovery_of_hostfile(path: str) -> str:
    """The line for the shell that prints the hosts of a file as it is at that time."""
    file = os.path.abspath(path)
    package = Path(__file__).resolve().parents[2]
    words = ["env", f"PYTHONPATH={package}", sys.executable, "-m", "launch.jobs.discover", file]
    return shlex.join(words)


def listed(command: str) -> tuple[Host, ...]:
    """The hosts that a discovery prints now; maybe none yet.

    Raises:
      UsageError: it fails, takes too long, or prints anything else than `name:slots` lines.
    """
    try:
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, timeout=FIRST_ANSWER_S
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{command}: no answer in {FIRST_ANSWER_S:.0f} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UsageError(f"{command}: exit code {done.returncode}: {last}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return parse_hosts(",".join(lines), option=f"{command} printed") if lines else ()


def main(argv: Sequence[str]) -> int:
    """Prints the hosts of a file."""
    try:
        hosts = read_hostfile(argv[0])
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(map(str, hosts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
