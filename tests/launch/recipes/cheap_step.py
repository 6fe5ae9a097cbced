"""A command for tests: `python -m cheap_step OUT TEXT [SECONDS]` makes OUT/result in that time.

It appends a line to OUT.starts first, and leaves a complete OUT alone, as our commands do.
"""

import sys
import time
from pathlib import Path


def main() -> int:
    out, text, *seconds = sys.argv[1:]
    directory = Path(out)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{out}.starts").open("a") as file:
        file.write(f"{text}\n")
    if text == "fail":
        print("the disk is full")
        return 1
    if (directory / "result").exists():
        return 0
    time.sleep(float(seconds[0]) if seconds else 0.0)
    directory.mkdir(exist_ok=True)
    (directory / "result").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
