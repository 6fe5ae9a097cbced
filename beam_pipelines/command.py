"""The command lines of this package: `python -m beam_pipelines.VERB`, and what they print."""

import importlib
import sys
from collections.abc import Sequence

from beam_pipelines.job import Finished
from limbeck import __version__
from limbeck.config.command import run_command

__all__ = ["run_module", "summarise"]


def run_module(prog: str) -> None:
    """Runs the `main` of module `prog` and ends the process.

    The module is imported by its name: functions of `__main__` could not be sent to a worker.
    """
    if sys.argv[1:2] == ["--version"]:
        print(f"{prog} (limbeck {__version__})")
        sys.exit(0)
    run_command(prog, importlib.import_module(prog).main)


def summarise(finished: Sequence[Finished], *, what: str, dead_letters: str = "") -> str:
    """Returns what a command says at its end: a table of what went where, a line a dataset."""
    lines = []
    for dataset in finished:
        lines.append(dataset.accounting.table(what=what))
        content = dataset.manifest.content
        totals = content.totals
        state = "already complete" if dataset.already_complete else f"{dataset.seconds:.1f} s"
        tokens = f", {totals['tokens']:,} tokens" if totals["tokens"] else ""
        lines.append(
            f"{dataset.directory}: {totals['records']:,} {content.kind}{tokens} in "
            f"{len(content.shards)} shards, {totals['bytes'] / 1e6:.1f} MB, "
            f"id {dataset.manifest.id[:12]} ({state})"
        )
    num_dead = max((dataset.accounting.num_dead for dataset in finished), default=0)
    if num_dead:
        lines.append(f"{num_dead:,} dead letters are listed in {dead_letters}")
    return "\n".join(lines)
