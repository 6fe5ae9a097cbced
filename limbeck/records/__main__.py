"""`python -m limbeck.records {verify,show,stats} DIR`: check and look at datasets."""

import dataclasses
import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm
from tyro.conf import Positional

from limbeck.config.command import dispatch, parse
from limbeck.config.errors import LimbeckError
from limbeck.records.dataset import open_dataset
from limbeck.records.directory import read_finished
from limbeck.records.show import record_lines, summary_lines
from limbeck.records.stats import stats_lines
from limbeck.records.verify import verify, verify_digests


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Checks every file of a dataset, every record, CRC and SHA-256."""

    directory: Positional[str]
    """Dataset directory."""
    quick: bool = False
    """Sizes, counts, JSON files and indexes only: no data is read."""
    examples: str | None = None
    """Examples directory that labels belong to: checks each label's digest against its input."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Prints what a dataset is, or one of its records."""

    directory: Positional[str]
    """Dataset directory."""
    record: int | None = None
    """Row to print, from 0; the manifest if left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats:
    """Prints sizes, shard balance, token lengths and the accounting."""

    directory: Positional[str]
    """Dataset directory."""


def run_verify(argv: Sequence[str]) -> None:
    """Checks a dataset; problems go to stdout, one line each."""
    options = parse(Verify, argv, prog="limbeck.records verify", description=str(Verify.__doc__))
    content = read_finished(options.directory).content
    total = 0 if options.quick else content.totals["bytes"]
    with tqdm(total=total, unit="B", unit_scale=True, disable=None) as bar:
        problems = verify(options.directory, quick=options.quick, progress=bar.update)
    for problem in problems:
        print(problem)
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise LimbeckError(f"{options.directory}: {count}, first: {problems[0]}")
    if options.examples is not None:
        with open_dataset(options.examples) as examples, open_dataset(options.directory) as family:
            verify_digests(examples, family)
    totals, how = content.totals, "quick check" if options.quick else "every byte"
    print(
        f"{options.directory}: good ({how}): {totals['records']:,} records, {totals['bytes']:,} "
        f"bytes, {len(content.shards)} shards, id {content.id}"
    )


def run_show(argv: Sequence[str]) -> None:
    """Prints the manifest or one record."""
    options = parse(Show, argv, prog="limbeck.records show", description=str(Show.__doc__))
    with open_dataset(options.directory) as dataset:
        lines = (
            summary_lines(dataset)
            if options.record is None
            else record_lines(dataset, options.record)
        )
        _print(lines)


def run_stats(argv: Sequence[str]) -> None:
    """Prints counts and distributions."""
    options = parse(Stats, argv, prog="limbeck.records stats", description=str(Stats.__doc__))
    with open_dataset(options.directory) as dataset:
        _print(stats_lines(dataset))


def _print(lines: Iterable[str]) -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:  # a page may hold what an ASCII terminal cannot show
        reconfigure(errors="backslashreplace")
    for line in lines:
        print(line)


if __name__ == "__main__":
    dispatch(
        "limbeck.records",
        {
            "verify": (run_verify, "check every file, record, CRC and SHA-256 of a dataset"),
            "show": (run_show, "print what a dataset is, or one of its records"),
            "stats": (run_stats, "print sizes, shard balance and token lengths"),
        },
        description="Check and look at dataset directories.",
    )
