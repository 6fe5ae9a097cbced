"""`python -m launch stage SOURCE... --to DIR --budget 200GB`: datasets on node-local disk."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro
from tqdm import tqdm

from limbeck.config.command import parse
from limbeck.config.errors import UsageError
from limbeck.records.staging import Staged, Verify
from limbeck.records.staging import stage as bring

__all__ = ["StageOptions", "parse_size", "stage"]

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?(?:e\d+)?)\s*(?:(?P<prefix>[kMGTP])(?P<binary>i?))?B?")
_POWERS = {None: 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5}


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """Options of `stage`."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE...")]
    """Dataset directories (examples, label families), on NFS perhaps, or s3://bucket/prefix."""

    to: str
    """Directory on this host's own disk; each dataset goes to TO/NAME-ID."""

    budget: str
    """Most bytes of all that lies below it: 200GB, 1.5TB, 500MiB, or a plain number."""

    verify: Verify = "quick"
    """Of datasets that are there already: sizes and JSON files, or every SHA-256. What is damaged
    is copied again. Copies are hashed while they are made in any case."""

    evict: bool = False
    """Removes datasets staged here before, those first that were asked for longest ago, where the
    budget needs it; never one that a process is reading."""

    print_paths: bool = False
    """Prints the local paths alone, one a line, in the order of the sources; all else goes to
    stderr."""


def stage(argv: Sequence[str]) -> None:
    """Copies datasets to this host's disk, every byte checked; done already, it costs nothing.

    Any number of processes of a host may call it at once: one copies, the others wait. Killed, it
    goes on where it was.
    """
    options = parse(
        StageOptions, argv, prog="python -m launch stage", description=stage.__doc__ or ""
    )
    if not options.sources:
        raise UsageError("name at least one dataset directory")
    budget = parse_size(options.budget)
    started = time.monotonic()
    with tqdm(unit="B", unit_scale=True, disable=None, leave=False) as bar:

        def progress(num_bytes: int, total: int) -> None:
            bar.total = total
            bar.update(num_bytes)

        done = bring(
            options.sources,
            options.to,
            budget=budget,
            verify=options.verify,
            evict=options.evict,
            progress=progress,
            say=_say,
        )
    seconds = time.monotonic() - started
    for line in _summary(done, options, seconds):
        if options.print_paths:
            _say(line)
        else:
            print(line)
    if options.print_paths:
        for staged in done:
            print(staged.path)


def parse_size(text: str) -> int:
    """Reads a number of bytes: `200GB` is 200e9, `200GiB` 200 times 2^30.

    Raises:
      UsageError: no such number, or 0.
    """
    found = _SIZE.fullmatch(text.strip())
    size = 0
    if found is not None:
        base = 1024 if found["binary"] else 1000
        size = round(float(found["number"]) * base ** _POWERS[found["prefix"]])
    if size < 1:
        raise UsageError(
            f"--budget {text}: expected a number of bytes such as 200GB, 1.5TB or 500MiB"
        )
    return size


def _summary(done: Sequence[Staged], options: StageOptions, seconds: float) -> list[str]:
    lines = []
    for staged in done:
        what = f"{staged.num_bytes:,} bytes, there already"
        if staged.copied_bytes:
            what = f"copied {staged.copied_bytes:,} of {staged.num_bytes:,} bytes"
        lines.append(f"{staged.source} -> {staged.path}: {what}")
    copied = sum(staged.copied_bytes for staged in done)
    rate = f", {copied / 1e6 / seconds:,.0f} MB/s" if copied and seconds > 0 else ""
    checked = ", all hashed," if options.verify == "full" else ""
    return [*lines, f"staged {len(done)} dataset(s){checked} in {seconds:.1f} s{rate}"]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
