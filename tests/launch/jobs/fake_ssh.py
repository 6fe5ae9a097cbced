"""A fake `ssh` for tests: it records its arguments and answers as FAKE_SSH says; no real ssh runs.

FAKE_SSH is JSON: host -> {"code": exit code, "stdout": ..., "stderr": ..., "sleep_s": ...}, or
{"run": true} to run the command on this machine, as if it were that host.
"""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    """Finds the host among the options, as ssh does, and plays it."""
    arguments = sys.argv[1:]
    with open(os.environ["FAKE_SSH_LOG"], "a") as log:
        log.write(json.dumps(arguments) + "\n")
    at = 0
    while arguments[at].startswith("-"):
        at += 2 if arguments[at] in ("-o", "-p", "-i") else 1
    host, command = arguments[at], arguments[at + 1 :]
    answer = json.loads(os.environ["FAKE_SSH"])[host]
    time.sleep(answer.get("sleep_s", 0))
    if answer.get("run"):
        return subprocess.run(["sh", "-c", " ".join(command)]).returncode
    sys.stdout.write(answer.get("stdout", ""))
    sys.stderr.write(answer.get("stderr", ""))
    return int(answer.get("code", 0))


if __name__ == "__main__":
    sys.exit(main())
