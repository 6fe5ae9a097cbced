"""Run by test_elastic.py on every rank: `python elastic_checks.py SLOW run RECIPE ...`.

As `python -m train run RECIPE ...`, but each step takes longer for as long as the file SLOW is
there: hosts are looked for once a second, and a toy's step takes some milliseconds. On the host
127.0.1 the recipe is another one.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from limbeck.config.command import dispatch
from train import loop
from train.commands import VERBS

if __name__ == "__main__":
    slow = Path(sys.argv.pop(1))
    if os.environ["HOROVOD_HOSTNAME"] == "127.0.1":
        sys.argv += ["--set", "seed=99"]
    honest = loop.advance

    def late(*arguments: Any, **options: Any) -> Any:
        if slow.exists():
            time.sleep(0.3)
        return honest(*arguments, **options)

    loop.advance = late
    dispatch("train", VERBS)
