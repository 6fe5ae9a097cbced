"""A command for tests: `cheap_step OUT TEXT [SECONDS [STARTS]]` makes OUT/result in that time.

It appends a line to OUT.starts, or STARTS, first, and leaves a complete OUT alone, as our commands
do.
"""

import sys
import time
from pathlib import Path


def main() -> int:
    out, text, *more = sys.argv[1:]
    seconds = more[0] if more else "0"
    starts = more[1] if more[1:] else f"{out}.starts"
    directory = Path(out)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with Path(starts).open("a") as file:
        file.write(f"{text}\n")
    if text == "fail":
        print("the disk is full")
        return 1
    if (directory / "result").exists():
        return 0
    time.sleep(float(seconds))
    directory.mkdir(exist_ok=True)
    (directory / "result").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
