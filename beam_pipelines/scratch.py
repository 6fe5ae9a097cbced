"""Where a run keeps what it needs until its end: in its output directory, so that it fits there.

The directory has the name of a temporary file of `job.json`: whoever finds it there knows it for a
leftover, and the next run of the same job removes it.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from beam_pipelines.options import LOCAL
from beam_pipelines.storage import delete_files, is_remote, join, list_files
from limbeck.records.directory import JOB
from limbeck.records.files import temporary_name

__all__ = ["Scratch", "open_scratch"]


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Directories of one run."""

    report: str
    """For the report; all workers can write there."""
    spill: str
    """For rows on their way to the sink; empty where the runner carries them."""
    watched: str
    """For progress, seen by all workers; empty where the runner shows it."""


@contextlib.contextmanager
def open_scratch(out: str, *, runner: str) -> Iterator[Scratch]:
    """Makes the directories for a run that writes to `out`, and removes them after it."""
    report = join(out, temporary_name(JOB))
    here = ""
    with contextlib.ExitStack() as stack:
        if not is_remote(out):
            os.mkdir(report)
            stack.callback(shutil.rmtree, report, ignore_errors=True)
            here = report if runner == LOCAL else ""
        elif runner == LOCAL:
            report = here = stack.enter_context(tempfile.TemporaryDirectory(prefix="limbeck-"))
        else:
            stack.callback(_delete_all, report)
        spill = here and join(here, "spill")
        if spill:
            os.mkdir(spill)
        yield Scratch(report=report, spill=spill, watched=here)


def _delete_all(directory: str) -> None:
    delete_files([join(directory, name) for name in list_files(directory)])
